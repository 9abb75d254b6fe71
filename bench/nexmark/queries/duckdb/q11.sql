-- How many bids a user made in each session of activity. Bids just as far apart as the gap are of one session.
SELECT bidder, count(*) AS bid_count, min(date_time) AS window_start, max(date_time) + INTERVAL '10 seconds' AS window_end
FROM (
  SELECT bidder, date_time, sum(is_new) OVER (PARTITION BY bidder ORDER BY date_time RANGE UNBOUNDED PRECEDING) AS session
  FROM (
    SELECT bidder, date_time,
      CASE WHEN date_time - lag(date_time) OVER (PARTITION BY bidder ORDER BY date_time) > INTERVAL '10 seconds' THEN 1 ELSE 0 END AS is_new
    FROM bid
  )
)
GROUP BY bidder, session
