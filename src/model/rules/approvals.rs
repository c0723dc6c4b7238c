//! Rules for `policy.approvals`: names of signers are valid and unique without regard to case; keys are valid; each key,
//! operator, person, group and role belongs to one signer, and a group or a role of an identity provider is a signer of its own;
//! groups and rules name signers, groups and companies that exist; rules require at least one signer and no more than there are
//! for them; conditions are complete.
//!
//! The last day of a signer is not considered. Which approvals a change needs is decided in `changes::approval_needs`.

use std::collections::{BTreeSet, HashMap};

use ssh_key::HashAlg;
use uuid::Uuid;

use super::{Violation, Violations};
use crate::model::{
    Address, Code, Settings,
    access::SUBJECT_LIMIT,
    approvals::{ApprovalRule, Approvals, Signer, is_signer_name},
};

/// The shortest and the longest time after which a proposal expires, in seconds.
const EXPIRY: std::ops::RangeInclusive<u64> = 3600..=365 * 86_400;
/// The shortest and the longest age of a passkey that a rule can ask for, in seconds.
const PASSKEY_AGE: std::ops::RangeInclusive<u64> = 3600..=90 * 86_400;
/// Maximum number of patterns of a condition.
const PATTERNS: usize = 50;
/// Maximum length of a pattern, in characters.
const PATTERN_LIMIT: usize = 200;

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
        let is_open = approvals.signers_of(rule).any(Signer::is_many);
        let is_unknown = rule.groups.iter().any(|group| !approvals.groups.contains_key(group));
        if rule.count == 0 || (usize::from(rule.count) > signers && !is_unknown && !is_open) {
            let message = format!("the rule requires {} of {signers} signers", rule.count);
            found.add(
                &format!("{pointer}/count"),
                Code::InvalidValue,
                message,
                "Require at least one, and no more than there are.",
            );
        }
        check_condition(rule, &pointer, &mut found);
        if rule.passkey_age.is_some_and(|age| !PASSKEY_AGE.contains(&age.duration().as_secs())) {
            let message = "the age of a passkey is 1h to 90d".to_owned();
            let remedy = "Write for example `passkeyAge: 7d`.";
            found.add(&format!("{pointer}/passkeyAge"), Code::InvalidValue, message, remedy);
        }
    }
    if approvals.expires_in.is_some_and(|expiry| !EXPIRY.contains(&expiry.duration().as_secs())) {
        let message = "a proposal expires after 1h to 365d".to_owned();
        found.add("/expiresIn", Code::InvalidValue, message, "Write for example `expiresIn: 14d`.");
    }
}

/// Checks the condition of a rule on fields.
fn check_condition(rule: &ApprovalRule, pointer: &str, found: &mut Violations<'_>) {
    let Some(when) = &rule.when else { return };
    if !rule.actions.is_empty() {
        // Otherwise the same fields could be changed by another action.
        let message = "`when` does not go with `actions`".to_owned();
        let remedy = "Remove `actions`: the fields count whichever way they change. Or write two rules.";
        found.add(&format!("{pointer}/actions"), Code::InvalidValue, message, remedy);
    }
    if when.fields.is_empty() {
        let remedy = "Name the fields, for example `fields: [provider.smtp.host, from.*]`.";
        found.add(&format!("{pointer}/when"), Code::MissingKey, "the condition names no fields".to_owned(), remedy);
    }
    for (key, patterns) in [("values", &when.values), ("otherThan", &when.other_than)] {
        let is_pattern =
            |text: &String| (1..=PATTERN_LIMIT).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if patterns.len() > PATTERNS || !patterns.iter().all(is_pattern) {
            let message = format!("`{key}` has at most {PATTERNS} patterns of 1 to {PATTERN_LIMIT} characters");
            found.add(
                &format!("{pointer}/when/{key}"),
                Code::InvalidValue,
                message,
                "Shorten the list or the pattern.",
            );
        }
    }
}

