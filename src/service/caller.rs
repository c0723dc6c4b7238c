//! [`Caller`]: the authenticated sender of a request, with its role and scope, and which messages and events it may see.
//!
//! `authentication` creates it. A sender sees its own messages within its scope, and no events of profiles; every other role sees
//! all. Which role an endpoint requires is decided in `access`.

use jiff::Timestamp;

use crate::{
    model::{
        CompanyId, Digest, Function,
        token::{Role, Scope, Token},
    },
    store::outbox::NewEvent,
};

/// The authenticated sender of a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) name: String,
    /// The owner of mail that the caller submits.
    pub(super) owner: String,
    pub(crate) role: Role,
    pub(super) scope: Scope,
    pub(super) credential: Credential,
}

/// The credential that authenticated a caller. Long answers check regularly that it is still valid.
#[derive(Clone, Debug)]
pub(super) enum Credential {
    /// A token of the service, by its id.
    Token(String),
    /// A session of the console, by the hash of its secret.
    Session(Digest),
    /// An identity token: valid until it expires, while this version of the issuers' settings is in effect.
    Identity { ends: Timestamp, version: u64 },
}

impl Caller {
    /// Creates the caller for a valid token. `credential` is given the token's id.
    pub(super) fn from_token(token: Token, credential: impl FnOnce(String) -> Credential) -> Self {
        let owner = token.owner();
        Self { owner, name: token.name, role: token.role, scope: token.scope, credential: credential(token.id) }
    }

    #[cfg(test)]
    pub(super) fn for_test(name: &str, role: Role, scope: Scope) -> Self {
        let owner = format!("token:{name}");
        Self { owner, name: name.to_owned(), role, scope, credential: Credential::Token(String::new()) }
    }

    /// Returns true for a token that sees the messages that it submitted, and none of others.
    pub(super) fn sees_own_messages_only(&self) -> bool {
        self.role == Role::Sender
    }

    /// Returns true if the caller may see a message. A sender sees messages of its own token, within its companies and
    /// functions.
    pub(super) fn may_see(&self, owner: &str, company: &CompanyId, function: Function) -> bool {
        !self.sees_own_messages_only() || (self.owner == owner && self.scope.covers(company, function))
    }

    /// Returns true if the caller may receive an event. Events without a message are about profiles; senders do not get them.
    pub(super) fn may_follow(&self, event: &NewEvent) -> bool {
        match &event.message {
            Some(message) => self.may_see(&message.owner, &message.company, message.function),
            None => self.role != Role::Sender,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_sees_messages_of_its_own_token_only() {
        let company: CompanyId = "A".parse().unwrap();
        let function = Function::default_function();
        let sender = Caller::for_test("shop", Role::Sender, Scope::default());
        assert!(sender.may_see("token:shop", &company, function));
        assert!(!sender.may_see("token:other", &company, function));
        assert!(Caller::for_test("viewer", Role::Viewer, Scope::default()).may_see("token:shop", &company, function));
    }
}
