//! Limit per caller: how much of one kind a single token may have under way at once.
//!
//! [`CallerLimit::enter`] hands out a [`Turn`], which counts until it is dropped, or refuses with 429. [`Queue`] is for work
//! that should wait instead: callers are served in turn, and each has one piece of work at a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{access::Caller, http::HttpProblem};
use crate::model::Code;

/// At most so many of one kind at once, for each caller.
pub(super) struct CallerLimit {
    most: usize,
    /// What is limited, in the plural.
    what: &'static str,
    by_caller: Mutex<HashMap<String, Entry>>,
}

struct Entry {
    count: usize,
    /// One piece of work at a time, where it waits.
    serial: Arc<Semaphore>,
}

/// One that is under way, until it is dropped.
pub(super) struct Turn {
    limit: Arc<CallerLimit>,
    caller: String,
    serial: Arc<Semaphore>,
}

impl CallerLimit {
    pub(super) fn new(most: usize, what: &'static str) -> Arc<Self> {
        Arc::new(Self { most, what, by_caller: Mutex::default() })
    }

    /// Counts one more of a caller, or refuses it.
    pub(super) fn enter(self: &Arc<Self>, caller: &Caller) -> Result<Turn, HttpProblem> {
        let mut by_caller = self.by_caller.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Entry { count: 0, serial: Arc::new(Semaphore::new(1)) };
        let entry = by_caller.entry(caller.name.clone()).or_insert_with(fresh);
        if entry.count >= self.most {
            return Err(HttpProblem::new(
                Code::TooManyAtOnce,
                format!("the token `{}` has {} {} under way, and may not have more", caller.name, self.most, self.what),
            )
            .remedy("Let some of them end, and try again."));
        }
        entry.count += 1;
        Ok(Turn { limit: Arc::clone(self), caller: caller.name.clone(), serial: Arc::clone(&entry.serial) })
    }
}

impl Turn {
    /// Waits until this is the only one of its caller that has passed here.
    pub(super) async fn alone(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.serial).acquire_owned().await.ok()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut by_caller = self.limit.by_caller.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = by_caller.get_mut(&self.caller) {
            entry.count -= 1;
            if entry.count == 0 {
                by_caller.remove(&self.caller);
            }
        }
    }
}

/// Work of which little is done at once, fairly among callers.
pub(super) struct Queue {
    limit: Arc<CallerLimit>,
    places: Arc<Semaphore>,
}

/// The right to work, until it is dropped.
pub(super) struct Place {
    _turn: Turn,
    _alone: Option<OwnedSemaphorePermit>,
    _at_work: Option<OwnedSemaphorePermit>,
}

impl Queue {
    /// `at_once` for all callers together; of one caller, `most` may wait.
    pub(super) fn new(at_once: usize, most: usize, what: &'static str) -> Self {
        Self { limit: CallerLimit::new(most, what), places: Arc::new(Semaphore::new(at_once)) }
    }

    /// Waits for a place. A caller with much to do stands in the queue once.
    pub(super) async fn place(&self, caller: &Caller) -> Result<Place, HttpProblem> {
        let turn = self.limit.enter(caller)?;
        let alone = turn.alone().await;
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        Ok(Place { _turn: turn, _alone: alone, _at_work: place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::token::{Role, Scope};

    fn caller(name: &str) -> Caller {
        Caller::of_test(name, Role::Sender, Scope::default())
    }

    #[test]
    fn what_ends_makes_room_and_callers_do_not_share() {
        let limit = CallerLimit::new(2, "streams");
        let (first, _second) = (limit.enter(&caller("a")).unwrap(), limit.enter(&caller("a")).unwrap());
        let refused = limit.enter(&caller("a")).err().unwrap();
        assert_eq!(refused.code(), Code::TooManyAtOnce);
        assert!(limit.enter(&caller("b")).is_ok());
        drop(first);
        assert!(limit.enter(&caller("a")).is_ok());
    }

    #[tokio::test]
    async fn a_caller_with_much_to_do_stands_in_the_queue_once() {
        let queue = Arc::new(Queue::new(1, 3, "searches"));
        let working = queue.place(&caller("greedy")).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for name in ["greedy", "greedy", "other"] {
            let (own, order) = (Arc::clone(&queue), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let place = own.place(&caller(name)).await.unwrap();
                order.lock().unwrap().push(name);
                drop(place);
            }));
            tokio::task::yield_now().await;
        }
        assert!(queue.place(&caller("greedy")).await.is_err(), "three are under way");
        drop(working);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["other", "greedy", "greedy"]);
        assert!(queue.limit.by_caller.lock().unwrap().is_empty());
    }
}
