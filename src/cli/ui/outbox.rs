//! Text about an outbox: counts, reasons to wait, a restore from a backup, suspended profiles, rotations and holds.
//!
//! [`describe_outbox`] renders all of it; [`needs_attention`] decides if the exit code is 2. The data is the service's
//! [`crate::api::messages::OutboxStatus`].

use crate::{
    api::messages::OutboxStatus,
    cli::ui::{
        table::table,
        wording::{count_of, cut, format_age},
    },
    model::{
        Hold, Message, Status, WaitReason, Waiting,
        integrity::Restored,
        rotation::{Rotation, Standing},
    },
    text::{enumerate, printable},
    time::local::format_time,
};

/// Returns true if mail waits until an operator acts: a profile is suspended, no profile can send, a server has been away for
/// long, a restore is not confirmed, or the store cannot be written. A hold is an operator's own order.
pub(crate) fn needs_attention(status: &OutboxStatus) -> bool {
    let needs = |waiting: &Waiting| waiting.needs_operator && waiting.reason != WaitReason::Held;
    status.waiting.iter().any(needs)
        || !status.suspended.is_empty()
        || status.restored.is_some()
        || !status.store_writable
}

/// Describes the state of delivery in an environment.
pub(crate) fn describe_outbox(status: &OutboxStatus, environment: &str) -> String {
    let counts: Vec<String> = status
        .messages
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(status, count)| format!("{count} {}", status.id()))
        .collect();
    let counts = if counts.is_empty() { "empty".to_owned() } else { counts.join(", ") };
    let mut lines = vec![format!("outbox       {counts}")];
    if !status.store_writable {
        lines.push("store        writes are failing; delivery is paused".to_owned());
    }
    if let Some(restored) = &status.restored {
        lines.extend(restored_lines(restored, environment));
    }
    for waiting in &status.waiting {
        lines.extend(waiting_lines(waiting, status));
    }
    for rotation in &status.rotations {
        lines.push(format!("rotation     {}", describe_rotation(rotation)));
    }
    if !status.holds.is_empty() {
        lines.push(String::new());
        lines.push(hold_table(&status.holds));
    }
    lines.join("\n")
}

/// Describes the messages that wait for one reason.
pub(crate) fn waiting_lines(waiting: &Waiting, status: &OutboxStatus) -> Vec<String> {
    let profile = waiting.profile.as_ref().map_or("-".to_owned(), ToString::to_string);
    let count = count_of(usize::try_from(waiting.messages).unwrap_or(usize::MAX), "message");
    let mut lines = vec![format!("{:<12} {profile}: {count} waiting", waiting.reason.id())];
    let mut detail = |text: String| lines.push(format!("             {text}"));
    detail(printable(&waiting.describe()).into_owned());
    let times = waiting_times(waiting);
    if !times.is_empty() {
        detail(times);
    }
    if let Some(oldest) = waiting.oldest_at.filter(|_| waiting.messages > 0) {
        let companies = enumerate(waiting.companies.iter().map(ToString::to_string), 5);
        let functions = enumerate(waiting.functions.iter().map(|function| function.id()), 3);
        detail(format!(
            "oldest {} ({}); {companies}: {functions}",
            format_age(waiting.oldest_seconds),
            format_time(oldest)
        ));
    }
    let suspended = status.suspended.iter().find(|suspended| Some(&suspended.profile) == waiting.profile.as_ref());
    let finding =
        suspended.filter(|_| waiting.reason == WaitReason::Suspended).and_then(|suspended| suspended.finding.as_ref());
    if let Some(finding) = finding {
        detail(format!("{}: {}", finding.id, printable(&finding.message)));
        finding.remedy.iter().for_each(|step| detail(format!("> {}", printable(step))));
    } else if let Some(command) = waiting.plain_command() {
        detail(format!("> {}", printable(command)));
    }
    lines
}

/// Returns since when and until when mail waits, and when something is attempted next.
pub(crate) fn waiting_times(waiting: &Waiting) -> String {
    let next = waiting.next_attempt_at.filter(|next| Some(*next) != waiting.until);
    let times = [("since", waiting.since), ("until", waiting.until), ("next attempt at", next)];
    let known = times.iter().filter_map(|(word, time)| time.map(|time| format!("{word} {}", format_time(time))));
    known.collect::<Vec<_>>().join(", ")
}

/// Describes a restore from a backup that is not confirmed yet.
pub(crate) fn restored_lines(restored: &Restored, environment: &str) -> Vec<String> {
    let mut lines = vec![
        format!(
            "restored     the store was restored from a backup, noticed {}: {}",
            format_time(restored.noticed_at),
            printable(&restored.why)
        ),
        format!(
            "             no mail is accepted; {} that waited are unknown",
            count_of(usize::try_from(restored.messages).unwrap_or(usize::MAX), "message")
        ),
    ];
    if restored.suspended_tokens > 0 {
        lines.push(format!(
            "             {} tokens are suspended: `mailwright token list {environment}`",
            restored.suspended_tokens
        ));
    }
    if restored.suspended_operators > 0 {
        lines.push(format!(
            "             {} operators are suspended: `mailwright operator list {environment}`",
            restored.suspended_operators
        ));
    }
    lines.push(format!("             > mailwright outbox confirm-restore {environment}"));
    lines
}

/// Describes the state of a rotation in one line.
pub(crate) fn describe_rotation(rotation: &Rotation) -> String {
    let Rotation { profile, secret, .. } = rotation;
    match rotation.standing {
        Standing::Staged => format!("{profile}: the next value of {secret} has not been tried yet"),
        Standing::Promoted => {
            format!(
                "{profile}: the next value of {secret} has been in use since {}; finish the rotation",
                format_time(rotation.since)
            )
        }
        Standing::Refused => {
            let again =
                rotation.next_try_at.map(|next| format!(", next attempt at {}", format_time(next))).unwrap_or_default();
            format!(
                "{profile}: the next value of {secret} has been refused since {}; the current one is used{again}: {}",
                format_time(rotation.since),
                printable(&rotation.reason)
            )
        }
    }
}

/// Returns holds as a table.
pub(crate) fn hold_table(holds: &[Hold]) -> String {
    if holds.is_empty() {
        return "Nothing is held.".to_owned();
    }
    let all = || "all".to_owned();
    let rows = holds.iter().map(|hold| {
        vec![
            hold.id.clone(),
            hold.profile.as_ref().map_or_else(all, ToString::to_string),
            hold.company.as_ref().map_or_else(all, ToString::to_string),
            hold.function.map_or_else(all, |function| function.id().to_owned()),
            hold.until.map_or("until released".to_owned(), format_time),
            printable(&hold.owner).into_owned(),
            cut(&hold.reason, 60),
        ]
    });
    table(&["hold", "profile", "company", "function", "until", "owner", "reason"], rows)
}

/// Returns what a message of a delegate profile waits for: the person, or the end of the lease of the person's client. None for a
/// message that has ended, or that the service sends.
pub(crate) fn describe_sender(message: &Message) -> Option<String> {
    let sender = message.sender.as_ref()?;
    let who = printable(&sender.describe()).into_owned();
    match message.status {
        Status::AwaitingSender => Some(format!(
            "for {who} to send it from the {} client (`mailwright delegate run`); it expires {}",
            sender.client.id(),
            format_time(sender.expires_at)
        )),
        Status::Sending => Some(format!(
            "the client of {who} sends it; without a report until {} its outcome is unknown",
            sender.lease_ends_at.map(format_time).unwrap_or_default()
        )),
        _ => None,
    }
}
