//! Classification of replies of mail servers and of Graph.
//!
//! The table is data (`replies.json`): the first row that matches decides, and a row matches if all its conditions do.
//! [`classify_smtp`] and [`classify_graph`] use it; `tests/mail/reply_corpus.rs` tests it with SMTP and Graph replies of real
//! servers. A reply that no row matches is transient; a 2xx of Graph other than 202 is unknown. For Graph a known code decides before
//! the status; only a transient or throttled code gives way to a status that leaves open whether the mail was accepted (408, 500, 502,
//! 504). [`classify_sign_in`] uses the causes of [`crate::entra::aadsts`] instead of the table. Nothing here acts on a reply.

use std::{sync::LazyLock, time::Duration};

use serde::Deserialize;

use crate::{
    entra::{HttpError, sign_in::SignInError},
    model::message::Class,
};

/// One row of the table.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Row {
    /// The phase of the conversation, or any of several.
    phase: Option<OneOrMore>,
    /// The beginning of the reply, such as its code.
    reply: Option<String>,
    /// The enhanced code (RFC 3463), or any of several; `5.7.606-649` is a range.
    enhanced: Option<OneOrMore>,
    /// A part of the text, in any case, or any of several.
    text: Option<OneOrMore>,
    /// Another part of the text that must occur too, or any of several.
    with: Option<OneOrMore>,
    /// A whole word of the text, or any of several.
    word: Option<OneOrMore>,
    /// The HTTP status.
    http: Option<u16>,
    /// The error code of Graph.
    code: Option<String>,
    class: Class,
    #[serde(default)]
    about: RefusalScope,
    /// The cause of a refusal of the profile.
    fault: Option<ProfileFault>,
    /// The wait in seconds, if the server does not state it and a minute would be too short.
    wait: Option<u64>,
    /// The explanation for people.
    why: String,
    /// The remedy for the administrator of a suspended profile.
    remedy: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn any(&self, matches: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::One(one) => matches(one),
            Self::More(more) => more.iter().any(|one| matches(one)),
        }
    }
}

/// Returns true if a row does not have a condition, or if it matches.
fn matches_condition(stated: Option<&OneOrMore>, matches: impl Fn(&str) -> bool) -> bool {
    stated.is_none_or(|stated| stated.any(matches))
}

/// The subject of a refusal: what it says about other messages and recipients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalScope {
    /// The reply does not state it.
    #[default]
    Unstated,
    /// The refusal concerns one recipient, and states nothing about others.
    Recipient,
    /// The refusal concerns this machine or login, as long as no other message is accepted: a server that relays nothing for
    /// this machine replies like one that does not relay to this recipient.
    Relay,
    /// The refusal concerns the content of one message, and states nothing about others.
    Contents,
    /// The refusal concerns all messages. No row of the table states this; it follows from the same reply to several messages
    /// in a row.
    #[serde(skip)]
    AllMessages,
}

/// The cause of a refusal that concerns the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProfileFault {
    /// The connection is not encrypted as the server wants it.
    Encryption,
    /// The login is missing or refused.
    Login,
    /// The name in EHLO.
    Hello,
    /// This machine or its address.
    Machine,
    /// The address of the sender, its domain, or the right to use it.
    Sender,
    /// The tenant of the sender.
    Tenant,
    /// A permission of the application, in Entra or in Exchange.
    Permission,
    /// The mailbox of the sender.
    Mailbox,
}

/// The classification of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The class of the attempt.
    pub class: Class,
    /// The subject of the refusal.
    pub scope: RefusalScope,
    /// The cause, for a reply that refuses the profile.
    pub fault: Option<ProfileFault>,
    /// The wait, if the table states it.
    pub wait: Option<Duration>,
    /// The explanation for people.
    pub why: &'static str,
    /// The remedy for an administrator, if the table has one.
    pub remedy: Option<&'static str>,
}

impl Meaning {
    fn new(class: Class, why: &'static str) -> Self {
        Self { class, scope: RefusalScope::Unstated, fault: None, wait: None, why, remedy: None }
    }
}

impl Row {
    fn meaning(&'static self) -> Meaning {
        Meaning {
            class: self.class,
            scope: self.about,
            fault: self.fault,
            wait: self.wait.map(Duration::from_secs),
            why: &self.why,
            remedy: self.remedy.as_deref(),
        }
    }
}

#[expect(clippy::expect_used, reason = "the table is part of the binary, and a test reads it")]
static TABLE: LazyLock<Vec<Row>> =
    LazyLock::new(|| serde_json::from_str(include_str!("replies.json")).expect("replies.json is well formed"));

