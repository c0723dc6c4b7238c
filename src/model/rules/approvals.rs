//! Rules for `policy.approvals`: names of signers are valid and unique without regard to case, keys and operators are valid and belong
//! to one signer each, groups and rules name signers, groups and companies that exist, and rules require at least one signer and no
//! more than there are for them.
//!
//! The last day of a signer is not considered. Which approvals a change needs is decided in [`crate::model::approvals`].

use std::collections::{BTreeSet, HashMap};

use ssh_key::HashAlg;

use super::{Violation, Violations};
use crate::model::{
    Address, Code, Settings,
    approvals::{Approvals, Signer, is_signer_name},
};

/// The shortest and the longest time after which a proposal expires, in seconds.
const EXPIRY: std::ops::RangeInclusive<u64> = 3600..=365 * 86_400;

/// Checks the approval policy.
pub(super) fn check(settings: &Settings, found: &mut Vec<Violation>) {
    let approvals = &settings.policy.approvals;
    let mut found = Violations::of_settings("/policy/approvals", found);
    check_signers(&approvals.signers, &mut found);
    for (group, members) in &approvals.groups {
        if !is_signer_name(group) {
            let message = format!("`{}` is not the name of a group", group.escape_debug());
            found.add("/groups", Code::InvalidName, message, "Write up to 64 letters, digits, `.`, `_`, `@` and `-`.");
            continue;
        }
        check_names(approvals, members, &format!("/groups/{group}"), &mut found);
        if members.is_empty() {
            let message = format!("the group `{group}` has no signers");
            found.add(&format!("/groups/{group}"), Code::InvalidValue, message, "Add a signer, or remove the group.");
        }
    }
    for (index, rule) in approvals.rules.iter().enumerate() {
        let pointer = format!("/rules/{index}");
        check_names(approvals, &rule.signers, &format!("{pointer}/signers"), &mut found);
        for name in rule.groups.iter().filter(|name| !approvals.groups.contains_key(*name)) {
            let message = format!("unknown group `{}`", name.escape_debug());
            let remedy = "Add the group to `policy.approvals.groups`, or correct the name.";
            found.add(&format!("{pointer}/groups"), Code::InvalidValue, message, remedy);
        }
        for company in rule.companies.iter().filter(|company| !settings.companies.contains(*company)) {
            let message = format!("company `{company}` does not exist in the environment");
            let remedy = "Add it to `companies`, or correct it here.";
            found.add(&format!("{pointer}/companies"), Code::UnknownCompany, message, remedy);
        }
        // Unknown names are reported above, and count here: one mistake is one problem.
        let unknown = rule.signers.iter().filter(|name| !approvals.signers.iter().any(|signer| signer.name == **name));
        let signers = approvals.signers_of(rule).count() + unknown.count();
        let is_unknown = rule.groups.iter().any(|group| !approvals.groups.contains_key(group));
        if rule.count == 0 || (usize::from(rule.count) > signers && !is_unknown) {
            let message = format!("the rule requires {} of {signers} signers", rule.count);
            found.add(
                &format!("{pointer}/count"),
                Code::InvalidValue,
                message,
                "Require at least one, and no more than there are.",
            );
        }
    }
    if approvals.expires_in.is_some_and(|expiry| !EXPIRY.contains(&expiry.duration().as_secs())) {
        let message = "a proposal expires after 1h to 365d".to_owned();
        found.add("/expiresIn", Code::InvalidValue, message, "Write for example `expiresIn: 14d`.");
    }
}

fn check_signers(signers: &[Signer], found: &mut Violations<'_>) {
    let (mut names, mut keys, mut operators) = (BTreeSet::new(), HashMap::new(), HashMap::new());
    for (index, signer) in signers.iter().enumerate() {
        let name = format!("/signers/{index}/name");
        if !is_signer_name(&signer.name) {
            let message = "this is not a signer's name".to_owned();
            found.add(&name, Code::InvalidName, message, "Write up to 64 letters, digits, `.`, `_`, `@` and `-`.");
        } else if !names.insert(signer.name.to_ascii_lowercase()) {
            let message = format!("two signers are called `{}`", signer.name);
            found.add(
                &name,
                Code::InvalidValue,
                message,
                "Give each person one name. One signer can have a `key` and an `operator`.",
            );
        }
        if signer.key.is_none() && signer.operator.is_none() {
            let message = "the signer has neither `key` nor `operator`".to_owned();
            let remedy =
                "Add `key: \"ssh-ed25519 ...\"` (a public SSH key), or `operator: NAME` (an operator of the console).";
            found.add(&format!("/signers/{index}"), Code::MissingKey, message, remedy);
        }
        match signer.public_key() {
            None => {}
            Some(Err(why)) => found.add(
                &format!("/signers/{index}/key"),
                Code::InvalidValue,
                why.to_owned(),
                "Copy the line of a `.pub` file: ssh-ed25519, ecdsa-sha2-nistp256, ssh-rsa, or one of a security key (sk-).",
            ),
            Some(Ok(key)) => {
                if let Some(first) = keys.insert(key.fingerprint(HashAlg::Sha256).to_string(), &signer.name) {
                    let message = format!("`{first}` has this key already");
                    found.add(&format!("/signers/{index}/key"), Code::InvalidValue, message, "Use each key for one signer only.");
                }
            }
        }
        if let Some(operator) = &signer.operator
            && let Some(first) = operators.insert(operator.to_lowercase(), &signer.name)
        {
            let message = format!("`{first}` is this operator already");
            let remedy = "Name each operator for one signer only.";
            found.add(&format!("/signers/{index}/operator"), Code::InvalidValue, message, remedy);
        }
        if signer.email.as_ref().is_some_and(|email| Address::parse(email).is_err()) {
            let message = "this is not an e-mail address".to_owned();
            let remedy = "Write an address such as `alice@example.com`.";
            found.add(&format!("/signers/{index}/email"), Code::InvalidValue, message, remedy);
        }
    }
}

/// Checks that signers exist.
fn check_names(approvals: &Approvals, names: &BTreeSet<String>, pointer: &str, found: &mut Violations<'_>) {
    for name in names.iter().filter(|name| !approvals.signers.iter().any(|signer| signer.name == **name)) {
        let message = format!("unknown signer `{}`", name.escape_debug());
        found.add(pointer, Code::InvalidValue, message, "Add the signer, or correct the name.");
    }
}
