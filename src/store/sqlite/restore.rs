//! Changes of the store after it was restored from a backup. It is unknown what happened since the backup: which of the queued
//! messages were sent, which submissions were answered, which tokens were revoked.
//!
//! `note` records the restore as soon as it is noticed. [`settle_messages`] makes queued messages `unknown` and [`finish`] suspends
//! operators, and tokens unless the list of revoked ones is known to be complete, both before anything is sent; [`confirm`] ends
//! the state when an administrator says so. Each may be repeated after an interrupted start.
//!
//! The messages are settled before this process owns delivery, so no owner is checked. Instead the ownership of the process
//! that the backup or the database names is ended in the same transaction, so that it can neither begin nor settle an attempt.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    AuditEvent, StoreError, digests, events, failed, lanes, leases, messages, operators, position::Restore, record,
    records, sessions, set_value, text, value,
};
use crate::{
    model::{
        AuditOutcome, Message, Status, delivery::EventKind, integrity::Restored, message::RecipientStatus, token::Token,
    },
    store::outbox::{NewEvent, Settled},
};

/// The key under which a restore that is not confirmed is stored.
const KEY: &str = "restore";
/// Maximum number of messages that become `unknown` in one transaction.
const AT_ONCE: u32 = 500;
/// Gap in the numbers after a restore, so that a number that was used since the backup is not used again.
pub(super) const GAP: u64 = 1 << 32;

/// A restore that is not confirmed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Noted {
    why: String,
    /// True if the list of revoked tokens is complete, so that no token need be suspended.
    knows_revoked: bool,
    noticed_at: Option<Timestamp>,
    messages: u64,
    suspended_tokens: u64,
    #[serde(default)]
    suspended_operators: u64,
    is_settled: bool,
}

/// Records that the database was restored. `found` is the sign by which that was noticed; none if an operator stated it.
pub(super) fn note(transaction: &Connection, found: Option<&Restore>) -> Result<(), StoreError> {
    let before = value::<Option<Noted>>(transaction, KEY)?.flatten();
    let (why, knows_revoked) = match found {
        Some(Restore::Behind { had, has }) => {
            (format!("the store had {had} transactions when it was last used, and has {has} now"), true)
        }
        Some(Restore::Other) => {
            ("the store is another than the one that was last used in this folder".to_owned(), false)
        }
        Some(Restore::FileMissing) => ("`store.position`, which belongs to the store, is missing".to_owned(), false),
        None => ("the service was started with `--restored`".to_owned(), false),
    };
    let noted = Noted {
        why,
        knows_revoked: knows_revoked && before.as_ref().is_none_or(|before| before.knows_revoked),
        noticed_at: None,
        messages: before.as_ref().map_or(0, |before| before.messages),
        suspended_tokens: before.as_ref().map_or(0, |before| before.suspended_tokens),
        suspended_operators: before.as_ref().map_or(0, |before| before.suspended_operators),
        is_settled: false,
    };
    set_value(transaction, KEY, &noted)
}

fn unsettled(transaction: &Connection) -> Result<Option<Noted>, StoreError> {
    Ok(value::<Option<Noted>>(transaction, KEY)?.flatten().filter(|noted| !noted.is_settled))
}

/// Makes messages that waited `unknown`, some hundred at a time. False if none is left.
pub(super) fn settle_messages(transaction: &Connection, now: Timestamp) -> Result<bool, StoreError> {
    let Some(mut noted) = unsettled(transaction)? else { return Ok(false) };
    let query = "SELECT record FROM message WHERE status IN ('queued', 'sending', 'awaiting-sender') LIMIT ?1";
    let waited: Vec<Message> = records(transaction, query, [AT_ONCE])?;
    lanes::end_ownership(transaction)?;
    for message in &waited {
        messages::settle(transaction, &doubted(message.clone(), now))?;
    }
    noted.messages += waited.len() as u64;
    set_value(transaction, KEY, &noted)?;
    Ok(!waited.is_empty())
}

fn doubted(mut message: Message, now: Timestamp) -> Settled {
    let why = "the store was restored from a backup: whether it was sent since then is not known";
    for recipient in message.recipients.iter_mut().filter(|recipient| recipient.status == RecipientStatus::Waiting) {
        recipient.status = RecipientStatus::Unknown;
        why.clone_into(&mut recipient.reply);
    }
    message.status = Status::Unknown;
    why.clone_into(&mut message.reason);
    message.finished_at = Some(now);
    message.next_attempt_at = None;
    message.search_first = false;
    let events = vec![NewEvent::about(EventKind::Unknown, &message, now)];
    Settled { message, attempt: None, events }
}

