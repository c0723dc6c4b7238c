//! Profiles: the list with filter, order and counts by state, in pages of [`ROWS`] rows.
//!
//! The filter is a form by GET, so that its address can be shared. [`ProfileStatus`] is the state of a profile that the list
//! and the page of a profile show.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use askama::Template;
use axum::extract::State;
use jiff::Timestamp;
use serde::Deserialize;

use super::list_pages::ListPages;
use crate::{
    console::{
        answer::{Answer, render},
        extract::Parameters,
        page::{Page, SignedIn, shown, shown_up_to},
        parameters::address,
    },
    delivery::Trouble,
    model::{Applied, AppliesTo, CompanyId, Function, LastVerified, ProfileName, ProfileState, access::Area},
    service::Service,
};

/// Number of rows of a page.
const ROWS: usize = 100;
/// Maximum size of a description in the list, in characters.
const DESCRIPTION: usize = 100;
/// Number of companies and of functions of a profile that the list names.
const NAMED: usize = 3;

/// The state of a profile in one word, the most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ProfileStatus {
    /// It does not send until a cause is removed.
    Suspended,
    /// Its server does not answer.
    Unreachable,
    /// The last verification found errors.
    Failing,
    /// It was removed outside Git, which still has it.
    Removed,
    /// Its server asked to wait.
    Paused,
    /// It is disabled.
    Disabled,
    /// It was not verified with its present settings.
    Unverified,
    /// None of the others.
    Ready,
}

impl ProfileStatus {
    pub(super) const ALL: &[ProfileStatus] = &[
        ProfileStatus::Suspended,
        ProfileStatus::Unreachable,
        ProfileStatus::Failing,
        ProfileStatus::Removed,
        ProfileStatus::Paused,
        ProfileStatus::Disabled,
        ProfileStatus::Unverified,
        ProfileStatus::Ready,
    ];

    pub(super) fn id(self) -> &'static str {
        match self {
            ProfileStatus::Suspended => "suspended",
            ProfileStatus::Unreachable => "unreachable",
            ProfileStatus::Failing => "failing",
            ProfileStatus::Removed => "removed",
            ProfileStatus::Paused => "paused",
            ProfileStatus::Disabled => "disabled",
            ProfileStatus::Unverified => "unverified",
            ProfileStatus::Ready => "ready",
        }
    }
}

/// The outcome of the last verification of the live settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verification {
    Passed,
    Failed,
}

impl Verification {
    /// Returns the outcome; none if the live settings were not verified.
    pub(super) fn of_live(
        service: &Service,
        name: &ProfileName,
        profile: &ProfileState,
        last: Option<&LastVerified>,
    ) -> Option<Self> {
        let last = last.filter(|last| service.is_of_live(name, profile, last))?;
        Some(if last.errors > 0 { Self::Failed } else { Self::Passed })
    }
}

/// The profiles with problems, by name.
pub(super) struct Problems {
    suspended: BTreeSet<ProfileName>,
    unreachable: BTreeSet<ProfileName>,
    paused: BTreeSet<ProfileName>,
}

impl Problems {
    pub(super) fn new(trouble: &Trouble) -> Self {
        Self {
            suspended: trouble.suspended.iter().map(|suspended| suspended.profile.clone()).collect(),
            unreachable: trouble.down.iter().cloned().collect(),
            paused: trouble.paused.iter().map(|paused| paused.profile.clone()).collect(),
        }
    }

    /// Returns the state of a profile.
    pub(super) fn status(&self, name: &ProfileName, state: &ProfileState, last: Option<Verification>) -> ProfileStatus {
        let Some(live) = &state.live else { return ProfileStatus::Removed };
        if !live.profile.enabled {
            return ProfileStatus::Disabled;
        }
        if self.suspended.contains(name) {
            ProfileStatus::Suspended
        } else if self.unreachable.contains(name) {
            ProfileStatus::Unreachable
        } else if last == Some(Verification::Failed) {
            ProfileStatus::Failing
        } else if self.paused.contains(name) {
            ProfileStatus::Paused
        } else if last.is_none() {
            ProfileStatus::Unverified
        } else {
            ProfileStatus::Ready
        }
    }
}

