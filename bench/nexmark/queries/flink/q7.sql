-- The highest bids of each 10 seconds.
SELECT b.auction, b.bidder, b.price, b.date_time, b.extra
FROM bid AS b
JOIN (
  SELECT MAX(price) AS highest, window_end
  FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(date_time), INTERVAL '10' SECOND))
  GROUP BY window_start, window_end
) AS h
ON b.price = h.highest
WHERE b.date_time BETWEEN h.window_end - INTERVAL '10' SECOND AND h.window_end
