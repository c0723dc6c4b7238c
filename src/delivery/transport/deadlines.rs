//! Deadlines of the phases of an SMTP conversation. Every phase has one; `--delivery-deadlines` changes them.

use std::time::Duration;

/// The time that each phase may take.
#[derive(Clone, Copy, Debug)]
pub struct SmtpDeadlines {
    /// Until the connection is established, TLS included.
    pub connect: Duration,
    /// For the reply to each command.
    pub command: Duration,
    /// For the content, in addition to one second per 10 kB of it; within it, for each 64 KiB, so that a server that stops
    /// reading is given up however large the message is.
    pub data: Duration,
    /// For the reply to the final dot (RFC 5321 asks for ten minutes).
    pub dot: Duration,
}

impl Default for SmtpDeadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            command: Duration::from_secs(60),
            data: Duration::from_secs(60),
            dot: Duration::from_secs(600),
        }
    }
}
