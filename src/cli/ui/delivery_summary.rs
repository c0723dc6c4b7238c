//! [`DeliverySummary`]: the state of delivery of one environment in short texts, for reports of many environments.
//!
//! For the full text of one environment see `outbox` in this folder.

use crate::{
    api::messages::OutboxStatus,
    cli::ui::wording::{count_of, cut},
    model::{Status, WaitReason, suspension::SuspendedProfile},
};

/// The largest part of a server's reply that a line quotes, in characters.
const QUOTED: usize = 40;

/// The state of delivery in short texts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct DeliverySummary {
    /// Conditions that stop mail until a person acts or a server answers again.
    pub(crate) trouble: Vec<String>,
    /// Conditions that end by themselves or that an operator ordered, and the number of messages that are not delivered.
    pub(crate) counts: Vec<String>,
    /// True if mail waits by an operator's order or on a server's request, or if an outcome is unknown.
    pub(crate) is_restricted: bool,
}

impl DeliverySummary {
    /// Summarizes the state of an outbox.
    pub(crate) fn new(status: &OutboxStatus) -> Self {
        let mut trouble = Vec::new();
        if !status.store_writable {
            trouble.push("STORE not writable".to_owned());
        }
        if status.restored.is_some() {
            trouble.push("RESTORED from a backup and not confirmed".to_owned());
        }
        if !status.suspended.is_empty() {
            let suspended: Vec<String> = status.suspended.iter().map(describe_suspension).collect();
            trouble.push(format!("SUSPENDED {}", suspended.join(", ")));
        }
        let unserved = status.waiting.iter().filter(|waiting| waiting.reason == WaitReason::NoSender);
        let unserved: u64 = unserved.map(|waiting| waiting.messages).sum();
        if unserved > 0 {
            trouble.push(format!("NO SENDER for {unserved} queued"));
        }
        if !status.unreachable.is_empty() {
            let names: Vec<String> = status.unreachable.iter().map(ToString::to_string).collect();
            trouble.push(format!("SERVER AWAY of {}", names.join(", ")));
        }
        let shown = [Status::Queued, Status::AwaitingSender, Status::Sending, Status::Failed, Status::Unknown];
        let counts = shown.iter().filter_map(|status_of| {
            let count = status.messages.get(status_of).filter(|count| **count > 0)?;
            Some(format!("{count} {}", status_of.id()))
        });
        let holds = (!status.holds.is_empty()).then(|| count_of(status.holds.len(), "hold"));
        let paused =
            (!status.paused.is_empty()).then(|| format!("{} paused", count_of(status.paused.len(), "profile")));
        let is_unknown = status.messages.get(&Status::Unknown).is_some_and(|count| *count > 0);
        let is_restricted = is_unknown || !status.holds.is_empty() || !status.paused.is_empty();
        Self { is_restricted, trouble, counts: counts.chain(holds).chain(paused).collect() }
    }
}

/// Returns the profile with the finding that names the cause, or else the server's reply.
fn describe_suspension(suspended: &SuspendedProfile) -> String {
    let cause =
        suspended.finding.as_ref().map_or_else(|| cut(&suspended.reason, QUOTED), |finding| finding.id.to_string());
    format!("{} ({cause})", suspended.profile)
}
