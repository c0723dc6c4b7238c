-- The digest of what a profile's row holds, so that a commit can state that of all without reading all.
ALTER TABLE profile ADD COLUMN digest BLOB;
-- A statement about a generation covers the age files that came with it.
CREATE INDEX secret_by_generation ON secret (generation);
-- How many transactions this incarnation of the database has seen. `store.position` beside it says the same.
CREATE TABLE position (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    incarnation TEXT NOT NULL,
    commits     INTEGER NOT NULL
) STRICT;
-- To whom a document of a company went, or is to go: it goes to each once, and finding that out costs a look-up.
CREATE TABLE document_recipient (
    document_type   TEXT NOT NULL,
    document_number TEXT NOT NULL,
    company         TEXT NOT NULL,
    address         TEXT NOT NULL,
    message         INTEGER NOT NULL REFERENCES message (number) ON DELETE CASCADE,
    PRIMARY KEY (document_type, document_number, company, address, message)
) STRICT, WITHOUT ROWID;
CREATE INDEX document_recipient_message ON document_recipient (message);
INSERT OR IGNORE INTO document_recipient
SELECT m.document_type, m.document_number, l.company, lower(json_extract(r.value, '$.address')), m.number
FROM message AS m JOIN lane AS l ON l.id = m.lane, json_each(m.record, '$.recipients') AS r
WHERE m.document_type IS NOT NULL AND m.document_number IS NOT NULL
  AND (json_extract(r.value, '$.status') IN ('delivered', 'unknown')
       OR (json_extract(r.value, '$.status') = 'waiting' AND m.status <> 'cancelled'));
-- Mail and idempotency keys belong to a token by its id, and not by its name, which another may have later.
UPDATE message SET record = json_set(record, '$.owner', coalesce(
    (SELECT 'token:' || t.id FROM token AS t WHERE json_extract(t.document, '$.name') = json_extract(message.record, '$.by')
     ORDER BY t.created_at DESC LIMIT 1),
    'oidc:' || json_extract(record, '$.by')));
UPDATE OR IGNORE idempotency SET sender = coalesce(
    (SELECT 'token:' || t.id FROM token AS t WHERE json_extract(t.document, '$.name') = sender
     ORDER BY t.created_at DESC LIMIT 1),
    'oidc:' || sender);
