-- `GET /v1/generations/{number}` asks for the newest row of each name up to a generation.
CREATE INDEX profile_history_by_generation ON profile_history (generation);
-- The service proves here that it can write durably.
CREATE TABLE probe (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
