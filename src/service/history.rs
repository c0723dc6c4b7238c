//! The history of the configuration: its generations, for the API and the console.
//!
//! Old generations are read from the store, one caller at a time. Nothing is changed here; a rollback is in `changes`.

use std::{collections::BTreeMap, sync::Arc};

use super::{Service, caller::Caller, http::HttpProblem};
use crate::{
    api::GenerationPage,
    changes::{GenerationContents, GenerationDifference, compare_generations, origins::find_origins},
    model::{Generation, GenerationDetail, ProfileName, Settings, StoredProfile},
};

/// The number of changes of a profile that are searched for the origins of its values.
const VERSIONS_READ: u32 = 200;

impl Service {
    /// Returns one page of the generations before a number, newest first.
    pub(crate) async fn generations(
        self: &Arc<Self>,
        caller: &Caller,
        before: Option<u64>,
        limit: u32,
    ) -> Result<GenerationPage, HttpProblem> {
        if !(1..=1000).contains(&limit) {
            return Err(HttpProblem::malformed("`limit` must be from 1 to 1000"));
        }
        let store = Arc::clone(&self.store);
        let generations = self.search(caller, async move { store.generations(before, limit).await }).await?;
        let next_before = generations
            .last()
            .map(|oldest| oldest.number)
            .filter(|oldest| generations.len() == limit as usize && *oldest > 1);
        Ok(GenerationPage { generations, next_before })
    }

    /// Returns a generation with everything that was live in it.
    pub(crate) async fn generation(
        self: &Arc<Self>,
        caller: &Caller,
        number: u64,
    ) -> Result<GenerationDetail, HttpProblem> {
        let store = Arc::clone(&self.store);
        let found = self.search(caller, async move { store.generation(number).await }).await?;
        found.ok_or_else(|| self.generation_not_found(number))
    }

    /// Returns an entry of the history.
    pub(crate) async fn generation_entry(&self, number: u64) -> Result<Option<Generation>, HttpProblem> {
        let newest = self.store.generations(Some(number.saturating_add(1)), 1).await?;
        Ok(newest.into_iter().find(|generation| generation.number == number))
    }

    /// Returns the fields of a live profile, each with the generation that gave it its value, if that is among the last 200 changes
    /// of the profile.
    pub(crate) async fn field_origins(
        &self,
        name: &ProfileName,
        live: &StoredProfile,
    ) -> Result<Vec<(String, Option<Generation>)>, HttpProblem> {
        let versions = self.store.profile_versions(name, VERSIONS_READ).await?;
        let are_all = versions.len() < VERSIONS_READ as usize;
        let origins = find_origins(live, &versions, are_all);
        Ok(origins.into_iter().map(|(path, generation)| (path, generation.cloned())).collect())
    }

    /// Returns the differences between two generations. Generation 0 is the empty store.
    pub(crate) async fn compare_generations(
        self: &Arc<Self>,
        caller: &Caller,
        from: u64,
        to: u64,
    ) -> Result<Vec<GenerationDifference>, HttpProblem> {
        let (before, after) = (self.contents(caller, from).await?, self.contents(caller, to).await?);
        let compare = move || {
            let contents = |(settings, profiles)| GenerationContents { settings, profiles };
            compare_generations(contents((&before.0, &before.1)), contents((&after.0, &after.1)))
        };
        tokio::task::spawn_blocking(compare).await.map_err(HttpProblem::internal)
    }

    async fn contents(
        self: &Arc<Self>,
        caller: &Caller,
        number: u64,
    ) -> Result<(Settings, BTreeMap<ProfileName, StoredProfile>), HttpProblem> {
        if number == 0 {
            return Ok((Settings::default(), BTreeMap::new()));
        }
        let found = self.generation(caller, number).await?;
        Ok((found.settings, found.profiles))
    }
}