/// How a profile differs from what the last apply left, as the id of a text.
pub(super) fn drift(state: &ProfileState) -> Option<&'static str> {
    match (&state.applied, &state.live) {
        (Applied::Never, _) => Some("unmanaged"),
        (Applied::Absent, _) => Some("restored"),
        (Applied::Different(_), Some(_)) => Some("changed"),
        (Applied::Same | Applied::Different(_), None) => Some("removed"),
        (Applied::Same, Some(_)) => None,
    }
}

/// The page.
#[derive(Template)]
#[template(path = "profiles.html")]
struct ProfilesPage {
    page: Page,
    /// True if the caller may plan changes here.
    may_edit: bool,
    filter: Filter,
    rows: Vec<Row>,
    /// Number of profiles by state, among those that the rest of the filter leaves.
    counts: Vec<(&'static str, usize)>,
    total: usize,
    matching: usize,
    columns: Vec<Column>,
    companies: Vec<CompanyId>,
    functions: Vec<Function>,
    pages: Option<ListPages>,
}

/// A column that the list can be ordered by.
struct Column {
    id: &'static str,
    /// `ascending` or `descending`, if the list is ordered by it.
    order: Option<&'static str>,
    /// The value of `sort` that the link of the column has.
    next: String,
}

struct Row {
    name: String,
    description: String,
    provider: &'static str,
    from: String,
    functions: Vec<Function>,
    more_functions: usize,
    /// None if the profile is system-wide.
    companies: Option<Vec<CompanyId>>,
    more_companies: usize,
    status: ProfileStatus,
    drift: Option<&'static str>,
    verified_at: Option<Timestamp>,
    changed_at: Timestamp,
    changed_by: String,
}

/// The parameters of the page.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Filter {
    q: String,
    provider: String,
    state: String,
    company: String,
    function: String,
    drift: String,
    sort: String,
    page: usize,
}

impl Filter {
    /// Returns the address of the list with another value of a parameter. A page number is kept only if it is set here.
    fn with(&self, name: &str, value: impl std::fmt::Display) -> String {
        let value = value.to_string();
        let own = [
            ("q", &self.q),
            ("provider", &self.provider),
            ("state", &self.state),
            ("company", &self.company),
            ("function", &self.function),
            ("drift", &self.drift),
            ("sort", &self.sort),
        ];
        let others = own.into_iter().filter(|(key, _)| *key != name).map(|(key, value)| (key, value.as_str()));
        address("/console/profiles", others.chain([(name, value.as_str())]))
    }

    /// Returns true if a profile matches everything but the state.
    fn matches(&self, name: &ProfileName, state: &ProfileState) -> bool {
        let Some(profile) = state.live.as_ref().or(state.applied()).map(|stored| &stored.profile) else { return false };
        let wanted = self.q.trim().to_lowercase();
        let contains = |text: &str| text.to_lowercase().contains(&wanted);
        let from = profile.from.as_ref().map(|from| from.address.as_str()).unwrap_or_default();
        let applies = match &profile.applies_to {
            AppliesTo::SystemWide => self.company.is_empty(),
            AppliesTo::Companies(companies) => {
                self.company.is_empty() || companies.iter().any(|company| company.as_str() == self.company)
            }
        };
        applies
            && (wanted.is_empty() || contains(name.as_str()) || contains(&profile.description) || contains(from))
            && (self.provider.is_empty() || profile.provider.id() == self.provider)
            && (self.function.is_empty() || profile.functions.iter().any(|function| function.id() == self.function))
            && (self.drift.is_empty() || drift(state).is_some())
    }