/// Returns a person of Entra (tenant and object id) as the service compares it; none for another form of id.
fn canonical_person(text: &str) -> Option<String> {
    let (tenant, object) = text.trim().split_once('/')?;
    let (tenant, object) = (tenant.parse::<Uuid>().ok()?, object.parse::<Uuid>().ok()?);
    Some(format!("{tenant}/{object}"))
}

/// Checks what a signer is at an identity provider.
fn check_identity(signer: &Signer, pointer: &str, found: &mut Violations<'_>) {
    let Signer { key, operator, person, group, role, issuer, .. } = signer;
    let kinds: Vec<(&str, &String)> = [("person", person), ("group", group), ("role", role)]
        .into_iter()
        .filter_map(|(kind, value)| Some((kind, value.as_ref()?)))
        .collect();
    let is_text = |text: &str| {
        !text.trim().is_empty() && text.chars().count() <= SUBJECT_LIMIT && !text.chars().any(char::is_control)
    };
    match (kinds.as_slice(), issuer) {
        ([], None) => {}
        ([], Some(_)) => {
            let message = "`issuer` goes with `person`, `group` or `role`".to_owned();
            found.add(
                &format!("{pointer}/issuer"),
                Code::InvalidValue,
                message,
                "Add one of them, or remove `issuer`.",
            );
        }
        ([_, (second, _), ..], _) => {
            let message = "a signer has one of `person`, `group` and `role`".to_owned();
            let remedy = "Write a signer of its own for each.";
            found.add(&format!("{pointer}/{second}"), Code::InvalidValue, message, remedy);
        }
        ([(kind, _)], None) => {
            let message = format!("the {kind} of an identity provider needs its `issuer`");
            let remedy = "Add `issuer: ADDRESS`, as the service's issuers file (`mailwright serve --oidc`) has it.";
            found.add(pointer, Code::MissingKey, message, remedy);
        }
        ([(kind, value)], Some(address)) => {
            for (key, text) in [(*kind, value.as_str()), ("issuer", address.as_str())] {
                if !is_text(text) {
                    let message = format!("`{key}` is one line of 1 to {SUBJECT_LIMIT} characters");
                    found.add(&format!("{pointer}/{key}"), Code::InvalidValue, message, "Correct it.");
                }
            }
            if *kind == "person" && canonical_person(value).is_some_and(|canonical| canonical != value.as_str()) {
                let message =
                    "the ids of tenant and person are not written as the identity provider states them".to_owned();
                let remedy = "Write both in lower case, with hyphens: TENANT/OBJECT.";
                found.add(&format!("{pointer}/person"), Code::InvalidValue, message, remedy);
            }
            if *kind != "person" && (key.is_some() || operator.is_some()) {
                let message = format!("a {kind} is many persons, and has neither `key` nor `operator`");
                let remedy = "Write a signer of its own for the person with the key or the passkey.";
                found.add(&format!("{pointer}/{kind}"), Code::InvalidValue, message, remedy);
            }
        }
    }
}

fn check_signers(signers: &[Signer], found: &mut Violations<'_>) {
    let (mut names, mut keys, mut operators) = (BTreeSet::new(), HashMap::new(), HashMap::new());
    let mut identities = HashMap::new();
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
        let is_identity = signer.person.is_some() || signer.is_many();
        if signer.key.is_none() && signer.operator.is_none() && !is_identity {
            let message = "the signer has neither `key` nor `operator`, `person`, `group` or `role`".to_owned();
            let remedy = "Add `key: \"ssh-ed25519 ...\"` (a public SSH key), `operator: NAME` (an operator of the console), or `person`, `group` or `role` with `issuer` (of an identity provider).";
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
        check_identity(signer, &format!("/signers/{index}"), found);
        if is_identity
            && let Some(issuer) = &signer.issuer
            && let Some(first) = identities.insert((issuer, &signer.person, &signer.group, &signer.role), &signer.name)
        {
            let message = format!("`{first}` is this signer already");
            let remedy = "Name each person, group and role for one signer only.";
            found.add(&format!("/signers/{index}/issuer"), Code::InvalidValue, message, remedy);
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
