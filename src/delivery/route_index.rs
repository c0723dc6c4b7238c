//! Route index: finds the profile that sends for a company and a function.
//!
//! A [`RouteIndex`] is built once per state, so that each resolution takes a few look-ups however many profiles there are. The
//! rules are those of `model::resolution`. The scheduler and the submission of messages share one; it is never changed. If no
//! profile serves a company and a function, the resolution names none and has the steps that were tried.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::next_secret::NextSecret;
use crate::model::{
    AppliesTo, CompanyId, Digest, Function, ProfileName, Resolution, State, StoredProfile,
    resolution::{Cell, Resolver},
};

/// A state, indexed by the companies and functions that its profiles serve.
pub struct RouteIndex {
    state: Arc<State>,
    claims: HashMap<(Function, Option<CompanyId>), BTreeSet<ProfileName>>,
    /// The profiles with a next secret, by name.
    next_secrets: BTreeMap<ProfileName, NextSecret>,
    /// The same profiles by the subject of the rotation: profiles with the same login share the result.
    profiles_by_subject: HashMap<Digest, Vec<ProfileName>>,
}

impl RouteIndex {
    /// Indexes a state in one pass over its profiles.
    pub fn new(state: Arc<State>) -> Self {
        let mut claims: HashMap<_, BTreeSet<ProfileName>> = HashMap::new();
        let mut next_secrets = BTreeMap::new();
        let mut profiles_by_subject: HashMap<Digest, Vec<ProfileName>> = HashMap::new();
        for (name, stored) in state.live_stored() {
            if let Some(next) = NextSecret::of_profile(stored) {
                profiles_by_subject.entry(next.subject.clone()).or_default().push(name.clone());
                next_secrets.insert(name.clone(), next);
            }
            for function in &stored.profile.functions {
                match &stored.profile.applies_to {
                    AppliesTo::SystemWide => drop(claims.entry((*function, None)).or_default().insert(name.clone())),
                    AppliesTo::Companies(companies) => {
                        for company in companies {
                            claims.entry((*function, Some(company.clone()))).or_default().insert(name.clone());
                        }
                    }
                }
            }
        }
        Self { state, claims, next_secrets, profiles_by_subject }
    }

    /// Returns the state that was indexed.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Returns a live profile.
    pub fn live_profile(&self, name: &ProfileName) -> Option<&StoredProfile> {
        self.state.profiles.get(name).and_then(|profile| profile.live.as_ref())
    }

    /// Returns the next secrets of live profiles.
    pub(super) fn next_secrets(&self) -> &BTreeMap<ProfileName, NextSecret> {
        &self.next_secrets
    }

    /// Returns the profiles with a next secret by the subject of their rotation.
    pub(super) fn profiles_by_subject(&self) -> &HashMap<Digest, Vec<ProfileName>> {
        &self.profiles_by_subject
    }

    /// Resolves a company and a function to a profile, with the steps that lead to it.
    pub fn resolve(&self, company: &CompanyId, function: Function) -> Resolution {
        self.resolve_cell(&Cell { company: company.clone(), function, client: None })
    }

    /// Resolves a cell, which may name the client that the user works in.
    pub fn resolve_cell(&self, cell: &Cell) -> Resolution {
        let candidates: BTreeSet<&ProfileName> = cell
            .function
            .chain()
            .flat_map(|function| [(function, Some(cell.company.clone())), (function, None)])
            .filter_map(|claim| self.claims.get(&claim))
            .flatten()
            .collect();
        let profiles = candidates.into_iter().filter_map(|name| Some((name, &self.live_profile(name)?.profile)));
        Resolver::new(profiles).explain(cell)
    }
}
