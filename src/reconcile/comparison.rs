//! One profile as the files want it, beside what is live.

use std::collections::BTreeSet;

use super::render::shown;
use crate::{
    changes::fields::{self, Fields},
    model::StoredProfile,
};

/// One row of a profile's desired and live fields side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BesideRow {
    /// The field: keys joined by dots.
    pub path: String,
    /// What the files say, fit to print; empty if nothing.
    pub desired: String,
    /// What is live, fit to print; empty if nothing.
    pub live: String,
    /// Whether the two differ.
    pub differs: bool,
}

/// A profile's fields, desired beside live. Of a secret: its name and the beginning of its digest.
pub fn beside(desired: Option<&StoredProfile>, live: Option<&StoredProfile>) -> Vec<BesideRow> {
    let (desired, live) =
        (desired.map(fields::of_profile).unwrap_or_default(), live.map(fields::of_profile).unwrap_or_default());
    let fit = |fields: &Fields, path: &str| match fields.get(path) {
        None => String::new(),
        Some(field) => match &field.digest {
            Some(digest) => format!("{} (secret, {})", field.value.as_str().unwrap_or_default(), digest.short()),
            None => shown(&field.value),
        },
    };
    let paths: BTreeSet<&String> = desired.keys().chain(live.keys()).collect();
    paths
        .into_iter()
        .map(|path| BesideRow {
            path: path.clone(),
            desired: fit(&desired, path),
            live: fit(&live, path),
            differs: desired.get(path) != live.get(path),
        })
        .collect()
}
