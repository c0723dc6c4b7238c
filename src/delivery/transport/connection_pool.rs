//! Connection pool: idle SMTP connections of one profile.
//!
//! [`ConnectionPool::connection`] lends a connection, [`ConnectionPool::put_back`] returns it. One that was idle for 5 seconds is
//! tested first, and replaced by a new login if it does not answer; one that was idle for 20 seconds or carried 500 messages is
//! closed. A login that fails is the caller's failure. The number of connections is limited by the throttle of the mailbox, not
//! here.

use std::collections::VecDeque;

use super::connection::Connection;
use crate::{delivery::failure::Failure, sync::Mutex};

/// Connections that are logged in and wait for the next message.
#[derive(Default)]
pub(in crate::delivery) struct ConnectionPool {
    idle: Mutex<VecDeque<Connection>>,
}

impl ConnectionPool {
    /// Returns a connection that still answers, or opens a new one.
    pub(super) async fn connection(
        &self,
        open: impl AsyncFnOnce() -> Result<Connection, Failure>,
    ) -> Result<Connection, Failure> {
        while let Some(mut connection) = self.take() {
            if connection.is_usable() && connection.still_answers().await {
                return Ok(connection);
            }
            tokio::spawn(connection.quit());
        }
        open().await
    }

    fn take(&self) -> Option<Connection> {
        self.idle.lock().pop_back()
    }

    /// Returns a connection to the pool, or closes it if it cannot carry another message.
    pub(super) fn put_back(&self, connection: Connection) {
        if connection.is_usable() {
            self.idle.lock().push_back(connection);
        } else {
            tokio::spawn(connection.quit());
        }
    }

    /// Closes connections that were idle for too long, or all of them.
    pub(in crate::delivery) fn close_idle(&self, all: bool) {
        let mut idle = self.idle.lock();
        let (keep, close): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut *idle).into_iter().partition(|connection| !all && connection.is_usable());
        *idle = keep;
        for connection in close {
            tokio::spawn(connection.quit());
        }
    }
}
