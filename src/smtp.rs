//! What the verifier and delivery share of a conversation with a mail server: TLS, the name to greet with, and what an
//! error of lettre's says.
//!
//! Nothing here connects or decides. lettre's asynchronous connection has no deadline once it is connected, so every
//! caller puts one around each step.

use std::error::Error as _;

use lettre::transport::smtp::{
    Error,
    authentication::{Credentials, Mechanism},
    client::{AsyncSmtpConnection, Certificate, TlsParameters, TlsParametersBuilder, TlsVersion},
    commands::Auth,
    response::Response,
};

/// TLS towards a host. `authorities` (PEM) are trusted beside the platform's; `blind` accepts every certificate, only to
/// look at one that was refused, never to send anything.
pub(crate) fn tls(host: &str, authorities: Option<&[u8]>, blind: bool) -> Result<TlsParameters, Error> {
    builder(host, authorities)?.dangerous_accept_invalid_certs(blind).build()
}

/// TLS of the newest version alone, to learn whether a server has it.
pub(crate) fn newest_tls(host: &str, authorities: Option<&[u8]>) -> Result<TlsParameters, Error> {
    builder(host, authorities)?.set_min_tls_version(TlsVersion::Tlsv13).build()
}

fn builder(host: &str, authorities: Option<&[u8]>) -> Result<TlsParametersBuilder, Error> {
    let host = host.trim_matches(['[', ']']).to_owned();
    let builder = TlsParameters::builder(host);
    Ok(match authorities {
        Some(pem) => builder.add_root_certificate(Certificate::from_pem(pem)?),
        None => builder,
    })
}

/// Logs in by a mechanism that the server offers.
pub(crate) async fn log_in(
    connection: &mut AsyncSmtpConnection,
    mechanism: Mechanism,
    credentials: &Credentials,
) -> Result<Response, Error> {
    if mechanism != Mechanism::Xoauth2 {
        return connection.auth(&[mechanism], credentials).await;
    }
    // A server that does not accept a token says why in a challenge first, and refuses when that is answered with nothing.
    // lettre takes the challenge for a breach of the protocol.
    let answer = connection.command(Auth::new(mechanism, credentials.clone(), None)?).await?;
    if answer.has_code(334) { connection.command("\r\n").await } else { Ok(answer) }
}

/// What TLS ended with, from the bottom of an error.
pub(crate) fn tls_error(error: &Error) -> Option<rustls::Error> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<rustls::Error>() {
            return Some(found.clone());
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && let Some(found) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return Some(found.clone());
        }
        next = cause.source();
    }
    None
}

/// What the server said, or what the connection ended with: on one line, cut.
pub(crate) fn said(error: &Error) -> String {
    let mut text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    if let Some(status) = error.status() {
        text = format!("{status} {text}");
    }
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// The name that this machine greets with.
pub(crate) fn hello_name() -> String {
    let name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let name = name.trim();
    let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    if good { name.to_owned() } else { "localhost".to_owned() }
}
