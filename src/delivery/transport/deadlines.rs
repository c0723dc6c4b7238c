//! Deadlines of the phases of a delivery by SMTP.
//!
//! `serve --delivery-deadlines` changes them. A phase that exceeds its deadline ends the connection: before the final dot the
//! attempt has failed and is repeated later; after it the outcome is unknown. `verify` does not use them; it has `--smtp-timeout`.

use std::time::Duration;

/// The time that each phase may take.
#[derive(Clone, Copy, Debug)]
pub struct SmtpDeadlines {
    /// The deadline for each step of connecting: name resolution, TCP with a TLS handshake, STARTTLS.
    pub connect: Duration,
    /// The deadline for the greeting, and for the reply to each command.
    pub command: Duration,
    /// The deadline for the content as a whole, plus one second per 10 kB. The same value, computed for 64 KiB, applies to each
    /// 64 KiB, so that a server that stops reading is noticed early.
    pub data: Duration,
    /// The deadline for the reply to the final dot (RFC 5321 asks for ten minutes).
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
