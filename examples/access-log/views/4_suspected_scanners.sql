-- Addresses that ask for many things that they may not have or that are not there (4xx) within six hours.
CREATE MATERIALIZED VIEW suspected_scanners AS
SELECT
  window_start AS since,
  host,
  count(*) AS hits,
  count(*) FILTER (WHERE status BETWEEN 400 AND 499) AS refused,
  count(DISTINCT path) AS paths
FROM HOP(access_log, ts, INTERVAL '1 hour', INTERVAL '6 hours')
GROUP BY window_start, host
HAVING count(*) FILTER (WHERE status BETWEEN 400 AND 499) >= 4;
