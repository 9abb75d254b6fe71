-- The log as it comes from the web server, one line per request. The format brings the columns: host, ident, user_name, ts, method,
-- path, protocol, status, bytes, referer, agent. A line that is no such line goes to access_log__dead, and everything goes on.
CREATE STREAM access_log (WATERMARK FOR ts AS ts - INTERVAL '2 minutes')
  WITH (format = 'combined_log');
