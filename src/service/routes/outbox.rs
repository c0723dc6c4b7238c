//! How delivery stands, what is held, and what happens.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event as SseEvent, KeepAlive},
    },
};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::{
    api::messages::{HoldList, NewHold, OutboxStatus},
    delivery::Trouble,
    model::{AuditOutcome, Code, Hold},
    service::{
        Service,
        access::{Admin, As, Caller, Deployer, Reader, Viewer},
        http::extract::{Body, Parameters, Segment},
        http::{AnyProblem, HttpProblem},
    },
    store::{AuditEvent, outbox::Event},
    telemetry,
};

/// How many events are read at once.
const PAGE: u32 = 200;
/// How often a stream says that it lives, and asks whether its token still holds.
const CHECK_EVERY: Duration = Duration::from_secs(15);
/// How long a client may take to make room for the next event.
const PATIENCE: Duration = Duration::from_secs(30);

/// How far to look back.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Lately {
    /// Count also what came to its end within so many seconds, 30 days at most.
    #[param(minimum = 1, maximum = 2_592_000)]
    over: Option<u32>,
}

/// How delivery stands
#[utoipa::path(get, path = "/v1/outbox", tag = "mail", params(Lately),
    responses((status = 200, description = "Counts, parked profiles, holds.", body = OutboxStatus), AnyProblem))]
pub(super) async fn status(
    As(caller, _): As<Viewer>,
    State(service): State<Arc<Service>>,
    Parameters(lately): Parameters<Lately>,
) -> Result<Json<OutboxStatus>, HttpProblem> {
    let ended = match lately.over {
        None => None,
        Some(over @ 1..=2_592_000) => {
            let since = service.delivery.now().as_millisecond() - i64::from(over) * 1000;
            let store = Arc::clone(&service.store);
            let counted = service.search(&caller, async move { store.ended_since(since).await }).await?;
            Some(counted.into_iter().collect())
        }
        Some(_) => return Err(HttpProblem::malformed("`over` is 1 to 2592000 seconds")),
    };
    let messages: BTreeMap<_, _> = service.store.counts().await?.into_iter().collect();
    let Trouble { parked, down, records, rotations } = service.delivery.trouble();
    let (restored, holds) = (service.restored(), service.delivery.holds());
    Ok(Json(OutboxStatus { messages, ended, parked, down, restored, holds, records, rotations }))
}

/// Confirm a restore from a backup
///
/// The administrator has seen to the messages that are unknown since. Mail is accepted from now on.
#[utoipa::path(post, path = "/v1/outbox/confirm-restore", tag = "mail",
    responses((status = 204, description = "Confirmed, now or before."), AnyProblem))]
pub(super) async fn confirm_restore(
    As(caller, _): As<Admin>,
    State(service): State<Arc<Service>>,
) -> Result<StatusCode, HttpProblem> {
    let Some(restored) = service.restored() else { return Ok(StatusCode::NO_CONTENT) };
    let event = AuditEvent {
        at: service.clock.now(),
        actor: caller.name,
        action: "store.restore-confirmed",
        outcome: AuditOutcome::Accepted,
        detail: json!({ "why": restored.why, "noticedAt": restored.noticed_at }),
    };
    service.store.confirm_restore(event).await?;
    *service.restored.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    tracing::info!("the restore is confirmed; mail is accepted again");
    Ok(StatusCode::NO_CONTENT)
}

/// The holds
#[utoipa::path(get, path = "/v1/holds", tag = "mail", responses((status = 200, description = "The holds.", body = HoldList), AnyProblem))]
pub(super) async fn holds(_: As<Viewer>, State(service): State<Arc<Service>>) -> Json<HoldList> {
    Json(HoldList { holds: service.delivery.holds() })
}

/// Hold mail
///
/// Nothing leaves of the profile, the company and the function that are named, until the hold is removed or lapses. Its
/// clock stands still meanwhile.
#[utoipa::path(post, path = "/v1/holds", tag = "mail", request_body = NewHold,
    responses((status = 201, description = "It is held.", body = Hold), AnyProblem))]
