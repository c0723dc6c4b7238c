//! Rules for the access policy: names are plain, grants name rights that exist, bindings name roles that exist.
//!
//! Decisions about access are made in [`crate::model::access`].

use super::{Violation, Violations};
use crate::model::{
    Code, Settings,
    access::{self, ACCESS_NAME_RULE, Grant, is_access_name},
    token::Role,
};

/// Checks the access policy.
pub(super) fn check(settings: &Settings, found: &mut Vec<Violation>) {
    let policy = &settings.access;
    let mut found = Violations::of_settings("/access", found);
    if policy.roles.len() > access::ROLES_LIMIT || policy.bindings.len() > access::BINDINGS_LIMIT {
        let message = format!(
            "the access policy has more than {} roles or {} bindings",
            access::ROLES_LIMIT,
            access::BINDINGS_LIMIT
        );
        return found.add("", Code::InvalidValue, message, "Combine some of them.");
    }
    for (name, role) in &policy.roles {
        let pointer = format!("/roles/{name}");
        if !is_access_name(name) {
            let remedy = format!("Write {ACCESS_NAME_RULE}");
            found.add("/roles", Code::InvalidName, "the name of a role is not allowed", remedy);
            continue;
        }
        if name.parse::<Role>().is_ok() {
            let message = format!("`{name}` is a built-in role");
            found.add(&pointer, Code::InvalidName, message, "Choose another name. Built-in roles cannot be changed.");
        }
        if role.grants.len() > access::GRANTS_LIMIT {
            let message = format!("the role has more than {} grants", access::GRANTS_LIMIT);
            found.add(&format!("{pointer}/grants"), Code::InvalidValue, message, "Divide it into several roles.");
            continue;
        }
        if role.grants.is_empty() {
            let remedy = "Add `grants: [{ areas: [profiles], activities: [see] }]`, or remove the role.";
            found.add(&pointer, Code::MissingKey, "the role has no grant", remedy);
        }
        for (index, grant) in role.grants.iter().enumerate() {
            check_grant(settings, grant, &format!("{pointer}/grants/{index}"), &mut found);
        }
    }
    check_bindings(settings, &mut found);
}

fn check_grant(settings: &Settings, grant: &Grant, pointer: &str, found: &mut Violations<'_>) {
    for (key, is_empty) in [("areas", grant.areas.is_empty()), ("activities", grant.activities.is_empty())] {
        if is_empty {
            let message = format!("the grant has no {key}");
            found.add(pointer, Code::MissingKey, message, format!("Add `{key}: [...]`."));
        }
    }
    if grant.areas.is_empty() || grant.activities.is_empty() {
        return;
    }
    for activity in grant.activities.iter().filter(|activity| !grant.areas.iter().any(|area| area.has(**activity))) {
        let places = access::Area::ALL.iter().filter(|area| area.has(*activity)).map(|area| format!("`{area}`"));
        let places = places.collect::<Vec<_>>().join(", ");
        let message = format!("the activity `{activity}` does not exist in these areas");
        let remedy = format!("It exists in {places}. Add the area, or remove the activity.");
        found.add(&format!("{pointer}/activities/{activity}"), Code::InvalidValue, message, remedy);
    }
    for area in grant.areas.iter().filter(|area| !grant.activities.iter().any(|activity| area.has(*activity))) {
        let activities = area.activities().iter().map(|activity| format!("`{activity}`")).collect::<Vec<_>>();
        let message = format!("the area `{area}` has none of these activities");
        let remedy = format!("It has {}. Add one, or remove the area.", activities.join(", "));
        found.add(&format!("{pointer}/areas/{area}"), Code::InvalidValue, message, remedy);
    }
    // Such a limit would be read as one, and would not be one.
    let unlimited: Vec<String> =
        grant.areas.iter().filter(|area| !area.is_limited_by_company()).map(|area| format!("`{area}`")).collect();
    for (key, is_set) in [("companies", !grant.companies.is_empty()), ("functions", !grant.functions.is_empty())] {
        if is_set && !unlimited.is_empty() {
            let areas = unlimited.join(", ");
            let message = format!("`{key}` does not limit {areas}");
            let remedy = format!("Give {areas} in a grant of its own, without `{key}`: it is about all of them.");
            found.add(&format!("{pointer}/{key}"), Code::InvalidValue, message, remedy);
        }
    }
    for company in grant.companies.iter().filter(|company| !settings.companies.contains(*company)) {
        let message = format!("company `{company}` does not exist in the environment");
        let remedy = "Add it to `companies` in environment.yaml, or correct it here.";
        found.add(&format!("{pointer}/companies/{company}"), Code::UnknownCompany, message, remedy);
    }
    let known = |path: &str| {
        grant.areas.iter().any(|area| {
            area.fields().iter().any(|field| {
                let group = path.strip_suffix('*');
                group.map_or(*field == path, |group| field.starts_with(group))
            })
        })
    };
    for field in grant.fields.iter().filter(|field| !known(field.as_str())) {
        let message = format!("the areas of the grant have no field `{field}`");
        let remedy =
            "Fields limit the areas `profiles` and `settings`. Add the area that has the field, or remove the field.";
        found.add(&format!("{pointer}/fields/{field}"), Code::InvalidValue, message, remedy);
    }
    if grant.step_up.is_some_and(|within| within.duration().as_secs() > access::STEP_UP_LIMIT) {
        let message = "a confirmation of the identity counts for at most 12 hours";
        found.add(&format!("{pointer}/stepUp"), Code::InvalidValue, message, "Write a shorter time, such as 10m.");
    }
}

fn check_bindings(settings: &Settings, found: &mut Violations<'_>) {
    let policy = &settings.access;
    for (name, binding) in &policy.bindings {
        let pointer = format!("/bindings/{name}");
        if !is_access_name(name) {
            let remedy = format!("Write {ACCESS_NAME_RULE}");
            found.add("/bindings", Code::InvalidName, "the name of a binding is not allowed", remedy);
            continue;
        }
        for (key, is_empty) in [("subjects", binding.subjects.is_empty()), ("roles", binding.roles.is_empty())] {
            if is_empty {
                let message = format!("the binding has no {key}");
                found.add(&pointer, Code::MissingKey, message, format!("Add `{key}: [...]`, or remove the binding."));
            }
        }
        if binding.subjects.len() > access::BINDINGS_LIMIT {
            let message = format!("the binding has more than {} subjects", access::BINDINGS_LIMIT);
            found.add(&format!("{pointer}/subjects"), Code::InvalidValue, message, "Bind a group instead.");
            continue;
        }
        if let Some(flaw) = binding.subjects.iter().find_map(access::Subject::flaw) {
            let remedy = "Write `{ token: NAME }`, `{ operator: NAME }` or `{ group: NAME, issuer: https://... }`.";
            found.add(&format!("{pointer}/subjects"), Code::InvalidValue, flaw, remedy);
        }
        let known = |role: &str| role.parse::<Role>().is_ok() || policy.roles.contains_key(role);
        for role in binding.roles.iter().filter(|role| !known(role)) {
            let all: Vec<&str> =
                Role::ALL.iter().map(|role| role.id()).chain(policy.roles.keys().map(String::as_str)).collect();
            let message = format!("unknown role `{}`", role.escape_debug());
            let remedy = format!("There are: {}.", all.join(", "));
            found.add(&format!("{pointer}/roles/{role}"), Code::UnknownValue, message, remedy);
        }
    }
}
