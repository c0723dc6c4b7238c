//! The section `delivery` of an environment: retries, unknown outcomes, allowed recipients, attachments, retention, webhooks,
//! and limits of mailboxes.
//!
//! [`Delivery`] is stored by the service; [`crate::delivery`] reads it for every attempt. [`Limits::effective`] fills in the
//! limits of a preset. Validity is checked by [`crate::model::rules`].

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize, Serializer, de};
use utoipa::ToSchema;

use super::{
    Function,
    address::{self, Address, is_unseen},
};
use crate::text::percent_decode;

/// The section `delivery` of an environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Delivery {
    /// Waiting times between attempts.
    #[serde(skip_serializing_if = "is_default")]
    pub retry: Retry,
    /// Settings of single functions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = std::collections::HashMap<String, FunctionDelivery>)]
    pub functions: BTreeMap<Function, FunctionDelivery>,
    /// Recipients that this environment may write to.
    #[serde(skip_serializing_if = "is_default")]
    pub recipients: RecipientGuard,
    /// Attachments that are forbidden.
    #[serde(skip_serializing_if = "is_default")]
    pub attachments: Attachments,
    /// Time for which finished messages are kept.
    #[serde(skip_serializing_if = "is_default_keep")]
    pub keep: Keep,
    /// Time for which a message waits for the person who sends it (provider `microsoft-graph-delegate`), 24h by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_lifetime: Option<HumanDuration>,
    /// Receivers of events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<Webhook>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_default_keep(value: &Keep) -> bool {
    is_default(value)
}

/// A length of time as files write it: `30s`, `5m`, `2h`, `3d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = String, example = "2d", pattern = "^[1-9][0-9]{0,5}[smhd]$")]
pub struct HumanDuration(u64);

impl HumanDuration {
    /// The format of a duration, in words, for messages.
    pub const RULE: &str = "a length of time is a number and s, m, h or d: 30s, 5m, 2h, 3d";
    const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

    /// Creates a duration of so many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Returns the duration for calculations.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = Self::UNITS.into_iter().find(|(_, size)| self.0.is_multiple_of(*size)).unwrap_or(('s', 1));
        write!(f, "{}{unit}", self.0 / size)
    }
}

impl FromStr for HumanDuration {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(Self::RULE)?;
        let (_, size) = Self::UNITS.into_iter().find(|(own, _)| unit == own.to_string()).ok_or(Self::RULE)?;
        let well_formed = (1..=6).contains(&number.len())
            && !number.starts_with('0')
            && number.bytes().all(|digit| digit.is_ascii_digit());
        if !well_formed {
            return Err(Self::RULE);
        }
        number.parse::<u64>().map(|count| Self(count * size)).map_err(|_| Self::RULE)
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Waiting times between attempts: doubled each time, with random jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Retry {
    /// The wait after the first attempt.
    pub first: HumanDuration,
    /// The longest wait.
    pub longest: HumanDuration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { first: HumanDuration::seconds(60), longest: HumanDuration::seconds(3600) }
    }
}

/// Settings of single functions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct FunctionDelivery {
    /// Time for which a message is tried, 2d by default. Time during which its profile is suspended or a hold lasts does
    /// not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<HumanDuration>,
    /// Handling of attempts with an unknown outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<Unknown>,
}

/// Handling of attempts with an unknown outcome: a time-out after the last byte of the message, a reset, a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unknown {
    /// The message waits for an operator.
    #[default]
    Hold,
    /// The message is sent again, marked as a possible duplicate.
    Retry,
    /// If the provider permits it (Microsoft Graph, with `Mail.ReadBasic.All`), Sent Items are searched for its Message-ID:
    /// a message that is found counts as delivered, another one is sent again. With other providers it waits for an operator.
    #[serde(alias = "look")]
    SearchSentItems,
}

/// Recipients that an environment may write to, so that a copy of production cannot write to customers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RecipientGuard {
    /// Addresses, or `*@domain`. No other recipient gets mail. An empty list allows every recipient.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "address::deserialize_patterns")]
    pub allow: Vec<String>,
    /// The address that all mail goes to instead.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "address::deserialize_option")]
    pub rewrite_to: Option<String>,
    /// A prefix of every subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_tag: Option<String>,
}

