//! Text of an outbox's state: counts, a restore from a backup, suspended profiles, rotations and holds.

use crate::{
    api::messages::OutboxStatus,
    cli::ui::{
        table::table,
        wording::{count_of, cut, format_time},
    },
    model::{
        Hold,
        integrity::Restored,
        rotation::{Rotation, Standing},
    },
    text::printable,
};

/// Returns true if mail waits until an operator acts: a profile is suspended, a restore is not confirmed, or the store
/// cannot be written.
pub(crate) fn needs_attention(status: &OutboxStatus) -> bool {
    !status.parked.is_empty() || status.restored.is_some() || !status.store_writable
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
    for parked in &status.parked {
        lines.push(format!(
            "parked       {} since {}: {}",
            parked.profile,
            format_time(parked.since),
            printable(&parked.reason)
        ));
        if let Some(finding) = &parked.finding {
            lines.push(format!("             {}: {}", finding.id, printable(&finding.message)));
            lines.extend(finding.remedy.iter().map(|step| format!("             > {}", printable(step))));
        }
        lines.push(format!("             next attempt at {}", format_time(parked.next_probe_at)));
    }
    for rotation in &status.rotations {
        lines.push(format!("rotation     {}", describe_rotation(rotation)));
    }
    for profile in &status.unreachable {
        lines.push(format!("down         {profile}: its server does not answer properly; retried automatically"));
    }
    for paused in &status.paused {
        lines.push(format!(
            "paused       {}: its server asked to wait until {}; `retry` of one of its messages ends the pause",
            paused.profile,
            format_time(paused.until)
        ));
    }
    if !status.holds.is_empty() {
        lines.push(String::new());
        lines.push(hold_table(&status.holds));
    }
    lines.join("\n")
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
