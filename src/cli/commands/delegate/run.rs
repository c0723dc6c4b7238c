//! `mailwright delegate run`: sends the messages that wait for the person, and looks for those with an unknown outcome in Sent Items.
//!
//! [`Run::run`] looks at the person's messages again and again, the oldest first; a list that is longer than one look is continued
//! in the next one. [`Retries`] delays a message that could not be sent, so that one message neither stops the others nor uses up
//! its leases. Messages that others named for the person are sent only with `--include-named`. Nothing here talks to Graph.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use uuid::Uuid;

use super::{
    DelegateArgs, describe,
    sending::{DelegateSession, is_passing},
    sent_items::SentItems,
    show,
};
use crate::{
    api::delegates::DelegateMessage,
    cli::{CliError, Context, Exit, signals::wait_for_stop},
    model::{Code, Message, Status, sender::SenderProof},
    text::printable,
};

/// The wait between two looks at the person's messages, and before the first repetition of one that could not be sent.
const POLL: Duration = Duration::from_secs(5);
/// The longest wait before a repetition. A message has 100 leases: with this wait they last for more than the default lifetime.
const LONGEST_WAIT: Duration = Duration::from_secs(20 * 60);
/// Send the messages that wait for the account, until stopped
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright delegate run prod\n  \
    mailwright delegate run prod --once\n  \
    mailwright delegate run prod --include-named\n\n\
    Messages that were submitted with an ID token of the account are sent. Those that\n\
    another program named for it are listed, and sent with `--include-named`.\n\
    Ctrl-C stops after the message that is being sent.")]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) delegate: DelegateArgs,
    /// Send what waits now, and end
    #[arg(long)]
    once: bool,
    /// Send messages, too, that others named for the account
    #[arg(long)]
    include_named: bool,
}