pub(super) async fn hold(
    As(caller, _): As<Deployer>,
    State(service): State<Arc<Service>>,
    Body(wanted, _room): Body<NewHold>,
) -> Result<Response, HttpProblem> {
    let reason = wanted.reason.trim();
    if reason.is_empty() || reason.chars().count() > 200 || reason.chars().any(char::is_control) {
        return Err(HttpProblem::malformed("a hold has a reason of 1 to 200 characters"));
    }
    let now = service.delivery.now();
    if wanted.until.is_some_and(|until| until <= now) {
        return Err(HttpProblem::malformed("`until` lies in the past"));
    }
    let state = service.state();
    let missing = |what: String| {
        HttpProblem::new(Code::HoldTargetMissing, what).remedy(
            "Nothing is held. Correct the name; `mailwright resolve ENV` shows companies, functions and profiles.",
        )
    };
    if let Some(company) = wanted.company.as_ref().filter(|company| !state.settings.companies.contains(*company)) {
        return Err(missing(format!("the environment has no company `{company}`")));
    }
    if let Some(name) = wanted.profile.as_ref().filter(|name| state.live().all(|(own, _)| own != *name)) {
        return Err(missing(format!("there is no profile `{name}`")));
    }
    let id = Uuid::now_v7().simple().to_string();
    let hold = Hold {
        id: id.chars().skip(20).collect(),
        profile: wanted.profile,
        company: wanted.company,
        function: wanted.function,
        reason: reason.to_owned(),
        owner: caller.name.clone(),
        since: now,
        until: wanted.until,
    };
    let event = AuditEvent {
        at: service.clock.now(),
        actor: caller.name,
        action: "hold.create",
        outcome: AuditOutcome::Accepted,
        detail: json!(hold),
    };
    service.store.set_hold(hold.id.clone(), Some(hold.clone()), event).await?;
    service.delivery.holds_changed().await?;
    Ok((StatusCode::CREATED, Json(hold)).into_response())
}

/// Remove a hold
#[utoipa::path(delete, path = "/v1/holds/{id}", tag = "mail", params(("id" = String, Path, description = "The hold's id.")),
    responses((status = 204, description = "It is removed."), AnyProblem))]
pub(super) async fn release(
    As(caller, _): As<Deployer>,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<String>,
) -> Result<StatusCode, HttpProblem> {
    let event = AuditEvent {
        at: service.clock.now(),
        actor: caller.name,
        action: "hold.remove",
        outcome: AuditOutcome::Accepted,
        detail: json!({ "id": id }),
    };
    if !service.store.set_hold(id, None, event).await? {
        return Err(HttpProblem::not_found("there is no such hold").remedy("`mailwright outbox ENV holds` lists them."));
    }
    service.delivery.holds_changed().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where to begin.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Since {
    /// The number of the last event that is known; without it, what happens from now on.
    after: Option<u64>,
}

/// What happens, as it happens
///
/// Server-sent events. Each has its number as id; a client that comes back with `Last-Event-ID` misses nothing. A sender
/// follows what its own token submitted. The stream ends when its token is revoked or ends; a token hears 16 at once.
#[utoipa::path(get, path = "/v1/events", tag = "mail", params(Since, ("Last-Event-ID" = Option<u64>, Header, description = "The number of the last event that is known.")),
    responses((status = 200, description = "The events.", body = Event, content_type = "text/event-stream"), AnyProblem))]
pub(super) async fn events(
    Reader(caller): Reader,
    State(service): State<Arc<Service>>,
    Parameters(since): Parameters<Since>,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let after = match last.or(since.after) {
        Some(after) => after,
        None => service.store.newest_event().await?,
    };
    let turn = service.streams.enter(&caller)?;
    let (sender, receiver) = mpsc::channel::<Result<SseEvent, Infallible>>(PAGE as usize);
    telemetry::spawn(async move {
        let _turn = turn;
        stream(service, caller, after, sender).await;
    });
    let events = Received(receiver);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(CHECK_EVERY)).into_response())
}

/// Reads the store for what was missed, page by page, then waits for more. The store is the truth: a listener that is too
/// slow reads it again. Before each page it is asked whether the caller may still hear it.
async fn stream(
    service: Arc<Service>,
    caller: Caller,
    mut after: u64,
    sender: mpsc::Sender<Result<SseEvent, Infallible>>,
) {
    let mut news = service.delivery.events();
    let mut stopping = service.stopping.subscribe();
    let mut tokens = service.token_changes.subscribe();
    loop {
        if !service.still_admits(&caller).await {
            return;
        }
        let Ok(events) = service.store.events(after, PAGE).await else { return };
        let is_full = events.len() == PAGE as usize;
        for event in events {
            after = event.number;
            if !caller.may_follow(&event.event) {
                continue;
            }
            let Ok(data) = serde_json::to_string(&event) else { return };
            let event = SseEvent::default().id(event.number.to_string()).event(event.event.kind.id()).data(data);
            if sender.send_timeout(Ok(event), PATIENCE).await.is_err() {
                return;
            }
        }
        // More is there already, and is not to wait for something new.
        if is_full {
            continue;
        }
        tokio::select! {
            _ = news.recv() => {}
            _ = tokens.changed() => {}
            () = tokio::time::sleep(CHECK_EVERY) => {}
            () = sender.closed() => return,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// Events as they come in.
struct Received(mpsc::Receiver<Result<SseEvent, Infallible>>);

impl futures_core::Stream for Received {
    type Item = Result<SseEvent, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
