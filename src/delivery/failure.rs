//! Failure: the phase in which an attempt ended without a known success, the reply, and its class. With the class `Unknown`, the
//! server may have accepted the message.
//!
//! Transports, logins and requests for tokens return a [`Failure`]; `attempt` decides what it means for the message and the
//! profile. Its `code` is the part of the reply that may be logged: codes, or the first clause up to a word that could be an
//! address. Nothing here decides about a retry.

use std::time::Duration;

use crate::{
    model::message::Class,
    replies::{ProfileFault, RefusalScope},
};

/// The number of words of a reply that are read for the log.
const CLAUSE_WORDS: usize = 20;

/// A recipient that was refused, and the reply.
pub(super) type Refusal = (String, Failure);

/// The end of an attempt, or of a part of it, without success.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// The phase: `connect`, `greeting`, `tls`, `login`, `token`, `mail`, `rcpt`, `data`, `dot`, `send`, ... Decisions compare it:
    /// whether another secret is tried, and whether the message or the server is concerned.
    pub(super) phase: &'static str,
    pub(super) reply: String,
    pub(super) class: Class,
    /// The subject of the reply: a recipient, the profile, the content.
    pub(super) scope: RefusalScope,
    /// The cause of a refusal of the profile, if the table of replies has it.
    pub(super) fault: Option<ProfileFault>,
    /// The remedy for an administrator, if the table of replies has one.
    pub(super) remedy: Option<&'static str>,
    /// True if the failure concerns the server or the connection and not the message.
    pub(super) concerns_server: bool,
    /// The time that the server asks to wait.
    pub(super) retry_after: Option<Duration>,
    /// Recipients that were refused on their own before the rest failed.
    pub(super) refused: Vec<Refusal>,
}

impl Failure {
    /// Creates a failure that concerns the message.
    pub(super) fn new(phase: &'static str, reply: impl Into<String>, class: Class) -> Self {
        Self {
            phase,
            reply: reply.into(),
            class,
            scope: RefusalScope::Unstated,
            fault: None,
            remedy: None,
            concerns_server: false,
            retry_after: None,
            refused: Vec::new(),
        }
    }

    /// Returns the same failure as one that concerns the server.
    pub(super) fn of_server(self) -> Self {
        Self { concerns_server: true, ..self }
    }

    /// Returns true if a login or a request for a token failed with the class `Auth`. Besides a refused credential, this includes a
    /// missing age file, a server without a usable login, and a refused certificate of the sign-in host, but no other phase such as
    /// `tls`.
    pub(super) fn is_refused_credential(&self) -> bool {
        self.class == Class::Auth && matches!(self.phase, "login" | "token")
    }

    /// Returns the codes of the reply for the log, which must not contain addresses of mail: `550 5.1.1`,
    /// `HTTP 403 ErrorAccessDenied`, `invalid_client AADSTS7000222`. A reply without codes, such as the error that ended a
    /// connection, is returned up to the end of its first clause.
    pub(super) fn code(&self) -> String {
        let words: Vec<&str> = self.reply.split_whitespace().take(CLAUSE_WORDS).collect();
        let is_number = |word: &str| word.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'));
        let is_name = |word: &str| word.len() < 60 && word.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
        let is_code = |word: &str| word.strip_prefix("AADSTS").is_some_and(is_number);
        let bare = |word: &&str| word.trim_end_matches([':', ',', ';', '.']).to_owned();
        let first = words.first().copied().unwrap_or_default();
        let codes: Vec<String> = if first.starts_with(|c: char| c.is_ascii_digit()) {
            words.iter().take(2).take_while(|word| is_number(word)).map(bare).collect()
        } else if first == "HTTP" {
            let end = words.get(2).filter(|word| is_name(&bare(word)));
            words.iter().take(2).chain(end).map(bare).collect()
        } else if first.ends_with(':') && first.contains('_') && is_name(&bare(&first)) {
            words.iter().take(2).map(bare).take_while(|word| is_name(word) || is_code(word)).collect()
        } else {
            // A clause ends with a punctuation mark, and before the first word that could be an address.
            let is_safe = |word: &&&str| word.len() < 60 && !word.contains(['@', '<', '=']);
            let end = words.iter().position(|word| word.ends_with([':', ';', '.', ',']));
            let clause = &words[..end.map_or(words.len(), |end| end + 1)];
            clause.iter().take_while(is_safe).map(bare).collect()
        };
        codes.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_complete() {
        let code = |reply: &str| Failure::new("token", reply, Class::Auth).code();
        let expired = "invalid_client: AADSTS7000222: The provided client secret keys are expired.";
        assert_eq!(code(expired), "invalid_client AADSTS7000222");
        let clause = "the answer of mail.example.com ended before its last line: connection reset";
        assert_eq!(code(clause), "the answer of mail.example.com ended before its last line");
        assert_eq!(code("cannot write to <ann@example.com>"), "cannot write to");
        assert_eq!(code(""), "");
    }

    #[test]
    fn the_log_gets_the_codes_and_no_address() {
        let code = |reply: &str| Failure::new("rcpt", reply, Class::Permanent).code();
        assert_eq!(code("550 5.1.1 <ann@example.com> unknown"), "550 5.1.1");
        assert_eq!(code("550 ann@example.com unknown"), "550");
        assert_eq!(code("HTTP 403 ErrorAccessDenied: no"), "HTTP 403 ErrorAccessDenied");
        assert_eq!(code("550 customer77 is unknown"), "550");
    }
}
