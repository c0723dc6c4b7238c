//! Visibility: which profiles, cells, mail, holds and proposals a caller may see whose rights are limited to some companies or
//! functions.
//!
//! Methods of [`Caller`], which pages of the console use to leave out what is out of reach, and [`Service::check_visible`], which
//! refuses it. Each asks [`Caller::decide`] or [`NeededRight`], as the API does. What a limit cannot be compared with, such as a
//! plan of files in short form, is not visible to a limited caller. Nothing here reads the store, except for the lanes of mail.

use axum::http::Method;

use super::{
    Service, access,
    caller::Caller,
    changes::edit::{Edit, EditConflict, WantedProfile},
    http::HttpProblem,
};
use crate::{
    changes::access::{Field, NeededRight},
    model::{
        AppliesTo, CompanyId, Function, Hold, Lane, Profile, ProfileChange, ProfileName, ProfileState, State,
        access::{Activity, Area, Question},
        proposal::{Proposal, ProposedChange},
    },
    store::{StoreError, outbox::LaneScope},
};

impl Caller {
    /// Returns true if the caller may see an area for every company and function.
    pub(crate) fn sees_all(&self, area: Area) -> bool {
        self.decide(&Question::everywhere(area, Activity::See)).is_allowed()
    }

    /// Returns true if the caller may see a profile with these settings: for all of its companies and functions.
    pub(crate) fn sees_settings_of(&self, name: &ProfileName, profile: &Profile) -> bool {
        let right = NeededRight::of_profile(name, profile, Activity::See);
        right.decide(&self.policy, &self.principal, self.at).0.is_allowed()
    }

    /// Returns true if the caller may see a profile, as it is live and as the last apply left it.
    pub(crate) fn sees_profile(&self, name: &ProfileName, found: &ProfileState) -> bool {
        let mut stored = found.live.iter().chain(found.applied());
        stored.all(|stored| self.sees_settings_of(name, &stored.profile))
    }

    /// Returns true if a profile exists that the caller may see.
    pub(crate) fn sees_profile_named(&self, name: &ProfileName, state: &State) -> bool {
        state.profiles.get(name).is_some_and(|found| self.sees_profile(name, found))
    }

    /// Returns true if the caller may see who sends for at least one function of a company.
    pub(crate) fn sees_company(&self, company: &CompanyId) -> bool {
        self.may(Area::Profiles, Activity::See, Some(company), None).is_allowed()
    }

    /// Returns true if the caller may see who sends for a company and a function.
    pub(crate) fn sees_cell(&self, company: &CompanyId, function: Function) -> bool {
        self.may(Area::Profiles, Activity::See, Some(company), Some(function)).is_allowed()
    }

    /// Returns true if the caller may see a hold: for each company and function whose mail it can concern.
    pub(crate) fn sees_hold(&self, hold: &Hold, state: &State) -> bool {
        if self.sees_all(Area::Outbox) {
            return true;
        }
        let live = hold.profile.as_ref().map(|name| state.profiles.get(name).and_then(|found| found.live.as_ref()));
        let profile = match live {
            // The name of a profile that is gone can be that of any company.
            Some(None) => return false,
            Some(Some(stored)) => Some(&stored.profile),
            None => None,
        };
        let companies = match (&hold.company, profile.map(|profile| &profile.applies_to)) {
            (Some(company), Some(AppliesTo::Companies(all))) if !all.contains(company) => return false,
            (Some(company), _) => Some([company.clone()].into()),
            (None, Some(AppliesTo::Companies(all))) => Some(all.clone()),
            (None, _) => None,
        };
        let functions = match (hold.function, profile) {
            (Some(function), _) => [function].into(),
            (None, Some(profile)) => profile.functions.clone(),
            (None, None) => [].into(),
        };
        let right = NeededRight {
            profile: None,
            area: Area::Outbox,
            activity: Activity::See,
            field: Field::None,
            companies,
            functions,
            takes_credential: false,
        };
        right.decide(&self.policy, &self.principal, self.at).0.is_allowed()
    }

    /// Returns true if the caller may see a change: the profile as it is, and as it would be.
    fn sees_change(&self, change: &ProfileChange, state: &State) -> bool {
        let is_seen = |name: &ProfileName| state.profiles.get(name).is_none_or(|found| self.sees_profile(name, found));
        let is_known = change.profile().is_some() || state.profiles.contains_key(change.name());
        let renamed = match change {
            ProfileChange::Rename { from, .. } => Some(from),
            _ => None,
        };
        is_known
            && is_seen(change.name())
            && renamed.is_none_or(is_seen)
            && change.profile().is_none_or(|stored| self.sees_settings_of(change.name(), &stored.profile))
    }

