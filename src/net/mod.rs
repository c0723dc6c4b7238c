//! Network access that several modules share: HTTP client, connection listener, host lookup and TLS trust.
//!
//! It knows no protocol above HTTP and no document of Mailwright.

pub mod certificate_fault;
pub mod handshake_fault;
pub mod http_client;
pub mod listener;
pub mod resolve;
pub mod tls;
