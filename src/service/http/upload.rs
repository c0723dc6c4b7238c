//! Reading bodies: those that are large, slow or never end hold up no other, and all of them fit into memory together.
//!
//! A body takes room when the first part of it has arrived, and not when it is announced; large ones wait for each other.
//! While something is made of it there are two of it, and for that there is less room. One that stops arriving is given up,
//! and one token cannot take every place. Submissions, documents (changesets, profiles) and requests for runs of the verifier
//! have rooms of their own, so that none waits for the others.

use std::{pin::Pin, sync::Arc, time::Duration};

use axum::body::Body;
use futures_core::Stream as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::HttpProblem;
use crate::{
    api::{BODY_LIMIT, messages::SUBMISSION_LIMIT},
    model::Code,
    service::{
        Service,
        access::Caller,
        caller_limit::{CallerLimit, Turn},
        limits::Limits,
    },
};

/// How much of a body needs no room.
const FREE: usize = 64 * 1024;
/// How long a body may take to bring its next part.
const IDLE: Duration = Duration::from_secs(10);
/// How much that is at least, unless the body ends.
const PART: usize = 16 * 1024;
/// How many submissions of one token are read at once, at most; where there are few connections, a quarter of them.
const SUBMISSIONS: usize = 128;
/// How many documents of one token are read and worked on at once; of large ones, one.
const DOCUMENTS: usize = 32;

/// Room in memory for bodies of one kind, in KiB.
#[derive(Clone)]
pub(in crate::service) struct Rooms {
    /// For those that arrive, beyond what each has for nothing.
    arriving: Arc<Semaphore>,
    /// For those of which something is made.
    work: Arc<Semaphore>,
    /// All of the latter: a body that is larger has all of it.
    work_limit: usize,
}

impl Rooms {
    pub(in crate::service) fn new(arriving: usize, work: usize) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { arriving: places(arriving), work: places(work), work_limit: work }
    }
}

/// A kind of bodies, and how much of it a service reads at once.
pub(in crate::service) struct Kind {
    rooms: Rooms,
    of_one: Arc<CallerLimit>,
    limit: usize,
    /// Whether large ones of one token wait for each other before they take room.
    one_by_one: bool,
    too_large: fn() -> HttpProblem,
}

/// The bodies that a service reads.
pub(in crate::service) struct Bodies {
    pub(in crate::service) submissions: Kind,
    pub(in crate::service) documents: Kind,
    pub(in crate::service) runs: Kind,
}

impl Bodies {
    /// Limits for a process that keeps at most `connections` connections.
    pub(in crate::service) fn new(limits: &Limits, connections: usize) -> Self {
        let documents = |rooms: &Rooms, what| Kind {
            rooms: rooms.clone(),
            of_one: CallerLimit::new(DOCUMENTS, what),
            limit: BODY_LIMIT,
            one_by_one: true,
            too_large: || {
                HttpProblem::new(
                    Code::TooLarge,
                    format!("the body has more than {} MiB", BODY_LIMIT / 1024 / 1024),
                )
                .remedy("Apply in parts: `mailwright apply ENV --only NAME`, where `--only` may be given many times and takes patterns.")
            },
        };
        Self {
            submissions: Kind {
                rooms: limits.submissions.clone(),
                of_one: CallerLimit::new(SUBMISSIONS.min(connections / 4).max(1), "submissions"),
                limit: SUBMISSION_LIMIT,
                one_by_one: false,
                too_large: || {
                    HttpProblem::new(
                        Code::MessageTooLarge,
                        format!("the submission has more than {} MiB", SUBMISSION_LIMIT / 1024 / 1024),
                    )
                    .remedy("Send less, or a link to it.")
                },
            },
            documents: documents(&limits.documents, "documents"),
            runs: documents(&limits.runs, "requests for runs of the verifier"),
        }
    }
}

/// The room that a body has taken, for as long as this lives; a small one needs none.
pub(in crate::service) struct Room {
    _turn: Option<Turn>,
    _alone: Option<OwnedSemaphorePermit>,
    _arriving: Option<OwnedSemaphorePermit>,
    _work: Option<OwnedSemaphorePermit>,
}

impl Service {
    /// Reads a submission, and waits until something may be made of it.
    pub(in crate::service) async fn read_submission(
        &self,
        caller: &Caller,
        stated: Option<usize>,
        body: Body,
    ) -> Result<(Vec<u8>, Room), HttpProblem> {
        let (bytes, room) = self.bodies.submissions.read(caller, stated, body).await?;
        // What is made of it takes no time worth limiting.
        Ok((bytes, Room { _turn: None, ..room }))
    }
}

impl Kind {
    /// Reads a body, and waits until something may be made of it.
    pub(in crate::service) async fn read(
        &self,
        caller: &Caller,
        stated: Option<usize>,
        body: Body,
    ) -> Result<(Vec<u8>, Room), HttpProblem> {
        if stated.is_some_and(|stated| stated > self.limit) {
            return Err((self.too_large)());
        }
        let turn = self.of_one.enter(caller)?;
        let mut parts = body.into_data_stream();
        let mut bytes = Vec::with_capacity(stated.unwrap_or_default().min(FREE));
        let (mut alone, mut arriving) = (None, None);
        let (mut until, mut at_last) = (Instant::now() + IDLE, 0);
        loop {
            let part = std::future::poll_fn(|context| Pin::new(&mut parts).poll_next(context));
            let part = match timeout_at(until, part).await {
                Err(_) => return Err(too_slow()),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(HttpProblem::malformed("the body broke off")),
                Ok(Some(Ok(part))) => part,
            };
            if bytes.len() + part.len() > self.limit {
                return Err((self.too_large)());
            }
            bytes.extend_from_slice(&part);
            if arriving.is_none() && bytes.len() > FREE {
                if self.one_by_one {
                    alone = turn.alone().await;
                }
                // All that it may become, at once: two that wait for each other in the middle would wait for ever.
                let kibibytes = u32::try_from(stated.unwrap_or(self.limit) / 1024 + 1).unwrap_or(u32::MAX);
                arriving = Arc::clone(&self.rooms.arriving).acquire_many_owned(kibibytes).await.ok();
                bytes.reserve(stated.unwrap_or_default().saturating_sub(bytes.len()));
                (until, at_last) = (Instant::now() + IDLE, bytes.len());
            }
            if bytes.len() - at_last >= PART {
                (until, at_last) = (Instant::now() + IDLE, bytes.len());
            }
        }
        if stated.is_some_and(|stated| stated != bytes.len()) {
            return Err(HttpProblem::malformed("the body broke off"));
        }
        let work = match &arriving {
            Some(_) => {
                let kibibytes = u32::try_from((bytes.len() / 1024 + 1).min(self.rooms.work_limit)).unwrap_or(u32::MAX);
                Arc::clone(&self.rooms.work).acquire_many_owned(kibibytes).await.ok()
            }
            None => None,
        };
        Ok((bytes, Room { _turn: Some(turn), _alone: alone, _arriving: arriving, _work: work }))
    }
}

fn too_slow() -> HttpProblem {
    HttpProblem::timed_out(format!("the body stopped arriving: less than {} KiB in {} s", PART / 1024, IDLE.as_secs()))
        .remedy("Nothing was accepted. Try again.")
}
