//! The list of API tokens, and their revocation, for the API and the console.
//!
//! The last administrator's token cannot be revoked. Tokens are created and confirmed by `routes::tokens`.

use serde_json::json;

use super::{Service, caller::Caller, http::HttpProblem};
use crate::{
    model::{
        AuditOutcome, Code,
        token::{Role, Token},
    },
    store::AuditEvent,
};

impl Service {
    /// Returns all tokens, oldest first.
    pub(crate) async fn tokens(&self) -> Result<Vec<Token>, HttpProblem> {
        Ok(self.store.tokens().await?)
    }

    /// Revokes a token. Refuses the last one with the role `admin`, and records that.
    pub(crate) async fn revoke_token(&self, caller: &Caller, id: &str) -> Result<Token, HttpProblem> {
        // Two administrators must not revoke each other at the same time.
        let _one_at_a_time = self.changing.lock().await;
        let now = self.clock.now();
        let tokens = self.store.tokens().await?;
        let is_admin =
            |token: &&Token| token.role == Role::Admin && token.suspended_at.is_none() && token.is_in_effect(now);
        let mut admins = tokens.iter().filter(is_admin);
        let last_admin = match (admins.next(), admins.next()) {
            (Some(only), None) => only.id == id,
            _ => false,
        };
        let event = |outcome| AuditEvent {
            at: now,
            actor: caller.name.clone(),
            action: "token.revoke",
            outcome,
            detail: json!({ "id": id }),
        };
        if last_admin {
            self.store.record(event(AuditOutcome::Refused)).await?;
            return Err(HttpProblem::new(
                Code::LastAdministrator,
                "cannot revoke the last token with the role `admin`: no other token could create one",
            )
            .remedy("Create another token with the role `admin` first."));
        }
        let revoked = self.store.revoke_token(id, now, event(AuditOutcome::Accepted)).await;
        // This follows a failure as well: the outcome in the store is unknown.
        self.tokens_changed();
        revoked?.ok_or_else(|| self.token_not_found("the token does not exist"))
    }

    /// Returns the problem of a token that does not exist.
    pub(super) fn token_not_found(&self, message: &str) -> HttpProblem {
        HttpProblem::not_found(message)
            .remedy(format!("`mailwright token list {}` lists the tokens.", self.store.environment()))
    }
}