impl RecipientGuard {
    /// Returns true if a recipient is allowed. Addresses are compared as [`Address`] compares them; a text that is
    /// not an address is allowed only where every recipient is.
    pub fn allows(&self, address: &str) -> bool {
        if self.allow.is_empty() {
            return true;
        }
        let Ok(address) = Address::parse(address) else { return false };
        self.allow.iter().any(|allowed| match allowed.strip_prefix("*@") {
            Some(domain) => address.domain().eq_ignore_ascii_case(domain),
            None => Address::parse(allowed).is_ok_and(|allowed| allowed == address),
        })
    }
}

/// Attachments that are forbidden.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Attachments {
    /// File name extensions (`exe`) and media types (`application/x-msdownload`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forbidden: Vec<String>,
}

impl Attachments {
    /// Returns the rule that forbids a file of this name and media type. The name counts as the system that stores the file
    /// would read it: without invisible characters, without a folder before it, without dots and blanks at the end, and with
    /// the part before a colon as well (a stream of NTFS). A media type counts without its parameters.
    pub fn rule_against(&self, name: &str, media_type: &str) -> Option<&str> {
        if self.forbidden.is_empty() {
            return None;
        }
        let visible: String = name.chars().filter(|c| !is_unseen(*c)).map(narrow).collect();
        let mut extensions: Vec<String> = Vec::new();
        // Some programs decode a name that is not declared as percent-encoded.
        let decoded = String::from_utf8_lossy(&percent_decode(visible.as_bytes())).into_owned();
        for text in [decoded, visible] {
            let base = text.rsplit(['/', '\\']).next().unwrap_or_default();
            for name in [base, base.split(':').next().unwrap_or_default()] {
                let name = name.trim_end_matches(|c: char| matches!(c, '.' | '"' | '\'') || c.is_whitespace());
                extensions.extend(name.rsplit_once('.').map(|(_, extension)| extension.trim().to_lowercase()));
            }
        }
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        let rule = self.forbidden.iter().find(|forbidden| {
            if forbidden.contains('/') {
                forbidden.eq_ignore_ascii_case(media_type)
            } else {
                extensions.contains(&forbidden.trim_start_matches('.').to_lowercase())
            }
        });
        rule.map(String::as_str)
    }
}

/// Returns the ASCII character for a full-width form or a dot of another script, to which programs convert it.
fn narrow(c: char) -> char {
    match c {
        '\u{3002}' | '\u{ff61}' | '\u{2024}' => '.',
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        c => c,
    }
}

/// Time for which finished messages are kept, with their contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Keep {
    /// The time for delivered and cancelled messages.
    pub delivered: HumanDuration,
    /// The time for failed and unknown messages.
    pub failed: HumanDuration,
}

impl Default for Keep {
    fn default() -> Self {
        Self { delivered: HumanDuration::seconds(30 * 86_400), failed: HumanDuration::seconds(365 * 86_400) }
    }
}

/// A receiver of events. Each call is signed (`webhook-signature`, Ed25519); `GET /v1/service` has the public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Webhook {
    /// An `https://` address; `http://` only on this machine.
    #[schema(min_length = 8, max_length = 500)]
    pub url: String,
    /// The kinds of events; all if the list is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventKind>,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A message was accepted by the mail server, or by Exchange.
    Delivered,
    /// A message failed permanently.
    Failed,
    /// The outcome of a message is unknown.
    Unknown,
    /// A message was cancelled.
    Cancelled,
    /// A profile was suspended.
    #[serde(alias = "parked")]
    Suspended,
    /// A profile sends again.
    Resumed,
    /// A profile's next secret was accepted; from then on only that secret is used.
    Rotated,
    /// A profile's next secret was refused; the current one is used.
    NextRefused,
    /// The store was restored from a backup. No mail is accepted until an administrator confirms it.
    Restored,
    /// An enrolment link was made for an operator who has passkeys: the person who opens it can sign in as that operator.
    OperatorReset,
    /// A passkey was refused because its count did not rise: it may have been copied.
    PasskeyCopied,
    /// A proposed change needs signatures.
    SignatureRequested,
    /// A proposed change was signed.
    Signed,
    /// A signature of a proposed change was refused.
    SignatureRefused,
}

