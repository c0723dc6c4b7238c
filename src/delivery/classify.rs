//! What a reply means for the message. The table is data (`replies.json`): the first row that fits decides, and a row
//! fits if everything that it states does. `tests/reply_corpus.rs` holds it against replies of real servers.

use std::{sync::LazyLock, time::Duration};

use serde::Deserialize;

use crate::{
    microsoft::{HttpError, sign_in::SignInError},
    model::message::Class,
};

/// One row of the table.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Row {
    /// The phase of the conversation.
    phase: Option<String>,
    /// What the reply's three digits begin with.
    reply: Option<String>,
    /// The enhanced code (RFC 3463).
    enhanced: Option<String>,
    /// A part of the text, in whatever case.
    text: Option<String>,
    /// The HTTP status.
    http: Option<u16>,
    /// Graph's code.
    code: Option<String>,
    class: Class,
    /// How long to wait, in seconds, where the other side does not say and a minute would be too short.
    wait: Option<u64>,
    /// For people.
    why: String,
}

/// What a reply means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// For the message.
    pub class: Class,
    /// How long to wait, where the table says so.
    pub wait: Option<Duration>,
    /// For people.
    pub why: &'static str,
}

impl Row {
    fn meaning(&'static self) -> Meaning {
        Meaning { class: self.class, wait: self.wait.map(Duration::from_secs), why: &self.why }
    }
}

#[expect(clippy::expect_used, reason = "the table is part of the binary, and a test reads it")]
static TABLE: LazyLock<Vec<Row>> =
    LazyLock::new(|| serde_json::from_str(include_str!("replies.json")).expect("replies.json is well formed"));

/// A reply of a mail server: `550 5.1.1 No such user`.
pub fn smtp(phase: &str, reply: &str) -> Meaning {
    let digits: String = reply.chars().take(3).filter(char::is_ascii_digit).collect();
    let enhanced = enhanced(reply);
    let lower = reply.to_lowercase();
    decide(|row| {
        row.http.is_none()
            && row.code.is_none()
            && row.phase.as_deref().is_none_or(|own| own == phase)
            && row.reply.as_deref().is_none_or(|own| digits.starts_with(own))
            && row.enhanced.as_deref().is_none_or(|own| enhanced.as_deref() == Some(own))
            && row.text.as_deref().is_none_or(|own| lower.contains(&own.to_lowercase()))
    })
}

/// A sign-in that failed: a credential that is wrong suspends the profile, a sign-in host that does not decide does not.
pub fn sign_in(error: &SignInError) -> Class {
    match error {
        SignInError::Refused(refusal) if refusal.cause().is_transient() => Class::Transient,
        SignInError::Refused(_) | SignInError::Certificate(_) | SignInError::Http(HttpError::Tls { .. }) => Class::Auth,
        SignInError::Http(_) | SignInError::Unknown(_) => Class::Transient,
    }
}

/// A reply of Graph: its status, the codes in it, its text.
pub fn graph(status: u16, codes: &[&str], text: &str) -> Meaning {
    let lower = text.to_lowercase();
    let by_code =
        |row: &Row| row.code.as_deref().is_some_and(|own| codes.iter().any(|code| code.eq_ignore_ascii_case(own)));
    // A code says more than the status under which it comes.
    if let Some(row) = TABLE.iter().find(|row| by_code(row)) {
        // A code that means "later" does not tell that nothing was sent, where the status leaves that open.
        let leaves_it_open = matches!(status, 408 | 500 | 502 | 504);
        if !leaves_it_open || !matches!(row.class, Class::Transient | Class::Throttled) {
            return row.meaning();
        }
    }
    // Graph takes mail with 202 and with nothing else. 200 was seen where nothing was sent.
    if (200..300).contains(&status) && status != 202 {
        return Meaning { class: Class::Unknown, wait: None, why: "an answer that does not say whether it was taken" };
    }
    decide(|row| row.http == Some(status) && row.text.as_deref().is_none_or(|own| lower.contains(&own.to_lowercase())))
}

fn decide(fits: impl Fn(&Row) -> bool) -> Meaning {
    match TABLE.iter().find(|row| fits(row)) {
        Some(row) => row.meaning(),
        None => Meaning { class: Class::Transient, wait: None, why: "a reply that no row of the table knows" },
    }
}

/// The enhanced code in a reply: three numbers with dots, the first 2, 4 or 5.
fn enhanced(reply: &str) -> Option<String> {
    reply.split([' ', '-']).skip(1).find_map(|word| {
        let word = word.trim_end_matches([':', ';', ',']);
        let mut numbers = word.split('.');
        let (class, subject, detail) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let digits = |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        let good = ["2", "4", "5"].contains(&class) && digits(subject) && digits(detail) && numbers.next().is_none();
        good.then(|| word.to_owned())
    })
}
