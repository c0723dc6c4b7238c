-- Who holds what, until when (milliseconds since 1970). What has lapsed goes when the next one is taken.
CREATE TABLE lease (
    name   TEXT PRIMARY KEY,
    until  INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- `GET /v1/outbox?over=` counts what came to its end lately, whatever became of it.
CREATE INDEX message_ended ON message (finished_at, status) WHERE finished_at IS NOT NULL;
