//! Transports: the ways in which a profile sends.
//!
//! `Transports` sends an [`OutgoingMessage`] with the transport of a profile, tries logins, and searches Sent Items. SMTP and
//! Microsoft Graph are implemented here. The service cannot send as a signed-in user: an attempt for a delegate profile is a
//! transient failure. [`UserMailbox`] is for a program that the user runs. A transport calls `RecordBegin` before the step after
//! which the message may have been accepted. Nothing here decides whether a message is retried.

mod address_book;
mod connection;
pub(super) mod connection_pool;
mod deadlines;
mod graph;
pub mod graph_draft;
pub(super) mod smtp;
mod smtp_failure;

use std::sync::Arc;

use jiff::Timestamp;

pub use deadlines::SmtpDeadlines;
pub use graph::{UserFailure, UserMailbox};

use self::{graph::GraphLogin, smtp::SmtpLogin};
use super::{
    OutboundOptions,
    credentials::Credentials,
    failure::{Failure, Refusal},
    outgoing::OutgoingMessage,
    rotation::Rotations,
    sending_profile::SendingProfile,
};
use crate::{
    entra::{Endpoints, Http},
    model::{Message, Provider, message::Class},
};

/// The results of the recipients of a message that the server did not refuse as a whole.
pub(super) struct RecipientResults {
    /// The recipients that were refused.
    pub(super) refused: Vec<Refusal>,
    /// The reply to the message; none if all recipients were refused.
    pub(super) reply: Option<String>,
}

impl RecipientResults {
    /// Returns the first refusal that concerns the profile or the mailbox rather than its recipient.
    pub(super) fn refusal_of_profile(&self) -> Option<&Failure> {
        let concerns_profile = |failure: &&Failure| matches!(failure.class, Class::Auth | Class::Throttled);
        self.refused.iter().map(|(_, failure)| failure).find(concerns_profile)
    }
}

/// The result of sending a message.
pub(super) struct TransportResult {
    /// The server, as far as it was reached.
    pub(super) server: String,
    pub(super) outcome: Result<RecipientResults, Failure>,
}

/// Records that a message is about to be handed over.
pub(super) trait RecordBegin: Sync {
    /// Writes to the store that the message may be accepted from now on, except for the recipients in `refused`. If this
    /// fails, nothing is sent.
    fn record_begin(&self, refused: Vec<Refusal>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Returns true if `record_begin` was called.
    fn has_begun(&self) -> bool;
}

/// The transports of an environment.
pub(super) struct Transports {
    http: Http,
    credentials: Credentials,
    rotations: Arc<Rotations>,
    outbound: OutboundOptions,
}

impl Transports {
    /// Creates the transports.
    pub(super) fn new(
        http: Http,
        credentials: Credentials,
        rotations: Arc<Rotations>,
        outbound: OutboundOptions,
    ) -> Self {
        Self { http, credentials, rotations, outbound }
    }

    /// Returns the credentials.
    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Sends a message with the transport of a profile.
    pub(super) async fn send(
        &self,
        profile: &SendingProfile,
        message: &Message,
        outgoing: &OutgoingMessage,
        record: &impl RecordBegin,
    ) -> TransportResult {
        match &profile.stored.profile.provider {
            Provider::Smtp(smtp) => smtp::send(self, profile, smtp, message, outgoing, record).await,
            Provider::MicrosoftGraphDirect(direct) => {
                graph::send(self, profile, direct, message, outgoing, record).await
            }
            Provider::MicrosoftGraphDelegate(_) => {
                let failure = Failure::new("connect", "the service cannot send as a signed-in user", Class::Transient);
                TransportResult { server: String::new(), outcome: Err(failure) }
            }
        }
    }

    /// Tries the login of a profile without a message.
    pub(super) async fn try_login(&self, profile: &SendingProfile) -> Result<(), Failure> {
        self.credentials.forget_tokens(profile).await;
        match &profile.stored.profile.provider {
            Provider::Smtp(smtp) => {
                let login = SmtpLogin { transports: self, smtp };
                let connection = self.rotations.log_in(profile, &login).await?;
                connection.quit().await;
                Ok(())
            }
            Provider::MicrosoftGraphDirect(direct) => {
                let login = GraphLogin::new(self, direct)?;
                self.rotations.log_in(profile, &login).await.map(drop)
            }
            Provider::MicrosoftGraphDelegate(_) => Ok(()),
        }
    }

    /// Tries the next secret of a profile without a message, and records the result.
    pub(super) async fn try_next_secret(&self, profile: &SendingProfile) {
        match &profile.stored.profile.provider {
            Provider::Smtp(smtp) => {
                let login = SmtpLogin { transports: self, smtp };
                if let Some(connection) = self.rotations.try_next_secret(profile, &login).await {
                    connection.quit().await;
                }
            }
            Provider::MicrosoftGraphDirect(direct) => {
                if let Ok(login) = GraphLogin::new(self, direct) {
                    drop(self.rotations.try_next_secret(profile, &login).await);
                }
            }
            Provider::MicrosoftGraphDelegate(_) => {}
        }
    }

    /// Returns the host of Graph if a profile sends by Graph: the server that its attempts name.
    pub(super) fn graph_host(profile: &SendingProfile) -> Option<String> {
        let Provider::MicrosoftGraphDirect(direct) = &profile.stored.profile.provider else { return None };
        Endpoints::for_cloud(&direct.cloud).ok()?.graph.host_str().map(str::to_owned)
    }

    /// Returns when each message with this Message-ID in Sent Items of a Graph profile was sent.
    pub(super) async fn sent_items(
        &self,
        profile: &SendingProfile,
        message: &Message,
    ) -> Result<Vec<Option<Timestamp>>, Failure> {
        let Provider::MicrosoftGraphDirect(direct) = &profile.stored.profile.provider else { return Ok(Vec::new()) };
        graph::sent_items(self, profile, direct, message).await
    }
}
