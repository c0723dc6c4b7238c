//! Which profile sends for a company and a function, asked for every message: an index that is built once a state, so
//! that a question costs a few look-ups however many profiles there are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::rotation::Next;
use crate::model::{
    AppliesTo, CompanyId, Digest, Function, ProfileName, Resolution, State, StoredProfile,
    resolution::{Cell, Resolver},
};

/// The state, indexed by what its profiles claim.
pub struct Routes {
    state: Arc<State>,
    claims: HashMap<(Function, Option<CompanyId>), BTreeSet<ProfileName>>,
    /// The profiles with a next secret, by name.
    rotating: BTreeMap<ProfileName, Next>,
    /// The same by what is rotated: profiles that log in alike share what came of it.
    rotated: HashMap<Digest, Vec<ProfileName>>,
}

impl Routes {
    /// Indexes a state. Costs one pass over its profiles.
    pub fn new(state: Arc<State>) -> Self {
        let mut claims: HashMap<_, BTreeSet<ProfileName>> = HashMap::new();
        let mut rotating = BTreeMap::new();
        let mut rotated: HashMap<Digest, Vec<ProfileName>> = HashMap::new();
        for (name, stored) in state.live_stored() {
            if let Some(next) = Next::of(stored) {
                rotated.entry(next.of.clone()).or_default().push(name.clone());
                rotating.insert(name.clone(), next);
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
        Self { state, claims, rotating, rotated }
    }

    /// The state that was indexed.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// A live profile.
    pub fn stored(&self, name: &ProfileName) -> Option<&StoredProfile> {
        self.state.profiles.get(name).and_then(|profile| profile.live.as_ref())
    }

    /// The live profiles with a next secret.
    pub(super) fn rotating(&self) -> &BTreeMap<ProfileName, Next> {
        &self.rotating
    }

    /// The profiles with the same login and next secret, by its digest.
    pub(super) fn rotated(&self) -> &HashMap<Digest, Vec<ProfileName>> {
        &self.rotated
    }

    /// Which profile sends, step by step.
    pub fn resolve(&self, company: &CompanyId, function: Function) -> Resolution {
        self.explain(&Cell { company: company.clone(), function, client: None })
    }

    /// The same for a cell, which may name the client that the user works in.
    pub fn explain(&self, cell: &Cell) -> Resolution {
        let candidates: BTreeSet<&ProfileName> = cell
            .function
            .chain()
            .flat_map(|function| [(function, Some(cell.company.clone())), (function, None)])
            .filter_map(|claim| self.claims.get(&claim))
            .flatten()
            .collect();
        let profiles = candidates.into_iter().filter_map(|name| Some((name, &self.stored(name)?.profile)));
        Resolver::new(profiles).explain(cell)
    }
}
