//! The decision: [`decide`] answers a [`Question`] of a [`Principal`] by an [`AccessPolicy`].
//!
//! The principal has the grants of its own role and those of every role that a binding gives to it. One grant must allow the
//! whole question; a question that concerns several companies, functions or fields is asked for each of them. A grant never
//! takes a right away, so the order of roles and grants has no effect on what is allowed.

use std::{borrow::Cow, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AccessPolicy, Activity, Area, Grant, Subject, preset, presets};
use crate::model::{
    CompanyId, Function, HumanDuration,
    token::{Role, Scope},
};

/// The part of a dimension that a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent<T> {
    /// Any part: true if at least something is allowed. The first check of a request asks this, before its body is read.
    Any,
    /// One item.
    One(T),
    /// Everything, items of the future included: a grant that is limited does not allow it.
    All,
}

/// A question about access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// The area.
    pub area: Area,
    /// The activity.
    pub activity: Activity,
    /// The company.
    pub company: Extent<&'a CompanyId>,
    /// The function.
    pub function: Extent<Function>,
    /// The field.
    pub field: Extent<&'a str>,
}

impl<'a> Question<'a> {
    /// Creates a question about any company, function and field.
    pub fn any(area: Area, activity: Activity) -> Self {
        Self { area, activity, company: Extent::Any, function: Extent::Any, field: Extent::Any }
    }

    /// Creates a question about every company and function, and any field.
    pub fn everywhere(area: Area, activity: Activity) -> Self {
        Self { company: Extent::All, function: Extent::All, ..Self::any(area, activity) }
    }

    /// Limits the question to a company and a function.
    #[must_use]
    pub fn at(self, company: Extent<&'a CompanyId>, function: Extent<Function>) -> Self {
        Self { company, function, ..self }
    }

    /// Limits the question to a field.
    #[must_use]
    pub fn of_field(self, field: Extent<&'a str>) -> Self {
        Self { field, ..self }
    }
}

/// The caller in a question: the subjects that it is, and the role that its credential has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// The subjects: a token, or a person with groups and roles of an identity provider.
    pub subjects: Vec<Subject>,
    /// The built-in role of the credential.
    pub role: Option<Role>,
    /// The companies and functions that the credential is limited to.
    pub scope: Scope,
    /// The time at which the caller last confirmed its identity; none if its credential cannot be confirmed.
    pub authenticated_at: Option<Timestamp>,
}

/// A grant, by the role that has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantId {
    /// The role.
    pub role: String,
    /// The position in the role, from 1.
    pub grant: usize,
    /// The binding that gives the role; none for the role of the credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
}

impl std::fmt::Display for GrantId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "grant {} of the role `{}`", self.grant, self.role)?;
        match &self.binding {
            Some(binding) => write!(f, " (binding `{binding}`)"),
            None => Ok(()),
        }
    }
}

/// A limit of a grant that excludes what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// No grant has the activity in the area.
    Activity,
    /// The grant is limited to other companies.
    Company,
    /// The grant is limited to other functions.
    Function,
    /// The grant is limited to other fields.
    Field,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Decision {
    /// Allowed by a grant.
    Allowed {
        /// The grant.
        by: GrantId,
    },
    /// Allowed by a grant once the caller has confirmed its identity again.
    StepUp {
        /// The grant.
        by: GrantId,
        /// The time for which a confirmation counts.
        within: HumanDuration,
        /// False if the caller's credential cannot be confirmed: a token is not a person.
        possible: bool,
    },
    /// Refused.
    Refused {
        /// The limits of the nearest grant that exclude the question.
        lacks: Vec<Lack>,
        /// The nearest grant; none if no grant has the activity in the area.
        #[serde(skip_serializing_if = "Option::is_none")]
        nearest: Option<GrantId>,
        /// The missing grant in words.
        missing: String,
    },
}

impl Decision {
    /// Returns true if the request is allowed now.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }

