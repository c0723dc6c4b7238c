//! Guards: changes that need an explicit permission for this one plan.
//!
//! Guarded are the deletion of many profiles, of an enabled profile that claims `default`, each change after which a company and
//! function has lost its last sender, rights that a change of the access policy adds, and recipients of secrets that are added,
//! or all removed. The first recipients of an environment do not count as added. A plan shows its guards and the service enforces
//! them, both by [`check`]. The limits are those of the live settings, not those that the changeset brings: a plan cannot raise
//! the limit that it would exceed.
//!
//! [`Allowances`] lift them. One allowance lifts those about rights and about recipients, because a recipient reads secrets. Of
//! the others, a number lifts all if the change has deletions and not more than that, a name those of that profile. The deletion
//! of many is lifted by names if every deleted profile is named.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    model::{
        Allowances, Code, Function, ProfileChange, ProfileName, Provenance, SecretRecipient, Settings, State,
        access::{self, Gain, describe_gains},
        provenance::Breach,
        resolution::{Cell, Resolver},
        secret_recipient::find_added,
    },
    text::enumerate,
};

/// A guard that a change violates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "guard")]
pub enum Guard {
    /// More deletions than the environment's limit.
    TooManyDeletes {
        /// The number of deletions.
        deletes: u64,
        /// The number that is allowed.
        allowed: u64,
        /// The number of live profiles.
        live: u64,
        /// The profiles that would be deleted.
        names: Vec<ProfileName>,
    },
    /// A profile that claims `default` would be deleted.
    DefaultProfile {
        /// The profile.
        name: ProfileName,
    },
    /// Some cells would lose their sender.
    LastSender {
        /// The profile that sends for them now.
        name: ProfileName,
        /// The cells.
        cells: Vec<Cell>,
    },
    /// Subjects would get rights that they do not have.
    RightsAdded {
        /// The rights.
        gains: Vec<Gain>,
    },
    /// The holders of some keys could read every secret that is encrypted from then on.
    RecipientsAdded {
        /// The recipients.
        recipients: Vec<SecretRecipient>,
    },
    /// The service would know none of the recipients any more, so that the next ones could be added unnoticed.
    RecipientsRemoved {
        /// The number of recipients now.
        known: u64,
    },
}

/// Returns the guards that the step from `before` to `after` violates and that `allowances` do not lift, in order.
pub fn check(before: &State, after: &State, changes: &[ProfileChange], allowances: &Allowances) -> Vec<Guard> {
    let deleted: BTreeSet<&ProfileName> = changes
        .iter()
        .filter_map(|change| match change {
            ProfileChange::Delete { name } => Some(name),
            _ => None,
        })
        .collect();
    let mut guards = Vec::new();
    if !allowances.rights {
        let gains = access::gains(&before.settings.access, &after.settings.access);
        if !gains.is_empty() {
            guards.push(Guard::RightsAdded { gains });
        }
        guards.extend(check_recipients(&before.settings.secret_recipients, &after.settings.secret_recipients));
    }
    let count = deleted.len() as u64;
    if allowances.deletes.is_some_and(|allowed| count > 0 && u64::from(allowed) >= count) {
        return guards;
    }
    let unnamed: Vec<&ProfileName> = deleted.iter().copied().filter(|name| !allowances.names.contains(*name)).collect();
    let live = before.live().count() as u64;
    let allowed = allowed_deletes(before, live);
    if count > allowed && !unnamed.is_empty() {
        let names = deleted.iter().map(|name| (*name).clone()).collect();
        guards.push(Guard::TooManyDeletes { deletes: count, allowed, live, names });
    }
    let default = Function::default_function();
    for name in unnamed {
        let claims_default = before
            .profiles
            .get(name)
            .and_then(|state| state.live.as_ref())
            .is_some_and(|stored| stored.profile.enabled && stored.profile.functions.contains(&default));
        if claims_default {
            guards.push(Guard::DefaultProfile { name: name.clone() });
        }
    }
    guards.extend(find_lost_senders(before, after, allowances));
    guards
}

fn check_recipients(before: &BTreeSet<SecretRecipient>, after: &BTreeSet<SecretRecipient>) -> Option<Guard> {
    if before.is_empty() {
        return None;
    }
    if after.is_empty() {
        return Some(Guard::RecipientsRemoved { known: before.len() as u64 });
    }
    let recipients = find_added(before, after);
    (!recipients.is_empty()).then_some(Guard::RecipientsAdded { recipients })
}

