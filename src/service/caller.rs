//! [`Caller`]: the authenticated sender of a request, with its rights, and which messages and events it may see.
//!
//! `authentication` creates it with the access policy that is live at that moment. Every question about rights goes through
//! [`Caller::decide`], which asks [`crate::model::access::decide`]. A sender sees its own messages within its scope, and no
//! events of profiles. Which right an endpoint requires is declared in `access`.

use std::sync::Arc;

use jiff::Timestamp;

use super::operators::operator_principal;
use crate::{
    model::{
        AccessPolicy, CompanyId, Digest, Function,
        access::{self, Activity, Area, Decision, Extent, Principal, Question, Subject},
        approvals::{Actor, Signer},
        operator::Operator,
        proposal::Proposal,
        session::{Admission, SessionSubject},
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
    /// The subjects that the caller is, the role of its credential, and the time at which a person last confirmed its identity.
    pub(super) principal: Principal,
    /// The access policy that was live when the caller was authenticated.
    pub(super) policy: Arc<AccessPolicy>,
    /// The time of the request.
    pub(super) at: Timestamp,
    pub(super) credential: Credential,
}

/// The holder of a session: a token, or a person, with what the access policy needs to know of it.
pub(crate) struct SessionHolder {
    pub(crate) subject: SessionSubject,
    pub(crate) name: String,
    /// The owner of mail that the holder submits.
    pub(crate) owner: String,
    pub(crate) principal: Principal,
    /// The end of the credential; none if it has none.
    pub(crate) ends_at: Option<Timestamp>,
    /// For an operator, the passkey that it used.
    pub(crate) passkey: Option<String>,
    /// For a person of an identity provider, the digest of the settings that admit it.
    pub(crate) settings: Option<Digest>,
}

impl SessionHolder {
    /// Creates the holder for a valid token.
    pub(super) fn from_token(token: Token) -> Self {
        Self {
            owner: token.owner(),
            principal: token_principal(&token.name, token.role, token.scope),
            name: token.name,
            ends_at: token.expires_at,
            subject: SessionSubject::Token(token.id),
            passkey: None,
            settings: None,
        }
    }

    /// Creates the holder for an operator that has proved its identity with a passkey.
    pub(super) fn from_operator(
        operator: &Operator,
        authenticated_at: Option<Timestamp>,
        passkey: Option<String>,
    ) -> Self {
        let subject = SessionSubject::Operator(operator.id.clone());
        Self {
            owner: subject.to_string(),
            name: operator.name.clone(),
            principal: operator_principal(operator, authenticated_at),
            ends_at: None,
            subject,
            passkey,
            settings: None,
        }
    }

    /// Creates the holder for a person that an identity provider has identified. `name` is shown, and not unique.
    pub(crate) fn from_identity(
        subject: SessionSubject,
        name: String,
        admission: Admission,
        authenticated_at: Option<Timestamp>,
    ) -> Self {
        let Admission { subjects, role, scope, settings } = admission;
        Self {
            owner: subject.to_string(),
            name,
            principal: Principal { subjects, role: Some(role), scope, authenticated_at },
            ends_at: None,
            subject,
            passkey: None,
            settings: Some(settings),
        }
    }

    /// Returns the rights that a session of the holder keeps.
    pub(super) fn admission(&self) -> Option<Admission> {
        let Principal { subjects, role, scope, authenticated_at: _ } = self.principal.clone();
        self.settings.clone().map(|settings| Admission { subjects, role: role.unwrap_or(Role::Bound), scope, settings })
    }
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
    /// Creates the caller for a valid token.
    pub(super) fn from_token(token: Token, policy: Arc<AccessPolicy>, at: Timestamp) -> Self {
        let credential = Credential::Token(token.id.clone());
        Self::from_holder(SessionHolder::from_token(token), policy, at, credential)
    }

    /// Creates the caller for the holder of a session.
    pub(super) fn from_holder(
        holder: SessionHolder,
        policy: Arc<AccessPolicy>,
        at: Timestamp,
        credential: Credential,
    ) -> Self {
        let SessionHolder { name, owner, principal, .. } = holder;
        Self { name, owner, principal, policy, at, credential }
    }

    #[cfg(test)]
    pub(super) fn for_test(name: &str, role: Role, scope: Scope) -> Self {
        Self {
            owner: format!("token:{name}"),
            name: name.to_owned(),
            principal: token_principal(name, role, scope),
            policy: Arc::default(),
            at: Timestamp::UNIX_EPOCH,
            credential: Credential::Token(String::new()),
        }
    }

    /// Decides whether the caller may do what is asked.
    pub(crate) fn decide(&self, question: &Question<'_>) -> Decision {
        access::decide(&self.policy, &self.principal, question, self.at)
    }

    /// Decides whether the caller may do something for a company and a function; without one, for at least one of them. Pages use
    /// it to hide or to explain what is not allowed.
    pub(crate) fn may(
        &self,
        area: Area,
        activity: Activity,
        company: Option<&CompanyId>,
        function: Option<Function>,
    ) -> Decision {
        let company = company.map_or(Extent::Any, Extent::One);
        let function = function.map_or(Extent::Any, Extent::One);
        self.decide(&Question::any(area, activity).at(company, function))
    }

    /// Returns true if the caller may do something for at least one company, function and field.
    pub(crate) fn may_at_all(&self, area: Area, activity: Activity) -> bool {
        self.decide(&Question::any(area, activity)).is_allowed()
    }

    /// Returns true for a caller that sees the messages that it submitted, and none of others.
    pub(super) fn sees_own_messages_only(&self) -> bool {
        !self.may_at_all(Area::Outbox, Activity::See)
    }

    /// Returns true if the caller may do something with a message: by its right to the mail of all, or by that to its own.
    pub(super) fn may_with_message(
        &self,
        activity: Activity,
        owner: &str,
        company: &CompanyId,
        function: Function,
    ) -> bool {
        let may =
            |area: Area| area.has(activity) && self.may(area, activity, Some(company), Some(function)).is_allowed();
        may(Area::Outbox) || self.owner == owner && may(Area::OwnMail)
    }

    /// Returns true if the caller may see a message. A sender sees messages of its own token, within its companies and
    /// functions.
    pub(super) fn may_see(&self, owner: &str, company: &CompanyId, function: Function) -> bool {
        self.may_with_message(Activity::See, owner, company, function)
    }

    /// Returns true if the caller may receive an event. Events without a message are about profiles; senders do not get them.
    pub(super) fn may_follow(&self, event: &NewEvent) -> bool {
        match &event.message {
            Some(message) => self.may_see(&message.owner, &message.company, message.function),
            None => self.decide(&Question::everywhere(Area::Profiles, Activity::See)).is_allowed(),
        }
    }

    /// Returns true for a person who can confirm its identity.
    pub(crate) fn can_confirm_identity(&self) -> bool {
        self.principal.authenticated_at.is_some()
    }

    /// Returns the caller as the author of a change, or as the one who applies it.
    pub(super) fn actor(&self) -> Actor<'_> {
        Actor { name: &self.name, subject: &self.owner }
    }

    /// Returns true if the caller is a person of an identity provider.
    fn is_identity(&self) -> bool {
        self.owner.starts_with("identity:")
    }

    /// Returns true if the caller may sign as a signer of the policy: as its operator, as its person, or by a role or a group.
    pub(super) fn is_signer(&self, signer: &Signer) -> bool {
        let is_operator = signer.operator.as_ref().is_some_and(|own| self.is_operator(own));
        let is_person = signer.identity().is_some_and(|own| own.subject() == self.owner);
        let is_member = || {
            let class = signer.class();
            self.is_identity()
                && class.is_some_and(|class| self.principal.subjects.iter().any(|own| own.is_same(&class)))
        };
        is_operator || is_person || is_member()
    }

    /// Returns true if the caller made a proposal.
    pub(crate) fn is_proposer(&self, proposal: &Proposal) -> bool {
        if proposal.by_subject.is_empty() {
            return is_same_subject(&proposal.by, &self.name);
        }
        proposal.by_subject == self.owner
    }

    /// Returns true if the caller is the operator of this name.
    pub(super) fn is_operator(&self, name: &str) -> bool {
        let operator = Subject::of_operator(name);
        self.principal.subjects.iter().any(|own| own.is_same(&operator))
    }

    /// Returns true if a caller of the same credential, at a later time, is the same subjects with the same role and scope.
    pub(super) fn is_same_principal(&self, later: &Self) -> bool {
        let (own, theirs) = (&self.principal, &later.principal);
        (&own.subjects, own.role, &own.scope) == (&theirs.subjects, theirs.role, &theirs.scope)
    }

    /// Returns true if another policy gives the caller the same grants.
    pub(super) fn has_same_rights_by(&self, policy: &AccessPolicy) -> bool {
        *self.policy == *policy
            || access::grants_of(&self.policy, &self.principal) == access::grants_of(policy, &self.principal)
    }

    /// Returns the role of the caller's credential, for display.
    pub(crate) fn role_name(&self) -> &'static str {
        self.principal.role.map_or("", Role::id)
    }

    /// Returns the caller as `mailwright access explain` names it.
    pub(super) fn subject(&self) -> String {
        self.principal.subjects.first().map(Subject::to_string).unwrap_or_default()
    }
}