    /// Describes the decision in one sentence without a subject.
    pub fn describe(&self) -> String {
        match self {
            Self::Allowed { by } => format!("allowed by {by}"),
            Self::StepUp { by, within, possible: true } => {
                format!("allowed by {by} within {within} after the caller has confirmed its identity again")
            }
            Self::StepUp { by, within, possible: false } => format!(
                "{by} requires that the caller has confirmed its identity within {within}, and a token cannot do that: sign in to the console as a person"
            ),
            Self::Refused { missing, .. } => missing.clone(),
        }
    }
}

/// Returns every grant of a principal: those of its own role first, then those of bindings by name.
pub fn grants_of<'a>(policy: &'a AccessPolicy, principal: &'a Principal) -> Vec<(GrantId, Cow<'a, Grant>)> {
    let is_limited = !principal.scope.is_everything();
    let of_role = principal.role.into_iter().flat_map(move |role| {
        preset(role).iter().enumerate().map(move |(index, grant)| {
            let grant =
                if is_limited { Cow::Owned(presets::limited(grant, &principal.scope)) } else { Cow::Borrowed(grant) };
            (GrantId { role: role.id().to_owned(), grant: index + 1, binding: None }, grant)
        })
    });
    let is_own = |subject: &Subject| principal.subjects.iter().any(|own| own.is_same(subject));
    let bindings = policy.bindings.iter().filter(move |(_, binding)| binding.subjects.iter().any(is_own));
    let of_bindings = bindings.flat_map(move |(name, binding)| {
        binding.roles.iter().flat_map(move |role| {
            policy.grants(role).iter().enumerate().map(move |(index, grant)| {
                (GrantId { role: role.clone(), grant: index + 1, binding: Some(name.clone()) }, Cow::Borrowed(grant))
            })
        })
    });
    of_role.chain(of_bindings).collect()
}

/// Decides whether a principal may do what is asked.
pub fn decide(policy: &AccessPolicy, principal: &Principal, question: &Question<'_>, now: Timestamp) -> Decision {
    let mut step_up: Option<(HumanDuration, GrantId)> = None;
    let mut nearest: Option<(Vec<Lack>, GrantId, Grant)> = None;
    for (id, grant) in grants_of(policy, principal) {
        if !grant.areas.contains(&question.area) || !grant.activities.contains(&question.activity) {
            continue;
        }
        let lacks = grant.lacks(question);
        if !lacks.is_empty() {
            if nearest.as_ref().is_none_or(|(fewest, ..)| lacks.len() < fewest.len()) {
                nearest = Some((lacks, id, grant.into_owned()));
            }
            continue;
        }
        match grant.step_up {
            None => return Decision::Allowed { by: id },
            Some(within) if is_recent(principal.authenticated_at, within, now) => return Decision::Allowed { by: id },
            // The longest time is the easiest to satisfy.
            Some(within) if step_up.as_ref().is_none_or(|(longest, _)| within > *longest) => {
                step_up = Some((within, id));
            }
            Some(_) => {}
        }
    }
    if let Some((within, by)) = step_up {
        return Decision::StepUp { by, within, possible: principal.authenticated_at.is_some() };
    }
    match nearest {
        Some((lacks, id, grant)) => {
            let missing = describe_lacks(question, &lacks, &id, &grant);
            Decision::Refused { lacks, nearest: Some(id), missing }
        }
        None => Decision::Refused {
            lacks: vec![Lack::Activity],
            nearest: None,
            missing: format!("none of its roles grants `{}` in `{}`", question.activity, question.area),
        },
    }
}

/// Returns true if a time of authentication is recent enough. A time in the future does not count.
fn is_recent(authenticated_at: Option<Timestamp>, within: HumanDuration, now: Timestamp) -> bool {
    authenticated_at
        .and_then(|at| Duration::try_from(now.duration_since(at)).ok())
        .is_some_and(|age| age <= within.duration())
}

