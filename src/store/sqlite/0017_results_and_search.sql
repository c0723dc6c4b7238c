-- A result of the verifier is kept under the digest of the settings that it is for (`of`). The last one of a profile (`is_last`) is of
-- settings that are or were live; those of others, such as the settings of a plan, stand beside it. Times are milliseconds since 1970.
ALTER TABLE verification RENAME TO last_verification;
CREATE TABLE verification (
    name     TEXT NOT NULL,
    of       TEXT NOT NULL,
    at       INTEGER NOT NULL,
    is_last  INTEGER NOT NULL,
    summary  TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (name, of)
) STRICT, WITHOUT ROWID;
INSERT INTO verification (name, of, at, is_last, summary, document)
SELECT name, json_extract(summary, '$.of'), coalesce(unixepoch(json_extract(summary, '$.at')), 0) * 1000, 1, summary, document
FROM last_verification;
DROP TABLE last_verification;
CREATE UNIQUE INDEX verification_last ON verification (name) WHERE is_last = 1;
CREATE INDEX verification_planned ON verification (at) WHERE is_last = 0;
-- What searches compare of each message, apart from its record, which is much longer. Nothing of it changes after the acceptance.
-- `text` has the subject, the Message-ID and the address of each recipient in lower case, each followed by a line feed.
CREATE TABLE message_search (
    number          INTEGER PRIMARY KEY REFERENCES message (number) ON DELETE CASCADE,
    lane            INTEGER NOT NULL,
    accepted_at     INTEGER NOT NULL,
    owner           TEXT NOT NULL,
    profile         TEXT NOT NULL,
    document_number TEXT,
    text            TEXT NOT NULL
) STRICT;
INSERT INTO message_search (number, lane, accepted_at, owner, profile, document_number, text)
SELECT m.number, m.lane, CAST(round((julianday(json_extract(m.record, '$.acceptedAt')) - 2440587.5) * 86400000) AS INTEGER),
       coalesce(json_extract(m.record, '$.owner'), ''), json_extract(m.record, '$.profile'), m.document_number,
       lower(json_extract(m.record, '$.subject')) || char(10) || lower(m.message_id) || char(10)
       || coalesce((SELECT group_concat(lower(json_extract(r.value, '$.address')) || char(10), '')
                    FROM json_each(m.record, '$.recipients') AS r), '')
FROM message AS m;
-- A search for a status and a company reads this index alone.
DROP INDEX message_status;
CREATE INDEX message_status ON message (status, number, lane);
