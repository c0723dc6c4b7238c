-- What the verifier proved of a profile with exactly these settings and secrets (`of` is their digest), so that a run that
-- sees less does not make it forgotten. Times are milliseconds since 1970.
CREATE TABLE proof (
    name     TEXT NOT NULL,
    of       TEXT NOT NULL,
    at       INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (name, of)
) STRICT, WITHOUT ROWID;
CREATE INDEX proof_at ON proof (at);