impl Grant {
    /// Returns true if the grant has a limit of companies that does not include the extent.
    fn excludes_company(&self, company: &Extent<&CompanyId>) -> bool {
        !self.companies.is_empty()
            && match company {
                Extent::Any => false,
                Extent::One(company) => !self.companies.contains(*company),
                Extent::All => true,
            }
    }

    fn excludes_function(&self, function: Extent<Function>) -> bool {
        !self.functions.is_empty()
            && match function {
                Extent::Any => false,
                Extent::One(function) => !self.includes_function(function),
                Extent::All => true,
            }
    }

    /// Returns true if the functions of the grant include one, as the scope of a token does.
    pub(super) fn includes_function(&self, function: Function) -> bool {
        let default = Function::default_function();
        self.functions.is_empty()
            || function
                .chain()
                .filter(|one| *one == function || *one != default)
                .any(|one| self.functions.contains(&one))
    }

    fn excludes_field(&self, field: &Extent<&str>) -> bool {
        !self.fields.is_empty()
            && match field {
                Extent::Any => false,
                Extent::One(path) => !self.fields.iter().any(|pattern| pattern.includes(path)),
                Extent::All => true,
            }
    }

    /// Returns the limits of the grant that exclude a question about one of its areas and activities.
    fn lacks(&self, question: &Question<'_>) -> Vec<Lack> {
        let excluded = [
            (Lack::Company, question.area.is_limited_by_company() && self.excludes_company(&question.company)),
            (Lack::Function, question.area.is_limited_by_company() && self.excludes_function(question.function)),
            (Lack::Field, !question.area.fields().is_empty() && self.excludes_field(&question.field)),
        ];
        excluded.into_iter().filter_map(|(lack, is_excluded)| is_excluded.then_some(lack)).collect()
    }

    /// Describes the limits of the grant, such as `companies EDU1; fields from.*`; empty if it has none.
    pub fn describe_limits(&self) -> String {
        let join = |items: Vec<String>| items.join(", ");
        let mut parts = Vec::new();
        if !self.companies.is_empty() {
            parts.push(format!("companies {}", join(self.companies.iter().map(ToString::to_string).collect())));
        }
        if !self.functions.is_empty() {
            parts.push(format!("functions {}", join(self.functions.iter().map(ToString::to_string).collect())));
        }
        if !self.fields.is_empty() {
            parts.push(format!("fields {}", join(self.fields.iter().map(ToString::to_string).collect())));
        }
        if let Some(within) = self.step_up {
            parts.push(format!("identity confirmed within {within}"));
        }
        parts.join("; ")
    }
}

fn describe_lacks(question: &Question<'_>, lacks: &[Lack], id: &GrantId, grant: &Grant) -> String {
    let limits: Vec<String> = lacks
        .iter()
        .map(|lack| match lack {
            Lack::Company => Grant { companies: grant.companies.clone(), ..Grant::default() }.describe_limits(),
            Lack::Function => Grant { functions: grant.functions.clone(), ..Grant::default() }.describe_limits(),
            Lack::Field => Grant { fields: grant.fields.clone(), ..Grant::default() }.describe_limits(),
            Lack::Activity => String::new(),
        })
        .collect();
    format!("{id} allows `{}` in `{}` only for {}", question.activity, question.area, limits.join(" and "))
}

/// Describes a question as a phrase after "may".
pub fn describe_question(question: &Question<'_>) -> String {
    let mut text = format!("`{}` in `{}`", question.activity, question.area);
    if let Extent::One(field) = question.field {
        text = format!("`{}` the field `{field}` in `{}`", question.activity, question.area);
    }
    match question.company {
        Extent::One(company) => text.push_str(&format!(" for company `{company}`")),
        Extent::All if question.area.is_limited_by_company() => text.push_str(" for all companies"),
        Extent::Any | Extent::All => {}
    }
    if let Extent::One(function) = question.function {
        text.push_str(&format!(" and function `{function}`"));
    }
    text
}
