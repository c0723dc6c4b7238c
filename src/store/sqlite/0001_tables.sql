-- Documents are JSON; what is looked up or ordered by has a column of its own. Times are milliseconds since 1970.
CREATE TABLE store (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE generation (
    number           INTEGER PRIMARY KEY,
    document         TEXT NOT NULL,
    settings         TEXT NOT NULL,
    changeset        TEXT UNIQUE,
    changeset_digest TEXT
) STRICT;

-- The present state, a row a profile.
CREATE TABLE profile (
    name  TEXT PRIMARY KEY,
    state TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What was live from a generation on, a row a change; no document means that the profile was gone.
CREATE TABLE profile_history (
    name       TEXT NOT NULL,
    generation INTEGER NOT NULL REFERENCES generation (number),
    live       TEXT,
    PRIMARY KEY (name, generation)
) STRICT, WITHOUT ROWID;

CREATE TABLE secret (
    digest      TEXT PRIMARY KEY,
    record      TEXT NOT NULL,
    age_file    BLOB NOT NULL,
    generation  INTEGER NOT NULL REFERENCES generation (number)
) STRICT;

CREATE TABLE token (
    id         TEXT PRIMARY KEY,
    document   TEXT NOT NULL,
    hash       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    entry    TEXT NOT NULL
) STRICT;
