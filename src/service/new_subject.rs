//! [`NewSubject`]: the name, role and scope of a token or an operator that a caller wants to create, and the one check of them.
//!
//! A caller creates nothing with rights that it does not have itself. A name is shown in the audit log and compared with those of
//! other subjects, so it is bounded, printable, and has no parenthesis, as names of people of an identity provider have. The check
//! reads no names of others: whether a name is taken is decided where it is stored.

use super::{Service, caller::Caller, http::HttpProblem};
use crate::model::{
    Code, CompanyId,
    access::{Principal, describe_gains, excess},
    token::{Role, Scope},
};

/// Maximum number of characters of a name.
const NAME_LIMIT: usize = 80;

/// A token or an operator that is to be created.
pub(super) struct NewSubject<'a> {
    /// `token` or `operator`, with its article.
    pub(super) noun: &'static str,
    pub(super) name: &'a str,
    pub(super) role: Role,
    pub(super) scope: &'a Scope,
    /// The principal that it would be, with all the rights that it would have.
    pub(super) principal: Principal,
}

impl Service {
    /// Refuses a name, a scope or rights that a caller cannot give.
    pub(super) fn check_new_subject(&self, caller: &Caller, wanted: &NewSubject<'_>) -> Result<(), HttpProblem> {
        let (name, noun) = (wanted.name, wanted.noun);
        let length = name.chars().count();
        let is_plain = !name.chars().any(char::is_control) && !name.contains('(') && name.trim() == name;
        if !(1..=NAME_LIMIT).contains(&length) || !is_plain {
            return Err(HttpProblem::malformed(
                "`name` must have 1 to 80 characters, no control characters, no space at its start or end, and no `(`",
            ));
        }
        if wanted.role != Role::Sender && !wanted.scope.is_everything() {
            return Err(HttpProblem::malformed(format!("only {noun} with the role `sender` can have a scope")));
        }
        let state = self.state();
        // Before the first apply no company is known, so all names are accepted.
        let is_unknown = |company: &&CompanyId| state.generation > 0 && !state.settings.companies.contains(*company);
        if let Some(company) = wanted.scope.companies.iter().find(is_unknown) {
            return Err(HttpProblem::unknown_company(company, &state.settings, &state.environment));
        }
        refuse_excess(caller, &wanted.principal, &format!("would create {noun} with rights that it does not have"))
    }
}

/// Refuses to give a principal rights that the caller does not have itself. `what` says what the caller would do.
pub(super) fn refuse_excess(caller: &Caller, principal: &Principal, what: &str) -> Result<(), HttpProblem> {
    let beyond = excess(&caller.policy, principal, &caller.principal);
    if beyond.is_empty() {
        return Ok(());
    }
    let message = format!("`{}` {what}: {}", caller.name, describe_gains(&beyond));
    Err(HttpProblem::new(Code::RightsExceeded, message)
        .remedy("Choose a role with fewer rights and a name that no binding has, or ask an administrator."))
}
