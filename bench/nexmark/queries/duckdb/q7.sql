-- The highest bids of each 10 seconds.
SELECT b.auction, b.bidder, b.price, b.date_time, b.extra
FROM bid AS b
JOIN (
  SELECT max(price) AS highest, time_bucket(INTERVAL '10 seconds', date_time) AS window_start
  FROM bid GROUP BY window_start
) AS h
ON b.price = h.highest
WHERE b.date_time BETWEEN h.window_start AND h.window_start + INTERVAL '10 seconds'
