//! [`Limits`]: how many requests, request bodies and verifier runs a process handles at a time, in numbers and in memory.
//!
//! All environments of a process share one. A request or verifier run beyond its number is refused with 503; a body waits for
//! memory. Limits per caller are in `caller_limit`, those of connections in [`crate::net::listener`].

use std::sync::Arc;

use axum::extract::Request;
use tokio::sync::Semaphore;

use super::memory_budget::MemoryBudget;
use crate::sync::BlockingPool;

/// Maximum number of concurrent requests; further ones are answered with 503.
const REQUESTS: usize = 256;
/// Maximum number of concurrent health checks. They have a limit of their own, so that a busy service does not look like one
/// that is down.
const HEALTH: usize = 16;
/// Maximum number of concurrent requests of the console. They have a limit of their own, so that browsers, which may read a
/// sign-in form before their caller is known, take no place of the API.
const CONSOLE: usize = 64;
/// Memory for submissions that arrive, in KiB, beyond what each request has without a permit.
const SUBMISSIONS: usize = 256 * 1024;
/// Memory for submissions that are processed, in KiB; one submission of maximum size is always allowed.
const SUBMISSION_WORK: usize = 64 * 1024;
/// Memory for changesets and other documents that arrive, in KiB: three of maximum size.
const DOCUMENTS: usize = 97 * 1024;
/// Memory for documents that are processed, in KiB; one document of maximum size is always allowed.
const DOCUMENT_WORK: usize = 32 * 1024;
/// Maximum number of concurrent verifier runs.
const VERIFYING: usize = 32;

/// Limits of a process. Clones share them.
#[derive(Clone)]
pub(super) struct Limits {
    requests: Arc<Semaphore>,
    health: Arc<Semaphore>,
    console: Arc<Semaphore>,
    /// Memory for submissions.
    pub(super) submissions: MemoryBudget,
    /// Memory for changesets and other documents.
    pub(super) documents: MemoryBudget,
    /// Memory for requests for verifier runs, for as long as the run lasts.
    pub(super) runs: MemoryBudget,
    /// Concurrent verifier runs.
    pub(super) verifying: Arc<Semaphore>,
    /// Threads that parse submissions and compose messages.
    pub(super) parsing: BlockingPool,
}

impl Default for Limits {
    fn default() -> Self {
        let permits = |count| Arc::new(Semaphore::new(count));
        Self {
            requests: permits(REQUESTS),
            health: permits(HEALTH),
            console: permits(CONSOLE),
            submissions: MemoryBudget::new(SUBMISSIONS, SUBMISSION_WORK),
            documents: MemoryBudget::new(DOCUMENTS, DOCUMENT_WORK),
            runs: MemoryBudget::new(DOCUMENTS, DOCUMENTS),
            verifying: permits(VERIFYING),
            parsing: BlockingPool::default(),
        }
    }
}

impl Limits {
    /// Returns the limit that applies to a request.
    pub(super) fn request_permits(&self, request: &Request) -> &Arc<Semaphore> {
        match request.uri().path() {
            "/healthz" | "/readyz" => &self.health,
            path if is_console(path) => &self.console,
            _ => &self.requests,
        }
    }
}

/// Returns true for the paths of the console.
fn is_console(path: &str) -> bool {
    path.strip_prefix("/console").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