/// Classifies a reply of a mail server: `550 5.1.1 No such user`.
pub fn classify_smtp(phase: &str, reply: &str) -> Meaning {
    let digits: String = reply.chars().take(3).filter(char::is_ascii_digit).collect();
    let enhanced = find_enhanced(reply);
    // Replies quote addresses, which may contain any word.
    let text = reply.split_whitespace().filter(|word| !word.contains('@')).collect::<Vec<_>>().join(" ").to_lowercase();
    let has_word = |word: &str| text.split(|c: char| !c.is_alphanumeric()).any(|own| own == word);
    let has_part = |part: &str| text.contains(&part.to_lowercase());
    classify_by(|row| {
        row.http.is_none()
            && row.code.is_none()
            && matches_condition(row.phase.as_ref(), |own| own == phase)
            && row.reply.as_deref().is_none_or(|own| digits.starts_with(own))
            && matches_condition(row.enhanced.as_ref(), |own| enhanced.as_deref().is_some_and(|code| covers(own, code)))
            && matches_condition(row.word.as_ref(), has_word)
            && matches_condition(row.text.as_ref(), has_part)
            && matches_condition(row.with.as_ref(), has_part)
    })
}

/// Returns the enhanced code (RFC 3463) that a text begins with, by itself or behind three digits: `5.7.1`, `550 5.7.1 ...`.
pub fn enhanced_code(text: &str) -> Option<String> {
    let text = text.trim();
    let has_reply_code = text.len() > 4 && text.bytes().take(3).all(|b| b.is_ascii_digit());
    let code = if has_reply_code { text.get(4..)? } else { text };
    let code = code.split_whitespace().next()?;
    find_enhanced(&format!("550 {code}")).filter(|found| found == code.trim_end_matches([':', ';', ',']))
}

/// Classifies a failed sign-in: a wrong credential suspends the profile, a sign-in host that does not decide does not.
pub fn classify_sign_in(error: &SignInError) -> Class {
    match error {
        SignInError::Refused(refusal) if refusal.cause().is_transient() => Class::Transient,
        SignInError::Refused(_) | SignInError::Certificate(_) | SignInError::Http(HttpError::Tls { .. }) => Class::Auth,
        SignInError::Http(_) | SignInError::Unknown(_) | SignInError::UnusableToken(_) => Class::Transient,
    }
}

/// Returns true if a code equals that of a row, or is within its range of details.
fn covers(row: &str, code: &str) -> bool {
    let Some((first, last)) = row.split_once('-') else { return row == code };
    let (Some((subject, first)), Some((own, detail))) = (first.rsplit_once('.'), code.rsplit_once('.')) else {
        return false;
    };
    let number = |text: &str| text.parse::<u16>().ok();
    match (number(first), number(detail), number(last)) {
        (Some(first), Some(detail), Some(last)) => subject == own && (first..=last).contains(&detail),
        _ => false,
    }
}

/// Classifies a response of Graph by its status, its error codes and its text.
pub fn classify_graph(status: u16, codes: &[&str], text: &str) -> Meaning {
    let lower = text.to_lowercase();
    let by_code =
        |row: &Row| row.code.as_deref().is_some_and(|own| codes.iter().any(|code| code.eq_ignore_ascii_case(own)));
    // A code is more specific than the status of the response.
    if let Some(row) = TABLE.iter().find(|row| by_code(row)) {
        // A code that means "later" does not prove that nothing was sent if the status leaves that open.
        let leaves_it_open = matches!(status, 408 | 500 | 502 | 504);
        if !leaves_it_open || !matches!(row.class, Class::Transient | Class::Throttled) {
            return row.meaning();
        }
    }
    // Graph accepts mail with 202 only. 200 was seen when nothing was sent.
    if (200..300).contains(&status) && status != 202 {
        return Meaning::new(Class::Unknown, "a response that does not state whether the message was accepted");
    }
    classify_by(|row| {
        row.http == Some(status) && matches_condition(row.text.as_ref(), |own| lower.contains(&own.to_lowercase()))
    })
}

/// Returns the meaning of an error code of Graph, and the code as Graph writes it; none for a code that is not in the table.
pub fn graph_code(code: &str) -> Option<(&'static str, Meaning)> {
    TABLE.iter().find_map(|row| {
        let own = row.code.as_deref().filter(|own| own.eq_ignore_ascii_case(code))?;
        Some((own, row.meaning()))
    })
}

fn classify_by(matches: impl Fn(&Row) -> bool) -> Meaning {
    match TABLE.iter().find(|row| matches(row)) {
        Some(row) => row.meaning(),
        None => Meaning::new(Class::Transient, "a reply that is not in the table"),
    }
}

/// Returns the enhanced code of a reply: three numbers with dots, the first 2, 4 or 5.
fn find_enhanced(reply: &str) -> Option<String> {
    reply.split([' ', '-']).skip(1).find_map(|word| {
        let word = word.trim_end_matches([':', ';', ',']);
        let mut numbers = word.split('.');
        let (class, subject, detail) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let digits = |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        let is_enhanced =
            ["2", "4", "5"].contains(&class) && digits(subject) && digits(detail) && numbers.next().is_none();
        is_enhanced.then(|| word.to_owned())
    })
}
