//! A body or a stream of events from a task: [`Received`] sends what the task gives it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::mpsc;

/// A stream of items, sent as they arrive. It ends when the task ends.
pub(crate) struct Received<T>(pub(crate) mpsc::Receiver<T>);

impl<T> futures_core::Stream for Received<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(context)
    }
}
