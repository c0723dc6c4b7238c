-- What is answered to whoever repeats a submission after its message was removed: the message as it was then. The key
-- lives for longer than the message may.
ALTER TABLE idempotency ADD COLUMN answer TEXT;
CREATE INDEX idempotency_message ON idempotency (message);
