-- Old events are removed by their age, a few at a time.
CREATE INDEX event_at ON event (at);
