//! Comparison of two access policies: the rights that a change of the policy adds.
//!
//! A right is added if a subject has a grant afterwards that no single grant of it included before. Two grants that together
//! include a third do not count, so a change may be reported that adds nothing; none that adds something is missed.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AccessPolicy, Activity, Area, Grant, GrantId, Principal, Subject, grants_of};
use crate::{model::token::Role, text::enumerate};

/// Activities by area, by the limits of the grants.
type ByLimits<'a> = BTreeMap<&'a str, BTreeMap<Area, Vec<&'a str>>>;

/// A grant with its role.
type Granted<'a> = (GrantId, Cow<'a, Grant>);

/// A right that a change of the access policy adds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Gain {
    /// The subject, as `KIND:NAME`.
    pub subject: String,
    /// The area.
    pub area: Area,
    /// The activity.
    pub activity: Activity,
    /// The limits of the grant in words; empty if it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub limits: String,
}

/// Maximum number of sentences about added rights that a message has.
const SENTENCES: usize = 10;

/// Describes added rights, such as `operator:ann may see, change in profiles (companies EDU1)`. Subjects with the same rights share
/// a sentence.
pub fn describe_gains(gains: &[Gain]) -> String {
    let mut by_subject: BTreeMap<&str, ByLimits<'_>> = BTreeMap::new();
    for Gain { subject, area, activity, limits } in gains {
        by_subject.entry(subject).or_default().entry(limits).or_default().entry(*area).or_default().push(activity.id());
    }
    let mut sentences: Vec<(String, Vec<&str>)> = Vec::new();
    for (subject, by_limits) in by_subject {
        let rights: Vec<String> = by_limits
            .into_iter()
            .map(|(limits, areas)| {
                let areas: Vec<String> =
                    areas.iter().map(|(area, activities)| format!("{} in `{area}`", activities.join(", "))).collect();
                let limits = if limits.is_empty() { String::new() } else { format!(" ({limits})") };
                format!("{}{limits}", areas.join("; "))
            })
            .collect();
        let rights = rights.join("; ");
        match sentences.iter_mut().find(|(other, _)| *other == rights) {
            Some((_, subjects)) => subjects.push(subject),
            None => sentences.push((rights, vec![subject])),
        }
    }
    let more = sentences.len().saturating_sub(SENTENCES);
    let mut lines: Vec<String> = sentences
        .into_iter()
        .take(SENTENCES)
        .map(|(rights, subjects)| {
            format!("{} may {rights}", enumerate(subjects.iter().map(|subject| format!("`{subject}`")), 5))
        })
        .collect();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join(". ")
}

/// Returns the rights that subjects of bindings gain, in order.
pub fn gains(before: &AccessPolicy, after: &AccessPolicy) -> Vec<Gain> {
    gains_beyond(before, after, &Principal::default())
}

/// Returns the rights that subjects of bindings gain and that the caller who changes the policy does not have, in order. A caller
/// cannot give away more than it has, neither to itself nor to a token that it holds. The default caller has no rights.
pub fn gains_beyond(before: &AccessPolicy, after: &AccessPolicy, caller: &Principal) -> Vec<Gain> {
    if before == after {
        return Vec::new();
    }
    let own = grants_of(before, caller);
    let mut gains = BTreeSet::new();
    for subject in after.subjects() {
        let principal = Principal { subjects: vec![subject.clone()], ..Principal::default() };
        let had: Vec<Granted<'_>> = grants_of(before, &principal).into_iter().chain(own.iter().cloned()).collect();
        gains.extend(compare(&had, grants_of(after, &principal), subject));
    }
    gains.into_iter().collect()
}

/// Returns the rights that one principal has and another one does not.
pub fn excess(policy: &AccessPolicy, of: &Principal, over: &Principal) -> Vec<Gain> {
    let fallback = Subject::default();
    compare(&grants_of(policy, over), grants_of(policy, of), of.subjects.first().unwrap_or(&fallback))
}

/// Returns the rights of `has` that no single grant of `had` includes.
fn compare(had: &[Granted<'_>], has: Vec<Granted<'_>>, subject: &Subject) -> Vec<Gain> {
    let mut gains = Vec::new();
    for (_, grant) in has {
        for (area, activity) in grant.pairs() {
            let is_included = had.iter().any(|(_, other)| {
                other.areas.contains(&area) && other.activities.contains(&activity) && other.limits_include(&grant)
            });
            if !is_included {
                let limits = grant.describe_limits();
                gains.push(Gain { subject: subject.to_string(), area, activity, limits });
            }
        }
    }
    gains
}

impl Grant {
    /// Returns the pairs of area and activity of the grant that exist.
    pub fn pairs(&self) -> impl Iterator<Item = (Area, Activity)> {
        self.areas.iter().flat_map(|area| {
            self.activities.iter().filter(|activity| area.has(**activity)).map(move |activity| (*area, *activity))
        })
    }

    /// Returns true if the limits of this grant include everything that those of another include.
    fn limits_include(&self, other: &Grant) -> bool {
        let companies =
            self.companies.is_empty() || !other.companies.is_empty() && other.companies.is_subset(&self.companies);
        let functions = self.functions.is_empty()
            || !other.functions.is_empty() && other.functions.iter().all(|function| self.includes_function(*function));
        let fields = self.fields.is_empty()
            || !other.fields.is_empty()
                && other.fields.iter().all(|field| self.fields.iter().any(|own| own.covers(field)));
        let step_up = match (self.step_up, other.step_up) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(theirs)) => theirs <= own,
        };
        companies && functions && fields && step_up
    }
}

/// Returns true if a binding gives the role `admin` to a subject.
pub fn has_administrator(policy: &AccessPolicy) -> bool {
    policy.bindings.values().any(|binding| !binding.subjects.is_empty() && binding.roles.contains(Role::Admin.id()))
}
