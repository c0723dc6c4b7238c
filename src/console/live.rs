//! Live updates: [`follow`] sends a part of a page again whenever it has changed, as server-sent events.
//!
//! The part is rendered here, and not asked for by the browser: requests of a page that is only open would keep its session
//! alive.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::response::{
    IntoResponse as _, Response, Sse,
    sse::{Event, KeepAlive},
};
use tokio::sync::mpsc;

use crate::{
    service::{Caller, HttpProblem, OutboxFeed, Received, Service},
    telemetry,
};

/// Interval of keep-alive comments in a stream.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The pause after an update, as a multiple of the time that it took, so that open pages do not keep a large store busy.
const PAUSE: u32 = 4;
/// Maximum pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Time after which an unchanged part is sent again: a browser leaves one out while something in it has the focus.
const REPEATED: Duration = Duration::from_secs(30);
/// Maximum time that a browser takes to accept the next part.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends what `read` returns whenever that has changed, until the session ends.
pub(super) fn follow<F, R>(service: &Arc<Service>, caller: &Caller, read: F) -> Result<Response, HttpProblem>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<String, HttpProblem>> + Send + 'static,
{
    let feed = service.follow_outbox(caller)?;
    let (sender, receiver) = mpsc::channel(1);
    telemetry::spawn(send_parts(feed, read, sender));
    Ok(Sse::new(Received(receiver)).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

async fn send_parts<F, R>(mut feed: OutboxFeed, read: F, sender: mpsc::Sender<Result<Event, Infallible>>)
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<String, HttpProblem>> + Send + 'static,
{
    let mut last: Option<(Instant, String)> = None;
    while feed.changed().await && !sender.is_closed() {
        let began = Instant::now();
        let part = read().await;
        let took = began.elapsed();
        // A store that is busy is asked again at the next change.
        let Ok(html) = part else { continue };
        let is_same = |(at, sent): &(Instant, String)| at.elapsed() < REPEATED && *sent == html;
        if !last.as_ref().is_some_and(is_same) {
            if sender.send_timeout(Ok(Event::default().data(&html)), SEND_TIMEOUT).await.is_err() {
                return;
            }
            last = Some((Instant::now(), html));
        }
        tokio::time::sleep((took * PAUSE).min(LONGEST_PAUSE)).await;
    }
}
