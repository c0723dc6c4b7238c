//! Rules for the section `delivery`: recipient patterns, waiting times, webhook addresses.
//!
//! [`is_webhook`] is used by the rules of `watch` too.

use super::{Violation, Violations, address_problem};
use crate::model::{
    Code, Delivery,
    host::{is_host, is_loopback},
};

/// Checks the settings of delivery.
pub(super) fn check(delivery: &Delivery, found: &mut Vec<Violation>) {
    let mut found = Violations::of_settings("/delivery", found);
    for (index, allowed) in delivery.recipients.allow.iter().enumerate() {
        let ok = allowed.strip_prefix("*@").map_or_else(|| address_problem(allowed).is_none(), is_host);
        if !ok {
            found.add(
                &format!("/recipients/allow/{index}"),
                Code::InvalidAddress,
                "this is neither an address nor `*@domain`",
                "Write it as test@example.com, or as *@example.com for a whole domain.",
            );
        }
    }
    if let Some((message, remedy)) = delivery.recipients.rewrite_to.as_deref().and_then(address_problem) {
        found.add("/recipients/rewriteTo", Code::InvalidAddress, message, remedy);
    }
    if delivery.recipients.subject_tag.as_ref().is_some_and(|tag| tag.chars().any(char::is_control)) {
        found.add(
            "/recipients/subjectTag",
            Code::InvalidValue,
            "the subject's tag has control characters",
            "Write a short word in brackets: \"[TEST]\".",
        );
    }
    if delivery.retry.first > delivery.retry.longest {
        found.add(
            "/retry/first",
            Code::InvalidValue,
            "the first wait is longer than the longest",
            "Make `first` shorter, or `longest` longer.",
        );
    }
    for (index, webhook) in delivery.webhooks.iter().enumerate() {
        if !is_webhook(&webhook.url) {
            found.add(&format!("/webhooks/{index}/url"), Code::InvalidValue, NO_WEBHOOK, WRITE_WEBHOOK);
        }
    }
}

pub(super) const NO_WEBHOOK: &str = "this is not the address of a webhook";
pub(super) const WRITE_WEBHOOK: &str =
    "Write it as https://host/path; http:// is for this machine alone, and no name or password belongs in it.";

/// Returns true for an address that events may be posted to: `https://host/path`, or `http://` on a loopback address.
pub(super) fn is_webhook(url: &str) -> bool {
    let (rest, is_clear) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => return false,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) if host.contains(':') => (host, port),
        Some(_) => return false,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_port =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|p| p > 0));
    // Some programs that read addresses treat a backslash as a slash.
    let is_plain = !url.contains(['@', '\\', ' ']) && !url.chars().any(char::is_control);
    is_plain && is_port && is_host(host) && (!is_clear || is_loopback(host))
}
