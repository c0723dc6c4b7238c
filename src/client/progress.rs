//! How much of a large request has been sent.

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

/// How much is handed over at once.
const PIECE: usize = 64 * 1024;

/// How much of a request has been sent. Clones watch the same request.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    sent: Arc<AtomicU64>,
    of: Arc<AtomicU64>,
}

impl Progress {
    /// Bytes that were handed to the network, and how many there are; zero of zero before the request is ready.
    pub fn bytes(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.of.load(Ordering::Relaxed))
    }

    /// A body that tells how far it is.
    pub(super) fn watch(&self, body: Vec<u8>) -> reqwest::Body {
        self.of.store(body.len() as u64, Ordering::Relaxed);
        reqwest::Body::wrap(Watched { rest: body.into(), sent: Arc::clone(&self.sent) })
    }
}

struct Watched {
    rest: Bytes,
    sent: Arc<AtomicU64>,
}

impl http_body::Body for Watched {
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