/// Suspends tokens if it is not known which were revoked, advances the numbers, and writes the audit entry. Returns the restore
/// that is not confirmed.
pub(super) fn finish(transaction: &Connection, now: Timestamp) -> Result<Option<Restored>, StoreError> {
    if let Some(mut noted) = unsettled(transaction)? {
        if !noted.knows_revoked {
            noted.suspended_tokens += suspend_tokens(transaction, now)?;
        }
        // Also if all that were removed are known: the used enrolment links and the passkeys that were added since are not.
        noted.suspended_operators += operators::suspend_all(transaction, now)?;
        leases::skip(transaction, GAP)?;
        sessions::end_all(transaction)?;
        let event =
            NewEvent { kind: EventKind::Restored, at: now, message: None, profile: None, reason: noted.why.clone() };
        events::insert_event_after(transaction, &event, GAP)?;
        (noted.is_settled, noted.noticed_at) = (true, Some(now));
        set_value(transaction, KEY, &noted)?;
        let event = AuditEvent {
            at: now,
            actor: "(service)".to_owned(),
            action: "store.restored",
            outcome: AuditOutcome::Accepted,
            detail: json!({ "why": noted.why, "messages": noted.messages, "suspendedTokens": noted.suspended_tokens, "suspendedOperators": noted.suspended_operators }),
        };
        digests::append_with_statement(transaction, &event, None)?;
        tracing::error!(
            why = noted.why,
            messages = noted.messages,
            suspended_tokens = noted.suspended_tokens,
            suspended_operators = noted.suspended_operators,
            "the store was restored from a backup; no mail is accepted until an administrator confirms it"
        );
    }
    let noted: Option<Noted> = value::<Option<Noted>>(transaction, KEY)?.flatten();
    Ok(noted.map(|noted| Restored {
        noticed_at: noted.noticed_at.unwrap_or(now),
        why: noted.why,
        messages: noted.messages,
        suspended_tokens: noted.suspended_tokens,
        suspended_operators: noted.suspended_operators,
    }))
}

fn suspend_tokens(transaction: &Connection, now: Timestamp) -> Result<u64, StoreError> {
    change_tokens(transaction, |token| {
        let is_live = token.revoked_at.is_none() && token.suspended_at.is_none();
        if is_live {
            token.suspended_at = Some(now);
        }
        is_live
    })
    .map(|changed| changed.len() as u64)
}

/// Revokes tokens that were ever revoked, and removes operators and passkeys that were ever removed, even if the database has them
/// as valid.
pub(super) fn revoke_again(
    transaction: &Connection,
    revoked: &std::collections::BTreeSet<String>,
    now: Timestamp,
) -> Result<(), StoreError> {
    for (action, mut detail) in operators::remove_again(transaction, revoked, now)? {
        detail["why"] = json!("it had been removed before the store was put back");
        let (actor, outcome) = ("(service)".to_owned(), AuditOutcome::Accepted);
        let event = AuditEvent { at: now, actor, action, outcome, detail };
        digests::append_with_statement(transaction, &event, None)?;
    }
    let is_live = |id: &str| -> Result<bool, StoreError> {
        let token: Option<Token> = record(transaction, "SELECT document FROM token WHERE id = ?1", [id])?;
        Ok(token.is_some_and(|token| token.revoked_at.is_none()))
    };
    let mut any = false;
    for id in revoked {
        any = any || is_live(id)?;
    }
    if !any {
        return Ok(());
    }
    digests::record_alteration(transaction, now)?;
    let is_back = |token: &mut Token| {
        let is_back = token.revoked_at.is_none() && revoked.contains(&token.id);
        if is_back {
            token.revoked_at = Some(now);
        }
        is_back
    };
    let ids = change_tokens(transaction, is_back)?;
    for id in ids {
        let event = AuditEvent {
            at: now,
            actor: "(service)".to_owned(),
            action: "token.revoke",
            outcome: AuditOutcome::Accepted,
            detail: json!({ "id": id, "why": "it had been revoked before the store was put back" }),
        };
        digests::append_with_statement(transaction, &event, None)?;
    }
    Ok(())
}

fn change_tokens(
    transaction: &Connection,
    mut change: impl FnMut(&mut Token) -> bool,
) -> Result<Vec<String>, StoreError> {
    let tokens: Vec<Token> = records(transaction, "SELECT document FROM token ORDER BY id", [])?;
    let mut changed = Vec::new();
    for mut token in tokens {
        if change(&mut token) {
            transaction
                .execute("UPDATE token SET document = ?2 WHERE id = ?1", params![token.id, text(&token)?])
                .map_err(failed)?;
            changed.push(token.id);
        }
    }
    Ok(changed)
}

/// Records that an administrator confirmed the restore. False if there is nothing to confirm.
pub(super) fn confirm(transaction: &Connection, event: &AuditEvent) -> Result<bool, StoreError> {
    if value::<Option<Noted>>(transaction, KEY)?.flatten().is_none() {
        return Ok(false);
    }
    set_value(transaction, KEY, &None::<Noted>)?;
    digests::append_with_statement(transaction, event, None)?;
    Ok(true)
}
