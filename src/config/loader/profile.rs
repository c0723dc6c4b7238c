//! Checks one profile of an environment: interpolation, schema, strings that look like secrets, error recovery. Also checks
//! renames.
//!
//! [`CheckedProfile`] is the profile after recovery, with what recovery changed. Rules between profiles are checked afterwards, in
//! `rules`. If recovery fails, no profile is returned, and its problems remain.

use std::{collections::BTreeMap, sync::Arc};

use super::{Loader, Origin};
use crate::{
    config::{
        Diagnostic,
        node::{Node, Value},
        parse::PROBLEM_LIMIT,
        recovery::{Recovered, fill_defaults, remove_invalid},
        schema::DocumentKind,
    },
    model::{Code, Profile, ProfileName, secret_detection},
};

/// A profile after recovery.
pub(super) struct CheckedProfile {
    /// The merged document before interpolation.
    pub(super) raw: Arc<Node>,
    /// The merged and interpolated document.
    pub(super) node: Arc<Node>,
    pub(super) profile: Profile,
    pub(super) renamed_from: Option<ProfileName>,
    pub(super) recovered: Recovered,
}

impl CheckedProfile {
    /// Returns true if recovery did not touch the functions and companies that the profile claims.
    pub(super) fn claims_are_valid(&self) -> bool {
        let decisive = ["/enabled", "/functions", "/appliesTo", "/provider"];
        !decisive.iter().any(|pointer| self.recovered.overlaps(pointer))
    }
}

impl Loader<'_> {
    /// Checks a merged profile. A partial profile is checked, but not returned.
    pub(super) fn check_profile(
        &self,
        kind: DocumentKind,
        merged: &Arc<Node>,
    ) -> (Option<CheckedProfile>, Vec<Diagnostic>) {
        let mut problems = Vec::new();
        let node = match kind {
            DocumentKind::Profile => self.interpolate(merged, &mut problems),
            _ => Arc::clone(merged),
        };
        let origin = Origin { raw: merged, variables: &self.documents.variables };
        let (mut document, mut recovered) = self.check_schema(kind, &node, &origin, &mut problems);
        self.search_for_secrets(&node, &mut problems);
        if kind != DocumentKind::Profile {
            return (None, problems);
        }
        let is_valid = problems.is_empty() && !node.subtree.has_invalid;
        if !is_valid {
            remove_invalid(&mut document, &recovered);
            fill_defaults(&mut document, &mut recovered);
        }
        let renamed_from = document.as_object_mut().and_then(|map| map.remove("renamedFrom"));
        let renamed_from = renamed_from.and_then(|name| name.as_str().and_then(|name| name.parse().ok()));
        if let Ok(profile) = serde_json::from_value(document) {
            let raw = Arc::clone(merged);
            return (Some(CheckedProfile { raw, node, profile, renamed_from, recovered }), problems);
        }
        // The schema accepts nothing that the types reject; a test compares the two.
        if is_valid {
            self.report(
                &mut problems,
                node.span,
                Code::InvalidValue,
                "the profile is invalid",
                "`mailwright schema profile` prints the format.",
            );
        }
        (None, problems)
    }

    /// Reports strings that look like keys, tokens or masked values.
    pub(super) fn search_for_secrets(&self, node: &Node, problems: &mut Vec<Diagnostic>) {
        let mut found = Vec::new();
        self.search_node(node, "", &mut found);
        problems.append(&mut found);
    }

    fn search_node(&self, node: &Node, key: &str, found: &mut Vec<Diagnostic>) {
        if found.len() > PROBLEM_LIMIT {
            return;
        }
        match &node.value {
            Value::String(text) if !secret_detection::is_exempt(key, text) => {
                let Some((code, message, remedy)) = secret_detection::detect(text) else { return };
                found.push(if found.len() == PROBLEM_LIMIT {
                    self.too_many(node.span)
                } else {
                    self.documents.builder.diagnostic_with_concealment(node.span, code, message, remedy, true)
                });
            }
            Value::List(items) => items.iter().for_each(|item| self.search_node(item, key, found)),
            Value::Map(entries) => entries.iter().for_each(|entry| self.search_node(&entry.node, &entry.key, found)),
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Invalid => {}
        }
    }

    /// Checks that no profile is renamed from a profile that is still declared.
    pub(super) fn check_renames(
        &self,
        profiles: &BTreeMap<ProfileName, CheckedProfile>,
        problems: &mut Vec<Diagnostic>,
    ) {
        for (name, checked) in profiles {
            let Some(from) = checked.renamed_from.as_ref().filter(|from| profiles.contains_key(*from)) else {
                continue;
            };
            let (_, found) = checked.node.nearest("/renamedFrom");
            let message = if from == name {
                "a profile cannot be renamed from itself".to_owned()
            } else {
                format!("the profile `{from}` is still declared, so this one cannot be it under a new name")
            };
            let remedy = "Remove `renamedFrom`, or the file of the old name.";
            self.report(problems, found.span, Code::RenameImpossible, &message, remedy);
        }
    }
}