    fn columns(&self) -> Vec<Column> {
        let (by, descending) = self.order();
        let column = |id: &'static str| Column {
            id,
            order: (id == by).then_some(if descending { "descending" } else { "ascending" }),
            next: if id == by && !descending { format!("-{id}") } else { id.to_owned() },
        };
        ["name", "state", "provider", "verified", "changed"].map(column).into()
    }

    /// Returns the column of the order, and true if it is descending.
    fn order(&self) -> (&str, bool) {
        let (by, descending) = self.sort.strip_prefix('-').map_or((self.sort.as_str(), false), |by| (by, true));
        if by.is_empty() { ("name", false) } else { (by, descending) }
    }

    fn compare(&self, a: &Row, b: &Row) -> Ordering {
        let (by, descending) = self.order();
        let order = match by {
            "provider" => a.provider.cmp(b.provider),
            "state" => a.status.cmp(&b.status),
            "verified" => a.verified_at.cmp(&b.verified_at),
            "changed" => a.changed_at.cmp(&b.changed_at),
            _ => a.name.cmp(&b.name),
        };
        let order = if descending { order.reverse() } else { order };
        order.then_with(|| a.name.cmp(&b.name))
    }
}

/// Shows the list.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Parameters(filter): Parameters<Filter>,
) -> Answer {
    let state = service.state();
    let last = service.last_verified().await?;
    let verified = &last.profiles;
    let problems = Problems::new(&service.trouble());
    let sees_all = caller.sees_all(Area::Profiles);
    let is_seen = |name: &ProfileName, found: &ProfileState| sees_all || caller.sees_profile(name, found);
    let mut counts: BTreeMap<ProfileStatus, usize> = BTreeMap::new();
    let mut rows = Vec::new();
    let seen = state.profiles.iter().filter(|(name, found)| is_seen(name, found));
    for (name, found) in seen.clone().filter(|(name, found)| filter.matches(name, found)) {
        let last = verified.get(name);
        let verification = Verification::of_live(&service, name, found, last);
        let status = problems.status(name, found, verification);
        *counts.entry(status).or_default() += 1;
        if filter.state.is_empty() || status.id() == filter.state {
            rows.extend(row(name, found, status, last));
        }
    }
    rows.sort_by(|a, b| filter.compare(a, b));
    let matching = rows.len();
    let (rows, pages) = ListPages::cut(rows, ROWS, filter.page, |number| filter.with("page", number));
    let counts = ProfileStatus::ALL.iter().map(|status| (status.id(), counts.get(status).copied().unwrap_or_default()));
    let companies = state.settings.companies.iter().filter(|company| sees_all || caller.sees_company(company));
    render(&ProfilesPage {
        may_edit: service.may_change_profiles(&caller),
        rows,
        counts: counts.filter(|(id, count)| *count > 0 || *id == filter.state).collect(),
        total: seen.count(),
        matching,
        columns: filter.columns(),
        companies: companies.take(1000).cloned().collect(),
        functions: Function::all().collect(),
        pages,
        filter,
        page,
    })
}

fn row(name: &ProfileName, state: &ProfileState, status: ProfileStatus, last: Option<&LastVerified>) -> Option<Row> {
    let profile = &state.live.as_ref().or(state.applied())?.profile;
    let companies = match &profile.applies_to {
        AppliesTo::SystemWide => None,
        AppliesTo::Companies(companies) => Some(companies),
    };
    Some(Row {
        name: name.to_string(),
        description: shown_up_to(&profile.description, DESCRIPTION),
        provider: profile.provider.id(),
        from: profile.from.as_ref().map(|from| shown(&from.address)).unwrap_or_default(),
        functions: profile.functions.iter().copied().take(NAMED).collect(),
        more_functions: profile.functions.len().saturating_sub(NAMED),
        more_companies: companies.map_or(0, |companies| companies.len().saturating_sub(NAMED)),
        companies: companies.map(|companies| companies.iter().take(NAMED).cloned().collect()),
        status,
        drift: drift(state),
        verified_at: last.map(|last| last.at),
        changed_at: state.changed.at,
        changed_by: shown(&state.changed.by),
    })
}
