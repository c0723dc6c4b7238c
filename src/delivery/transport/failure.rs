//! Failure: the phase in which an attempt ended without success, the reply, and its class.

use std::time::Duration;

use crate::{model::message::Class, replies::RefusalScope};

/// A recipient that was refused, and the reply.
pub(in crate::delivery) type Refusal = (String, Failure);

/// The end of an attempt, or of a part of it, without success.
#[derive(Clone, Debug)]
pub(in crate::delivery) struct Failure {
    /// The phase: `connect`, `greeting`, `tls`, `login`, `token`, `mail`, `rcpt`, `data`, `dot`, `send`, ...
    pub(in crate::delivery) phase: &'static str,
    pub(in crate::delivery) reply: String,
    pub(in crate::delivery) class: Class,
    /// The subject of the reply: a recipient, the profile, the content.
    pub(in crate::delivery) scope: RefusalScope,
    /// The remedy for an administrator, if the table of replies has one.
    pub(in crate::delivery) remedy: Option<&'static str>,
    /// True if the failure concerns the server or the connection and not the message.
    pub(in crate::delivery) concerns_server: bool,
    /// The time that the server asks to wait.
    pub(in crate::delivery) retry_after: Option<Duration>,
    /// Recipients that were refused on their own before the rest failed.
    pub(in crate::delivery) refused: Vec<Refusal>,
}

impl Failure {
    /// Creates a failure that concerns the message.
    pub(in crate::delivery) fn new(phase: &'static str, reply: impl Into<String>, class: Class) -> Self {
        Self {
            phase,
            reply: reply.into(),
            class,
            scope: RefusalScope::Unstated,
            remedy: None,
            concerns_server: false,
            retry_after: None,
            refused: Vec::new(),
        }
    }

    /// Returns the same failure as one that concerns the server.
    pub(in crate::delivery) fn of_server(self) -> Self {
        Self { concerns_server: true, ..self }
    }

    /// Returns true if a credential was refused, and not the server or its certificate.
    pub(in crate::delivery) fn is_refused_credential(&self) -> bool {
        self.class == Class::Auth && matches!(self.phase, "login" | "token")
    }

    /// Returns the start of the reply for the log, which must not contain addresses of mail.
    pub(in crate::delivery) fn code(&self) -> String {
        let is_safe = |word: &&str| word.len() < 40 && !word.contains(['@', '<', '=']);
        self.reply.split_whitespace().take(3).take_while(is_safe).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_gets_the_codes_and_no_address() {
        let code = |reply: &str| Failure::new("rcpt", reply, Class::Permanent).code();
        assert_eq!(code("550 5.1.1 <ann@example.com> unknown"), "550 5.1.1");
        assert_eq!(code("550 ann@example.com unknown"), "550");
        assert_eq!(code("HTTP 403 ErrorAccessDenied: no"), "HTTP 403 ErrorAccessDenied:");
    }
}
