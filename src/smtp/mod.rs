//! An SMTP client for mail servers as they are: it reads replies as bytes, keywords in whatever case, and challenges by
//! their order. The verifier and delivery use the same one, so that they cannot disagree about a server.
//!
//! | part | what it does |
//! | --- | --- |
//! | `client` | `SmtpClient`: one connection, a deadline for each step |
//! | `login` | AUTH PLAIN, LOGIN and XOAUTH2 |
//! | [`Reply`], [`ReplyParser`] | replies: three digits decide, the text is for people |
//! | [`Capabilities`] | what a server offers in its reply to EHLO |
//! | [`DataEncoder`] | contents as they are transmitted |
//! | `redaction` | removal of a login's secret from replies |
//! | [`HelloName`] | the name by which this machine greets |
//!
//! What a reply means for a message is decided by `delivery`; what it means for a profile also by `verify`. Messages are
//! composed elsewhere. Nothing here retries, logs or prints.

mod capabilities;
pub(crate) mod client;
mod data;
mod hello_name;
pub(crate) mod login;
mod redaction;
mod reply;

pub use capabilities::Capabilities;
pub use data::DataEncoder;
pub use hello_name::HelloName;
pub use reply::{MalformedReply, Reply, ReplyParser};
