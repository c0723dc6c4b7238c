//! [`State`]: everything that a service is configured with at one generation: settings and profiles, each live and as the last
//! apply left it.
//!
//! [`State::change`] makes the changes of an apply, a manual change or a rollback; plan and service both use it, so they agree on
//! its effect. After a conflict the state is changed in part and must be dropped. The difference between live and last applied is
//! drift ([`crate::changes`]). It contains no secret and no mail.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Digest, EnvironmentName, Profile, ProfileChange, ProfileName, SecretRecord, Settings, StoredProfile};

/// Maximum number of names of unmanaged profiles that a generation keeps. A rollback treats further ones as managed, so that a
/// plan would remove them again; the guard against deletions stops such a plan.
const UNMANAGED_KEPT: usize = 200;

/// Everything that the service holds at one generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// The environment that the store belongs to.
    pub environment: EnvironmentName,
    /// The number of this state; 0 before the first change.
    pub generation: u64,
    /// The environment's settings, live.
    pub settings: Settings,
    /// The settings as the last apply left them; none before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_settings: Option<Settings>,
    /// The last change of the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings_changed: Option<ChangeRecord>,
    /// Every profile that is live, or that the last apply left and that was removed since then.
    #[schema(value_type = std::collections::HashMap<String, ProfileState>)]
    pub profiles: BTreeMap<ProfileName, ProfileState>,
    /// Every secret that a live or last applied profile names, or the reader, by digest.
    #[schema(value_type = std::collections::HashMap<String, SecretRecord>)]
    pub secrets: BTreeMap<Digest, SecretRecord>,
}

/// One profile, live and as the last apply left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProfileState {
    /// The live profile; none if it was removed outside Git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<StoredProfile>,
    /// The profile that the last apply left.
    pub applied: Applied,
    /// The last change of the live profile.
    pub changed: ChangeRecord,
}

/// The profile as the last apply left it. `Same` is the usual case, and keeps the document small.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "drift is rare, and one more box buys nothing")]
pub enum Applied {
    /// No apply has ever set the profile: it is unmanaged.
    Never,
    /// The last apply left no such profile, and a rollback restored it. The profile is managed, and has drifted.
    Absent,
    /// The last apply left what is live.
    Same,
    /// The last apply left something else: the live profile has drifted.
    Different(StoredProfile),
}

/// A change: author, time and kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeRecord {
    /// The generation that the change made.
    pub generation: u64,
    /// The time of the change.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The name of the token that was used.
    pub by: String,
    /// The kind of change.
    pub kind: ChangeKind,
}

/// The kind of change that created a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// A changeset of the reconciler. Sets the live state and the last applied state.
    Apply,
    /// A change by hand. Sets the live state only, so it shows as drift.
    Manual,
    /// A rollback to an earlier generation. Sets the live state only.
    Rollback,
}

impl ChangeKind {
    /// Returns the kind as documents write it.
    pub fn id(self) -> &'static str {
        match self {
            ChangeKind::Apply => "apply",
            ChangeKind::Manual => "manual",
            ChangeKind::Rollback => "rollback",
        }
    }
}

impl ProfileState {
    /// Returns the state that the last apply left, if any.
    pub fn applied(&self) -> Option<&StoredProfile> {
        match &self.applied {
            Applied::Never | Applied::Absent => None,
            Applied::Same => self.live.as_ref(),
            Applied::Different(stored) => Some(stored),
        }
    }

    /// Returns true if Git manages the profile: an apply set it, or removed it and a rollback restored it.
    pub fn is_managed(&self) -> bool {
        self.applied != Applied::Never
    }

    /// Returns true if a rollback brought a profile back that the last apply had removed.
    pub fn is_restored(&self) -> bool {
        self.applied == Applied::Absent && self.live.is_some()
    }

    /// Creates the pair of live and last applied profile, in the only form that equal pairs have.
    pub fn new(live: Option<StoredProfile>, applied: Option<StoredProfile>, changed: ChangeRecord) -> Self {
        let applied = match applied {
            None => Applied::Never,
            Some(stored) if live.as_ref() == Some(&stored) => Applied::Same,
            Some(stored) => Applied::Different(stored),
        };
        Self { live, applied, changed }
    }
}

/// The reason why a change cannot be made on a state. The change must have been computed from another state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeConflict {
    /// The profile to create exists.
    #[error("profile `{0}` exists already")]
    Exists(ProfileName),
    /// The profile to change does not exist.
    #[error("unknown profile `{0}`")]
    Missing(ProfileName),
    /// The profile to forget is live or was never applied.
    #[error("profile `{0}` is live or was never applied, so there is nothing to forget")]
    NothingToForget(ProfileName),
    /// The changeset names a profile twice.
    #[error("profile `{0}` is named twice in one changeset")]
    Twice(ProfileName),
}