/// Returns true if two names are of one subject. Names are compared without case; of a person of an identity provider, whose name
/// ends with `(PROVIDER:ID)`, that alone, because many providers let people change the name that is shown.
pub(super) fn is_same_subject(one: &str, other: &str) -> bool {
    let id = |name: &'_ str| {
        let (_, id) = name.split_once('(')?;
        id.strip_suffix(')').filter(|id| id.contains(':')).map(str::to_owned)
    };
    one.to_lowercase() == other.to_lowercase() || id(one).is_some_and(|own| id(other) == Some(own))
}

/// Creates the principal of a token. A token cannot confirm an identity.
pub(super) fn token_principal(name: &str, role: Role, scope: Scope) -> Principal {
    Principal { subjects: vec![Subject::of_token(name)], role: Some(role), scope, authenticated_at: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_stays_the_same_under_another_name() {
        let same = [("ann", "Ann"), ("Ann (sso:1)", "Anna (sso:1)"), ("Ann (sso:a(b))", "A (sso:a(b))")];
        assert!(same.iter().all(|(one, other)| is_same_subject(one, other)));
        let different =
            [("ann", "bob"), ("Ann (sso:1)", "Ann (sso:2)"), ("Ann (sso:1)", "Ann (id:1)"), ("x (y)", "z (y)")];
        assert!(!different.iter().any(|(one, other)| is_same_subject(one, other)));
    }

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
