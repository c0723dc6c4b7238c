//! Limit per caller: how many requests of one kind a single caller may have in progress.
//!
//! [`CallerLimit::acquire`] returns a [`CallerPermit`], which counts until it is dropped, or refuses with 429. [`FairQueue`] is for
//! work that waits instead: callers take turns, and each has one piece of work in the queue at a time. Further ones of the same
//! caller wait, up to a limit, and are then refused with 429 as well. [`CountedBody`] is a response body that counts until it was
//! sent.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{caller::Caller, http::HttpProblem};
use crate::{model::Code, sync::Mutex};

/// Number of bytes of a [`CountedBody`] that are sent at once.
const FRAME_SIZE: usize = 64 * 1024;

/// Limits the concurrent requests of one kind for each caller.
pub(super) struct CallerLimit {
    most: usize,
    /// The noun for messages, in the plural.
    noun: &'static str,
    by_caller: Mutex<HashMap<String, Entry>>,
}

struct Entry {
    count: usize,
    /// Serialises work of the caller that must not run concurrently.
    serial: Arc<Semaphore>,
}

/// Permission for one request; counts until it is dropped.
pub(super) struct CallerPermit {
    limit: Arc<CallerLimit>,
    caller: String,
    serial: Arc<Semaphore>,
}

impl CallerLimit {
    pub(super) fn new(most: usize, noun: &'static str) -> Arc<Self> {
        Arc::new(Self { most, noun, by_caller: Mutex::default() })
    }

    /// Counts a request of a caller, or refuses it.
    pub(super) fn acquire(self: &Arc<Self>, caller: &Caller) -> Result<CallerPermit, HttpProblem> {
        self.acquire_as(&caller.name, "the token")
    }

    /// Counts a request of a caller that has a name of another kind, or refuses it.
    pub(super) fn acquire_as(self: &Arc<Self>, name: &str, kind: &str) -> Result<CallerPermit, HttpProblem> {
        let mut by_caller = self.by_caller.lock();
        let fresh = || Entry { count: 0, serial: Arc::new(Semaphore::new(1)) };
        let entry = by_caller.entry(name.to_owned()).or_insert_with(fresh);
        if entry.count >= self.most {
            return Err(HttpProblem::new(
                Code::TooManyAtOnce,
                format!("{kind} `{name}` has {} {} in progress, which is the maximum", self.most, self.noun),
            )
            .remedy("Try again when one of them has ended."));
        }
        entry.count += 1;
        Ok(CallerPermit { limit: Arc::clone(self), caller: name.to_owned(), serial: Arc::clone(&entry.serial) })
    }
}

impl CallerPermit {
    /// Waits until no other request of the caller holds the exclusive permit.
    pub(super) async fn acquire_exclusive(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.serial).acquire_owned().await.ok()
    }
}

impl Drop for CallerPermit {
    fn drop(&mut self) {
        let mut by_caller = self.limit.by_caller.lock();
        if let Some(entry) = by_caller.get_mut(&self.caller) {
            entry.count -= 1;
            if entry.count == 0 {
                by_caller.remove(&self.caller);
            }
        }
    }
}

/// A response body in memory. It counts until its last frame is handed to the connection, or the connection ends.
pub(super) struct CountedBody {
    rest: Bytes,
    _permit: CallerPermit,
}

impl CountedBody {
    pub(super) fn new(bytes: impl Into<Bytes>, permit: CallerPermit) -> Self {
        Self { rest: bytes.into(), _permit: permit }
    }
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let size = self.rest.len().min(FRAME_SIZE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// A queue for work with little concurrency that treats callers fairly.
pub(super) struct FairQueue {
    limit: Arc<CallerLimit>,
    permits: Arc<Semaphore>,
}

/// Permission to work, until it is dropped.
pub(super) struct QueuePermit {
    _caller: CallerPermit,
    _exclusive: Option<OwnedSemaphorePermit>,
    _working: Option<OwnedSemaphorePermit>,
}

impl FairQueue {
    /// Creates a queue: `at_once` pieces of work for all callers together; `most` of one caller may be in the queue.
    pub(super) fn new(at_once: usize, most: usize, noun: &'static str) -> Self {
        Self { limit: CallerLimit::new(most, noun), permits: Arc::new(Semaphore::new(at_once)) }
    }

    /// Waits for permission. A caller with much work is in the queue once.
    pub(super) async fn acquire(&self, caller: &Caller) -> Result<QueuePermit, HttpProblem> {
        let permit = self.limit.acquire(caller)?;
        let exclusive = permit.acquire_exclusive().await;
        let working = Arc::clone(&self.permits).acquire_owned().await.ok();
        Ok(QueuePermit { _caller: permit, _exclusive: exclusive, _working: working })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::token::{Role, Scope};

    fn caller(name: &str) -> Caller {
        Caller::for_test(name, Role::Sender, Scope::default())
    }

    #[test]
    fn a_finished_request_frees_its_permit_and_callers_do_not_share() {
        let limit = CallerLimit::new(2, "streams");
        let (first, _second) = (limit.acquire(&caller("a")).unwrap(), limit.acquire(&caller("a")).unwrap());
        let refused = limit.acquire(&caller("a")).err().unwrap();
        assert_eq!(refused.code(), Code::TooManyAtOnce);
        assert!(limit.acquire(&caller("b")).is_ok());
        drop(first);
        assert!(limit.acquire(&caller("a")).is_ok());
    }

    #[test]
    fn a_body_counts_until_its_last_frame_is_taken() {
        use http_body::Body as _;
        let limit = CallerLimit::new(1, "answers");
        let mut body = CountedBody::new(vec![7; FRAME_SIZE + 1], limit.acquire(&caller("a")).unwrap());
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut sizes = Vec::new();
        while !body.is_end_stream() {
            assert!(limit.acquire(&caller("a")).is_err());
            let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) else { break };
            sizes.push(frame.into_data().map_or(0, |data| data.len()));
        }
        assert_eq!((sizes, body.size_hint().exact()), (vec![FRAME_SIZE, 1], Some(0)));
        drop(body);
        assert!(limit.acquire(&caller("a")).is_ok());
    }

    #[tokio::test]
    async fn a_caller_with_much_work_is_in_the_queue_once() {
        let queue = Arc::new(FairQueue::new(1, 3, "searches"));
        let working = queue.acquire(&caller("greedy")).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for name in ["greedy", "greedy", "other"] {
            let (own, order) = (Arc::clone(&queue), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let permit = own.acquire(&caller(name)).await.unwrap();
                order.lock().push(name);
                drop(permit);
            }));
            tokio::task::yield_now().await;
        }
        assert!(queue.acquire(&caller("greedy")).await.is_err(), "three are in progress");
        drop(working);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock(), ["other", "greedy", "greedy"]);
        assert!(queue.limit.by_caller.lock().is_empty());
    }
}
