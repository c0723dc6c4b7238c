//! Sending of one message as the signed-in person: lease, contents, Graph, report.
//!
//! [`DelegateSession::send`] begins a message, sends it once, and reports the outcome. A message that Graph certainly did not get
//! waits again, and one that Graph refuses for good fails. One that Graph may have got is looked for in Sent Items, and otherwise
//! stays unknown; one that an earlier attempt may have sent is looked for before it is sent. If Graph demands a new sign-in (401,
//! also with claims), the person signs in again, once per message. The ID token is renewed before a lease that it would not
//! outlive, and when the service refuses it. An outcome that the service does not get is kept and reported later, and a later run
//! that finds the message in Sent Items resolves it as well. A message is never sent without a lease, and never twice under one.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    sent_items::{SentItems, evaluate},
    sign_in::{SignedIn, UserSignIn},
};
use crate::{
    api::delegates::{DelegateLease, DelegateMessage, DelegateOutcome, DelegateReport, LEASE_SECONDS},
    cli::{CliError, Context, ServiceArgs},
    client::Client,
    delivery::transport::{UserFailure, UserMailbox},
    model::{Code, EnvironmentName, Message, Problem, Status, message::Class},
    text::printable,
};

/// The permission to send.
pub(super) const SEND: &str = "Mail.Send";
/// The permission to read the own account, for the address in `From`.
pub(super) const READ_SELF: &str = "User.Read";
/// The permission for drafts, which large messages need, and for Sent Items.
pub(super) const WRITE: &str = "Mail.ReadWrite";
/// The time after the begin in which sending may start, in seconds: the lease without the timeout of a request and a margin.
const SENDING_TIME: i64 = LEASE_SECONDS - 110;
/// The validity that the ID token must have left before a message is begun, in seconds: a lease and a margin.
const TOKEN_RESERVE: i64 = LEASE_SECONDS + 30;
/// The largest number of sign-ins for one report.
const REPORT_SIGN_INS: usize = 2;
/// The largest number of pages of the list in one look.
const PAGES: usize = 20;
/// The size of an accepted message from which it may need a draft: it grows a little when its header is completed.
const LARGE: u64 = 2_800_000;
/// The waits between the tries of a report. All of them together are shorter than a lease.
const REPORT_WAITS: [u64; 5] = [0, 1, 3, 10, 30];
/// The waits between the looks into Sent Items: a sent message appears there after some seconds.
const SENT_ITEMS_WAITS: [u64; 3] = [1, 4, 10];

/// The session of a person at this desktop, who is signed in to Graph and to the service.
pub(super) struct DelegateSession<'a> {
    context: &'a Context,
    environment: &'a EnvironmentName,
    service: &'a ServiceArgs,
    sign_in: UserSignIn<'a>,
    signed_in: SignedIn,
    client: Client,
    /// The place in the list at which the next look continues; none for its beginning.
    position: Option<u64>,
    /// The outcomes that the service does not have yet.
    unreported: Vec<(Uuid, DelegateReport)>,
    /// True if the permission for Sent Items was requested without the person.
    asked_to_read: bool,
}

impl<'a> DelegateSession<'a> {
    /// Signs in with the permissions that every message needs, and with that for drafts if `needs_draft`.
    pub(super) async fn open(
        context: &'a Context,
        environment: &'a EnvironmentName,
        service: &'a ServiceArgs,
        sign_in: UserSignIn<'a>,
        needs_draft: bool,
    ) -> Result<Self, CliError> {
        let signed_in = sign_in.sign_in(permissions(needs_draft), None).await?;
        let client = service.client_of_person(context, environment, signed_in.tokens.id.clone())?;
        let (position, unreported, asked_to_read) = (None, Vec::new(), false);
        Ok(Self { context, environment, service, sign_in, signed_in, client, position, unreported, asked_to_read })
    }

    /// Returns the signed-in person.
    pub(super) fn signed_in(&self) -> &SignedIn {
        &self.signed_in
    }

    /// Returns the person's messages that wait, are leased, or have an unknown outcome, newest first. Of a longer list, each look
    /// returns a part, and the next look continues with older messages ([`DelegateSession::has_more`]).
    pub(super) async fn messages(&mut self) -> Result<Vec<DelegateMessage>, Problem> {
        let mut messages = Vec::new();
        for _ in 0..PAGES {
            let page = self.client.delegate_messages(self.position).await?;
            messages.extend(page.messages);
            self.position = page.next_before;
            if self.position.is_none() {
                break;
            }
        }
        Ok(messages)
    }

