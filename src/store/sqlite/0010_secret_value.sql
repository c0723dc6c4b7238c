-- Where values were first accepted for, by the ids that they are bound under. From this version on, the digest of an age
-- file is that of its binary form; `decoded.rs` rewrites what was recorded under the digest of a file as it was written.
CREATE TABLE secret_value (
    value_id    TEXT PRIMARY KEY,
    destination TEXT NOT NULL
) STRICT, WITHOUT ROWID;
