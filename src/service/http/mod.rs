//! HTTP plumbing of the service: middleware, extractors, request bodies and problem responses.
//!
//! * [`middleware`] wraps every request: request id, deadlines, limits, compression, access log
//! * [`extract`] reads bodies, queries and path segments without echoing them in errors
//! * [`upload`] bounds the memory that request bodies use
//! * [`Received`] sends what a task gives it, as a body or a stream of events
//! * [`HttpProblem`] is the answer to a request that failed
//!
//! Nothing here knows profiles, messages or changes.

pub(super) mod extract;
pub(super) mod middleware;
mod problem;
mod stream;
pub(super) mod upload;

pub(super) use problem::AnyProblem;
pub(crate) use problem::HttpProblem;
pub(crate) use stream::Received;
