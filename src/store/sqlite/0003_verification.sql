-- What the verifier last said of a profile: `summary` is what lists show of it.
CREATE TABLE verification (
    name     TEXT PRIMARY KEY,
    summary  TEXT NOT NULL,
    document TEXT NOT NULL
) STRICT, WITHOUT ROWID;
