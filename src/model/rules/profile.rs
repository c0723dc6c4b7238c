//! Rules for one profile by itself: description, functions, companies, From address. The rules for its provider are in `smtp`
//! and `graph`.
//!
//! Rules between profiles are in `routing` and `names`.

use serde::Serialize;

use super::{Violations, address_problem, graph, smtp};
use crate::model::{AppliesTo, Code, Profile, Provider, Settings, secret_detection, strings};

/// Searches every string of a document for keys, tokens and masked values.
pub(super) fn search_strings(document: &impl Serialize, found: &mut Violations<'_>) {
    strings::visit_strings(document, |pointer, key, text| {
        let alarm = secret_detection::detect(text).filter(|_| !secret_detection::is_exempt(key, text));
        if let Some((code, message, remedy)) = alarm {
            found.add(pointer, code, message, remedy);
        }
    });
}

/// Checks a profile by itself.
pub(super) fn check(settings: &Settings, profile: &Profile, found: &mut Violations<'_>) {
    if profile.description.chars().count() > 100 {
        found.add(
            "/description",
            Code::TooLong,
            format!("the description has {} characters; 100 are allowed", profile.description.chars().count()),
            "Shorten it.",
        );
    }
    if profile.description.chars().any(char::is_control) {
        found.add(
            "/description",
            Code::InvalidValue,
            "the description has control characters".to_owned(),
            "Write it on one line.",
        );
    }
    if profile.functions.is_empty() {
        found.add(
            "/functions",
            Code::InvalidValue,
            "the profile claims no function".to_owned(),
            "Name at least one; `mailwright functions` lists them.",
        );
    }
    match &profile.applies_to {
        AppliesTo::Companies(companies) if companies.is_empty() => found.add(
            "/appliesTo",
            Code::InvalidValue,
            "the profile applies to no company".to_owned(),
            "Name at least one company, or write `appliesTo: system-wide`.",
        ),
        AppliesTo::Companies(companies) => {
            for company in companies.iter().filter(|company| !settings.companies.contains(*company)) {
                found.add(
                    &format!("/appliesTo/companies/{company}"),
                    Code::UnknownCompany,
                    format!("company `{company}` does not exist in the environment"),
                    "Add it to `companies` in environment.yaml, or correct it here.",
                );
            }
        }
        AppliesTo::SystemWide => {}
    }
    match &profile.from {
        Some(from) => {
            if let Some((message, _)) = address_problem(&from.address) {
                found.add(
                    "/from/address",
                    Code::InvalidAddress,
                    message,
                    "Write it as local-part@domain, without a display name; that goes into `from.name`.",
                );
            }
            if from.name.as_ref().is_some_and(|n| n.chars().any(char::is_control) || n.chars().count() > 100) {
                found.add(
                    "/from/name",
                    Code::TooLong,
                    "the display name has control characters, or more than 100 characters".to_owned(),
                    "Shorten it, on one line.",
                );
            }
        }
        None if !matches!(profile.provider, Provider::MicrosoftGraphDelegate(_)) => found.add(
            "",
            Code::FromMissing,
            format!("a `{}` profile needs a `from` address", profile.provider.id()),
            "Add `from: { address: someone@example.com }`.",
        ),
        None => {}
    }
    match &profile.provider {
        Provider::Smtp(smtp) => smtp::check(smtp, found),
        Provider::MicrosoftGraphDelegate(delegate) => graph::check_delegate(delegate, profile, found),
        Provider::MicrosoftGraphDirect(direct) => {
            graph::check_direct("/provider/microsoft-graph-direct", direct, found);
        }
    }
}
