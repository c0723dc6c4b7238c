//! [`WaitView`]: the reason for which a message waits, in the language of the page: what it means, what to do, and the pages
//! where that is done.
//!
//! Explanations and replies of the service are in English; the texts that are chosen here are translated. A link is offered to
//! callers who may open its page.

use super::outbox::Group;
use crate::{
    console::page::{Page, shown},
    model::{Message, ProfileName, WaitReason, Waiting},
    service::{Caller, Service},
};

/// The reason for which a message waits.
pub(super) struct WaitView {
    pub(super) group: Group,
    /// The id of the texts.
    pub(super) kind: &'static str,
    /// The remedy of the finding that belongs to the reply, for a suspended profile.
    pub(super) remedy: Vec<String>,
    /// The rotation of a secret of the profile: its name, and the id of its standing.
    pub(super) rotations: Vec<(String, &'static str)>,
    /// Addresses of pages, with the ids of their labels.
    pub(super) links: Vec<(String, &'static str)>,
    /// True if the store cannot be written, so that nothing is sent.
    pub(super) is_stopped: bool,
}

impl WaitView {
    pub(super) fn new(service: &Service, caller: &Caller, page: &Page, message: &Message, waiting: Waiting) -> Self {
        let trouble = service.visible_trouble(caller);
        let of_profile = |name: &ProfileName| waiting.profile.as_ref() == Some(name);
        let finding = trouble.suspended.iter().find(|suspended| of_profile(&suspended.profile));
        let finding =
            finding.filter(|_| waiting.reason == WaitReason::Suspended).and_then(|found| found.finding.as_ref());
        let rotations = trouble.rotations.iter().filter(|rotation| of_profile(&rotation.profile));
        Self {
            kind: kind(&waiting),
            remedy: finding.iter().flat_map(|finding| finding.remedy.iter().map(|step| shown(step))).collect(),
            rotations: rotations.map(|rotation| (rotation.secret.to_string(), rotation.standing.id())).collect(),
            links: links(service, caller, page, message, &waiting),
            is_stopped: !trouble.records,
            group: Group::new(waiting),
        }
    }
}

/// Returns the id of the texts for a reason. A limit of the profile itself, and a retry, have texts of their own.
fn kind(waiting: &Waiting) -> &'static str {
    match waiting.reason {
        WaitReason::Throttled if waiting.last_reply.is_empty() => "limited",
        WaitReason::Scheduled if waiting.next_attempt_at.is_some() => "retry",
        reason => reason.id(),
    }
}

/// Returns the pages where the cause is removed.
fn links(
    service: &Service,
    caller: &Caller,
    page: &Page,
    message: &Message,
    waiting: &Waiting,
) -> Vec<(String, &'static str)> {
    let mut links = Vec::new();
    let mut add = |route: &str, path: String, label| {
        if page.may_open(route) {
            links.push((format!("{}{path}", page.base), label));
        }
    };
    match waiting.reason {
        WaitReason::Held => add("/console/holds", "/console/holds".to_owned(), "holds"),
        WaitReason::NoSender => {
            let cell = format!("/console/coverage/{}/{}", message.company, message.function.id());
            add("/console/coverage/{company}/{function}", cell, "coverage");
        }
        WaitReason::Suspended | WaitReason::ServerAway | WaitReason::Throttled => {
            let is_seen = |name: &&ProfileName| caller.sees_profile_named(name, &service.state());
            if let Some(name) = waiting.profile.as_ref().filter(is_seen) {
                add("/console/profiles/{name}", format!("/console/profiles/{name}"), "profile");
                if service.may_change_profiles(caller) {
                    add("/console/profiles/{name}/edit", format!("/console/profiles/{name}/edit"), "edit");
                }
            }
        }
        WaitReason::Scheduled => {}
    }
    links
}
