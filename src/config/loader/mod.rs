//! Loads one environment: effective documents to desired state, with every problem on the way.
//!
//! [`Loader::load`] runs all checks in one pass and recovers from errors, so that one run reports as many problems as possible, at
//! most 100 of a kind per document. An error prevents the desired state; a layer that is abstract, or lacks one that it extends, is
//! checked in part. It must not talk to a service or open a secret: of an age file it reads the header only.

mod age_files;
mod desired;
mod profile;
mod recipients;
mod rules;
mod settings;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rayon::prelude::*;
use serde_json::Value as Json;

use super::{
    Desired, Diagnostic,
    documents::EffectiveDocuments,
    located::LocatedProblem,
    node::{Node, Value},
    parse::{PROBLEM_LIMIT, too_many_problems},
    recovery::Recovered,
    schema::{self, DocumentKind},
    sources::Span,
    variables::{self, Variables},
};
use crate::model::{Code, ProfileName, code::Severity};
use profile::CheckedProfile;

/// The maximum number of variables whose places a remedy names.
const SHOWN_VARIABLES: usize = 5;

/// Loads one environment.
pub(super) struct Loader<'a> {
    documents: EffectiveDocuments<'a>,
}

/// The result of loading an environment.
pub(super) struct Loaded {
    /// The desired state; none if there are errors, or if the environment is abstract.
    pub(super) desired: Option<Desired>,
    pub(super) problems: Vec<Diagnostic>,
    /// The number of age files that were read.
    pub(super) age_files: usize,
}

/// The document before interpolation, to name the places of the variables in a value.
struct Origin<'a> {
    raw: &'a Node,
    variables: &'a Variables,
}

impl<'a> Loader<'a> {
    pub(super) fn new(documents: EffectiveDocuments<'a>) -> Self {
        Self { documents }
    }

    /// Checks everything and returns the desired state with all problems.
    pub(super) fn load(&self) -> Loaded {
        let mut problems = self.documents.problems();
        let is_abstract = self.documents.own().is_some_and(|own| own.is_abstract);
        let is_partial = is_abstract || !self.documents.has_all_layers();
        let settings =
            self.documents.environment.as_ref().map(|node| self.check_settings(node, is_partial, &mut problems));

        let unread = self.documents.unread();
        let may_lack_one = problems
            .iter()
            .any(|problem| matches!(problem.code, Code::UnexpectedFile | Code::InvalidName | Code::DuplicateKey));
        let mut is_complete = unread.is_empty() && !may_lack_one;
        let mut profiles: BTreeMap<ProfileName, CheckedProfile> = BTreeMap::new();
        for (name, checked, found) in self.check_profiles(is_partial, &unread) {
            problems.extend(found);
            is_complete &= checked.as_ref().is_some_and(CheckedProfile::claims_are_valid);
            profiles.extend(checked.map(|checked| (name, checked)));
        }
        let Some(settings) = settings.filter(|_| !is_partial) else {
            return Loaded { desired: None, problems, age_files: 0 };
        };
        self.check_rules(&settings, &profiles, is_complete, &mut problems);
        self.check_watch(&settings, &mut problems);
        self.check_renames(&profiles, &mut problems);
        let age_files = self.read_age_files(&settings.node, &profiles, &mut problems);
        let recipients = self.read_recipients(&mut problems);
        let count = age_files.count;
        let is_valid = problems.iter().all(|problem| problem.severity != Severity::Error);
        let desired = is_valid.then(|| self.desired(settings, profiles, age_files, recipients));
        Loaded { desired, problems, age_files: count }
    }

    fn check_profiles(
        &self,
        is_partial: bool,
        unread: &BTreeSet<&ProfileName>,
    ) -> Vec<(ProfileName, Option<CheckedProfile>, Vec<Diagnostic>)> {
        let merged: Vec<(ProfileName, Arc<Node>)> = self.documents.merged_profiles().into_iter().collect();
        merged
            .into_par_iter()
            .map(|(name, node)| {
                // Missing keys of a profile with an unreadable file are not reported.
                let is_partial = is_partial || unread.contains(&name);
                let kind = if is_partial { DocumentKind::PartialProfile } else { DocumentKind::Profile };
                let (checked, found) = self.check_profile(kind, &node);
                (name, checked, found)
            })
            .collect()
    }

