//! Overview: what needs an operator now, and how much mail there is.

use std::{sync::Arc, time::Duration};

use askama::{Template, filters::Safe};
use axum::{extract::State, response::Response};
use jiff::Timestamp;

use super::profiles;
use crate::{
    api::messages::OutboxStatus,
    console::{
        answer::{Answer, render},
        live,
        page::{Page, SignedIn, shown},
    },
    model::{ProfileName, ProfileState, Status, access::Area, rotation::Standing},
    service::{Caller, HttpProblem, Service},
};

/// Maximum number of entries of each list.
const SHOWN: usize = 20;
/// A credential that ends within this time is listed.
const SOON: Duration = Duration::from_secs(45 * 24 * 60 * 60);

/// The page.
#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    page: Page,
    /// The rendered [`OverviewContents`].
    contents: Safe<String>,
}

/// The part of the page that is sent again when it has changed.
#[derive(Template)]
#[template(path = "overview_content.html")]
struct OverviewContents {
    page: Page,
    generation: u64,
    profiles: usize,
    /// Number of profiles that differ from what the last apply left.
    drifted: usize,
    settings_drifted: bool,
    store_writable: bool,
    /// Why the store counts as restored from a backup.
    restored: Option<String>,
    suspended: Limited<Suspended>,
    unreachable: Limited<String>,
    refused_secrets: Limited<String>,
    failing: Limited<Failing>,
    ending: Limited<Ending>,
    holds: Limited<HoldRow>,
    waiting: Limited<WaitingRow>,
    /// Open proposals: id, profile (none for a plan of files) and proposer.
    proposals: Limited<(String, Option<String>, String)>,
    may_create: bool,
    messages: Vec<(&'static str, u64)>,
}

/// The first entries of a list, and the number of the others.
struct Limited<T> {
    first: Vec<T>,
    more: usize,
}

impl<T> Limited<T> {
    fn new(all: Vec<T>) -> Self {
        let more = all.len().saturating_sub(SHOWN);
        Self { first: all.into_iter().take(SHOWN).collect(), more }
    }

    fn count(&self) -> usize {
        self.first.len() + self.more
    }
}

struct Suspended {
    profile: String,
    since: Timestamp,
    reason: String,
    remedy: Vec<String>,
    next_probe_at: Timestamp,
}

struct Failing {
    profile: String,
    errors: u32,
    warnings: u32,
    at: Timestamp,
}

struct Ending {
    profile: String,
    name: String,
    ends: Timestamp,
    is_over: bool,
}

struct HoldRow {
    target: String,
    reason: String,
    owner: String,
    since: Timestamp,
    until: Option<Timestamp>,
}

struct WaitingRow {
    reason: &'static str,
    profile: Option<String>,
    explanation: String,
    messages: u64,
    oldest_at: Option<Timestamp>,
    needs_operator: bool,
}

/// Shows the page.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
) -> Answer {
    let contents = Safe(read(&service, &caller, page.clone()).await?);
    render(&OverviewPage { page, contents })
}

/// Sends the contents whenever they have changed, until the session ends.
pub(in crate::console) async fn follow(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
) -> Result<Response, HttpProblem> {
    let own = (Arc::clone(&service), caller.clone());
    live::follow(&service, &caller, move || {
        let ((service, caller), page) = (own.clone(), page.clone());
        async move { read(&service, &caller, page).await }
    })
}

