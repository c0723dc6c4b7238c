-- Changes that were proposed in the console.
CREATE TABLE proposal (
    id      TEXT PRIMARY KEY,
    at      INTEGER NOT NULL,
    is_open INTEGER NOT NULL,
    record  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX proposal_by_time ON proposal (is_open, at DESC, id);