/// Returns the breaches of the source policy. A change must satisfy both the live policy and the one that it brings, so that a
/// branch cannot remove the rule that it breaks. Each breach is returned once.
pub fn check_source(live: &Settings, brought: Option<&Settings>, source: &Provenance) -> Vec<Breach> {
    let mut breaches = live.policy.source.breaches(source);
    for breach in brought.into_iter().flat_map(|settings| settings.policy.source.breaches(source)) {
        if !breaches.contains(&breach) {
            breaches.push(breach);
        }
    }
    breaches
}

/// Returns the number of profiles that may be deleted: the share of the policy in whole profiles, at least its floor, and never
/// all of them.
fn allowed_deletes(before: &State, live: u64) -> u64 {
    let limit = before.settings.policy.deletes;
    let share = live * u64::from(limit.percent) / 100;
    share.max(u64::from(limit.at_least)).min(live.saturating_sub(1))
}

fn find_lost_senders(before: &State, after: &State, allowances: &Allowances) -> Vec<Guard> {
    // Without a live profile, no cell has a sender to lose.
    if before.live().next().is_none() {
        return Vec::new();
    }
    let (old, new) = (Resolver::new(before.live()), Resolver::new(after.live()));
    // The cells of a removed company are not lost.
    let kept = before.settings.companies.intersection(&after.settings.companies);
    let mut lost: std::collections::BTreeMap<&ProfileName, Vec<Cell>> = std::collections::BTreeMap::new();
    for cell in Cell::all(kept) {
        if let (Some((sender, _)), None) = (old.sender(&cell), new.sender(&cell)) {
            lost.entry(sender).or_default().push(cell);
        }
    }
    lost.into_iter()
        .filter(|(name, _)| !allowances.names.contains(*name))
        .map(|(name, cells)| Guard::LastSender { name: name.clone(), cells })
        .collect()
}

impl Guard {
    /// Describes the violation in one sentence.
    pub fn message(&self) -> String {
        match self {
            Guard::TooManyDeletes { deletes, allowed, live, names } => {
                let names = enumerate(names.iter().map(|name| format!("`{name}`")), 10);
                format!("{deletes} of {live} profiles would be deleted and {allowed} may be: {names}")
            }
            Guard::DefaultProfile { name } => format!("`{name}` claims `default`, and would be deleted"),
            Guard::RightsAdded { gains } => {
                format!("rights would be added: {}", describe_gains(gains))
            }
            Guard::RecipientsAdded { recipients } => {
                let added = enumerate(recipients.iter().map(SecretRecipient::describe), 5);
                format!("secrets that are encrypted from now on could be read with the key of {added}")
            }
            Guard::RecipientsRemoved { known } => {
                format!(
                    "the service would know none of its {known} recipients of secrets any more, so that the console encrypts for the service alone"
                )
            }
            Guard::LastSender { name, cells } => {
                let cells = enumerate(cells.iter().map(ToString::to_string), 5);
                format!("`{name}` is the last sender for {cells}")
            }
        }
    }

    /// Returns the problem code of a change that violates the guard.
    pub fn code(&self) -> Code {
        match self {
            Guard::RightsAdded { .. } | Guard::RecipientsAdded { .. } | Guard::RecipientsRemoved { .. } => {
                Code::RightsAdded
            }
            _ => Code::DeletionGuarded,
        }
    }

    /// Returns the options that lift guards.
    pub fn options(guards: &[Guard]) -> String {
        let allowances: Vec<String> = guards.iter().filter_map(Guard::allowance).collect();
        // The number of deletions lifts every guard about deletions; names lift one each.
        let number = allowances.iter().find(|text| text.parse::<u32>().is_ok());
        let deletes = match number {
            Some(number) => number.clone(),
            None => allowances.join(","),
        };
        let deletes = (!deletes.is_empty()).then(|| format!("--allow-deletes {deletes}"));
        let rights = guards.iter().any(|guard| guard.code() == Code::RightsAdded);
        rights.then(|| "--allow-rights".to_owned()).into_iter().chain(deletes).collect::<Vec<_>>().join(" ")
    }

    /// Returns the argument of `--allow-deletes` that lifts the guard: a profile's name, or a number of deletions. None for a
    /// guard that another option lifts.
    fn allowance(&self) -> Option<String> {
        Some(match self {
            Guard::RightsAdded { .. } | Guard::RecipientsAdded { .. } | Guard::RecipientsRemoved { .. } => return None,
            Guard::TooManyDeletes { deletes, .. } => deletes.to_string(),
            Guard::DefaultProfile { name } | Guard::LastSender { name, .. } => name.to_string(),
        })
    }
}
