-- Persons who sign in to the console. `name` is folded, and is never given to another one.
CREATE TABLE operator (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    document   TEXT NOT NULL,
    enrolment  TEXT UNIQUE,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- Their passkeys. `counter` and `used_at` change with each use, and are no part of the statement of the audit log.
CREATE TABLE passkey (
    id       TEXT PRIMARY KEY,
    operator TEXT NOT NULL REFERENCES operator (id),
    added_at INTEGER NOT NULL,
    document TEXT NOT NULL,
    counter  INTEGER NOT NULL,
    used_at  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX passkey_by_operator ON passkey (operator, added_at, id);
