-- How rotations of secrets stand. `of` is the digest of a login and the next value for it; what came of that holds for
-- every profile that has the same.
CREATE TABLE rotation (
    of     TEXT PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
