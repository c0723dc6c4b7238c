-- Number and hash of the newest entry of the audit log, kept outside of the log: a log that lost its newest entries, or all,
-- is not taken for a shorter one.
INSERT INTO store (key, value)
SELECT 'auditHead', json_object('sequence', sequence, 'hash', json_extract(entry, '$.hash'))
FROM audit ORDER BY sequence DESC LIMIT 1;