    /// Adds a problem at a place.
    fn report(&self, problems: &mut Vec<Diagnostic>, span: Span, code: Code, message: &str, remedy: &str) {
        problems.push(self.documents.builder.diagnostic_at(span, code, message, remedy));
    }

    /// Interpolates a document and reports malformed and undefined variables.
    fn interpolate(&self, node: &Arc<Node>, problems: &mut Vec<Diagnostic>) -> Arc<Node> {
        let mut errors = Vec::new();
        let node = variables::interpolate(node, &self.documents.variables, &mut errors);
        let more = errors.get(PROBLEM_LIMIT).map(|error| self.too_many(error.span));
        problems.extend(errors.into_iter().take(PROBLEM_LIMIT).map(|LocatedProblem { span, problem }| {
            self.documents.builder.diagnostic_at(span, problem.code, problem.message, problem.remedy)
        }));
        problems.extend(more);
        node
    }

    /// Reports that a document has more problems of a kind than are listed.
    fn too_many(&self, span: Span) -> Diagnostic {
        let LocatedProblem { span, problem } = too_many_problems(span);
        self.documents.builder.diagnostic_at(span, problem.code, problem.message, problem.remedy)
    }

    /// Validates a document against its schema. Returns it as JSON, with the places that recovery has to treat.
    fn check_schema(
        &self,
        kind: DocumentKind,
        node: &Node,
        origin: &Origin<'_>,
        problems: &mut Vec<Diagnostic>,
    ) -> (Json, Recovered) {
        let document = node.to_json();
        let mut recovered = Recovered::default();
        node.visit_invalid(&mut String::new(), &mut |pointer| recovered.add_unusable(pointer));
        for (count, mismatch) in schema::check(kind, &document).into_iter().enumerate() {
            if count == PROBLEM_LIMIT {
                problems.push(self.too_many(node.nearest(&mismatch.pointer).1.span));
                break;
            }
            let (key_span, found) = node.nearest(&mismatch.pointer);
            // An invalid value was reported by the parser; so was a list or map that does not match because of it.
            let is_independent = mismatch.at_key || mismatch.problem.code == Code::MissingKey;
            if matches!(found.value, Value::Invalid) || found.subtree.has_invalid && !is_independent {
                continue;
            }
            let span = match mismatch.problem.code {
                // A missing key is reported at the key of its parent.
                Code::MissingKey => key_span.unwrap_or_else(|| first_key(found)),
                _ if mismatch.at_key => key_span.unwrap_or(found.span),
                _ => found.span,
            };
            let conceal =
                schema::is_secret(&mismatch.pointer) && !mismatch.at_key && mismatch.problem.code != Code::MissingKey;
            let remedy = self.add_variable_places(mismatch.problem.remedy, &mismatch.pointer, origin);
            problems.push(self.documents.builder.diagnostic_with_concealment(
                span,
                mismatch.problem.code,
                mismatch.problem.message,
                remedy,
                conceal,
            ));
            match mismatch.problem.code {
                // A later step fills in the missing value.
                Code::MissingKey => {}
                // A list with a duplicate or without items, and a string that is too long, can still be used.
                Code::InvalidValue if matches!(found.value, Value::List(_)) => recovered.add(mismatch.pointer),
                Code::TooLong => recovered.add(mismatch.pointer),
                _ => recovered.add_unusable(&mismatch.pointer),
            }
        }
        (document, recovered)
    }

    /// Adds to a remedy the places of the variables that the value contains.
    fn add_variable_places(&self, remedy: String, pointer: &str, origin: &Origin<'_>) -> String {
        let Some(text) = origin.raw.nearest(pointer).1.as_str() else { return remedy };
        let set = |name: &str| {
            let place = self.documents.builder.sources.place(origin.variables.get(name)?.span);
            Some(format!("`{name}` is set at {place}."))
        };
        let names: BTreeSet<&str> = variables::names_in(text).take(SHOWN_VARIABLES).collect();
        names.into_iter().filter_map(set).fold(remedy, |remedy, set| format!("{remedy} {set}"))
    }
}

/// Returns the span of a map's first key, which is where an editor should point for the map.
fn first_key(node: &Node) -> Span {
    node.entries().first().map_or(node.span, |entry| entry.key_span)
}
