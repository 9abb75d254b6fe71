-- How many bids each bidder makes in each 10 seconds of the clock: a batch answer is made at one moment.
SELECT bidder, COUNT(*) AS bid_count
FROM bid
GROUP BY bidder
