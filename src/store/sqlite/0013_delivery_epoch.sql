-- The epoch of the process that began to send the message, while its status is `sending`. Messages of older versions have none.
ALTER TABLE message ADD COLUMN begun_in_epoch INTEGER;
