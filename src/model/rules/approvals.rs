//! Rules for `policy.approvals`: names of signers are valid and unique without regard to case, keys are valid and belong to one
//! signer each, rules name signers and companies that exist, and require at least one signer and no more than there are for them.
//!
//! The last day of a signer is not considered. Which approvals a change needs is decided in [`crate::model::approvals`].

use std::collections::{BTreeSet, HashMap};

use ssh_key::HashAlg;

use super::{Violation, Violations};
use crate::model::{Code, Settings, approvals::is_signer_name};

/// Checks the approval policy.
pub(super) fn check(settings: &Settings, found: &mut Vec<Violation>) {
    let approvals = &settings.policy.approvals;
    let mut found = Violations::of_settings("/policy/approvals", found);
    let (mut names, mut keys) = (BTreeSet::new(), HashMap::new());
    for (index, signer) in approvals.signers.iter().enumerate() {
        let name = format!("/signers/{index}/name");
        if !is_signer_name(&signer.name) {
            let message = "this is not a signer's name".to_owned();
            found.add(&name, Code::InvalidName, message, "Write up to 64 letters, digits, `.`, `_`, `@` and `-`.");
        } else if !names.insert(signer.name.to_ascii_lowercase()) {
            let message = format!("two signers are called `{}`", signer.name);
            found.add(&name, Code::InvalidValue, message, "Give each key of a person a different name.");
        }
        match signer.public_key() {
            Err(why) => found.add(
                &format!("/signers/{index}/key"),
                Code::InvalidValue,
                why.to_owned(),
                "Copy the line of a `.pub` file: ssh-ed25519, ecdsa-sha2-nistp256, ssh-rsa, or one of a security key (sk-).",
            ),
            Ok(key) => {
                if let Some(first) = keys.insert(key.fingerprint(HashAlg::Sha256).to_string(), &signer.name) {
                    let message = format!("`{first}` has this key already");
                    found.add(&format!("/signers/{index}/key"), Code::InvalidValue, message, "Use each key for one signer only.");
                }
            }
        }
    }
    for (index, rule) in approvals.rules.iter().enumerate() {
        let pointer = format!("/rules/{index}");
        for name in rule.signers.iter().filter(|name| !approvals.signers.iter().any(|signer| signer.name == **name)) {
            let message = format!("unknown signer `{}`", name.escape_debug());
            found.add(
                &format!("{pointer}/signers"),
                Code::InvalidValue,
                message,
                "Add the signer, or correct the name.",
            );
        }
        for company in rule.companies.iter().filter(|company| !settings.companies.contains(*company)) {
            let message = format!("company `{company}` does not exist in the environment");
            let remedy = "Add it to `companies`, or correct it here.";
            found.add(&format!("{pointer}/companies"), Code::UnknownCompany, message, remedy);
        }
        let signers = if rule.signers.is_empty() { approvals.signers.len() } else { rule.signers.len() };
        if rule.count == 0 || usize::from(rule.count) > signers {
            let message = format!("the rule requires {} of {signers} signers", rule.count);
            found.add(
                &format!("{pointer}/count"),
                Code::InvalidValue,
                message,
                "Require at least one, and no more than there are.",
            );
        }
    }
}
