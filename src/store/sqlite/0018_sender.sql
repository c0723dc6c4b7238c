-- The person whose own client sends a message (tenant/object), and when the message has to be looked at for that: the end of the
-- lease while it is `sending`, or its expiry while it is `awaiting-sender`. Other messages have neither.
ALTER TABLE message ADD COLUMN sender TEXT;
ALTER TABLE message ADD COLUMN sender_due INTEGER;
CREATE INDEX message_sender ON message (sender, number) WHERE sender IS NOT NULL;
CREATE INDEX message_sender_due ON message (sender_due) WHERE sender_due IS NOT NULL;
