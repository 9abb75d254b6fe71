-- The rules for what a statement leaves open. Those of before had no number.
ALTER TABLE object ADD COLUMN edition INTEGER NOT NULL DEFAULT 0 CHECK (edition >= 0);
