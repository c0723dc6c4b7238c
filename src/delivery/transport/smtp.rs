//! SMTP transport: sends a message through the mail server of a profile.
//!
//! [`send`] takes a connection from the profile's [`ConnectionPool`] or logs in to a new one, and returns the outcome with the
//! server's name. [`SmtpLogin`] opens connections; it is also used alone, to try a login without a message. If a connection that
//! had carried a message fails before this one has begun, a second one is used; if that fails in the same way, the failure is
//! transient. Any other retry is decided by the caller.

use super::{
    RecordBegin, TransportResult, Transports,
    connection::{Connection, ConnectionOptions, Envelope},
};
use crate::{
    delivery::{
        credentials::TokenRequest,
        failure::Failure,
        next_secret::SecretVersion,
        outgoing::{OutgoingMessage, required_extensions},
        rotation::LogIn,
        sending_profile::SendingProfile,
    },
    entra::Endpoints,
    model::{Message, message::Class, provider::Smtp},
    smtp::login::Login,
};

/// The login of an SMTP profile.
pub(super) struct SmtpLogin<'a> {
    pub(super) transports: &'a Transports,
    pub(super) smtp: &'a Smtp,
}

impl LogIn for SmtpLogin<'_> {
    type Session = Connection;

    async fn log_in(&self, profile: &SendingProfile, secret: SecretVersion) -> Result<Connection, Failure> {
        let (credentials, smtp) = (&self.transports.credentials, self.smtp);
        let username = smtp.username.clone().unwrap_or_default();
        let login = match (&smtp.oauth, &smtp.password) {
            (Some(oauth), _) => {
                let endpoints = Endpoints::for_cloud(&oauth.cloud)
                    .map_err(|error| Failure::new("token", error.to_string(), Class::Auth))?;
                let request = TokenRequest {
                    tenant: &oauth.tenant,
                    client: &oauth.client,
                    credential: &oauth.credential,
                    endpoints: &endpoints,
                    scope: endpoints.exchange_scope(),
                };
                Login::Token { username, token: credentials.token(profile, secret, &request).await? }
            }
            (None, Some(_)) => Login::Password { username, password: credentials.secret(profile, secret).await? },
            (None, None) => Login::None,
        };
        let outbound = &self.transports.outbound;
        let options = ConnectionOptions {
            trust: self.transports.http.trust(),
            hello: &outbound.hello,
            deadlines: outbound.deadlines,
        };
        let opened = Connection::open(smtp, &login, options).await;
        if matches!(login, Login::Token { .. }) && opened.as_ref().is_err_and(|failure| failure.class == Class::Auth) {
            // The next login begins with a new token.
            credentials.forget_tokens(profile).await;
        }
        opened
    }
}

/// Sends a message. A connection that was idle may have been closed by the server, which says nothing about the message: then
/// a second one is opened.
pub(super) async fn send(
    transports: &Transports,
    profile: &SendingProfile,
    smtp: &Smtp,
    message: &Message,
    outgoing: &OutgoingMessage,
    record: &impl RecordBegin,
) -> TransportResult {
    let from = profile.sender_address();
    let (utf8, eight_bit) = required_extensions(&outgoing.bytes, &outgoing.recipients, from);
    let envelope = Envelope {
        from,
        recipients: &outgoing.recipients,
        bytes: &outgoing.bytes,
        pool: &transports.outbound.pool,
        utf8,
        eight_bit,
        notify: message.notify.as_ref(),
        id: message.id.to_string(),
    };
    let login = SmtpLogin { transports, smtp };
    let mut server = smtp.host.clone();
    for _ in 0..2 {
        let opened = profile.pool.connection(async || transports.rotations.log_in(profile, &login).await).await;
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(failure) => return TransportResult { server, outcome: Err(failure) },
        };
        connection.server().clone_into(&mut server);
        let was_used = connection.is_used();
        let outcome = connection.send(&envelope, record).await;
        let is_stale =
            was_used && !record.has_begun() && outcome.as_ref().is_err_and(|failure| failure.concerns_server);
        match &outcome {
            Err(failure) if failure.concerns_server => drop(tokio::spawn(connection.quit())),
            _ => profile.pool.put_back(connection),
        }
        if !is_stale {
            return TransportResult { server, outcome };
        }
    }
    let failure = Failure::new("connect", "the server closed two connections in a row", Class::Transient);
    TransportResult { server, outcome: Err(failure) }
}
