//! Access: the roles and bindings of the live policy, what a subject may do, and who may change a field of a profile.
//!
//! The answers are those of `mailwright access`, by [`crate::changes::access_report`]. The policy itself is changed in the files.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde::Deserialize;

use super::list_pages::ListPages;
use crate::{
    changes::{
        access::NeededRight,
        access_report::{activities_of, bindings_of, list_rights},
    },
    console::{
        answer::{Answer, render},
        extract::Parameters,
        page::{Page, shown, shown_up_to},
        parameters::address,
    },
    model::{
        AccessPolicy, ProfileName,
        access::{Activity, Area, Binding, Decision, Grant, Subject, preset},
        token::Role,
    },
    service::{HttpProblem, Service},
};

/// Number of grants of a page.
const GRANTS: usize = 50;
/// Number of bindings of a page.
const BINDINGS: usize = 25;
/// Number of subjects of a binding that are named.
const SUBJECTS: usize = 12;
/// Maximum number of subjects that a field suggests.
const SUGGESTIONS: usize = 100;
/// Maximum size of a suggested subject, in characters. Longer ones are not cut: the field would not accept them.
const SUGGESTED: usize = 120;
/// Maximum number of holders of a right that are named.
const HOLDERS: usize = 40;
/// Maximum size of a holder, in characters.
const HOLDER: usize = 200;

/// The page.
#[derive(Template)]
#[template(path = "access.html")]
struct AccessPage {
    page: Page,
    /// The roles of the policy, then the built-in ones.
    tables: Vec<GrantTable>,
    role_names: Vec<&'static str>,
    bindings: Vec<BindingRow>,
    binding_pages: Option<ListPages>,
    subjects: Vec<String>,
    /// The fields of profiles, each with true if it was chosen.
    fields: Vec<(&'static str, bool)>,
    question: Question,
    /// The answer about a subject.
    subject: Option<SubjectAnswer>,
    /// The reason why the name is not that of a subject.
    wrong_subject: Option<&'static str>,
    /// The answer about a field.
    field: Option<FieldAnswer>,
    /// True if the profile does not exist.
    is_unknown_profile: bool,
}

/// Grants of roles.
struct GrantTable {
    is_built_in: bool,
    is_open: bool,
    rows: Vec<GrantRow>,
    pages: Option<ListPages>,
}

/// A grant of a role.
struct GrantRow {
    /// The name of the role; none for its further grants on the same page.
    role: Option<String>,
    description: String,
    areas: String,
    activities: String,
    limits: String,
}

struct BindingRow {
    name: String,
    subjects: Vec<String>,
    more_subjects: usize,
    roles: String,
}

/// The rights of a subject.
struct SubjectAnswer {
    name: String,
    /// The built-in role of the token or operator.
    role: Option<&'static str>,
    /// True for a token or operator whose built-in role is not known here.
    is_role_unknown: bool,
    bindings: String,
    rights: Vec<RightRow>,
}

struct RightRow {
    area: &'static str,
    activity: &'static str,
    by: String,
    limits: String,
}

/// The holders of the rights to change a field.
struct FieldAnswer {
    field: &'static str,
    profile: String,
    answers: Vec<(&'static str, Vec<String>, usize)>,
}

/// The parameters of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Question {
    subject: String,
    role: String,
    field: String,
    profile: String,
    /// The page of the bindings.
    bindings: usize,
    /// The page of the grants of roles.
    grants: usize,
}

impl Question {
    /// Returns the address of the page with other pages of its lists.
    fn at(&self, bindings: usize, grants: usize) -> String {
        let number = |number: usize| if number > 1 { number.to_string() } else { String::new() };
        let (bindings, grants) = (number(bindings), number(grants));
        let pairs = [
            ("subject", self.subject.as_str()),
            ("role", &self.role),
            ("field", &self.field),
            ("profile", &self.profile),
            ("bindings", &bindings),
            ("grants", &grants),
        ];
        address("/console/access", pairs)
    }
}

/// Shows the page.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    Parameters(question): Parameters<Question>,
) -> Answer {
    let state = service.state();
    let policy = &state.settings.access;
    let (mut subject, mut wrong_subject) = (None, None);
    let asked = question.subject.trim();
    if !asked.is_empty() {
        match asked.parse::<Subject>() {
            Ok(found) => subject = Some(answer_subject(&service, &page, policy, &found, &question.role).await?),
            Err(flaw) => wrong_subject = Some(flaw),
        }
    }
    let (mut field, mut is_unknown_profile) = (None, false);
    let known = Area::Profiles.fields().iter().find(|known| **known == question.field);
    if let Some(known) = known {
        let name = question.profile.trim().parse::<ProfileName>().ok();
        let live = name.as_ref().and_then(|name| state.profiles.get(name)?.live.as_ref());
        match name.as_ref().zip(live) {
            None => is_unknown_profile = true,
            Some((name, stored)) => {
                let holders = |activity: &Activity| {
                    let right = NeededRight::of_field(name, &stored.profile, *activity, known);
                    let all = right.holders(policy, service.now());
                    let more = all.len().saturating_sub(HOLDERS);
                    (activity.id(), all.iter().take(HOLDERS).map(|holder| shown_up_to(holder, HOLDER)).collect(), more)
                };
                let answers = activities_of(known).iter().map(holders).collect();
                field = Some(FieldAnswer { field: known, profile: name.to_string(), answers });
            }
        }
    }
    let question = Question {
        subject: shown_up_to(&question.subject, 400),
        role: shown_up_to(&question.role, 40),
        field: shown_up_to(&question.field, 100),
        profile: shown_up_to(&question.profile, 100),
        ..question
    };
    let roles: Vec<GrantRow> =
        policy.roles.iter().flat_map(|(name, role)| rows(name, &role.description, &role.grants)).collect();
    let (roles, role_pages) =
        ListPages::cut(roles, GRANTS, question.grants, |number| question.at(question.bindings, number));
    let bindings: Vec<(&String, &Binding)> = policy.bindings.iter().collect();
    let (bindings, binding_pages) =
        ListPages::cut(bindings, BINDINGS, question.bindings, |number| question.at(number, question.grants));
    let built_in = GrantTable {
        is_built_in: true,
        is_open: roles.is_empty(),
        rows: name_once(Role::ALL.iter().flat_map(|role| rows(role.id(), "", preset(*role))).collect()),
        pages: None,
    };
    let own = GrantTable { is_built_in: false, is_open: true, rows: name_once(roles), pages: role_pages };
    let binding = |(name, binding): (&String, &Binding)| BindingRow {
        name: shown(name),
        more_subjects: binding.subjects.len().saturating_sub(SUBJECTS),
        subjects: binding.subjects.iter().take(SUBJECTS).map(|one| shown_up_to(&one.to_string(), 100)).collect(),
        roles: shown_up_to(&binding.roles.iter().cloned().collect::<Vec<_>>().join(", "), 400),
    };
    let subjects = policy.subjects().into_iter().map(|one| shown(&one.to_string()));
    let subjects = subjects.filter(|subject| subject.chars().count() <= SUGGESTED);
    render(&AccessPage {
        tables: [own, built_in].into_iter().filter(|table| !table.rows.is_empty()).collect(),
        role_names: Role::ALL.iter().map(|role| role.id()).collect(),
        bindings: bindings.into_iter().map(binding).collect(),
        binding_pages,
        subjects: subjects.take(SUGGESTIONS).collect(),
        fields: Area::Profiles.fields().iter().map(|name| (*name, *name == question.field)).collect(),
        question,
        subject,
        wrong_subject,
        field,
        is_unknown_profile,
        page,
    })
}

