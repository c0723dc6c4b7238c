//! The caller of a request, as its token describes it: tenant, client, user and permissions.
//!
//! It decides what the caller may read and send. The signature was checked before.

use std::collections::BTreeSet;

use super::error::{ODataError, mailbox_denied, no_mailbox, refusal, unknown_mailbox};
use crate::sandbox::scenario::{Mailbox, Tenant};

/// The holder of the token of a request.
pub(super) struct Caller<'a> {
    pub(super) tenant: &'a Tenant,
    /// The application that the token is for.
    pub(super) client: String,
    /// The user who signed in, if one did.
    pub(super) user: Option<String>,
    pub(super) permissions: BTreeSet<String>,
}

impl Caller<'_> {
    /// Returns true if the token has any of the permissions.
    pub(super) fn has(&self, any: &[&str]) -> bool {
        any.iter().any(|permission| self.permissions.contains(*permission))
    }

    /// Returns true if the token may read all applications.
    pub(super) fn reads_applications(&self) -> bool {
        self.has(&[
            "Application.Read.All",
            "Application.ReadWrite.All",
            "Directory.Read.All",
            "Directory.ReadWrite.All",
        ])
    }

    /// Returns true if the token may read an application. An application may read itself without any permission.
    pub(super) fn may_read(&self, client: &str) -> bool {
        self.reads_applications() || (self.user.is_none() && self.client.eq_ignore_ascii_case(client))
    }

    /// Returns true if the caller is the user with this name.
    pub(super) fn is_user(&self, name: &str) -> bool {
        self.user.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name))
    }

    /// Returns the mailbox that a mail is sent from, if the caller may send as that user.
    pub(super) fn check_may_send(&self, name: &str) -> Result<String, ODataError> {
        if self.permissions.is_empty() && self.user.is_some() {
            return Err(refusal(
                403,
                "NoPermissionsInAccessToken",
                "The token contains no permissions, or permissions can not be understood.",
            ));
        }
        let is_allowed = if self.user.is_some() {
            self.is_user(name) && self.has(&["Mail.Send"]) || self.has(&["Mail.Send.Shared"])
        } else {
            // Exchange also grants by mailbox (RBAC for Applications); that is not in the token.
            let application = self.tenant.application(&self.client);
            let by_exchange = application.is_some_and(|application| {
                application.exchange.iter().any(|mailbox| mailbox.eq_ignore_ascii_case(name))
            });
            self.has(&["Mail.Send"]) || by_exchange
        };
        if !is_allowed {
            return Err(mailbox_denied());
        }
        let user = self.tenant.user(name).ok_or_else(|| unknown_mailbox(name))?;
        if user.mailbox == Mailbox::None {
            return Err(no_mailbox());
        }
        Ok(user.name.clone())
    }

    /// Fails unless the caller may write to the mailbox of that user.
    pub(super) fn check_may_write(&self, name: &str) -> Result<(), ODataError> {
        let is_allowed = self.has(&["Mail.ReadWrite"]) && (self.user.is_none() || self.is_user(name));
        if is_allowed { Ok(()) } else { Err(mailbox_denied()) }
    }
}
