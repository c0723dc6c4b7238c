//! [`Progress`]: how many bytes of a large request were sent, for display while it is sent.
//!
//! [`Client::apply_watched`](super::Client::apply_watched) takes one, and the caller reads a clone of it. It counts what was handed
//! to the connection, which says nothing about the answer. It does not limit or delay the request.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// The number of bytes that are sent at once.
const PIECE: usize = 64 * 1024;

/// The progress of a request. Clones observe the same request.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    sent: Arc<AtomicU64>,
    of: Arc<AtomicU64>,
}

impl Progress {
    /// Returns the number of bytes that were sent, and the number of all bytes; both are zero before the request is ready.
    pub fn bytes(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.of.load(Ordering::Relaxed))
    }

    /// Returns a body that updates this progress.
    pub(super) fn watch(&self, body: Vec<u8>) -> reqwest::Body {
        self.of.store(body.len() as u64, Ordering::Relaxed);
        reqwest::Body::wrap(CountedBody { rest: body.into(), sent: Arc::clone(&self.sent) })
    }
}

struct CountedBody {
    rest: Bytes,
    sent: Arc<AtomicU64>,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        self.sent.fetch_add(length as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
