-- Who asks most, and what it costs.
CREATE MATERIALIZED VIEW top_talkers AS
SELECT
  host,
  count(*) AS hits,
  coalesce(sum(bytes), 0) AS bytes,
  count(DISTINCT path) AS paths,
  max(ts) AS last_seen
FROM access_log
GROUP BY host
HAVING count(*) >= 10;
