//! Access: the roles and bindings of the live policy, what a subject may do, and who may change a field of a profile.
//!
//! The answers are those of `mailwright access`, by [`crate::changes::access_report`]. The policy itself is changed in the files.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde::Deserialize;

use crate::{
    changes::{
        access::NeededRight,
        access_report::{activities_of, bindings_of, list_rights},
    },
    console::{
        answer::{Answer, render},
        extract::Parameters,
        page::{Page, shown, shown_up_to},
    },
    model::{
        AccessPolicy, ProfileName,
        access::{Activity, Area, Decision, Grant, Subject, preset},
        token::Role,
    },
    service::{HttpProblem, Service},
};

/// Maximum number of grants that are listed.
const GRANTS: usize = 300;
/// Maximum number of bindings that are listed.
const BINDINGS: usize = 200;
/// Number of subjects of a binding that are named.
const SUBJECTS: usize = 12;
/// Maximum number of subjects that a field suggests.
const SUGGESTIONS: usize = 200;
/// Maximum number of holders that are named.
const HOLDERS: usize = 200;

/// The page.
#[derive(Template)]
#[template(path = "access.html")]
struct AccessPage {
    page: Page,
    /// The roles of the policy, then the built-in ones.
    tables: Vec<GrantTable>,
    role_names: Vec<&'static str>,
    bindings: Vec<BindingRow>,
    more_bindings: usize,
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
    more: usize,
}

/// A grant of a role.
struct GrantRow {
    /// The name of the role; none for its further grants.
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
                    (activity.id(), all.iter().take(HOLDERS).map(|holder| shown(holder)).collect(), more)
                };
                let answers = activities_of(known).iter().map(holders).collect();
                field = Some(FieldAnswer { field: known, profile: name.to_string(), answers });
            }
        }
    }
    let mut roles: Vec<GrantRow> =
        policy.roles.iter().flat_map(|(name, role)| rows(name, &role.description, &role.grants)).collect();
    let more = roles.len().saturating_sub(GRANTS);
    roles.truncate(GRANTS);
    let built_in = GrantTable {
        is_built_in: true,
        is_open: roles.is_empty(),
        rows: Role::ALL.iter().flat_map(|role| rows(role.id(), "", preset(*role))).collect(),
        more: 0,
    };
    let own = GrantTable { is_built_in: false, is_open: true, rows: roles, more };
    let binding = |(name, binding): (&String, &crate::model::access::Binding)| BindingRow {
        name: shown(name),
        more_subjects: binding.subjects.len().saturating_sub(SUBJECTS),
        subjects: binding.subjects.iter().take(SUBJECTS).map(|one| shown_up_to(&one.to_string(), 100)).collect(),
        roles: shown_up_to(&binding.roles.iter().cloned().collect::<Vec<_>>().join(", "), 400),
    };
    render(&AccessPage {
        tables: [own, built_in].into_iter().filter(|table| !table.rows.is_empty()).collect(),
        role_names: Role::ALL.iter().map(|role| role.id()).collect(),
        more_bindings: policy.bindings.len().saturating_sub(BINDINGS),
        bindings: policy.bindings.iter().take(BINDINGS).map(binding).collect(),
        subjects: policy.subjects().into_iter().take(SUGGESTIONS).map(|one| shown(&one.to_string())).collect(),
        fields: Area::Profiles.fields().iter().map(|name| (*name, *name == question.field)).collect(),
        question: Question {
            subject: shown_up_to(&question.subject, 400),
            role: shown_up_to(&question.role, 40),
            field: shown_up_to(&question.field, 100),
            profile: shown_up_to(&question.profile, 100),
        },
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

fn rows(name: &str, description: &str, grants: &[Grant]) -> Vec<GrantRow> {
    let row = |(index, grant): (usize, &Grant)| GrantRow {
        role: (index == 0).then(|| shown(name)),
        description: if index == 0 { shown_up_to(description, 200) } else { String::new() },
        areas: grant.areas.iter().map(|area| area.id()).collect::<Vec<_>>().join(", "),
        activities: grant.activities.iter().map(|activity| activity.id()).collect::<Vec<_>>().join(", "),
        limits: shown_up_to(&grant.describe_limits(), 400),
    };
    grants.iter().enumerate().map(row).collect()
}