/// Renders the contents.
async fn read(service: &Arc<Service>, caller: &Caller, page: Page) -> Result<String, HttpProblem> {
    let status = service.outbox_status(caller, None).await?;
    let last = service.last_verified().await?;
    let verified = &last.profiles;
    let (state, now) = (service.state(), service.now());
    let sees_all = caller.sees_all(Area::Profiles);
    let soon = now.checked_add(SOON).unwrap_or(now);
    // A caller can see all mail, and only some profiles.
    let is_seen = |name: &ProfileName, found: &ProfileState| sees_all || caller.sees_profile(name, found);
    let live =
        |name: &ProfileName| state.profiles.get(name).filter(|found| found.live.is_some() && is_seen(name, found));
    let (mut failing, mut ending) = (Vec::new(), Vec::new());
    for (name, last, found) in verified.iter().filter_map(|(name, last)| Some((name, last, live(name)?))) {
        // A result can be that of settings before the last change.
        if last.errors > 0 && service.is_of_live(name, found, last) {
            let (errors, warnings, at) = (last.errors, last.warnings, last.at);
            failing.push(Failing { profile: name.to_string(), errors, warnings, at });
        }
        ending.extend(last.credentials.iter().filter(|credential| credential.ends < soon).map(|credential| Ending {
            profile: name.to_string(),
            name: shown(&credential.name),
            ends: credential.ends,
            is_over: credential.ends <= now,
        }));
    }
    ending.sort_by_key(|ending| ending.ends);
    let OutboxStatus { messages, waiting, suspended, unreachable, restored, holds, store_writable, rotations, .. } =
        status;
    let seen: Vec<(&ProfileName, &ProfileState)> =
        state.profiles.iter().filter(|(name, found)| is_seen(name, found)).collect();
    let is_listed = |name: &ProfileName| sees_all || caller.sees_profile_named(name, &state);
    let suspended =
        suspended.into_iter().filter(|suspended| is_listed(&suspended.profile)).map(|suspended| Suspended {
            profile: suspended.profile.to_string(),
            since: suspended.since,
            reason: shown(&suspended.reason),
            remedy: suspended
                .finding
                .map(|finding| finding.remedy.iter().map(|step| shown(step)).collect())
                .unwrap_or_default(),
            next_probe_at: suspended.next_probe_at,
        });
    let unreachable = unreachable.iter().filter(|name| is_listed(name)).map(ToString::to_string);
    let refused =
        rotations.iter().filter(|rotation| rotation.standing == Standing::Refused && is_listed(&rotation.profile));
    let waiting = waiting.into_iter().filter(|group| group.messages > 0).map(|group| WaitingRow {
        reason: group.reason.id(),
        explanation: shown(&group.describe()),
        profile: group.profile.map(|profile| profile.to_string()),
        messages: group.messages,
        oldest_at: group.oldest_at,
        needs_operator: group.needs_operator,
    });
    let holds = holds.into_iter().map(|hold| {
        let profile = hold.profile.map(|profile| profile.to_string());
        let company = hold.company.map(|company| company.to_string());
        let function = hold.function.map(|function| page.function(&function));
        HoldRow {
            target: [profile, company, function].into_iter().flatten().collect::<Vec<_>>().join(" · "),
            reason: shown(&hold.reason),
            owner: shown(&hold.owner),
            since: hold.since,
            until: hold.until,
        }
    });
    let proposals =
        if page.may_open("/console/proposals") { service.visible_proposals(caller).await? } else { Vec::new() };
    let open = proposals
        .iter()
        .filter(|proposal| proposal.decision.is_none() && !service.is_proposal_expired(proposal))
        .map(|proposal| (proposal.id.clone(), proposal.profile().map(ToString::to_string), shown(&proposal.by)));
    let count = |status: &Status| (status.id(), messages.get(status).copied().unwrap_or_default());
    let contents = OverviewContents {
        generation: state.generation,
        profiles: seen.iter().filter(|(_, found)| found.live.is_some()).count(),
        // The profiles that the link of the tile lists.
        drifted: seen.iter().filter(|(_, found)| profiles::drift(found).is_some()).count(),
        settings_drifted: sees_all && state.applied_settings.as_ref().is_some_and(|applied| *applied != state.settings),
        store_writable,
        restored: restored.map(|restored| shown(&restored.why)),
        suspended: Limited::new(suspended.collect()),
        unreachable: Limited::new(unreachable.collect()),
        refused_secrets: Limited::new(refused.map(|rotation| rotation.profile.to_string()).collect()),
        failing: Limited::new(failing),
        ending: Limited::new(ending),
        holds: Limited::new(holds.collect()),
        waiting: Limited::new(waiting.collect()),
        proposals: Limited::new(open.collect()),
        may_create: service.may_change_profiles(caller),
        messages: Status::ALL.iter().map(count).collect(),
        page,
    };
    contents.render().map_err(HttpProblem::internal)
}
