-- Which paths are asked for more than in the minute before. The log has hours without a request, so "before" is the last minute that
-- had any.
CREATE MATERIALIZED VIEW path_hits AS
SELECT window_start AS minute, path, count(*) AS hits
FROM TUMBLE(access_log, ts, INTERVAL '1 minute')
GROUP BY window_start, path;

CREATE MATERIALIZED VIEW minutes AS
SELECT minute, lag(minute) OVER (ORDER BY minute) AS previous
FROM hits_per_minute;

CREATE MATERIALIZED VIEW growing_paths AS
SELECT this.minute, this.path, this.hits, this.hits - coalesce(prior.hits, 0) AS growth
FROM path_hits AS this
JOIN minutes ON minutes.minute = this.minute
LEFT JOIN path_hits AS prior ON prior.minute = minutes.previous AND prior.path = this.path
WHERE this.hits - coalesce(prior.hits, 0) > 0;
