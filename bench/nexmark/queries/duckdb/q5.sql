-- The auctions with the most bids in the last 10 seconds, every 2 seconds.
WITH hop AS (
  SELECT auction, time_bucket(INTERVAL '2 seconds', date_time) - k * INTERVAL '2 seconds' AS window_start
  FROM bid, range(5) AS slides(k)
), counted AS (
  SELECT auction, window_start, count(*) AS num FROM hop GROUP BY auction, window_start
)
SELECT auction, num
FROM (SELECT auction, num, max(num) OVER (PARTITION BY window_start) AS most FROM counted)
WHERE num >= most
