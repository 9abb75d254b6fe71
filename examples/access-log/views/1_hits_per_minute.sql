-- How much there is to do, and how much of it goes wrong.
CREATE MATERIALIZED VIEW hits_per_minute AS
SELECT
  window_start AS minute,
  count(*) AS hits,
  coalesce(sum(bytes), 0) AS bytes,
  count(DISTINCT host) AS visitors,
  round(100.0 * count(*) FILTER (WHERE status >= 400) / count(*), 1) AS error_percent
FROM TUMBLE(access_log, ts, INTERVAL '1 minute')
GROUP BY window_start;
