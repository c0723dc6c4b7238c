-- How the rotation of a profile's secret stands. `record` names the login and the next value that it is about; another
-- one makes it void.
CREATE TABLE rotation (
    profile TEXT PRIMARY KEY,
    record  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
