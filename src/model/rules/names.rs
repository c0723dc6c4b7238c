//! Rule for the names of profiles in an environment: no two differ in case only, because some file systems cannot hold both.
//!
//! The syntax of a name is checked by its type, in [`crate::model::name`].

use std::collections::BTreeMap;

use super::{Violation, Violations};
use crate::model::{Code, Profile, ProfileName};

/// Checks that no two names differ in case only.
pub(super) fn check(profiles: &BTreeMap<&ProfileName, &Profile>, found: &mut Vec<Violation>) {
    let mut seen: BTreeMap<String, &ProfileName> = BTreeMap::new();
    for name in profiles.keys().copied() {
        if let Some(first) = seen.insert(name.as_str().to_ascii_lowercase(), name) {
            Violations::of_profile(name, found).add(
                "",
                Code::NamesDifferInCase,
                format!("`{name}` and `{first}` differ in case only"),
                "Rename one of them: some file systems cannot hold both.",
            );
        }
    }
}
