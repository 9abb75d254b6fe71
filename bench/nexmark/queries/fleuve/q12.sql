-- How many bids each bidder makes in each 10 seconds of the clock: of the time at which the event came into the stream.
SELECT bidder, COUNT(*) AS bid_count, window_start, window_end
FROM TUMBLE((SELECT "Bid".bidder AS bidder, _timestamp AS came FROM nexmark WHERE "Bid" IS NOT NULL), came, INTERVAL '10 seconds')
GROUP BY bidder, window_start, window_end