    /// Returns true if the list has older messages than those of the last look.
    pub(super) fn has_more(&self) -> bool {
        self.position.is_some()
    }

    /// Returns a message of the person that waits, is leased, or has an unknown outcome.
    pub(super) async fn find(&self, id: Uuid) -> Result<Option<DelegateMessage>, Problem> {
        let mut before = None;
        loop {
            let page = self.client.delegate_messages(before).await?;
            before = page.next_before;
            let found = page.messages.into_iter().find(|message| message.id == id);
            if found.is_some() || before.is_none() {
                return Ok(found);
            }
        }
    }

    /// Signs in again: with more permissions, or with the claims that Graph asked for. The person is asked only if Entra wants that.
    async fn sign_in_again(&mut self, needs_draft: bool, claims: Option<&str>) -> Result<(), CliError> {
        let wanted = permissions(needs_draft);
        let silent = match self.signed_in.tokens.refresh.clone() {
            Some(refresh) => self.sign_in.renew(&refresh, wanted, claims).await?,
            None => None,
        };
        let again = match silent {
            Some(again) => again,
            None => self.sign_in.sign_in(wanted, claims).await?,
        };
        self.replace_sign_in(again)
    }

    /// Continues with a new sign-in. Another account is refused.
    fn replace_sign_in(&mut self, again: SignedIn) -> Result<(), CliError> {
        if again.person != self.signed_in.person {
            return Err(CliError::coded(
                Code::UserSignInFailed,
                format!("cannot continue: the new sign-in is another account than {}", self.signed_in.address),
            )
            .remedy("Sign in with the same account. The messages still wait."));
        }
        self.client = self.service.client_of_person(self.context, self.environment, again.tokens.id.clone())?;
        self.signed_in = again;
        Ok(())
    }

    /// Signs in again because the ID token has ended or ends.
    pub(super) async fn renew(&mut self) -> Result<(), CliError> {
        self.sign_in_again(self.signed_in.permissions.contains(WRITE), None).await
    }

    /// Renews an ID token that a lease would outlive: the report needs it.
    async fn renew_ending_token(&mut self) -> Result<(), CliError> {
        let now = self.context.clock.now();
        let is_ending = |ends_at: Timestamp| ends_at.duration_since(now).as_secs() < TOKEN_RESERVE;
        if self.signed_in.id_ends_at.is_some_and(is_ending) { self.renew().await } else { Ok(()) }
    }

    /// Gets the permission for Sent Items if there is consent to it. The person is not asked.
    async fn try_to_read(&mut self) {
        if self.signed_in.permissions.contains(WRITE) || self.asked_to_read {
            return;
        }
        self.asked_to_read = true;
        let Some(refresh) = self.signed_in.tokens.refresh.clone() else { return };
        // Without it, the outcome of such a message stays unknown.
        if let Ok(Some(again)) = self.sign_in.renew(&refresh, permissions(true), None).await {
            drop(self.replace_sign_in(again));
        }
    }

