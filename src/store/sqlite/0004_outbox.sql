-- The outbox. Messages of one company and function wait in one lane, and the lanes take turns. A lane's clock stops
-- while nothing can leave through it; `paused_total` is what it stood still so far, in milliseconds.
CREATE TABLE lane (
    id           INTEGER PRIMARY KEY,
    company      TEXT NOT NULL,
    function     TEXT NOT NULL,
    paused_since INTEGER,
    paused_total INTEGER NOT NULL DEFAULT 0,
    UNIQUE (company, function)
) STRICT;

-- `record` is the whole message without its contents. `due` is set while it waits, and only then. Times are milliseconds.
CREATE TABLE message (
    number          INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    lane            INTEGER NOT NULL REFERENCES lane (id),
    status          TEXT NOT NULL,
    due             INTEGER,
    paused_before   INTEGER NOT NULL,
    message_id      TEXT NOT NULL,
    document_type   TEXT,
    document_number TEXT,
    finished_at     INTEGER,
    record          TEXT NOT NULL
) STRICT;
CREATE INDEX message_due ON message (lane, due) WHERE due IS NOT NULL;
CREATE INDEX message_status ON message (status, number);
CREATE INDEX message_by_message_id ON message (message_id);
CREATE INDEX message_document ON message (document_type, document_number, number) WHERE document_type IS NOT NULL;
CREATE INDEX message_finished ON message (status, finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE content (
    message INTEGER PRIMARY KEY REFERENCES message (number) ON DELETE CASCADE,
    bytes   BLOB NOT NULL
) STRICT;

CREATE TABLE attempt (
    message INTEGER NOT NULL REFERENCES message (number) ON DELETE CASCADE,
    number  INTEGER NOT NULL,
    record  TEXT NOT NULL,
    PRIMARY KEY (message, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    sender  TEXT NOT NULL,
    key     TEXT NOT NULL,
    digest  TEXT NOT NULL,
    message TEXT NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (sender, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_at ON idempotency (at);

CREATE TABLE hold (
    id     TEXT PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE parked (
    profile TEXT PRIMARY KEY,
    record  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- How much a mailbox sent, by minute since 1970.
CREATE TABLE mailbox_usage (
    mailbox    TEXT NOT NULL,
    minute     INTEGER NOT NULL,
    messages   INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    PRIMARY KEY (mailbox, minute)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
    number INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT;

-- How far each webhook was told.
CREATE TABLE webhook (
    url   TEXT PRIMARY KEY,
    event INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
