//! The desired state: what an environment's files amount to, with the place that each value comes from.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{Digest, EnvironmentName, ProfileName, SecretReference, Settings, StoredProfile};

/// What an environment's files amount to. Exists only if they passed every rule.
#[derive(Clone, Debug)]
pub struct Desired {
    /// The environment.
    pub environment: EnvironmentName,
    /// Where its service is, if the files say so.
    pub service_address: Option<String>,
    /// The settings that the service must know.
    pub settings: Settings,
    /// Where the settings are declared: the environment's own `environment.yaml`.
    pub settings_place: Place,
    /// The profiles.
    pub profiles: BTreeMap<ProfileName, DesiredProfile>,
    /// Every secret that a profile names.
    pub secrets: BTreeMap<SecretReference, SecretFile>,
}

/// A profile as the files want it.
#[derive(Clone, Debug)]
pub struct DesiredProfile {
    /// What the service should hold: layers merged, variables put in, defaults filled, secrets by digest.
    pub stored: StoredProfile,
    /// The name that it had, if the file says so.
    pub renamed_from: Option<ProfileName>,
    /// Where the profile is declared (the nearest layer's file).
    pub place: Place,
    /// Where each value comes from: JSON pointer into the profile to place. Holds every leaf that a file states,
    /// so not the defaults; a pointer that is absent comes from the nearest prefix that is there.
    pub places: BTreeMap<String, Place>,
}

impl DesiredProfile {
    /// Where the value at a JSON pointer comes from; the profile's own place if no file states it.
    pub fn place_of(&self, pointer: &str) -> &Place {
        let mut pointer = pointer;
        loop {
            if let Some(place) = self.places.get(pointer) {
                return place;
            }
            match pointer.rfind('/') {
                Some(end) if end > 0 => pointer = &pointer[..end],
                _ => return &self.place,
            }
        }
    }
}

/// The file of a secret, as far as it tells anything without a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// Where it is, relative to the repository.
    pub path: PathBuf,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// The id of its value, if `mailwright secrets set` made the file.
    pub value_id: Option<String>,
}

/// A place in a file, as editors count: lines and columns (in characters) from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The file, relative to the repository, with forward slashes.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
