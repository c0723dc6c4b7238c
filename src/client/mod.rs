//! Typed HTTP client of the service's API.
//!
//! One method an endpoint. A failure is a [`ClientError`] that says which kind it is, so that "not running",
//! "wrong token", "wrong certificate" and "another version" are told apart.

mod error;

pub use error::ClientError;

/// Talks to one service.
pub struct Client {}

impl Client {
    /// A client for the service at `address` (`https://host[:port]`), with a bearer token and, besides the
    /// machine's own, the certificate authorities in `authority` (PEM).
    pub fn new(_address: &str, _token: secrecy::SecretString, _authority: Option<&[u8]>) -> Result<Self, ClientError> {
        Err(ClientError {
            code: crate::model::Code::ServiceUnreachable,
            message: String::new(),
            remedy: String::new(),
            problem: None,
        })
    }
}