impl Run {
    pub(super) async fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (tenant, application) = self.delegate.registration()?;
        let mut session = self.delegate.open(context, &tenant, &application, false).await?;
        context.printer.note(&format!("Sending as {}; Ctrl-C stops.", printable(&session.signed_in().address)));
        // Noted while a message is sent, and obeyed after it.
        let (stop, mut stopped) = watch::channel(false);
        drop(tokio::spawn(async move {
            wait_for_stop(false).await;
            stop.send_replace(true);
        }));
        let (mut exit, mut retries) = (Exit::Done, Retries::default());
        loop {
            exit = exit.max(self.send_all(context, &mut session, &mut retries, &stopped).await?);
            if *stopped.borrow() || self.once && !session.has_more() {
                return Ok(exit);
            }
            if session.has_more() {
                continue;
            }
            tokio::select! {
                _ = stopped.wait_for(|is_stopped| *is_stopped) => return Ok(exit),
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Sends what waits now. A message that cannot be sent is reported, and the others are sent.
    async fn send_all(
        &self,
        context: &Context,
        session: &mut DelegateSession<'_>,
        retries: &mut Retries,
        stopped: &watch::Receiver<bool>,
    ) -> Result<Exit, CliError> {
        let Some(messages) = self.messages(context, session).await? else { return Ok(Exit::Done) };
        for reported in session.report_kept().await {
            self.show(context, &reported);
        }
        retries.forget_old(Instant::now());
        let mut exit = Exit::Done;
        // The oldest first, as in a queue.
        for message in messages.iter().rev() {
            if *stopped.borrow() {
                break;
            }
            if retries.is_due(message, Instant::now()) {
                exit = exit.max(self.handle(context, session, retries, message).await?);
            }
        }
        Ok(exit)
    }

    /// Returns the person's messages; none if the service does not answer now.
    async fn messages(
        &self,
        context: &Context,
        session: &mut DelegateSession<'_>,
    ) -> Result<Option<Vec<DelegateMessage>>, CliError> {
        match session.messages().await {
            // The ID token lasts an hour.
            Err(problem) if problem.code == Code::SenderTokenRefused => {
                session.renew().await?;
                Ok(Some(session.messages().await?))
            }
            // The service is restarted, or the network is away: the messages wait.
            Err(problem) if is_passing(&problem) && !self.once => {
                context.printer.note(&format!("The service does not answer: {}", problem.message));
                tokio::time::sleep(POLL).await;
                Ok(None)
            }
            found => Ok(Some(found?)),
        }
    }

    /// Sends a message that waits, and looks for one with an unknown outcome.
    async fn handle(
        &self,
        context: &Context,
        session: &mut DelegateSession<'_>,
        retries: &mut Retries,
        message: &DelegateMessage,
    ) -> Result<Exit, CliError> {
        match message.status {
            Status::AwaitingSender if message.proof == SenderProof::IdToken || self.include_named => {
                self.send(context, session, retries, message).await
            }
            Status::AwaitingSender => {
                retries.put_off(message, Instant::now());
                context.printer.note(&format!(
                    "{} was named by `{}`; `--include-named` sends it",
                    describe(message),
                    printable(&message.by)
                ));
                Ok(Exit::Done)
            }
            Status::Unknown => {
                retries.put_off(message, Instant::now());
                self.look_up(context, session, message).await?;
                Ok(Exit::Done)
            }
            _ => Ok(Exit::Done),
        }
    }

    async fn send(
        &self,
        context: &Context,
        session: &mut DelegateSession<'_>,
        retries: &mut Retries,
        message: &DelegateMessage,
    ) -> Result<Exit, CliError> {
        let error = match session.send(message).await {
            Ok(sent) => {
                self.show(context, &sent);
                return Ok(Exit::Done);
            }
            Err(error) if error.code == Some(Code::UserSignInFailed) => return Err(error),
            Err(error) => error,
        };
        retries.put_off(message, Instant::now());
        // Another client of the person has it, or it was cancelled meanwhile.
        if matches!(error.code, Some(Code::LeaseHeld | Code::InvalidTransition)) {
            return Ok(Exit::Done);
        }
        context.printer.note(&format!("{}: {error}", message.id));
        if let Some(remedy) = &error.remedy {
            context.printer.note(&format!("  {remedy}"));
        }
        Ok(Exit::Attention)
    }

    /// Looks for a message with an unknown outcome in Sent Items, and reports that it was sent if it is there.
    async fn look_up(
        &self,
        context: &Context,
        session: &mut DelegateSession<'_>,
        message: &DelegateMessage,
    ) -> Result<(), CliError> {
        let (found, report) = session.look_up(message).await;
        if let SentItems::OfAnotherMail(reason) = found {
            context.printer.note(&format!("{}: {reason}", describe(message)));
        }
        let Some(report) = report else { return Ok(()) };
        match session.report(message.id, &report).await {
            Ok(found) => self.show(context, &found),
            Err(error) if error.code == Some(Code::SenderLeaseEnded) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn show(&self, context: &Context, message: &Message) {
        show(context, &self.delegate.environment, self.delegate.output.format, message);
    }
}

/// The messages that were not sent, or not found in Sent Items: the time of the next try of each, and the wait after it. A
/// message with a new status is tried at once.
#[derive(Default)]
struct Retries(HashMap<(Uuid, Status), (Instant, Duration)>);

impl Retries {
    /// Returns true if a message is to be tried now.
    fn is_due(&self, message: &DelegateMessage, now: Instant) -> bool {
        self.0.get(&(message.id, message.status)).is_none_or(|(at, _)| *at <= now)
    }

    /// Delays the next try of a message, each time for twice as long.
    fn put_off(&mut self, message: &DelegateMessage, now: Instant) {
        let (at, wait) = self.0.entry((message.id, message.status)).or_insert((now, POLL));
        *at = now + *wait;
        *wait = wait.saturating_mul(2).min(LONGEST_WAIT);
    }

    /// Forgets messages that were not tried again when they were due, because they do not wait any more.
    fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, (at, _)| *at + LONGEST_WAIT > now);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(status: &str) -> DelegateMessage {
        serde_json::from_value(json!({
            "id": "0c0ffee0-0000-4000-8000-0000000000a1", "status": status, "company": "EDU1",
            "function": "user-interface", "profile": "desktop", "client": "native", "messageId": "<a@example.com>",
            "subject": "Invoice", "recipients": ["a@example.org"], "size": 1000, "by": "erp", "proof": "id-token",
            "acceptedAt": "2026-11-23T12:00:00Z", "expiresAt": "2026-11-24T12:00:00Z", "epoch": 2,
            "sentItemsSince": "2026-11-23T11:50:00Z",
        }))
        .unwrap()
    }

    #[test]
    fn the_wait_of_a_message_doubles_up_to_a_bound_and_its_leases_outlast_the_default_lifetime() {
        let (mut retries, message) = (Retries::default(), message("awaiting-sender"));
        let (start, mut now) = (Instant::now(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..100 {
            assert!(retries.is_due(&message, now));
            retries.put_off(&message, now);
            let (at, _) = retries.0[&(message.id, message.status)];
            assert!(!retries.is_due(&message, at.checked_sub(Duration::from_millis(1)).unwrap()));
            waits.push(at.duration_since(now));
            now = at;
        }
        assert_eq!(waits[..3], [POLL, POLL * 2, POLL * 4]);
        assert_eq!(waits.iter().max(), Some(&LONGEST_WAIT));
        assert!(now.duration_since(start) > Duration::from_secs(24 * 3600));
    }

    #[test]
    fn a_new_status_is_tried_at_once_and_old_entries_are_forgotten() {
        let mut retries = Retries::default();
        let now = Instant::now();
        retries.put_off(&message("awaiting-sender"), now);
        assert!(retries.is_due(&message("unknown"), now) && !retries.is_due(&message("awaiting-sender"), now));
        retries.forget_old(now + LONGEST_WAIT);
        assert_eq!(retries.0.len(), 1);
        retries.forget_old(now + LONGEST_WAIT * 2);
        assert!(retries.0.is_empty());
    }
}