    /// Returns true if the caller may see a proposal: each change of it. A plan of files can change settings, and is in the list
    /// without its changes, so it is visible to callers who may see all profiles.
    pub(crate) fn sees_proposal(&self, proposal: &Proposal, state: &State) -> bool {
        self.sees_all(Area::Profiles)
            || match &proposal.contents {
                ProposedChange::Edit { change, .. } => self.sees_change(change, state),
                ProposedChange::Files { .. } => false,
            }
    }

    /// Returns true if the caller may see the mail of a lane.
    pub(super) fn sees_lane(&self, lane: &Lane) -> bool {
        self.may(Area::Outbox, Activity::See, Some(&lane.company), Some(lane.function)).is_allowed()
    }
}

impl Service {
    /// Refuses a profile that exists and that the caller may not see. The path is that of the page.
    pub(crate) async fn check_visible(
        &self,
        caller: &Caller,
        name: &ProfileName,
        (method, path): (&Method, &str),
    ) -> Result<(), HttpProblem> {
        let state = self.state();
        let is_seen = state.profiles.get(name).is_none_or(|found| caller.sees_profile(name, found));
        self.check_seen(caller, is_seen, method, path).await
    }

    /// Refuses an edit of a profile that the caller may not see, or that it would not see afterwards.
    pub(crate) async fn check_visible_edit(&self, caller: &Caller, edit: &Edit) -> Result<(), HttpProblem> {
        let wanted = match &edit.wanted {
            WantedProfile::Saved { profile, .. } => Some(&**profile),
            WantedProfile::Proposed { stored, .. } => Some(&stored.profile),
            WantedProfile::Deleted => None,
        };
        let is_seen = wanted.is_none_or(|profile| caller.sees_settings_of(&edit.name, profile));
        self.check_visible(caller, &edit.name, (&Method::POST, "/console/plan")).await?;
        self.check_seen(caller, is_seen, &Method::POST, "/console/plan").await
    }

    /// Refuses a proposal that the caller may not see.
    pub(super) async fn check_visible_proposal(&self, caller: &Caller, proposal: &Proposal) -> Result<(), HttpProblem> {
        let is_seen = caller.sees_proposal(proposal, &self.state());
        self.check_seen(caller, is_seen, &Method::GET, "/console/proposals").await
    }

    async fn check_seen(&self, caller: &Caller, is_seen: bool, method: &Method, path: &str) -> Result<(), HttpProblem> {
        if is_seen {
            return Ok(());
        }
        let question = Question::everywhere(Area::Profiles, Activity::See);
        Err(access::refuse(self, caller, &question, method, path).await)
    }

    /// Returns what was changed in a profile since a generation; none if it was not. Without the fields if the caller may not see
    /// the profile as it was: it can have been that of other companies.
    pub(crate) async fn find_visible_conflict(
        &self,
        caller: &Caller,
        name: &ProfileName,
        base: u64,
    ) -> Result<Option<EditConflict>, HttpProblem> {
        let Some(conflict) = self.find_conflict(name, base).await? else { return Ok(None) };
        if caller.sees_all(Area::Profiles) {
            return Ok(Some(conflict));
        }
        let earlier = self.store.generation(base).await?.and_then(|mut detail| detail.profiles.remove(name));
        let is_seen = earlier.is_none_or(|stored| caller.sees_settings_of(name, &stored.profile));
        Ok(Some(if is_seen { conflict } else { EditConflict { fields: Vec::new(), ..conflict } }))
    }

    /// Returns the mail that the caller may see; none if it is that of all.
    pub(super) async fn lane_scope(&self, caller: &Caller) -> Result<Option<LaneScope>, StoreError> {
        if caller.sees_all(Area::Outbox) || caller.sees_own_messages_only() {
            return Ok(None);
        }
        let lanes = self.store.lanes().await?.into_iter().map(|state| state.lane);
        let owner = caller.may_at_all(Area::OwnMail, Activity::See).then(|| caller.owner.clone());
        Ok(Some(LaneScope { lanes: lanes.filter(|lane| caller.sees_lane(lane)).collect(), owner }))
    }
}
