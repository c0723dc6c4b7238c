//! `GET /v1/events`: a stream of the outbox's events as server-sent events, from a given number on.
//!
//! A caller gets the events that it may see, for as long as its credential is valid. A token can have 16 streams; a further one is
//! refused. A client that does not accept an event within 30 seconds is disconnected. The stream also ends when the store cannot be
//! read or the service stops. In each case a client can continue after the last number, as long as the store keeps the events
//! (`delivery.keep.delivered`).

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event as SseEvent, KeepAlive},
    },
};
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::IntoParams;

use crate::{
    service::{
        Service,
        access::MailReader,
        caller::Caller,
        http::{AnyProblem, HttpProblem, Received, extract::Parameters},
    },
    store::outbox::Event,
    telemetry,
};

/// Number of events that are read from the store together.
const PAGE: u32 = 200;
/// Interval of keep-alive comments, and of checks that the credential is still valid.
const CHECK_EVERY: Duration = Duration::from_secs(15);
/// Maximum time that a client takes to accept the next event.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Parameters of the event stream.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct EventParameters {
    /// Send events after this number; without it, events from now on.
    after: Option<u64>,
}

/// Stream events
///
/// Server-sent events. The id of an event is its number: a client that reconnects with `Last-Event-ID` misses no event. A sender gets
/// the events of its own messages. The stream ends when the token is revoked or expires. A token can have 16 streams.
#[utoipa::path(get, path = "/v1/events", tag = "mail", params(EventParameters, ("Last-Event-ID" = Option<u64>, Header, description = "The number of the last event that the client received.")),
    responses((status = 200, description = "The events.", body = Event, content_type = "text/event-stream"), AnyProblem))]
pub(super) async fn stream_events(
    MailReader(caller): MailReader,
    State(service): State<Arc<Service>>,
    Parameters(parameters): Parameters<EventParameters>,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let after = match last.or(parameters.after) {
        Some(after) => after,
        None => service.store.newest_event().await?,
    };
    let permit = service.event_streams.acquire(&caller)?;
    let (sender, receiver) = mpsc::channel::<Result<SseEvent, Infallible>>(PAGE as usize);
    telemetry::spawn(async move {
        let _permit = permit;
        send_events(service, caller, after, sender).await;
    });
    Ok(Sse::new(Received(receiver)).keep_alive(KeepAlive::new().interval(CHECK_EVERY)).into_response())
}

/// Reads events from the store, page by page, and then waits for further ones. The notification only wakes the task; a slow client
/// misses no event, because the store has them. Before each page, the credential of the caller is checked.
async fn send_events(
    service: Arc<Service>,
    caller: Caller,
    mut after: u64,
    sender: mpsc::Sender<Result<SseEvent, Infallible>>,
) {
    let mut new_events = service.delivery.subscribe();
    let mut stopping = service.stopping.subscribe();
    let mut tokens = service.token_changes.subscribe();
    loop {
        if !service.is_still_authorized(&caller).await {
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
            if sender.send_timeout(Ok(event), SEND_TIMEOUT).await.is_err() {
                return;
            }
        }
        // Further events are already in the store.
        if is_full {
            continue;
        }
        tokio::select! {
            _ = new_events.recv() => {}
            _ = tokens.changed() => {}
            () = tokio::time::sleep(CHECK_EVERY) => {}
            () = sender.closed() => return,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}