impl State {
    /// Creates the empty state: generation 0.
    pub fn empty(environment: EnvironmentName) -> Self {
        Self {
            environment,
            generation: 0,
            settings: Settings::default(),
            applied_settings: None,
            settings_changed: None,
            profiles: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }

    /// Returns the live profiles.
    pub fn live(&self) -> impl Iterator<Item = (&ProfileName, &Profile)> {
        self.live_stored().map(|(name, stored)| (name, &stored.profile))
    }

    /// Returns the live profiles, with the digests of their secrets.
    pub fn live_stored(&self) -> impl Iterator<Item = (&ProfileName, &StoredProfile)> {
        self.profiles.iter().filter_map(|(name, state)| Some((name, state.live.as_ref()?)))
    }

    /// Makes the changes. After a conflict this state is unusable, and the caller keeps its own copy of the old state. `record`
    /// names the author; its kind decides whether the changes count as applied. The caller adds the secrets.
    pub fn change(
        &mut self,
        settings: Option<&Settings>,
        changes: &[ProfileChange],
        record: &ChangeRecord,
    ) -> Result<(), ChangeConflict> {
        let by_reconciler = record.kind == ChangeKind::Apply;
        let mut touched = std::collections::HashSet::with_capacity(changes.len());
        for name in changes.iter().flat_map(ProfileChange::names) {
            if !touched.insert(name) {
                return Err(ChangeConflict::Twice(name.clone()));
            }
        }
        if let Some(settings) = settings {
            self.settings = settings.clone();
            self.settings_changed = Some(record.clone());
            if by_reconciler {
                self.applied_settings = Some(settings.clone());
            }
        }
        // Copying is most of the work if there are many changes.
        let copies: Vec<Option<StoredProfile>> = changes.par_iter().map(|change| change.profile().cloned()).collect();
        for (change, profile) in changes.iter().zip(copies) {
            self.change_profile(change, profile, by_reconciler, record)?;
        }
        self.generation = record.generation;
        Ok(())
    }

    fn change_profile(
        &mut self,
        change: &ProfileChange,
        profile: Option<StoredProfile>,
        by_reconciler: bool,
        record: &ChangeRecord,
    ) -> Result<(), ChangeConflict> {
        let is_live = |state: &Self, name: &ProfileName| state.profiles.get(name).is_some_and(|s| s.live.is_some());
        match change {
            ProfileChange::Create { name, .. } | ProfileChange::Rename { name, .. } if is_live(self, name) => {
                return Err(ChangeConflict::Exists(name.clone()));
            }
            ProfileChange::Update { name, .. }
            | ProfileChange::Adopt { name, .. }
            | ProfileChange::Delete { name }
            | ProfileChange::Rename { from: name, .. }
                if !is_live(self, name) =>
            {
                return Err(ChangeConflict::Missing(name.clone()));
            }
            ProfileChange::Forget { name }
                if self.profiles.get(name).is_none_or(|s| s.live.is_some() || s.applied().is_none()) =>
            {
                return Err(ChangeConflict::NothingToForget(name.clone()));
            }
            _ => {}
        }
        if let ProfileChange::Rename { from, .. } = change {
            self.remove(from, by_reconciler, record);
        }
        match profile {
            Some(profile) => self.set(change.name(), profile, by_reconciler, record),
            None => self.remove(change.name(), by_reconciler, record),
        }
        Ok(())
    }

    fn set(&mut self, name: &ProfileName, profile: StoredProfile, by_reconciler: bool, record: &ChangeRecord) {
        let unchanged = self.profiles.get(name).filter(|state| state.live.as_ref() == Some(&profile));
        let changed = unchanged.map_or_else(|| record.clone(), |state| state.changed.clone());
        let live = Some(profile);
        let state = if by_reconciler {
            ProfileState { live, applied: Applied::Same, changed }
        } else {
            match self.profiles.get(name) {
                // A rollback restores what Git once declared; a profile made by hand was never declared.
                None if record.kind == ChangeKind::Rollback => ProfileState { live, applied: Applied::Absent, changed },
                Some(ProfileState { applied: Applied::Absent, .. }) => {
                    ProfileState { live, applied: Applied::Absent, changed }
                }
                known => ProfileState::new(live, known.and_then(|state| state.applied().cloned()), changed),
            }
        };
        self.profiles.insert(name.clone(), state);
    }

    /// Returns the live profiles that no apply has ever set, up to the number of names that a generation keeps.
    pub fn unmanaged_names(&self) -> Vec<ProfileName> {
        let unmanaged = self.profiles.iter().filter(|(_, state)| state.live.is_some() && !state.is_managed());
        unmanaged.map(|(name, _)| name.clone()).take(UNMANAGED_KEPT).collect()
    }

    /// Marks profiles that a rollback restored as unmanaged, because they were unmanaged then.
    pub fn leave_unmanaged(&mut self, names: &[ProfileName]) {
        for name in names {
            if let Some(state) = self.profiles.get_mut(name).filter(|state| state.is_restored()) {
                state.applied = Applied::Never;
            }
        }
    }

    fn remove(&mut self, name: &ProfileName, by_reconciler: bool, record: &ChangeRecord) {
        let Some(state) = self.profiles.remove(name) else { return };
        if let (false, Some(applied)) = (by_reconciler, state.applied().cloned()) {
            self.profiles.insert(name.clone(), ProfileState::new(None, Some(applied), record.clone()));
        }
    }

    /// Returns the digests of the age files that live or last applied profiles and settings name.
    pub fn used_digests(&self) -> impl Iterator<Item = &Digest> {
        let settings = std::iter::once(&self.settings).chain(&self.applied_settings);
        let readers = settings.filter_map(|settings| settings.reader.as_ref()?.secret.as_ref());
        let profiles = self.profiles.values().flat_map(|state| {
            let different = match &state.applied {
                Applied::Different(stored) => Some(stored),
                Applied::Never | Applied::Absent | Applied::Same => None,
            };
            state.live.iter().chain(different).flat_map(|stored| stored.age_files().map(|(_, digest)| digest))
        });
        profiles.chain(readers)
    }
}
