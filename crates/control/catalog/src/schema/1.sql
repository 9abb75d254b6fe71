CREATE TABLE setting (
  key TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A definition. Its id is durable; what it is called is said by `name`, per environment.
CREATE TABLE object (
  id BLOB NOT NULL CHECK (length(id) = 16),
  version INTEGER NOT NULL CHECK (version > 0),
  kind TEXT NOT NULL,
  sql TEXT NOT NULL,
  comment TEXT,
  column_comments TEXT NOT NULL,      -- JSON: [["column", "comment"], ...]
  created_ms INTEGER NOT NULL,
  PRIMARY KEY (id, version)
) STRICT;

CREATE TABLE name (
  environment TEXT NOT NULL DEFAULT 'main',
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  object BLOB NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (environment, namespace, name),
  UNIQUE (environment, object),
  FOREIGN KEY (object, version) REFERENCES object (id, version) DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

-- That the objects depended on are there is checked per environment before writing; a definition only knows their ids.
CREATE TABLE dependency (
  object BLOB NOT NULL,
  version INTEGER NOT NULL,
  position INTEGER NOT NULL,
  depends_on BLOB NOT NULL CHECK (length(depends_on) = 16),
  PRIMARY KEY (object, version, position),
  FOREIGN KEY (object, version) REFERENCES object (id, version) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoint (
  environment TEXT NOT NULL DEFAULT 'main' PRIMARY KEY,
  epoch INTEGER NOT NULL,
  time_us INTEGER NOT NULL,
  frontier BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- No reference to `object`: a dropped view's manifest stays until a checkpoint has removed its files.
CREATE TABLE view_checkpoint (
  environment TEXT NOT NULL DEFAULT 'main',
  object BLOB NOT NULL CHECK (length(object) = 16),
  version INTEGER NOT NULL,
  manifest BLOB NOT NULL,
  PRIMARY KEY (environment, object)
) STRICT;