    fn mailbox(&self, request_id: Uuid) -> UserMailbox<'_> {
        UserMailbox {
            http: &self.sign_in.http,
            pool: &self.sign_in.pool,
            endpoints: &self.sign_in.endpoints,
            token: &self.signed_in.tokens.access,
            request_id: request_id.to_string(),
        }
    }

    /// Sends a message that waits for the person, and returns it as the service has it then.
    pub(super) async fn send(&mut self, message: &DelegateMessage) -> Result<Message, CliError> {
        let is_large = message.size >= LARGE;
        // Before the lease: a sign-in can take minutes.
        if is_large && !self.signed_in.permissions.contains(WRITE) {
            self.sign_in_again(true, None).await?;
        }
        if message.possible_duplicate {
            self.try_to_read().await;
        }
        let mut may_sign_in = true;
        loop {
            self.renew_ending_token().await?;
            let begun = self.context.clock.now();
            let lease = self.begin(message.id).await?;
            if let Some(found) = self.look_before_sending(&lease).await {
                return self.report(message.id, &found).await;
            }
            let request_id = Uuid::now_v7();
            let failure = match self.send_once(message.id, lease.epoch, begun, request_id).await? {
                Ok(reply) => {
                    let report = DelegateReport {
                        request_id: graph_request(&reply),
                        ..report_of(lease.epoch, request_id, DelegateOutcome::Sent, &reply)
                    };
                    return self.report(message.id, &report).await;
                }
                Err(failure) => failure,
            };
            let mut report = report_of(lease.epoch, request_id, outcome_of(&failure), &failure.reply);
            if report.outcome == DelegateOutcome::Unknown {
                self.try_to_read().await;
                match self.look_into_sent_items(&lease.message, &SENT_ITEMS_WAITS).await {
                    SentItems::Sent(reason) => (report.outcome, report.reason) = (DelegateOutcome::Sent, reason),
                    SentItems::OfAnotherMail(reason) => report.reason = format!("{}; {reason}", failure.reply),
                    SentItems::Nothing => {}
                }
            }
            let recorded = self.report(message.id, &report).await?;
            match report.outcome {
                DelegateOutcome::Sent | DelegateOutcome::Unknown => return Ok(recorded),
                // Graph asks for a new token: once, and the message waits meanwhile.
                DelegateOutcome::Released
                    if failure.is_token_refused && may_sign_in && recorded.status == Status::AwaitingSender =>
                {
                    may_sign_in = false;
                    let needs_draft = self.signed_in.permissions.contains(WRITE);
                    self.sign_in_again(needs_draft, failure.claims_challenge.as_deref()).await?;
                }
                _ => return Err(self.not_sent(&failure, &recorded)),
            }
        }
    }

    /// Begins a message. A refused ID token is renewed once.
    async fn begin(&mut self, id: Uuid) -> Result<DelegateLease, CliError> {
        match self.client.begin_delegate(id).await {
            Err(problem) if problem.code == Code::SenderTokenRefused => {
                self.renew().await?;
                Ok(self.client.begin_delegate(id).await?)
            }
            begun => Ok(begun?),
        }
    }

    /// Sends the contents of a leased message once. If the contents cannot be read, the lease is released.
    async fn send_once(
        &mut self,
        id: Uuid,
        epoch: u64,
        begun: Timestamp,
        request_id: Uuid,
    ) -> Result<Result<String, UserFailure>, CliError> {
        // A desktop can sleep between two steps, and the upload of a large message takes minutes.
        let Context { clock, .. } = self.context;
        let may_begin = || (0..SENDING_TIME).contains(&clock.now().duration_since(begun).as_secs());
        match self.client.delegate_content(id, epoch, &self.signed_in.address).await {
            Ok(content) => Ok(self.mailbox(request_id).send(&content.into(), may_begin).await),
            Err(problem) => {
                let report = report_of(epoch, request_id, DelegateOutcome::Released, &problem.to_string());
                self.report(id, &report).await?;
                Err(problem.into())
            }
        }
    }

    /// Looks for a message that an earlier attempt may have sent. Returns the report for it, if it was found.
    async fn look_before_sending(&self, lease: &DelegateLease) -> Option<DelegateReport> {
        if !lease.message.possible_duplicate {
            return None;
        }
        match self.look_into_sent_items(&lease.message, &[0]).await {
            SentItems::Sent(reason) => Some(report_of(lease.epoch, Uuid::now_v7(), DelegateOutcome::Sent, &reason)),
            SentItems::OfAnotherMail(_) | SentItems::Nothing => None,
        }
    }

    /// Looks for a message with an unknown outcome in Sent Items. Returns the report for it, if it was found.
    pub(super) async fn look_up(&mut self, message: &DelegateMessage) -> (SentItems, Option<DelegateReport>) {
        self.try_to_read().await;
        let found = self.look_into_sent_items(message, &[0]).await;
        let report = match &found {
            SentItems::Sent(reason) if message.epoch > 0 => Some(DelegateReport {
                client_request_id: String::new(),
                ..report_of(message.epoch, Uuid::nil(), DelegateOutcome::Sent, reason)
            }),
            _ => None,
        };
        (found, report)
    }

    /// Looks for a message in Sent Items after each of the waits, in seconds, until it is there.
    async fn look_into_sent_items(&self, message: &DelegateMessage, waits: &[u64]) -> SentItems {
        let mut found = SentItems::Nothing;
        if !self.signed_in.permissions.contains(WRITE) {
            return found;
        }
        for wait in waits {
            tokio::time::sleep(Duration::from_secs(*wait)).await;
            let Ok(items) = self.mailbox(Uuid::now_v7()).sent_items(&message.message_id).await else { break };
            found = evaluate(&items, message);
            if matches!(found, SentItems::Sent(_)) {
                break;
            }
        }
        found
    }

    /// Reports an outcome, and repeats that while the service does not answer or refuses the ID token. An outcome that is not
    /// recorded is kept for [`DelegateSession::report_kept`].
    pub(super) async fn report(&mut self, id: Uuid, report: &DelegateReport) -> Result<Message, CliError> {
        let (mut last, mut sign_ins) = (String::new(), 0);
        for wait in REPORT_WAITS {
            tokio::time::sleep(Duration::from_secs(wait)).await;
            let problem = match self.client.report_delegate(id, report).await {
                Ok(message) => return Ok(message),
                Err(problem) if is_passing(&problem) || problem.code == Code::SenderTokenRefused => problem,
                Err(problem) => return Err(problem.into()),
            };
            last.clone_from(&problem.message);
            if problem.code == Code::SenderTokenRefused && sign_ins < REPORT_SIGN_INS {
                sign_ins += 1;
                if let Err(error) = self.renew().await {
                    last = error.to_string();
                }
            }
        }
        self.unreported.push((id, report.clone()));
        let outcome = report.outcome.id();
        Err(CliError::coded(
            Code::GraphSendFailed,
            format!("the outcome of message {id} is `{outcome}`, and the service does not know it: {last}"),
        )
        .remedy("Run `mailwright delegate run` when the service answers again: it looks into Sent Items. Do not send the message again before that."))
    }

    /// Reports the outcomes that the service did not get before. Returns the messages as the service has them now.
    pub(super) async fn report_kept(&mut self) -> Vec<Message> {
        let mut reported = Vec::new();
        for (id, report) in std::mem::take(&mut self.unreported) {
            match self.client.report_delegate(id, &report).await {
                Ok(message) => reported.push(message),
                Err(problem) if is_passing(&problem) || problem.code == Code::SenderTokenRefused => {
                    self.unreported.push((id, report));
                }
                // The message has another outcome, or a later lease.
                Err(_) => {}
            }
        }
        reported
    }

    /// Describes a message that was not sent, and how the service has it now.
    fn not_sent(&self, failure: &UserFailure, message: &Message) -> CliError {
        let error = CliError::coded(
            Code::GraphSendFailed,
            format!(
                "Graph did not accept message {}: {}; its status is `{}`",
                message.id,
                printable(&failure.reply),
                message.status.id()
            ),
        );
        if failure.reply.starts_with("HTTP 403") {
            let UserSignIn { endpoints, tenant, application, .. } = &self.sign_in;
            return error.remedy(format!(
                "If consent was withdrawn, an administrator of {tenant} consents at: {}",
                endpoints.admin_consent(tenant, application)
            ));
        }
        error.remedy(format!("mailwright outbox show {} {}", self.environment, message.id))
    }
}

