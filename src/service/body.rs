//! Reading what is submitted: bodies that are large, slow or never end hold up nobody else.
//!
//! A body takes room when the first part of it has arrived, and not when it is announced; large ones wait for each other.
//! While a message is made of it there are two of it, and for that there is less room. One that stops arriving is given up,
//! and one token cannot take every place.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{body::Body, http::StatusCode};
use futures_core::Stream as _;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};

use super::{Service, access::Caller, limits::WORK, problem::Problem};
use crate::{api::messages::SUBMISSION_LIMIT, model::Code};

/// How much of a body needs no room.
const FREE: usize = 64 * 1024;
/// How long a body may take to bring its next part.
const IDLE: Duration = Duration::from_secs(10);
/// How much that is at least, unless the body ends.
const PART: usize = 16 * 1024;
/// How many bodies of one token are read at once.
const OF_ONE: usize = 128;

/// Who is being read from.
#[derive(Default)]
pub(super) struct Reading {
    by_token: Mutex<HashMap<String, usize>>,
}

/// The room that a submission has taken, for as long as this lives; a small one needs none.
#[derive(Default)]
pub(super) struct Room {
    _read: Option<OwnedSemaphorePermit>,
    _work: Option<OwnedSemaphorePermit>,
}

/// A body that is being read counts for its token for as long as this lives.
struct Place<'a> {
    reading: &'a Reading,
    token: &'a str,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut by_token = self.reading.by_token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_token.get_mut(self.token) {
            *count -= 1;
            if *count == 0 {
                by_token.remove(self.token);
            }
        }
    }
}

impl Reading {
    fn place<'a>(&'a self, token: &'a str) -> Result<Place<'a>, Problem> {
        let mut by_token = self.by_token.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_token.entry(token.to_owned()).or_default();
        if *count >= OF_ONE {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                Code::Busy,
                format!("{OF_ONE} submissions of this token are still arriving"),
            )
            .remedy("Let some of them end, and try again."));
        }
        *count += 1;
        drop(by_token);
        Ok(Place { reading: self, token })
    }
}

impl Service {
    /// Reads a submission, and waits until something may be made of it.
    pub(super) async fn read_submission(
        &self,
        caller: &Caller,
        stated: Option<usize>,
        body: Body,
    ) -> Result<(Vec<u8>, Room), Problem> {
        if stated.is_some_and(|stated| stated > SUBMISSION_LIMIT) {
            return Err(too_large());
        }
        let _place = self.reading.place(&caller.name)?;
        let mut parts = body.into_data_stream();
        let mut bytes = Vec::with_capacity(stated.unwrap_or_default().min(FREE));
        let mut room = None;
        let (mut until, mut at_last) = (Instant::now() + IDLE, 0);
        loop {
            let part = std::future::poll_fn(|context| Pin::new(&mut parts).poll_next(context));
            let part = match timeout_at(until, part).await {
                Err(_) => return Err(too_slow()),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(Problem::malformed("the body broke off")),
                Ok(Some(Ok(part))) => part,
            };
            if bytes.len() + part.len() > SUBMISSION_LIMIT {
                return Err(too_large());
            }
            bytes.extend_from_slice(&part);
            if room.is_none() && bytes.len() > FREE {
                // All that it may become, at once: two that wait for each other in the middle would wait for ever.
                let kibibytes = u32::try_from(stated.unwrap_or(SUBMISSION_LIMIT) / 1024 + 1).unwrap_or(u32::MAX);
                room = Arc::clone(&self.limits.room).acquire_many_owned(kibibytes).await.ok();
                bytes.reserve(stated.unwrap_or_default().saturating_sub(bytes.len()));
                (until, at_last) = (Instant::now() + IDLE, bytes.len());
            }
            if bytes.len() - at_last >= PART {
                (until, at_last) = (Instant::now() + IDLE, bytes.len());
            }
        }
        if stated.is_some_and(|stated| stated != bytes.len()) {
            return Err(Problem::malformed("the body broke off"));
        }
        let work = match &room {
            Some(_) => {
                let kibibytes = u32::try_from((bytes.len() / 1024 + 1).min(WORK)).unwrap_or(u32::MAX);
                Arc::clone(&self.limits.work).acquire_many_owned(kibibytes).await.ok()
            }
            None => None,
        };
        Ok((bytes, Room { _read: room, _work: work }))
    }
}

fn too_slow() -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        Code::Busy,
        format!("the body stopped arriving: less than {} KiB in {} s", PART / 1024, IDLE.as_secs()),
    )
    .remedy("Nothing was accepted. Try again.")
}

fn too_large() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        Code::MessageTooLarge,
        format!("the submission has more than {} MiB", SUBMISSION_LIMIT / 1024 / 1024),
    )
    .remedy("Send less, or a link to it.")
}
