//! [`compare_profile`]: the fields of one profile, desired next to live, for `mailwright show`.
//!
//! A profile that is missing on one side has empty values there. Secrets are shown by name and the beginning of their digest. A
//! plan compares three states instead, in `planner`.

use std::collections::BTreeSet;

use super::render::display_value;
use crate::{
    changes::fields::{self, Fields},
    model::StoredProfile,
};

/// The desired and the live value of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldComparison {
    /// The field: keys joined by dots.
    pub path: String,
    /// The desired value for display; empty if there is none.
    pub desired: String,
    /// The live value for display; empty if there is none.
    pub live: String,
    /// True if the two differ.
    pub differs: bool,
}

/// Compares all fields of a profile. A secret is shown by its name and the beginning of its digest.
pub fn compare_profile(desired: Option<&StoredProfile>, live: Option<&StoredProfile>) -> Vec<FieldComparison> {
    let (desired, live) =
        (desired.map(fields::profile_fields).unwrap_or_default(), live.map(fields::profile_fields).unwrap_or_default());
    let fit = |fields: &Fields, path: &str| match fields.get(path) {
        None => String::new(),
        Some(field) => match &field.digest {
            Some(digest) => format!("{} (secret, {})", field.value.as_str().unwrap_or_default(), digest.short()),
            None => display_value(&field.value),
        },
    };
    let paths: BTreeSet<&String> = desired.keys().chain(live.keys()).collect();
    paths
        .into_iter()
        .map(|path| FieldComparison {
            path: path.clone(),
            desired: fit(&desired, path),
            live: fit(&live, path),
            differs: desired.get(path) != live.get(path),
        })
        .collect()
}