/// Answers what a subject may do. The built-in role of a token or operator is the one that was asked for, or the one that it has.
async fn answer_subject(
    service: &Arc<Service>,
    page: &Page,
    policy: &AccessPolicy,
    subject: &Subject,
    role: &str,
) -> Result<SubjectAnswer, HttpProblem> {
    let now = service.now();
    let has_role = subject.token.is_some() || subject.operator.is_some();
    let known = match role.parse::<Role>().ok() {
        _ if !has_role => None,
        Some(role) => Some(role),
        None => find_role(service, page, subject).await?,
    };
    let bindings: Vec<&str> = bindings_of(policy, subject).into_iter().map(String::as_str).collect();
    let rights = list_rights(policy, subject, known, now).into_iter().map(|answer| RightRow {
        area: answer.area.id(),
        activity: answer.activity.id(),
        by: match &answer.decision {
            Decision::Allowed { by } | Decision::StepUp { by, .. } => shown(&format!("{} ({})", by.role, by.grant)),
            Decision::Refused { .. } => String::new(),
        },
        limits: shown_up_to(&answer.limits.join(" | "), 400),
    });
    Ok(SubjectAnswer {
        name: shown(&subject.to_string()),
        is_role_unknown: has_role && known.is_none(),
        role: known.map(Role::id),
        bindings: shown_up_to(&bindings.join(", "), 1000),
        rights: rights.collect(),
    })
}

/// Returns the built-in role of the token that is in effect, or of the operator, if the caller may list them.
async fn find_role(service: &Arc<Service>, page: &Page, subject: &Subject) -> Result<Option<Role>, HttpProblem> {
    let name = subject.token.as_ref().or(subject.operator.as_ref()).map(|name| name.to_lowercase()).unwrap_or_default();
    if subject.token.is_some() && page.may(Area::Tokens, Activity::See) {
        let (tokens, now) = (service.tokens().await?, service.now());
        let own = tokens.iter().find(|token| token.name.to_lowercase() == name && token.is_in_effect(now));
        return Ok(own.map(|token| token.role));
    }
    if subject.operator.is_some() && page.may(Area::Operators, Activity::See) {
        let operators = service.operators().await?;
        let own = operators.iter().find(|own| own.name.to_lowercase() == name && own.removed_at.is_none());
        return Ok(own.map(|operator| operator.role));
    }
    Ok(None)
}

/// Leaves out the name of a role where the row before has it.
fn name_once(mut rows: Vec<GrantRow>) -> Vec<GrantRow> {
    let mut last = None;
    for row in &mut rows {
        if row.role == last {
            row.role = None;
        } else {
            last.clone_from(&row.role);
        }
    }
    rows
}

fn rows(name: &str, description: &str, grants: &[Grant]) -> Vec<GrantRow> {
    let row = |(index, grant): (usize, &Grant)| GrantRow {
        role: Some(shown(name)),
        description: if index == 0 { shown_up_to(description, 200) } else { String::new() },
        areas: grant.areas.iter().map(|area| area.id()).collect::<Vec<_>>().join(", "),
        activities: grant.activities.iter().map(|activity| activity.id()).collect::<Vec<_>>().join(", "),
        limits: shown_up_to(&grant.describe_limits(), 400),
    };
    grants.iter().enumerate().map(row).collect()
}
