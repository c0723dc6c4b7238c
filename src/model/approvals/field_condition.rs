//! [`FieldCondition`]: the fields, and the patterns for their values, that a rule about approvals is limited to.
//!
//! Values are compared in one form: without case, and with one spelling of host names and addresses. Which values a change adds
//! or removes is decided in `changes::approval_needs`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::access::FieldPattern;

/// A condition on the fields that a change touches, and on their old and new values.
///
/// Both values are always compared. A condition on the old value alone, together with one on the new value, could be avoided by two
/// changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FieldCondition {
    /// The fields; the change must touch at least one of them.
    pub fields: BTreeSet<FieldPattern>,
    /// Patterns for values, with `*` for any text. The old or the new value must match one.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(max_items = 50)]
    pub values: BTreeSet<String>,
    /// Patterns for values that need no approval. The old or the new value, or its absence, must match none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(max_items = 50)]
    pub other_than: BTreeSet<String>,
}

impl FieldCondition {
    /// Returns true if a field is one of those of the condition.
    pub fn names(&self, path: &str) -> bool {
        self.fields.iter().any(|pattern| pattern.includes(path))
    }

    /// Returns true if a value that appears or disappears meets the condition.
    pub fn includes(&self, value: &str) -> bool {
        let value = canonical_value(value);
        let is_in = |patterns: &BTreeSet<String>| {
            patterns.iter().any(|pattern| value_matches(&canonical_value(pattern), &value))
        };
        match (self.values.is_empty(), self.other_than.is_empty()) {
            (true, true) => true,
            (no_values, no_others) => !no_values && is_in(&self.values) || !no_others && !is_in(&self.other_than),
        }
    }
}

/// Returns a value in the form in which it is compared: spellings of one host name or address are the same.
fn canonical_value(text: &str) -> String {
    let text = text.trim();
    let (local, domain) = match text.rsplit_once('@') {
        Some((local, domain)) => (Some(local.trim_matches('"')), domain),
        None => (None, text),
    };
    if let Ok(address) = domain.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
        let address = address.to_canonical().to_string();
        return local.map_or_else(|| address.clone(), |local| format!("{}@{address}", local.to_lowercase()));
    }
    // The full stops that a domain name can have (UTS 46).
    let domain = domain.replace(['\u{3002}', '\u{ff0e}', '\u{ff61}'], ".");
    let domain = if domain.len() > 1 { domain.strip_suffix('.').unwrap_or(&domain) } else { &domain };
    // As Unicode, so that patterns match parts of internationalised names.
    let label = |label: &str| {
        let lower = label.to_lowercase();
        if label.is_ascii() && !lower.starts_with("xn--") {
            return lower;
        }
        match idna::domain_to_unicode(label) {
            (unicode, Ok(())) => unicode,
            (_, Err(_)) => lower,
        }
    };
    let domain = domain.split('.').map(label).collect::<Vec<_>>().join(".");
    local.map_or(domain.clone(), |local| format!("{}@{domain}", local.to_lowercase()))
}

/// Returns true if a pattern matches a whole value; `*` is any text.
fn value_matches(pattern: &str, value: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = value.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
