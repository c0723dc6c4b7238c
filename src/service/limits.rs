//! What one process works on at once, for all the environments that it serves together.

use std::sync::Arc;

use axum::extract::Request;
use tokio::sync::Semaphore;

/// Requests that are worked on at once; more are told to come back.
const REQUESTS: usize = 256;
/// Questions about the service's health that are answered at once. They have places of their own: whoever asks must not
/// be told that the service is down because it is busy.
const HEALTH: usize = 16;
/// How many KiB of submissions are in memory at once, beyond what each has for nothing.
const ROOM: usize = 256 * 1024;
/// How many KiB of them are made into messages at once, where a whole one always may.
pub(super) const WORK: usize = 64 * 1024;

/// The limits. Cheap to clone; clones share them.
#[derive(Clone)]
pub(super) struct Limits {
    requests: Arc<Semaphore>,
    health: Arc<Semaphore>,
    /// Room for submissions, in KiB.
    pub(super) room: Arc<Semaphore>,
    /// Room for submissions that are made into messages, in KiB.
    pub(super) work: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { requests: places(REQUESTS), health: places(HEALTH), room: places(ROOM), work: places(WORK) }
    }
}

impl Limits {
    /// The places of which a request takes one.
    pub(super) fn places(&self, request: &Request) -> &Arc<Semaphore> {
        if ["/healthz", "/readyz"].contains(&request.uri().path()) { &self.health } else { &self.requests }
    }
}
