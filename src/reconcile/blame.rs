//! Which generation set each field of a live profile: the generations are walked from the newest to the oldest, until
//! every field is explained.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::{
    changes::fields::{self, Field, Fields},
    model::{Digest, Generation, GenerationDetail, ProfileName, StoredProfile},
};

/// A field, and the generation that set it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blamed {
    /// The field: keys joined by dots.
    pub path: String,
    /// What is live. For a secret: its name.
    pub value: Value,
    /// For a secret: the digest of its age file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The generation that set it; none if it is older than all that were looked at.
    pub generation: Option<Generation>,
}

/// A profile on the way back through the generations.
pub struct Blame {
    /// The name that the profile has in the generation that is looked at.
    name: ProfileName,
    live: Fields,
    open: BTreeSet<String>,
    set_by: BTreeMap<String, Generation>,
    /// Generation to the name that the profile had before it.
    renamed: Vec<(u64, ProfileName)>,
}

impl Blame {
    /// Begins with what is live.
    pub fn new(name: &ProfileName, live: &StoredProfile) -> Self {
        let live = fields::of_profile(live);
        let open = live.keys().cloned().collect();
        Self { name: name.clone(), live, open, set_by: BTreeMap::new(), renamed: Vec::new() }
    }

    /// Whether every field is explained.
    pub fn is_done(&self) -> bool {
        self.open.is_empty()
    }

    /// The names that the profile had, with the generations that changed them, newest first.
    pub fn renamed(&self) -> &[(u64, ProfileName)] {
        &self.renamed
    }

    /// Takes a generation with the one before it; none for the first one. What is not in the one before as it is live
    /// was set by this one.
    pub fn step(&mut self, generation: &Generation, before: Option<&GenerationDetail>, after: &GenerationDetail) {
        let earlier = before.and_then(|before| self.earlier(generation, before, after)).unwrap_or_default();
        let is_set_here = |path: &String| earlier.get(path) != self.live.get(path);
        let set: Vec<String> = self.open.iter().filter(|path| is_set_here(path)).cloned().collect();
        for path in set {
            self.open.remove(&path);
            self.set_by.insert(path, generation.clone());
        }
    }

    /// The profile in the generation before, under whatever name.
    fn earlier(
        &mut self,
        generation: &Generation,
        before: &GenerationDetail,
        after: &GenerationDetail,
    ) -> Option<Fields> {
        if let Some(stored) = before.profiles.get(&self.name) {
            return Some(fields::of_profile(stored));
        }
        if generation.summary.renamed == 0 {
            return None;
        }
        // A generation keeps no note of which profile was renamed to which: it is the one that went and is most alike.
        let gone = before.profiles.iter().filter(|(name, _)| !after.profiles.contains_key(*name));
        let alike = |fields: &Fields| fields.iter().filter(|(path, field)| self.live.get(*path) == Some(field)).count();
        let (_, name, fields) = gone
            .map(|(name, stored)| (name, fields::of_profile(stored)))
            .map(|(name, fields)| (alike(&fields), name, fields))
            .filter(|(alike, ..)| *alike > 0)
            .max_by_key(|(alike, ..)| *alike)?;
        self.renamed.push((generation.number, name.clone()));
        self.name = name.clone();
        Some(fields)
    }

    /// Every live field, in order, with the generation that set it.
    pub fn fields(&self) -> Vec<Blamed> {
        let blamed = |(path, Field { value, digest }): (&String, &Field)| Blamed {
            path: path.clone(),
            value: value.clone(),
            digest: digest.clone(),
            generation: self.set_by.get(path).cloned(),
        };
        self.live.iter().map(blamed).collect()
    }
}
