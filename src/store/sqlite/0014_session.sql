-- Sign-ins to the console, by the hash of the value that the browser has.
CREATE TABLE session (
    id      TEXT PRIMARY KEY,
    hash    TEXT NOT NULL UNIQUE,
    subject TEXT NOT NULL,
    ends_at INTEGER NOT NULL,
    record  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_by_subject ON session (subject, ends_at);
