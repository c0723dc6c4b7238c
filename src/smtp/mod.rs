//! An SMTP client that tolerates deviations of real servers: it reads replies as bytes, keywords in any case, and
//! challenges by their order. The verifier and delivery both use it, so that they cannot disagree about a server.
//!
//! | part | contents |
//! | --- | --- |
//! | `client` | `SmtpClient`: one connection, a deadline for each step |
//! | `login` | AUTH PLAIN, LOGIN and XOAUTH2 |
//! | [`Reply`], [`ReplyParser`] | replies: a code of three digits, and a text for people |
//! | [`Capabilities`] | extensions that a server offers in its reply to EHLO |
//! | [`DataEncoder`] | encoding of contents |
//! | [`HelloName`] | the name by which this machine greets |
//!
//! `delivery` and `verify` interpret replies (see `replies`). Messages are composed elsewhere. A refusal is a reply or an error of
//! the step, a broken connection is an error. Nothing here retries, logs or prints.

mod capabilities;
pub(crate) mod client;
mod data;
mod hello_name;
pub(crate) mod login;
mod reply;

pub use capabilities::Capabilities;
pub use data::DataEncoder;
pub use hello_name::HelloName;
pub use reply::{MalformedReply, Reply, ReplyParser};
