//! The desired state: what an environment's files amount to, with the place that each value comes from.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::{node::Node, selection::Labels, sources::Sources};
use crate::{
    model::{
        Digest, EnvironmentName, Place, ProfileName, SecretReference, Settings, StoredProfile, VerifySettings,
        WatchSettings,
    },
    secrets::ValueId,
};

/// What an environment's files amount to. Exists only if they passed every rule.
#[derive(Clone, Debug)]
pub struct Desired {
    /// The environment.
    pub environment: EnvironmentName,
    /// Where its service is, if the files say so.
    pub service_address: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// The settings that the service must know.
    pub settings: Settings,
    /// Where the settings are declared: the environment's own `environment.yaml`.
    pub settings_place: Place,
    /// How `verify` judges.
    pub verify: VerifySettings,
    /// What `watch` may do, and whom it tells.
    pub watch: WatchSettings,
    /// Where each value of the environment file comes from.
    pub environment_places: Places,
    /// The profiles.
    pub profiles: BTreeMap<ProfileName, DesiredProfile>,
    /// Every secret that a profile names.
    pub secrets: BTreeMap<SecretReference, SecretFile>,
    /// The next value of every such secret that is being rotated.
    pub next: BTreeMap<SecretReference, SecretFile>,
}

/// A profile as the files want it.
#[derive(Clone, Debug)]
pub struct DesiredProfile {
    /// What the service should hold: layers merged, variables put in, defaults filled, secrets by digest.
    pub stored: StoredProfile,
    /// The name that it had, if the file says so.
    pub renamed_from: Option<ProfileName>,
    /// Where the profile is declared: the lowest layer's file that says something of it.
    pub place: Place,
    /// Where each value comes from.
    pub places: Places,
}

impl Desired {
    /// Every age file, the next ones too, with the name of its secret.
    pub fn age_files(&self) -> impl Iterator<Item = (&SecretReference, &SecretFile)> {
        self.secrets.iter().chain(&self.next)
    }
}

impl DesiredProfile {
    /// Where the value at a JSON pointer comes from; the nearest one above it, if no file states it.
    pub fn place_of(&self, pointer: &str) -> Place {
        self.places.of(pointer).unwrap_or_else(|| self.place.clone())
    }
}

/// Where each value of a profile comes from. Computed when asked: most plans ask for few.
#[derive(Clone, Debug, Default)]
pub struct Places(Option<(Arc<Node>, Arc<Sources>)>);

impl Places {
    pub(super) fn new(node: Arc<Node>, sources: Arc<Sources>) -> Self {
        Self(Some((node, sources)))
    }

    /// The place of the value at a JSON pointer.
    pub fn of(&self, pointer: &str) -> Option<Place> {
        let (node, sources) = self.0.as_ref()?;
        let (key_span, found) = node.nearest(pointer);
        // A map or list is best pointed at by its key.
        let span = if found.entries().is_empty() { found.span } else { key_span.unwrap_or(found.span) };
        Some(sources.place(span))
    }
}

/// The file of a secret, as far as it tells anything without a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// Where it is, relative to the repository.
    pub path: PathBuf,
    /// SHA-256 of its binary form.
    pub digest: Digest,
    /// The id of its value, if `mailwright secrets set` made the file.
    pub value_id: Option<String>,
    /// The digest of the destination that it was sealed for, if it carries one.
    pub sealed_for: Option<Digest>,
}

impl SecretFile {
    /// The id that the value is bound under.
    pub fn bound_id(&self) -> String {
        ValueId::bound(self.value_id.as_deref(), &self.digest).as_str().to_owned()
    }
}
