-- How many bids each bidder makes in each 10 seconds of the clock.
SELECT bidder, COUNT(*) AS bid_count, window_start, window_end
FROM TABLE(TUMBLE(TABLE clocked_bid, DESCRIPTOR(came), INTERVAL '10' SECOND))
GROUP BY bidder, window_start, window_end
