//! [`Desired`]: what the files declare for an environment, after all checks, with the place of each value.
//!
//! `loader` builds it; plans, `verify` and rollouts read it. Of secrets it has what age files say without a key: name,
//! digest, destination and id of the value, never the value itself.
//! Files with errors have no desired state; for display of such files see `effective`.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::{node::Node, selection::Labels, sources::Sources};
use crate::{
    model::{
        Digest, EnvironmentName, Place, ProfileName, SecretReference, Settings, StoredProfile, VerifySettings,
        WatchSettings,
    },
    secrets::ValueId,
};

/// The desired state of an environment. Files with errors have none; warnings do not matter.
#[derive(Clone, Debug)]
pub struct Desired {
    /// The environment.
    pub environment: EnvironmentName,
    /// The address of the environment's service, if the files state one.
    pub service_address: Option<String>,
    /// The labels of the environment.
    pub labels: Labels,
    /// The settings that the service must know.
    pub settings: Settings,
    /// The place of the settings: the environment's own `environment.yaml`.
    pub settings_place: Place,
    /// The settings of `verify`.
    pub verify: VerifySettings,
    /// The settings of `watch`: permissions, and receivers of notifications.
    pub watch: WatchSettings,
    /// The place of each value of the effective `environment.yaml`.
    pub environment_places: Places,
    /// The profiles.
    pub profiles: BTreeMap<ProfileName, DesiredProfile>,
    /// The age files of all secrets that a profile or the reader names.
    pub secrets: BTreeMap<SecretReference, SecretFile>,
    /// The age files of the staged next values of those secrets.
    pub next: BTreeMap<SecretReference, SecretFile>,
}

/// A profile that the files declare.
#[derive(Clone, Debug)]
pub struct DesiredProfile {
    /// The profile as the service stores it: layers merged, variables interpolated, defaults filled in, secrets by digest.
    pub stored: StoredProfile,
    /// The previous name, if the file states `renamedFrom`.
    pub renamed_from: Option<ProfileName>,
    /// The place of the profile's first key.
    pub place: Place,
    /// The place of each value.
    pub places: Places,
}

impl Desired {
    /// Returns all age files, those of next values included, with the names of their secrets.
    pub fn age_files(&self) -> impl Iterator<Item = (&SecretReference, &SecretFile)> {
        self.secrets.iter().chain(&self.next)
    }
}

impl DesiredProfile {
    /// Returns the place of the value at a JSON pointer, or of the nearest value above it that a file states.
    pub fn place_of(&self, pointer: &str) -> Place {
        self.places.find(pointer).unwrap_or_else(|| self.place.clone())
    }
}

/// The place of each value of a document. Computed on request, because most plans need few.
#[derive(Clone, Debug, Default)]
pub struct Places(Option<(Arc<Node>, Arc<Sources>)>);

impl Places {
    pub(super) fn new(node: Arc<Node>, sources: Arc<Sources>) -> Self {
        Self(Some((node, sources)))
    }

    /// Returns the place of the value at a JSON pointer.
    pub fn find(&self, pointer: &str) -> Option<Place> {
        let (node, sources) = self.0.as_ref()?;
        let (key_span, found) = node.nearest(pointer);
        // A map or list is located by its key.
        let span = if found.entries().is_empty() { found.span } else { key_span.unwrap_or(found.span) };
        Some(sources.place(span))
    }
}

/// The age file of a secret, as far as it can be read without a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// The path, relative to the repository.
    pub path: PathBuf,
    /// The SHA-256 of the file in its binary form.
    pub digest: Digest,
    /// The id of the value, if `mailwright secrets set` wrote the file.
    pub value_id: Option<String>,
    /// The digest of the destination that the file was sealed for, if it states one.
    pub sealed_for: Option<Digest>,
}

impl SecretFile {
    /// Returns the id that identifies the value, whichever file holds it.
    pub fn bound_id(&self) -> String {
        ValueId::bound(self.value_id.as_deref(), &self.digest).as_str().to_owned()
    }
}
