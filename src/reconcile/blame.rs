//! Blame: finds the generation that set each field of a live profile.
//!
//! The caller passes generations from the newest to the oldest to [`Blame::visit_generation`], until [`Blame::is_done`]. A field
//! that is older than the visited generations has none. Generations do not record renames: the earlier name is the removed profile
//! with the most equal fields, which is a guess.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::{
    changes::fields::{self, Field, Fields},
    model::{Digest, Generation, GenerationDetail, ProfileName, StoredProfile},
};

/// A field with the generation that set it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlamedField {
    /// The field: keys joined by dots.
    pub path: String,
    /// The live value; for a secret, its name.
    pub value: Value,
    /// For a secret: the digest of its age file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The generation that set it; none if it is older than all visited generations.
    pub generation: Option<Generation>,
}

/// The state of the search.
pub struct Blame {
    /// The name of the profile in the current generation.
    name: ProfileName,
    live: Fields,
    open: BTreeSet<String>,
    set_by: BTreeMap<String, Generation>,
    /// Generations that renamed the profile, with its name before.
    renamed: Vec<(u64, ProfileName)>,
}

impl Blame {
    /// Starts with the live profile.
    pub fn new(name: &ProfileName, live: &StoredProfile) -> Self {
        let live = fields::profile_fields(live);
        let open = live.keys().cloned().collect();
        Self { name: name.clone(), live, open, set_by: BTreeMap::new(), renamed: Vec::new() }
    }

    /// Returns true if the generation of every field is known.
    pub fn is_done(&self) -> bool {
        self.open.is_empty()
    }

    /// Returns the generations that renamed the profile, with its name before, newest first.
    pub fn renamed(&self) -> &[(u64, ProfileName)] {
        &self.renamed
    }

    /// Visits a generation together with the one before it (none for the first). A field whose live value is not in the one before
    /// was set by this generation.
    pub fn visit_generation(
        &mut self,
        generation: &Generation,
        before: Option<&GenerationDetail>,
        after: &GenerationDetail,
    ) {
        let earlier = before.and_then(|before| self.find_earlier(generation, before, after)).unwrap_or_default();
        let is_set_here = |path: &String| earlier.get(path) != self.live.get(path);
        let set: Vec<String> = self.open.iter().filter(|path| is_set_here(path)).cloned().collect();
        for path in set {
            self.open.remove(&path);
            self.set_by.insert(path, generation.clone());
        }
    }

    /// Returns the profile in the generation before, under its name at that time.
    fn find_earlier(
        &mut self,
        generation: &Generation,
        before: &GenerationDetail,
        after: &GenerationDetail,
    ) -> Option<Fields> {
        if let Some(stored) = before.profiles.get(&self.name) {
            return Some(fields::profile_fields(stored));
        }
        if generation.summary.renamed == 0 {
            return None;
        }
        // A generation does not record renames: the earlier profile is the removed one with the most equal fields.
        let gone = before.profiles.iter().filter(|(name, _)| !after.profiles.contains_key(*name));
        let alike = |fields: &Fields| fields.iter().filter(|(path, field)| self.live.get(*path) == Some(field)).count();
        let (_, name, fields) = gone
            .map(|(name, stored)| (name, fields::profile_fields(stored)))
            .map(|(name, fields)| (alike(&fields), name, fields))
            .filter(|(alike, ..)| *alike > 0)
            .max_by_key(|(alike, ..)| *alike)?;
        self.renamed.push((generation.number, name.clone()));
        self.name = name.clone();
        Some(fields)
    }

    /// Returns all live fields in order, with the generations that set them.
    pub fn fields(&self) -> Vec<BlamedField> {
        let blamed = |(path, Field { value, digest }): (&String, &Field)| BlamedField {
            path: path.clone(),
            value: value.clone(),
            digest: digest.clone(),
            generation: self.set_by.get(path).cloned(),
        };
        self.live.iter().map(blamed).collect()
    }
}
