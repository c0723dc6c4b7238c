//! Waiting mail, as the API reports it: groups of queued messages that wait for the same reason.
//!
//! [`WaitReason`] is the reason. [`Waiting`] is a group by reason, profile and hold: the number of messages, the age of the oldest,
//! and the next step. [`needs_operator`] returns true if the reason does not end on its own, or a server has been unavailable for
//! more than 15 minutes. `delivery::waiting` forms the groups; nothing here reads the queue.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CompanyId, Function, ProfileName};

/// The time for which a server may be unavailable before an operator should look, in seconds.
const TOLERATED_OUTAGE: i64 = 15 * 60;

/// The reason for which a queued message waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WaitReason {
    /// Its profile is suspended: the login, a secret, a consent or the certificate is refused.
    Suspended,
    /// No profile of the service can send it.
    NoSender,
    /// An operator holds it.
    Held,
    /// The server of its profile is unavailable.
    ServerAway,
    /// Its mailbox is throttled, by its server or by its limits.
    Throttled,
    /// Nothing delays it: it is due, or its next attempt is scheduled.
    Scheduled,
}

impl WaitReason {
    /// Every reason, the most severe first.
    pub const ALL: &[WaitReason] = &[
        WaitReason::Suspended,
        WaitReason::NoSender,
        WaitReason::Held,
        WaitReason::ServerAway,
        WaitReason::Throttled,
        WaitReason::Scheduled,
    ];

    /// Returns the name in documents and on command lines.
    pub fn id(self) -> &'static str {
        match self {
            WaitReason::Suspended => "suspended",
            WaitReason::NoSender => "no-sender",
            WaitReason::Held => "held",
            WaitReason::ServerAway => "server-away",
            WaitReason::Throttled => "throttled",
            WaitReason::Scheduled => "scheduled",
        }
    }
}

impl std::str::FromStr for WaitReason {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|reason| reason.id() == text);
        found.copied().ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.iter().map(|reason| reason.id()).collect();
            format!("a reason is one of {}", all.join(", "))
        })
    }
}

/// Queued messages that wait for the same reason. A profile that cannot send is listed without messages as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// The reason.
    pub reason: WaitReason,
    /// The profile that sends the messages; none if no profile does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub profile: Option<ProfileName>,
    /// The reason in words.
    pub explanation: String,
    /// Since when it applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Until when it applies, if that depends on time alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// The last reply of the server, at most 300 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_reply: String,
    /// When something is attempted next: a message, or the login of a suspended profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Timestamp>,
    /// The hold, for held mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// The companies whose mail waits.
    pub companies: Vec<CompanyId>,
    /// The functions whose mail waits.
    pub functions: Vec<Function>,
    /// Number of messages.
    pub messages: u64,
    /// When the oldest of them was put into the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub oldest_at: Option<Timestamp>,
    /// The age of the oldest message in seconds; 0 without messages.
    pub oldest_seconds: u64,
    /// True if it does not end without an operator.
    pub needs_operator: bool,
    /// The command that removes the cause, or the next one to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Waiting {
    /// Returns the command, if a shell would run nothing but this program: the text is a service's.
    pub fn plain_command(&self) -> Option<&str> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.' | '/' | ':' | '@');
        let is_own = |part: &str| part.starts_with("mailwright ") && part.chars().all(is_plain);
        self.command.as_deref().filter(|command| command.split(" && ").all(is_own))
    }

    /// Returns the reason in words, with the last reply of the server.
    pub fn describe(&self) -> String {
        if self.last_reply.is_empty() {
            self.explanation.clone()
        } else {
            format!("{}: {}", self.explanation, self.last_reply)
        }
    }
}

/// Returns true if a reason does not end without an operator.
pub fn needs_operator(reason: WaitReason, since: Option<Timestamp>, until: Option<Timestamp>, now: Timestamp) -> bool {
    match reason {
        WaitReason::Suspended | WaitReason::NoSender => true,
        WaitReason::Held => until.is_none(),
        WaitReason::ServerAway => {
            since.is_some_and(|since| now.as_second().saturating_sub(since.as_second()) > TOLERATED_OUTAGE)
        }
        WaitReason::Throttled | WaitReason::Scheduled => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_needs_an_operator_after_a_while() {
        let (since, at) = (Timestamp::UNIX_EPOCH, |second| Timestamp::from_second(second).unwrap());
        let away = |now| needs_operator(WaitReason::ServerAway, Some(since), None, at(now));
        assert!(!away(TOLERATED_OUTAGE) && away(TOLERATED_OUTAGE + 1));
        assert!(needs_operator(WaitReason::Held, None, None, since));
        assert!(!needs_operator(WaitReason::Held, None, Some(at(60)), since));
    }

    #[test]
    fn only_commands_of_this_program_are_offered() {
        let offered = |command: &str| {
            let group = serde_json::json!({
                "reason": "held", "explanation": "", "companies": [], "functions": [], "messages": 1, "oldestSeconds": 0,
                "needsOperator": true, "command": command,
            });
            let group: Waiting = serde_json::from_value(group).unwrap();
            group.plain_command().is_some()
        };
        for command in [
            "mailwright outbox release prod 0198c5f0-1111-7000-8000-000000000000",
            "mailwright secrets set prod relay/password && mailwright apply prod",
        ] {
            assert!(offered(command), "{command}");
        }
        for command in [
            "",
            "rm x",
            "mailwright apply prod && rm x",
            "mailwright apply prod; rm x",
            "mailwright apply prod & rm x",
            "mailwright apply $(rm x)",
            "mailwright apply `rm x`",
            "mailwright apply prod\nrm x",
            "mailwright apply prod > x",
        ] {
            assert!(!offered(command), "{command}");
        }
    }

    #[test]
    fn a_reason_is_read_as_it_is_written() {
        for reason in WaitReason::ALL {
            assert_eq!(reason.id().parse(), Ok(*reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.id());
        }
        assert!("away".parse::<WaitReason>().unwrap_err().contains("server-away"));
    }
}
