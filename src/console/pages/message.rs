//! A message: its state in words, why it waits, recipients, attempts as a timeline, and the actions that its status allows. While
//! it is not finished, the page is updated.
//!
//! Contents are not shown. The forms are there for callers who may use them; the service checks each request again.

use std::sync::Arc;

use askama::{Template, filters::Safe};
use axum::{extract::State, response::Response};
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::wait_view::WaitView;
use crate::{
    api::messages::{Action, ActionOptions, MessageDetail, Resolved, ResolvedOutcome},
    console::{
        answer::{Answer, redirect, render},
        extract::{Form, Parameters, Segment},
        live,
        page::{Page, SignedIn, shown, shown_up_to},
        parameters::address,
    },
    model::{
        Attempt, CompanyId, Function, Message, Status,
        access::{Activity, Area},
        message::{Recipient, RecipientStatus},
        resolution::Step,
    },
    service::{Caller, HttpProblem, Service},
};

/// Maximum number of recipients that are listed.
const RECIPIENTS: usize = 100;
/// Maximum number of attempts that are listed, the newest ones.
const ATTEMPTS: usize = 40;
/// Maximum size of a reply in the list of recipients and of attempts, in characters.
const REPLY: usize = 300;

/// The page.
#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    page: Page,
    subject: String,
    /// The address of the updates; none for a message that is finished.
    live: Option<String>,
    /// The rendered [`MessageContents`].
    contents: Safe<String>,
}

/// The part of the page that is sent again when it has changed.
#[derive(Template)]
#[template(path = "message_content.html")]
struct MessageContents {
    page: Page,
    id: String,
    subject: String,
    status: &'static str,
    company: CompanyId,
    function: Function,
    message_id: String,
    document: Option<String>,
    size: u64,
    by: String,
    accepted_at: Timestamp,
    requeued_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    next_attempt_at: Option<Timestamp>,
    profile: String,
    generation: u64,
    reason: String,
    possible_duplicate: bool,
    sent_again: bool,
    /// The person who sends the message from their own client.
    sender: Option<String>,
    /// The end of the person's time: that of the lease, or of the message.
    sender_due: Option<Timestamp>,
    steps: Vec<StepRow>,
    waiting: Option<WaitView>,
    is_final: bool,
    recipients: Vec<RecipientRow>,
    more_recipients: usize,
    attempts: Vec<AttemptRow>,
    more_attempts: usize,
    /// The action that was just done.
    done: Option<&'static str>,
    actions: Actions,
}

/// The actions that the caller may use now.
struct Actions {
    retry: bool,
    cancel: bool,
    replay: bool,
    /// True if a replay goes to recipients that have the message.
    replay_all: bool,
    resolve: bool,
}

impl Actions {
    fn new(message: &Message, caller: &Caller) -> Self {
        let status = message.status;
        let may =
            |activity| caller.may(Area::Outbox, activity, Some(&message.company), Some(message.function)).is_allowed();
        Self {
            retry: status == Status::Queued && may(Activity::Retry),
            cancel: matches!(status, Status::Queued | Status::AwaitingSender) && may(Activity::Cancel),
            replay: matches!(status, Status::Failed | Status::Unknown) && may(Activity::Replay),
            replay_all: status.is_final() && may(Activity::Replay),
            resolve: status == Status::Unknown && may(Activity::Resolve),
        }
    }

    fn any(&self) -> bool {
        self.retry || self.cancel || self.replay_all || self.resolve
    }
}

/// A step of a resolution.
pub(super) struct StepRow {
    pub(super) function: Function,
    pub(super) company: Option<CompanyId>,
    pub(super) found: Option<String>,
    pub(super) passed_over: Vec<(String, &'static str)>,
}

impl StepRow {
    pub(super) fn new(step: &Step) -> Self {
        use crate::model::resolution::PassedOverBecause as Because;
        let passed_over = step.passed_over.iter().take(5).map(|passed| {
            let because = match passed.because {
                Because::Disabled => "disabled",
                Because::OtherClient => "other-client",
                Because::NameComesLater => "name-comes-later",
            };
            (passed.profile.to_string(), because)
        });
        Self {
            function: step.function,
            company: step.company.clone(),
            found: step.found.as_ref().map(ToString::to_string),
            passed_over: passed_over.collect(),
        }
    }
}

struct RecipientRow {
    address: String,
    status: &'static str,
    reply: String,
}

impl RecipientRow {
    fn new(recipient: &Recipient) -> Self {
        Self {
            address: shown_up_to(&recipient.address, 100),
            status: match recipient.status {
                RecipientStatus::Waiting => "waiting",
                RecipientStatus::Delivered => "delivered",
                RecipientStatus::Failed => "failed",
                RecipientStatus::Unknown => "unknown",
            },
            reply: shown_up_to(&recipient.reply, REPLY),
        }
    }
}

struct AttemptRow {
    number: u32,
    at: Timestamp,
    milliseconds: u64,
    profile: String,
    server: String,
    phase: String,
    class: &'static str,
    reply: String,
    next_attempt_at: Option<Timestamp>,
}

impl AttemptRow {
    fn new(attempt: &Attempt) -> Self {
        Self {
            number: attempt.number,
            at: attempt.at,
            milliseconds: attempt.milliseconds,
            profile: attempt.profile.to_string(),
            server: shown_up_to(&attempt.server, 100),
            phase: shown_up_to(&attempt.phase, 20),
            class: attempt.class.id(),
            reply: shown_up_to(&attempt.reply, REPLY),
            next_attempt_at: attempt.next_attempt_at,
        }
    }
}

/// The parameters of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Done {
    pub(super) done: String,
}

