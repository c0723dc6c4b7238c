//! Runs the rules of [`crate::model::rules`] on the profiles and settings of an environment, and adds the place in the files
//! to each violation.
//!
//! A violation that could be a consequence of a problem reported earlier is left out. The rules themselves are in `model`, because
//! the service checks them too. At most 100 violations of a profile are reported.

use std::collections::BTreeMap;

use super::{Loader, Origin, first_key, profile::CheckedProfile, settings::CheckedSettings};
use crate::{
    config::{
        Diagnostic,
        node::{Node, Value},
        parse::PROBLEM_LIMIT,
        sources::Span,
    },
    model::{
        Code, Problem, Profile, ProfileName,
        rules::{self, Violation},
    },
};

impl Loader<'_> {
    /// Checks profiles and settings. `is_complete` says that all profiles are known with valid claims: otherwise a cell
    /// without a sender is not reported.
    pub(super) fn check_rules(
        &self,
        settings: &CheckedSettings,
        profiles: &BTreeMap<ProfileName, CheckedProfile>,
        is_complete: bool,
        problems: &mut Vec<Diagnostic>,
    ) {
        let typed: BTreeMap<&ProfileName, &Profile> =
            profiles.iter().map(|(name, checked)| (name, &checked.profile)).collect();
        // Strings were searched in the documents, before recovery filled in values.
        let check = rules::Check::new(&settings.settings, &typed).without_search();
        // Of two profiles that claim the same, the one in the higher layer is reported.
        let check = check.rank_claims(|name| self.documents.declaring_layer(name));
        let mut reported: BTreeMap<Option<ProfileName>, usize> = BTreeMap::new();
        for violation in check.run() {
            let reported = reported.entry(violation.profile.clone()).or_default();
            let checked = violation.profile.as_ref().and_then(|name| profiles.get(name));
            if *reported > PROBLEM_LIMIT || !is_certain(&violation, settings, checked, is_complete) {
                continue;
            }
            let node = checked.map_or(settings.node.as_ref(), |checked| checked.node.as_ref());
            *reported += 1;
            problems.push(if *reported > PROBLEM_LIMIT {
                self.too_many(node.nearest(&violation.pointer).1.span)
            } else {
                self.locate(violation, node, checked)
            });
        }
    }

    fn locate(&self, violation: Violation, node: &Node, checked: Option<&CheckedProfile>) -> Diagnostic {
        let Violation { pointer, problem: Problem { code, message, remedy, .. }, .. } = violation;
        let remedy = match checked {
            Some(CheckedProfile { raw, .. }) => {
                self.add_variable_places(remedy, &pointer, &Origin { raw, variables: &self.documents.variables })
            }
            None => remedy,
        };
        self.documents.builder.diagnostic_at(place_in(node, &pointer), code, message, remedy)
    }
}

/// Returns true if a violation holds whatever the parts say that recovery replaced.
fn is_certain(
    violation: &Violation,
    settings: &CheckedSettings,
    checked: Option<&CheckedProfile>,
    is_complete: bool,
) -> bool {
    let companies_are_valid = !settings.recovered.overlaps("/companies");
    let is_known = match violation.problem.code {
        Code::NoRoute => is_complete && companies_are_valid && !settings.recovered.overlaps("/unserved"),
        Code::UnknownCompany => companies_are_valid,
        _ => true,
    };
    let recovered = checked.map_or(&settings.recovered, |checked| &checked.recovered);
    is_known && !recovered.explains(violation.problem.code, &violation.pointer)
}

/// Returns the span to underline for a pointer: the value, or the key of a map or list.
fn place_in(node: &Node, pointer: &str) -> Span {
    let (key_span, found) = node.nearest(pointer);
    if pointer.is_empty() || std::ptr::eq(found, node) {
        first_key(node)
    } else if matches!(found.value, Value::Map(_) | Value::List(_)) {
        key_span.unwrap_or(found.span)
    } else {
        found.span
    }
}
