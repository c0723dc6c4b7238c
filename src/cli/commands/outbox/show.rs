//! `mailwright outbox show`: text about one message with its recipients, attempts and the reason for which it waits.
//!
//! `mailwright why` explains why a message did not leave.

use crate::{
    api::messages::MessageDetail,
    cli::ui::{
        outbox::{describe_sender, waiting_times},
        table::table,
        wording::{cut, resolution_steps, wire_name},
    },
    model::message::describe_phase,
    text::printable,
    time::local::format_time,
};

/// Returns everything that is known about a message as text.
pub(super) fn describe_message(detail: &MessageDetail) -> String {
    let message = &detail.message;
    let mut lines = vec![
        format!("message    {}", message.id),
        format!(
            "status     {}{}{}",
            message.status.id(),
            if message.possible_duplicate { ", possibly sent twice" } else { "" },
            if message.sent_again { ", sent again on request" } else { "" }
        ),
        format!("for        {} {}", message.company, message.function),
        format!("subject    {}", printable(&message.subject)),
        format!("Message-ID {}", printable(&message.message_id)),
        format!("size       {} bytes", message.size),
        format!("accepted   {} from `{}`", format_time(message.accepted_at), printable(&message.by)),
        format!("chosen     profile `{}` at generation {}", message.profile, message.generation),
    ];
    lines.extend(message.requeued_at.map(|requeued| format!("queued     again at {}", format_time(requeued))));
    lines.push(format!("because    {}", resolution_steps(&message.resolution)));
    if let Some(document) = &message.document {
        lines.push(format!("document   {} {}", printable(&document.kind), printable(&document.number)));
    }
    if !message.reason.is_empty() {
        lines.push(format!("last       {}", printable(&message.reason)));
    }
    if let Some(next) = message.next_attempt_at {
        lines.push(format!("next       {}", format_time(next)));
    }
    if let Some(sender) = &message.sender {
        lines.push(format!(
            "sender     {} by `{}`, {}",
            printable(&sender.describe()),
            sender.client.id(),
            sender.proof.id()
        ));
    }
    lines.extend(describe_sender(message).map(|wait| format!("waits      {wait}")));
    if let Some(waiting) = &detail.waiting {
        lines.push(format!("waits      {}", printable(&waiting.describe())));
        let times = waiting_times(waiting);
        if !times.is_empty() {
            lines.push(format!("           {times}"));
        }
        lines.extend(waiting.plain_command().map(|command| format!("           > {}", printable(command))));
    }
    lines.push(String::new());
    let rows = message.recipients.iter().map(|recipient| {
        vec![printable(&recipient.address).into_owned(), wire_name(recipient.status), cut(&recipient.reply, 80)]
    });
    lines.push(table(&["recipient", "status", "reply"], rows));
    if !detail.history.is_empty() {
        lines.push(String::new());
        let rows = detail.history.iter().map(|attempt| {
            vec![
                attempt.number.to_string(),
                format_time(attempt.at),
                format!("{} ms", attempt.milliseconds),
                attempt.profile.to_string(),
                cut(&attempt.server, 40),
                printable(describe_phase(&attempt.phase)).into_owned(),
                wire_name(attempt.class),
                cut(&attempt.reply, 80),
                attempt.next_attempt_at.map(format_time).unwrap_or_default(),
            ]
        });
        lines.push(table(&["attempt", "at", "took", "profile", "server", "phase", "class", "reply", "next try"], rows));
    }
    lines.join("\n")
}