/// Shows the page.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<Uuid>,
    Parameters(Done { done }): Parameters<Done>,
) -> Answer {
    let contents = read(&service, &caller, page.clone(), id, &done).await?;
    let (subject, is_final) = (contents.subject.clone(), contents.is_final);
    let live = (!is_final).then(|| address(&format!("/console/outbox/{id}/live"), [("done", done.as_str())]));
    let contents = Safe(contents.render().map_err(HttpProblem::internal)?);
    render(&MessagePage { page, subject, live, contents })
}

/// Sends the contents whenever they have changed, until the session ends.
pub(in crate::console) async fn follow(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<Uuid>,
    Parameters(Done { done }): Parameters<Done>,
) -> Result<Response, HttpProblem> {
    service.message_detail(&caller, id).await?;
    let own = (Arc::clone(&service), caller.clone());
    live::follow(&service, &caller, move || {
        let ((service, caller), page, done) = (own.clone(), page.clone(), done.clone());
        async move { read(&service, &caller, page, id, &done).await?.render().map_err(HttpProblem::internal) }
    })
}

async fn read(
    service: &Service,
    caller: &Caller,
    page: Page,
    id: Uuid,
    done: &str,
) -> Result<MessageContents, HttpProblem> {
    let MessageDetail { message, history, waiting } = service.message_detail(caller, id).await?;
    let actions = Actions::new(&message, caller);
    let (sender, sender_due) = (message.sender.as_ref().map(|sender| shown(&sender.describe())), message.sender_due());
    let waiting = waiting.map(|waiting| WaitView::new(service, caller, &page, &message, waiting));
    let document = message.document.map(|document| shown_up_to(&format!("{} {}", document.kind, document.number), 140));
    Ok(MessageContents {
        id: message.id.to_string(),
        subject: shown_up_to(&message.subject, 300),
        status: message.status.id(),
        company: message.company,
        function: message.function,
        message_id: shown_up_to(&message.message_id, 300),
        document,
        size: message.size,
        by: shown(&message.by),
        accepted_at: message.accepted_at,
        requeued_at: message.requeued_at,
        finished_at: message.finished_at,
        // One that is due waits for something else.
        next_attempt_at: message.next_attempt_at.filter(|at| *at > service.now()),
        profile: message.profile.to_string(),
        generation: message.generation,
        reason: shown_up_to(&message.reason, 1000),
        possible_duplicate: message.possible_duplicate,
        sent_again: message.sent_again,
        sender,
        sender_due,
        steps: message.resolution.steps.iter().map(StepRow::new).collect(),
        waiting,
        is_final: message.status.is_final(),
        recipients: message.recipients.iter().take(RECIPIENTS).map(RecipientRow::new).collect(),
        more_recipients: message.recipients.len().saturating_sub(RECIPIENTS),
        attempts: history.iter().rev().take(ATTEMPTS).map(AttemptRow::new).collect(),
        more_attempts: history.len().saturating_sub(ATTEMPTS),
        done: ["retry", "cancel", "replay", "resolve", "test"].into_iter().find(|action| *action == done),
        actions,
        page,
    })
}

/// Sends a queued message now.
pub(in crate::console) async fn retry(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<Uuid>,
) -> Result<Response, HttpProblem> {
    service.apply_action(&caller, id, Action::Retry, ActionOptions::default()).await?;
    Ok(back(&page, id, "retry"))
}

/// Cancels a queued message.
pub(in crate::console) async fn cancel(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<Uuid>,
) -> Result<Response, HttpProblem> {
    service.apply_action(&caller, id, Action::Cancel, ActionOptions::default()).await?;
    Ok(back(&page, id, "cancel"))
}

/// The form of a replay.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Replay {
    /// `yes` if the message is also sent to recipients that have it.
    again: String,
}

/// Puts a message back into the queue.
pub(in crate::console) async fn replay(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<Uuid>,
    Form(Replay { again }): Form<Replay>,
) -> Result<Response, HttpProblem> {
    let options = ActionOptions { all_recipients: again == "yes" };
    service.apply_action(&caller, id, Action::Replay, options).await?;
    Ok(back(&page, id, "replay"))
}

/// The form of an outcome.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Outcome {
    outcome: ResolvedOutcome,
    reason: String,
}

/// Sets the outcome of an unknown message.
pub(in crate::console) async fn resolve(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<Uuid>,
    Form(Outcome { outcome, reason }): Form<Outcome>,
) -> Result<Response, HttpProblem> {
    service.resolve_message(&caller, id, Resolved { outcome, reason }).await?;
    Ok(back(&page, id, "resolve"))
}

fn back(page: &Page, id: Uuid, done: &str) -> Response {
    redirect(&format!("{}/console/outbox/{id}?done={done}", page.base))
}