/// Returns the permissions to ask for.
fn permissions(needs_draft: bool) -> &'static [&'static str] {
    if needs_draft { &[SEND, READ_SELF, WRITE] } else { &[SEND, READ_SELF] }
}

/// Returns true if the same request can succeed later.
pub(super) fn is_passing(problem: &Problem) -> bool {
    matches!(problem.code, Code::ServiceUnreachable | Code::IncompleteAnswer | Code::Busy)
}

/// Returns the outcome of a failure. Consent can be given later: after a 403 the message waits, also if only a large one needs
/// it.
fn outcome_of(failure: &UserFailure) -> DelegateOutcome {
    match failure.class {
        Class::Unknown => DelegateOutcome::Unknown,
        Class::Size | Class::Permanent if !failure.reply.starts_with("HTTP 403") => DelegateOutcome::Failed,
        _ => DelegateOutcome::Released,
    }
}

fn report_of(epoch: u64, request_id: Uuid, outcome: DelegateOutcome, reason: &str) -> DelegateReport {
    DelegateReport {
        epoch,
        outcome,
        reason: reason.to_owned(),
        request_id: String::new(),
        client_request_id: request_id.to_string(),
        at: None,
    }
}

/// Returns the id of the request in Graph's answer.
fn graph_request(reply: &str) -> String {
    let id = reply.split_once("request ").map_or("", |(_, id)| id);
    id.chars().filter(char::is_ascii_graphic).take(100).collect()
}
