//! The check for permissions that an application has and does not need.
//!
//! [`Needed`] are the permissions of the profile and of the others that share its application. One that replaces a needed
//! permission which was not granted is not excessive.

use std::collections::BTreeSet;

use super::SHOWN;
use crate::{
    entra::permissions::{self, PermissionKind},
    model::{finding::Finding, finding_id::FindingId},
    text::shortened,
    verify::remedy::Remedies,
};

/// The number of unneeded permissions that are listed with the steps that remove them.
const STEPS_FOR: usize = 5;

/// Permissions that an application needs for this profile and for those that share it.
pub(super) struct Needed {
    names: BTreeSet<&'static str>,
    is_shared: bool,
}

impl Needed {
    pub(super) fn new(own: &[&'static str], shared: Option<&BTreeSet<&'static str>>) -> Self {
        let own: BTreeSet<&'static str> = own.iter().copied().collect();
        let names = shared.map_or_else(|| own.clone(), |shared| &own | shared);
        Self { is_shared: names != own, names }
    }

    /// Returns the granted permissions that are not needed and do not replace a needed one that is not granted.
    pub(super) fn unneeded<'a>(&self, granted: &[&'a str]) -> Vec<&'a str> {
        let is_replacement = |name: &&str| {
            self.names.iter().any(|needed| !granted.contains(needed) && permissions::broader(needed).contains(name))
        };
        granted.iter().copied().filter(|name| !self.names.contains(name) && !is_replacement(name)).collect()
    }
}

/// Returns the finding about permissions that are not needed.
pub(super) fn finding(
    pointer: &str,
    kind: PermissionKind,
    is_granted: bool,
    needed: &Needed,
    extra: &[&str],
    remedies: &Remedies<'_>,
) -> Option<Finding> {
    if extra.is_empty() {
        return None;
    }
    // A name that is not in the table comes from the registration, and may have any length.
    let reason = |name: &&str| format!("{}: {}", shortened(name, 100), permissions::reach(name));
    let reasons: Vec<String> = extra.iter().take(SHOWN).map(reason).collect();
    let mut seen = reasons.join("; ");
    if extra.len() > SHOWN {
        seen.push_str(&format!("; and {} more", extra.len() - SHOWN));
    }
    let mut steps: Vec<String> =
        extra.iter().take(STEPS_FOR).flat_map(|name| remedies.remove_permission(kind, &shortened(name, 100))).collect();
    if extra.len() > STEPS_FOR {
        steps.push(format!(
            "{} more in the same way: verify again once these are removed, and it names the next ones.",
            extra.len() - STEPS_FOR
        ));
    }
    Some(
        Finding::fail(
            FindingId::PermissionExcess,
            pointer,
            format!(
                "the application {} more {} permission than {}",
                if is_granted { "has" } else { "requests" },
                kind.adjective(),
                if needed.is_shared { "the profiles that share it need" } else { "this profile needs" },
            ),
        )
        .seen(seen)
        .expected(if needed.is_shared {
            "only the permissions that these profiles need"
        } else {
            "only the permissions that the profile needs"
        })
        .remedy(steps),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broader_permission_is_unneeded_only_next_to_the_needed_one() {
        let needed = Needed::new(&["Mail.Send", "User.Read.All"], None);
        assert_eq!(needed.unneeded(&["Mail.Send", "Directory.Read.All"]), Vec::<&str>::new());
        assert_eq!(needed.unneeded(&["Mail.Send", "User.Read.All", "Directory.Read.All"]), ["Directory.Read.All"]);
        assert!(!needed.is_shared);
    }

    #[test]
    fn a_permission_of_another_profile_is_needed() {
        let shared = BTreeSet::from(["Mail.Send", "Group.Read.All"]);
        let needed = Needed::new(&["Mail.Send"], Some(&shared));
        assert!(needed.is_shared);
        assert_eq!(needed.unneeded(&["Mail.Send", "Group.Read.All", "Mail.ReadWrite"]), ["Mail.ReadWrite"]);
    }
}
