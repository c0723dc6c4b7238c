//! Request bodies: bounded buffering.
//!
//! A body reserves memory when its first chunk has arrived, not when it is announced; large bodies queue for it. While a body is
//! processed there are two copies of it, so processing has a budget of its own. Uploads that stall are aborted (less than 16 KiB
//! in 10 seconds: 408), and one caller cannot use the whole budget (429). A body that is too large is refused with 413, an
//! incomplete one with 400. Submissions, documents (changesets, profiles) and requests for verifier runs have separate budgets,
//! so that none waits for the others.
//!
//! [`BodyClasses`] has the limits of a service; [`BodyClass::read`] reads a body and returns it with its [`BodyPermit`].

use std::{pin::Pin, sync::Arc, time::Duration};

use axum::body::Body;
use futures_core::Stream as _;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};

use super::HttpProblem;
use crate::{
    api::{BODY_LIMIT, messages::SUBMISSION_LIMIT},
    model::Code,
    service::{
        Service,
        caller::Caller,
        caller_limit::{CallerLimit, CallerPermit},
        limits::Limits,
        memory_budget::MemoryBudget,
    },
};

/// Size up to which a body needs no permit, in bytes.
const UNRESERVED: usize = 64 * 1024;
/// Maximum time between two parts of a body.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Minimum size of a part, in bytes, unless the body ends.
const PART: usize = 16 * 1024;
/// Maximum number of concurrent submissions of one caller; with few connections, a quarter of them.
const SUBMISSIONS_PER_CALLER: usize = 128;
/// Maximum number of concurrent documents of one caller; large ones are read one at a time.
const DOCUMENTS_PER_CALLER: usize = 32;

/// A class of bodies with its limits.
pub(in crate::service) struct BodyClass {
    budget: MemoryBudget,
    per_caller: Arc<CallerLimit>,
    /// Maximum size of a body, in bytes.
    limit: usize,
    /// True if large bodies of one caller wait for each other before they reserve memory; otherwise they wait before they are
    /// processed.
    is_serial: bool,
    too_large: fn() -> HttpProblem,
}

/// The classes of bodies that a service reads.
pub(in crate::service) struct BodyClasses {
    pub(in crate::service) submissions: BodyClass,
    pub(in crate::service) documents: BodyClass,
    pub(in crate::service) runs: BodyClass,
}

impl BodyClasses {
    /// Creates the limits of a process with at most `connections` connections.
    pub(in crate::service) fn new(limits: &Limits, connections: usize) -> Self {
        let documents = |budget: &MemoryBudget, noun| BodyClass {
            budget: budget.clone(),
            per_caller: CallerLimit::new(DOCUMENTS_PER_CALLER, noun),
            limit: BODY_LIMIT,
            is_serial: true,
            too_large: || {
                HttpProblem::new(
                    Code::TooLarge,
                    format!("the body has more than {} MiB", BODY_LIMIT / 1024 / 1024),
                )
                .remedy("Apply in parts: `mailwright apply ENV --only NAME`. `--only` can be repeated and accepts patterns.")
            },
        };
        Self {
            submissions: BodyClass {
                budget: limits.submissions.clone(),
                per_caller: CallerLimit::new(SUBMISSIONS_PER_CALLER.min(connections / 4).max(1), "submissions"),
                limit: SUBMISSION_LIMIT,
                is_serial: false,
                too_large: || {
                    HttpProblem::new(
                        Code::MessageTooLarge,
                        format!("the submission has more than {} MiB", SUBMISSION_LIMIT / 1024 / 1024),
                    )
                    .remedy("Send smaller attachments, or links to them.")
                },
            },
            documents: documents(&limits.documents, "documents"),
            runs: documents(&limits.runs, "requests for verifier runs"),
        }
    }
}

/// The places and memory that a body occupies; dropping this frees them. A small body occupies a place only.
pub(in crate::service) struct BodyPermit {
    _caller: Option<CallerPermit>,
    exclusive: Option<OwnedSemaphorePermit>,
    _arriving: Option<OwnedSemaphorePermit>,
    _processing: Option<OwnedSemaphorePermit>,
}

impl BodyPermit {
    /// Creates the permit of a request without a body of its own.
    pub(in crate::service) fn none() -> Self {
        Self { _caller: None, exclusive: None, _arriving: None, _processing: None }
    }
}

impl Service {
    /// Reads a submission, and waits until it may be processed. Large ones of a caller are processed one at a time.
    pub(in crate::service) async fn read_submission(
        &self,
        caller: &Caller,
        length: Option<usize>,
        body: Body,
    ) -> Result<(Vec<u8>, BodyPermit), HttpProblem> {
        let (bytes, permit) = self.bodies.submissions.read(caller, length, body).await?;
        // A small body is processed quickly, so the limit per caller ends here.
        let is_small = permit.exclusive.is_none();
        Ok((bytes, if is_small { BodyPermit { _caller: None, ..permit } } else { permit }))
    }
}

impl BodyClass {
    /// Reads a body of the given `Content-Length`, and waits until it may be processed.
    pub(in crate::service) async fn read(
        &self,
        caller: &Caller,
        length: Option<usize>,
        body: Body,
    ) -> Result<(Vec<u8>, BodyPermit), HttpProblem> {
        if length.is_some_and(|length| length > self.limit) {
            return Err((self.too_large)());
        }
        let permit = self.per_caller.acquire(caller)?;
        let mut parts = body.into_data_stream();
        let mut bytes = Vec::with_capacity(length.unwrap_or_default().min(UNRESERVED));
        let (mut exclusive, mut arriving) = (None, None);
        let (mut deadline, mut part_start) = (Instant::now() + STALL_TIMEOUT, 0);
        loop {
            let part = std::future::poll_fn(|context| Pin::new(&mut parts).poll_next(context));
            let part = match timeout_at(deadline, part).await {
                Err(_) => return Err(stalled()),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(HttpProblem::malformed("the body is incomplete")),
                Ok(Some(Ok(part))) => part,
            };
            if bytes.len() + part.len() > self.limit {
                return Err((self.too_large)());
            }
            bytes.extend_from_slice(&part);
            if arriving.is_none() && bytes.len() > UNRESERVED {
                if self.is_serial {
                    exclusive = permit.acquire_exclusive().await;
                }
                // The whole size at once: two bodies that each hold a part and wait for more would deadlock.
                let kibibytes = u32::try_from(length.unwrap_or(self.limit) / 1024 + 1).unwrap_or(u32::MAX);
                arriving = self.budget.reserve_arriving(kibibytes).await;
                bytes.reserve(length.unwrap_or_default().saturating_sub(bytes.len()));
                (deadline, part_start) = (Instant::now() + STALL_TIMEOUT, bytes.len());
            }
            if bytes.len() - part_start >= PART {
                (deadline, part_start) = (Instant::now() + STALL_TIMEOUT, bytes.len());
            }
        }
        if length.is_some_and(|length| length != bytes.len()) {
            return Err(HttpProblem::malformed("the body is incomplete"));
        }
        let processing = match &arriving {
            Some(_) => {
                if exclusive.is_none() {
                    exclusive = permit.acquire_exclusive().await;
                }
                self.budget.reserve_processing(bytes.len()).await
            }
            None => None,
        };
        Ok((bytes, BodyPermit { _caller: Some(permit), exclusive, _arriving: arriving, _processing: processing }))
    }
}

fn stalled() -> HttpProblem {
    HttpProblem::timed_out(format!(
        "the body stopped arriving: less than {} KiB in {} s",
        PART / 1024,
        STALL_TIMEOUT.as_secs()
    ))
    .remedy("Try again.")
}