impl EventKind {
    /// Returns the kind as documents write it.
    pub fn id(self) -> &'static str {
        match self {
            EventKind::Delivered => "delivered",
            EventKind::Failed => "failed",
            EventKind::Unknown => "unknown",
            EventKind::Cancelled => "cancelled",
            EventKind::Suspended => "suspended",
            EventKind::Resumed => "resumed",
            EventKind::Rotated => "rotated",
            EventKind::NextRefused => "next-refused",
            EventKind::Restored => "restored",
            EventKind::OperatorReset => "operator-reset",
            EventKind::PasskeyCopied => "passkey-copied",
            EventKind::SignatureRequested => "signature-requested",
            EventKind::Signed => "signed",
            EventKind::SignatureRefused => "signature-refused",
        }
    }
}

impl Delivery {
    /// Returns the time for which a message of a function is tried.
    pub fn lifetime(&self, function: Function) -> HumanDuration {
        let own = self.functions.get(&function).and_then(|own| own.lifetime);
        own.unwrap_or(HumanDuration::seconds(2 * 86_400))
    }

    /// Returns the time for which a message waits for the person who sends it.
    pub fn sender_lifetime(&self) -> HumanDuration {
        self.sender_lifetime.unwrap_or(HumanDuration::seconds(86_400))
    }

    /// Returns the handling of unknown outcomes.
    pub fn unknown(&self, function: Function) -> Unknown {
        self.functions.get(&function).and_then(|own| own.unknown).unwrap_or_default()
    }
}

/// Limits of a mailbox. Limits that are not set are those of the preset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Limits {
    /// The preset for limits that are not set; by default that of the provider's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// Messages in any 60 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100_000)]
    pub per_minute: Option<u32>,
    /// Messages at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub concurrency: Option<u16>,
    /// Recipients in any 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000_000)]
    pub recipients_per_day: Option<u32>,
    /// Bytes of a message as it is transmitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1024, maximum = 157_286_400)]
    pub message_size: Option<u64>,
}

/// Known limits of mail services.
///
/// Sources: "Exchange Online limits" and "SMTP client submission" (30 messages a minute, 3 connections, 10,000 recipients a
/// day); "Outlook service limits" of Microsoft Graph (10,000 requests in 10 minutes, 4 at once, 150 MB in 5 minutes, for an
/// application and a mailbox).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// A mail server that the organisation runs.
    Own,
    /// Exchange Online by SMTP.
    ExchangeOnlineSmtp,
    /// Exchange Online by Microsoft Graph.
    MicrosoftGraph,
}

/// Limits after the preset has filled what was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Messages in any 60 seconds; none means no limit.
    pub per_minute: Option<u32>,
    /// Messages at the same time.
    pub concurrency: u16,
    /// Recipients in any 24 hours.
    pub recipients_per_day: Option<u32>,
    /// Bytes of a message as it is transmitted.
    pub message_size: u64,
}

const MEBIBYTE: u64 = 1024 * 1024;

impl Preset {
    fn limits(self) -> Effective {
        match self {
            Preset::Own => {
                Effective { per_minute: None, concurrency: 10, recipients_per_day: None, message_size: 35 * MEBIBYTE }
            }
            Preset::ExchangeOnlineSmtp => Effective {
                per_minute: Some(30),
                concurrency: 3,
                recipients_per_day: Some(10_000),
                message_size: 35 * MEBIBYTE,
            },
            // A mail is one request, a large one some more; 1,000 requests a minute are allowed.
            Preset::MicrosoftGraph => Effective {
                per_minute: Some(500),
                concurrency: 4,
                recipients_per_day: Some(10_000),
                message_size: 35 * MEBIBYTE,
            },
        }
    }
}

impl Limits {
    /// Returns the limits with the preset filled in: the stated preset, or else `usual`, which follows from the provider.
    pub fn effective(&self, usual: Preset) -> Effective {
        let preset = self.preset.unwrap_or(usual).limits();
        Effective {
            per_minute: self.per_minute.or(preset.per_minute),
            concurrency: self.concurrency.unwrap_or(preset.concurrency).max(1),
            recipients_per_day: self.recipients_per_day.or(preset.recipients_per_day),
            message_size: self.message_size.unwrap_or(preset.message_size),
        }
    }
}
