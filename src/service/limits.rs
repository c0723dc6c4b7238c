//! What one process works on at once, for all the environments that it serves together.

use std::sync::Arc;

use axum::extract::Request;
use tokio::sync::Semaphore;

use crate::service::http::upload::Rooms;

/// Requests that are worked on at once; more are told to come back.
const REQUESTS: usize = 256;
/// Questions about the service's health that are answered at once. They have places of their own: whoever asks must not
/// be told that the service is down because it is busy.
const HEALTH: usize = 16;
/// How many KiB of submissions are in memory at once, beyond what each has for nothing.
const SUBMISSIONS: usize = 256 * 1024;
/// How many KiB of them are made into messages at once, where a whole one always may.
const SUBMISSION_WORK: usize = 64 * 1024;
/// How many KiB of changesets and other documents are in memory at once: three of the largest.
const DOCUMENTS: usize = 97 * 1024;
/// How many KiB of them are worked on at once, where a whole one always may.
const DOCUMENT_WORK: usize = 32 * 1024;

/// Runs of the verifier at once.
const VERIFYING: usize = 32;

/// The limits. Cheap to clone; clones share them.
#[derive(Clone)]
pub(super) struct Limits {
    requests: Arc<Semaphore>,
    health: Arc<Semaphore>,
    /// Room for submissions.
    pub(super) submissions: Rooms,
    /// Room for changesets and other documents.
    pub(super) documents: Rooms,
    /// Room for requests for runs of the verifier, for as long as the run lasts.
    pub(super) runs: Rooms,
    /// Runs of the verifier.
    pub(super) verifying: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self {
            requests: places(REQUESTS),
            health: places(HEALTH),
            submissions: Rooms::new(SUBMISSIONS, SUBMISSION_WORK),
            documents: Rooms::new(DOCUMENTS, DOCUMENT_WORK),
            runs: Rooms::new(DOCUMENTS, DOCUMENTS),
            verifying: places(VERIFYING),
        }
    }
}

impl Limits {
    /// The places of which a request takes one.
    pub(super) fn places(&self, request: &Request) -> &Arc<Semaphore> {
        if ["/healthz", "/readyz"].contains(&request.uri().path()) { &self.health } else { &self.requests }
    }
}
