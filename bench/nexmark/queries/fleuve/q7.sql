-- The highest bids of each 10 seconds.
SELECT b.auction, b.bidder, b.price, b.date_time, b.extra
FROM bid AS b
JOIN (
  SELECT max(price) AS highest, window_end
  FROM TUMBLE(bid, date_time, INTERVAL '10 seconds')
  GROUP BY window_start, window_end
) AS h
ON b.price = h.highest
WHERE b.date_time BETWEEN h.window_end - INTERVAL '10 seconds' AND h.window_end
