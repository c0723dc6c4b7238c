//! Answers about an access policy: what a subject may do, and which activities change a field.
//!
//! [`RightAnswer`] is an answer about one activity; [`list_rights`] has one for each that exists. `mailwright access` and the console
//! show them. Every decision is that of [`access::decide`], which the service enforces.

use jiff::Timestamp;

use super::access::is_person;
use crate::model::{
    AccessPolicy,
    access::{self, Activity, Area, Decision, Extent, NAME_FIELD, Principal, Question, Subject, decide, grants_of},
    token::Role,
};

/// An answer about one activity in one area.
#[derive(Clone, Debug)]
pub struct RightAnswer {
    /// The area.
    pub area: Area,
    /// The activity.
    pub activity: Activity,
    /// The decision.
    pub decision: Decision,
    /// The limits of the grants that have the activity, each once; empty if one has no limits.
    pub limits: Vec<String>,
}

impl RightAnswer {
    /// Answers a question about a principal.
    pub fn new(policy: &AccessPolicy, principal: &Principal, question: &Question<'_>, now: Timestamp) -> Self {
        let mut limits: Vec<String> = grants_of(policy, principal)
            .into_iter()
            .filter(|(_, grant)| grant.areas.contains(&question.area) && grant.activities.contains(&question.activity))
            .map(|(_, grant)| grant.describe_limits())
            .collect();
        limits.sort();
        limits.dedup();
        if limits.iter().any(String::is_empty) {
            limits.clear();
        }
        let decision = decide(policy, principal, question, now);
        Self { area: question.area, activity: question.activity, decision, limits }
    }

    /// Answers a question of a list of all: a grant without limits is preferred to the first one.
    pub fn of_list(policy: &AccessPolicy, principal: &Principal, question: &Question<'_>, now: Timestamp) -> Self {
        let whole = Question::everywhere(question.area, question.activity).of_field(Extent::All);
        let unlimited = Self::new(policy, principal, &whole, now);
        if unlimited.decision.is_allowed() { unlimited } else { Self::new(policy, principal, question, now) }
    }

    /// Returns true if the subject may do it, at least after it has confirmed its identity.
    pub fn is_possible(&self) -> bool {
        !matches!(self.decision, Decision::Refused { .. })
    }
}

/// Returns the principal of a subject. A person can confirm its identity at any time; what needs it is shown as a limit.
pub fn principal(subject: &Subject, role: Option<Role>, now: Timestamp) -> Principal {
    Principal {
        authenticated_at: is_person(subject).then_some(now),
        subjects: vec![subject.clone()],
        role,
        ..Principal::default()
    }
}

/// Returns everything that a subject may do, in the order of areas and activities. `role` is the built-in role of a token
/// or operator.
pub fn list_rights(policy: &AccessPolicy, subject: &Subject, role: Option<Role>, now: Timestamp) -> Vec<RightAnswer> {
    let principal = principal(subject, role, now);
    Area::pairs()
        .map(|(area, activity)| RightAnswer::of_list(policy, &principal, &Question::any(area, activity), now))
        .filter(RightAnswer::is_possible)
        .collect()
}

/// Returns the names of the bindings that name a subject.
pub fn bindings_of<'a>(policy: &'a AccessPolicy, subject: &Subject) -> Vec<&'a String> {
    let names = |binding: &access::Binding| binding.subjects.iter().any(|own| own.is_same(subject));
    policy.bindings.iter().filter(|(_, binding)| names(binding)).map(|(name, _)| name).collect()
}

/// Returns the activities that change a field of a profile.
pub fn activities_of(field: &str) -> &'static [Activity] {
    let is_secret = ["password", "clientSecret", "certificate"].iter().any(|key| field.rsplit('.').next() == Some(key));
    match field {
        "enabled" => &[Activity::Enable],
        NAME_FIELD => &[Activity::Change],
        _ if is_secret => &[Activity::Change, Activity::Rotate],
        _ => &[Activity::Change],
    }
}
