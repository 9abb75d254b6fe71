-- What the views make of requests. `fleuve test examples/access-log` runs these, each in a server of its own.

-- test: a minute counts its hits, bytes, visitors and errors
INSERT INTO access_log (host, ts, path, status, bytes) VALUES
  ('10.0.0.1', '2024-05-01 10:00:05', '/', 200, 100),
  ('10.0.0.1', '2024-05-01 10:00:20', '/nowhere', 404, NULL),
  ('10.0.0.2', '2024-05-01 10:00:59.999', '/', 500, 50),
  ('10.0.0.2', '2024-05-01 10:01:00', '/', 200, 7);

SELECT * FROM hits_per_minute ORDER BY minute;
-- | minute              | hits | bytes | visitors | error_percent |
-- | 2024-05-01T10:00:00 |    3 |   150 |        2 |          66.7 |
-- | 2024-05-01T10:01:00 |    1 |     7 |        1 |           0.0 |

-- test: a line that comes late still counts in its minute
INSERT INTO access_log (host, ts, path, status) VALUES ('10.0.0.1', '2024-05-01 10:00:05', '/', 200);
INSERT INTO access_log (host, ts, path, status) VALUES ('10.0.0.1', '2024-05-01 12:00:00', '/', 200);

SELECT minute, hits FROM hits_per_minute;
-- | minute              | hits |
-- | 2024-05-01T10:00:00 |    1 |
-- | 2024-05-01T12:00:00 |    1 |

INSERT INTO access_log (host, ts, path, status) VALUES ('10.0.0.1', '2024-05-01 10:00:40', '/', 200);

SELECT minute, hits FROM hits_per_minute;
-- | minute              | hits |
-- | 2024-05-01T10:00:00 |    2 |
-- | 2024-05-01T12:00:00 |    1 |

-- test: a path grows against the last minute that had any request
INSERT INTO access_log (host, ts, path, status) VALUES
  ('10.0.0.1', '2024-05-01 10:00:00', '/a', 200),
  ('10.0.0.1', '2024-05-01 10:00:01', '/b', 200),
  ('10.0.0.1', '2024-05-01 10:00:02', '/b', 200),
  ('10.0.0.1', '2024-05-01 15:00:00', '/a', 200),
  ('10.0.0.1', '2024-05-01 15:00:01', '/a', 200),
  ('10.0.0.1', '2024-05-01 15:00:02', '/b', 200);

SELECT minute, path, hits, growth FROM growing_paths;
-- | minute              | path | hits | growth |
-- | 2024-05-01T10:00:00 | /a   |    1 |      1 |
-- | 2024-05-01T10:00:00 | /b   |    2 |      2 |
-- | 2024-05-01T15:00:00 | /a   |    2 |      1 |

-- test: who asks ten times is a top talker
INSERT INTO access_log (host, ts, path, status, bytes)
SELECT '10.0.0.1', TIMESTAMP '2024-05-01 10:00:00', '/', 200, 10 FROM generate_series(1, 9);
INSERT INTO access_log (host, ts, path, status, bytes)
SELECT '10.0.0.2', TIMESTAMP '2024-05-01 10:00:00', '/', 200, 10 FROM generate_series(1, 20);

SELECT host, hits, bytes FROM top_talkers;
-- | host     | hits | bytes |
-- | 10.0.0.2 |   20 |   200 |

INSERT INTO access_log (host, ts, path, status) VALUES ('10.0.0.1', '2024-05-01 11:00:00', '/late', 200);

SELECT host, hits, bytes, paths, last_seen FROM top_talkers;
-- | host     | hits | bytes | paths | last_seen           |
-- | 10.0.0.1 |   10 |    90 |     2 | 2024-05-01T11:00:00 |
-- | 10.0.0.2 |   20 |   200 |     1 | 2024-05-01T10:00:00 |

-- test: four refused requests within six hours make a scanner
INSERT INTO access_log (host, ts, path, status) VALUES
  ('10.0.0.1', '2024-05-01 10:10:00', '/admin', 404),
  ('10.0.0.1', '2024-05-01 11:10:00', '/login', 403),
  ('10.0.0.1', '2024-05-01 12:10:00', '/', 200),
  ('10.0.0.1', '2024-05-01 13:10:00', '/phpmyadmin', 404);

SELECT * FROM suspected_scanners;
-- | since | host | hits | refused | paths |

INSERT INTO access_log (host, ts, path, status) VALUES ('10.0.0.1', '2024-05-01 14:10:00', '/wp-admin', 404);

SELECT since, host, hits, refused, paths FROM suspected_scanners;
-- | since               | host     | hits | refused | paths |
-- | 2024-05-01T09:00:00 | 10.0.0.1 |    5 |       4 |     5 |
-- | 2024-05-01T10:00:00 | 10.0.0.1 |    5 |       4 |     5 |
