//! Sending of one message as the signed-in person: lease, contents, Graph, report.
//!
//! [`DelegateSession::send`] begins a message, sends it once, and reports the outcome. A message that Graph certainly did not get
//! waits again, and one that Graph refuses for good fails. One that Graph may have got is looked for in Sent Items, and otherwise
//! stays unknown. If Graph demands a new sign-in (401, also with claims), the person signs in again, once per message. If the
//! service does not get the report, the message becomes unknown there, and a later run that finds it in Sent Items resolves it. A
//! message is never sent without a lease, and never twice under one.

use std::time::Duration;

use uuid::Uuid;

use super::sign_in::{SignedIn, UserSignIn};
use crate::{
    api::delegates::{DelegateMessage, DelegateOutcome, DelegateReport, LEASE_SECONDS},
    cli::{CliError, Context, ServiceArgs},
    client::Client,
    delivery::transport::{UserFailure, UserMailbox},
    model::{Code, EnvironmentName, Message, Problem, message::Class},
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
        Ok(Self { context, environment, service, sign_in, signed_in, client })
    }

    /// Returns the signed-in person.
    pub(super) fn signed_in(&self) -> &SignedIn {
        &self.signed_in
    }

    /// Returns the person's messages that wait, are leased, or have an unknown outcome, newest first.
    pub(super) async fn messages(&self) -> Result<Vec<DelegateMessage>, Problem> {
        let (mut messages, mut before) = (Vec::new(), None);
        loop {
            let page = self.client.delegate_messages(before).await?;
            messages.extend(page.messages);
            before = page.next_before;
            if before.is_none() {
                return Ok(messages);
            }
        }
    }

    /// Signs in again: with more permissions, or with the claims that Graph asked for. Another account is refused.
    async fn sign_in_again(&mut self, needs_draft: bool, claims: Option<&str>) -> Result<(), CliError> {
        let again = self.sign_in.sign_in(permissions(needs_draft), claims).await?;
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

    /// Signs in again after the service refused the ID token, which lasts an hour.
    pub(super) async fn renew(&mut self) -> Result<(), CliError> {
        let needs_draft = self.signed_in.permissions.contains(WRITE);
        self.sign_in_again(needs_draft, None).await
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
        let mut may_sign_in = true;
        loop {
            let begun = self.context.clock.now();
            let lease = self.client.begin_delegate(message.id).await?;
            // A desktop can sleep between two steps, and the upload of a large message takes minutes.
            let Context { clock, .. } = self.context;
            let may_begin = || (0..SENDING_TIME).contains(&clock.now().duration_since(begun).as_secs());
            let request_id = Uuid::now_v7();
            let sent = match self.client.delegate_content(message.id, lease.epoch, &self.signed_in.address).await {
                Ok(content) => self.mailbox(request_id).send(&content.into(), may_begin).await,
                Err(problem) => {
                    let report = report_of(lease.epoch, request_id, DelegateOutcome::Released, &problem.to_string());
                    self.report(message.id, &report).await?;
                    return Err(problem.into());
                }
            };
            let failure = match sent {
                Ok(reply) => {
                    let report = DelegateReport {
                        request_id: graph_request(&reply),
                        ..report_of(lease.epoch, request_id, DelegateOutcome::Sent, &reply)
                    };
                    return self.report(message.id, &report).await;
                }
                Err(failure) => failure,
            };
            let mut outcome = outcome_of(&failure);
            if outcome == DelegateOutcome::Unknown && self.is_sent(&message.message_id, &SENT_ITEMS_WAITS).await {
                outcome = DelegateOutcome::Sent;
            }
            let report = report_of(lease.epoch, request_id, outcome, &failure.reply);
            let recorded = self.report(message.id, &report).await?;
            match outcome {
                DelegateOutcome::Sent | DelegateOutcome::Unknown => return Ok(recorded),
                // Graph asks for a new token: once, and the message waits meanwhile.
                DelegateOutcome::Released if failure.is_token_refused && may_sign_in => {
                    may_sign_in = false;
                    self.sign_in_again(is_large, failure.claims_challenge.as_deref()).await?;
                }
                _ => return Err(self.not_sent(&failure, &recorded)),
            }
        }
    }

    /// Returns true if a message is in Sent Items after one of the waits, in seconds; false if it is not, or that cannot be seen.
    pub(super) async fn is_sent(&self, message_id: &str, waits: &[u64]) -> bool {
        if !self.signed_in.permissions.contains(WRITE) {
            return false;
        }
        for wait in waits {
            tokio::time::sleep(Duration::from_secs(*wait)).await;
            match self.mailbox(Uuid::now_v7()).is_in_sent_items(message_id).await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// Reports an outcome, and repeats that while the service does not answer.
    pub(super) async fn report(&self, id: Uuid, report: &DelegateReport) -> Result<Message, CliError> {
        let mut last: Option<Problem> = None;
        for wait in REPORT_WAITS {
            tokio::time::sleep(Duration::from_secs(wait)).await;
            match self.client.report_delegate(id, report).await {
                Ok(message) => return Ok(message),
                Err(problem) if is_passing(&problem) => last = Some(problem),
                Err(problem) => return Err(problem.into()),
            }
        }
        let reason = last.map_or_else(String::new, |problem| format!(": {}", problem.message));
        let outcome = report.outcome.id();
        Err(CliError::coded(
            Code::GraphSendFailed,
            format!("the outcome of message {id} is `{outcome}`, and the service does not know it{reason}"),
        )
        .remedy("Run `mailwright delegate run` when the service answers again: it looks into Sent Items. Do not send the message again before that."))
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
