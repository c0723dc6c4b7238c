//! Rules for the section `watch` of an environment file: the receivers of its reports.
//!
//! The service does not store that section, so only `config` checks it.

use std::collections::BTreeSet;

use super::{
    Violation, Violations,
    delivery::{NO_WEBHOOK, WRITE_WEBHOOK, is_webhook},
};
use crate::model::{Address, Code, CompanyId, WatchSettings};

/// Checks the receivers of notifications. Pointers are relative to the environment's document; `companies` are those of
/// the environment.
pub fn check_watch(watch: &WatchSettings, companies: &BTreeSet<CompanyId>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut found = Violations::of_settings("/watch/notify", &mut violations);
    for (index, webhook) in watch.notify.webhooks.iter().enumerate() {
        if !is_webhook(&webhook.url) {
            found.add(&format!("/webhooks/{index}/url"), Code::InvalidValue, NO_WEBHOOK, WRITE_WEBHOOK);
        }
    }
    let Some(mail) = &watch.notify.mail else { return violations };
    if !companies.contains(&mail.company) {
        found.add(
            "/mail/company",
            Code::UnknownCompany,
            format!("company `{}` does not exist in the environment", mail.company),
            "Add it to `companies`, or name one that is there.",
        );
    }
    for (index, recipient) in mail.to.iter().enumerate() {
        if let Err(error) = Address::parse(recipient) {
            found.add(
                &format!("/mail/to/{index}"),
                Code::InvalidAddress,
                format!("`{}` is not an address: {error}", recipient.escape_debug()),
                "Write it as name@domain, without a display name.",
            );
        }
    }
    violations
}
