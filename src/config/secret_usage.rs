//! The use of secrets by an environment's files: which profiles name a secret, as which kind of credential, for which
//! destination.
//!
//! [`SecretUsage`] works for files with problems too, as far as they can be read. It reads no age file. If a layer is missing, no
//! use is found. A user without a valid provider, or two users with different destinations, is [`NoDestination`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Value as Json, json};

use super::{Repository, node::Node};
use crate::{
    credential::CredentialKind,
    model::{Destination, EnvironmentName, GraphDirect, ProfileName, Provider, SecretReference},
};

/// The use of one secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretUsage {
    /// The profiles that name it.
    pub profiles: Vec<ProfileName>,
    /// True if the application that reads the directory for `verify` names it.
    pub reader: bool,
    /// The kinds of credential that the fields need.
    pub kinds: Vec<CredentialKind>,
    /// The destination by user; none where the user's files do not state a valid one.
    pub destinations: BTreeMap<String, Option<Destination>>,
}

/// The reason why there is not one destination that a secret can be sealed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoDestination {
    /// No profile and no reader names the secret.
    Unused,
    /// The named user has no valid provider.
    Unclear(String),
    /// Two users would send it to different places.
    Different(Box<[(String, Destination); 2]>),
}

impl SecretUsage {
    fn add(&mut self, user: String, key: &str, destination: Option<Destination>) {
        let kind = CredentialKind::from_field(key).filter(|kind| !self.kinds.contains(kind));
        self.kinds.extend(kind);
        self.destinations.insert(user, destination);
    }

    /// Returns the names of all users, for messages.
    pub fn names(&self) -> Vec<String> {
        let reader = self.reader.then(|| "verify.reader".to_owned());
        self.profiles.iter().map(ToString::to_string).chain(reader).collect()
    }

    /// Returns the single destination of all users. If their connections are encrypted differently, the weakest is returned,
    /// which admits the others.
    pub fn destination(&self) -> Result<&Destination, NoDestination> {
        let mut common: Option<(&String, &Destination)> = None;
        for (user, destination) in &self.destinations {
            let destination = destination.as_ref().ok_or_else(|| NoDestination::Unclear(user.clone()))?;
            match common {
                Some((_, known)) if known.admits(destination) => {}
                Some((other, known)) if !destination.admits(known) => {
                    let pair = [(other.clone(), known.clone()), (user.clone(), destination.clone())];
                    return Err(NoDestination::Different(Box::new(pair)));
                }
                _ => common = Some((user, destination)),
            }
        }
        common.map(|(_, destination)| destination).ok_or(NoDestination::Unused)
    }
}

impl Repository {
    /// Returns the secrets that an environment's files name, with their use, whether or not their age files exist.
    pub fn used_secrets(&self, name: &EnvironmentName) -> BTreeMap<SecretReference, SecretUsage> {
        let mut used: BTreeMap<SecretReference, SecretUsage> = BTreeMap::new();
        let Some(documents) = self.documents(name) else { return used };
        if let Some(verify) = documents.section("verify") {
            for (key, reference) in named_secrets(&verify) {
                let destination = parse_verify_reader(&verify)
                    .filter(|reader| reader.credential.secret() == Some(&reference))
                    .map(|reader| reader.destination());
                let usage = used.entry(reference).or_default();
                usage.reader = true;
                usage.add("verify.reader".to_owned(), &key, destination);
            }
        }
        for (profile, node) in documents.profiles() {
            for (key, reference) in named_secrets(&node) {
                let destination = parse_provider(&node)
                    .filter(|provider| provider.secret().is_some_and(|(own, _)| *own == reference))
                    .map(|provider| provider.destination());
                let usage = used.entry(reference).or_default();
                usage.profiles.push(profile.clone());
                usage.add(profile.to_string(), &key, destination);
            }
        }
        used
    }

    /// Returns the path of a secret's age file, relative to the repository.
    pub fn secret_path(environment: &EnvironmentName, reference: &SecretReference) -> PathBuf {
        let (name, key) = reference.parts();
        Path::new("secrets").join(environment.as_str()).join(name).join(format!("{key}.age"))
    }

    /// Returns the path of the recipients of an environment's secrets, relative to the repository.
    pub fn recipients_path(environment: &EnvironmentName) -> PathBuf {
        Path::new("secrets").join(environment.as_str()).join("recipients.txt")
    }

    /// Returns the path of the age file with a secret's next value, relative to the repository.
    pub fn next_secret_path(environment: &EnvironmentName, reference: &SecretReference) -> PathBuf {
        Self::secret_path(environment, reference).with_extension("next.age")
    }
}

/// Returns the application that reads the directory, from an interpolated `verify` section; none if it is incomplete.
pub(super) fn parse_verify_reader(verify: &Node) -> Option<GraphDirect> {
    serde_json::from_value(verify.get("reader")?.node.to_json()).ok()
}

/// Returns the provider of an interpolated profile; none if it is incomplete.
fn parse_provider(profile: &Node) -> Option<Provider> {
    serde_json::from_value(profile.get("provider")?.node.to_json()).ok()
}

/// Returns the secrets that a document names, each with the key of its field. The document need not be valid.
fn named_secrets(node: &Node) -> Vec<(String, SecretReference)> {
    let document = json!({ "": node.to_json() });
    let mut found = Vec::new();
    collect_secrets("", &document, &mut found);
    found
}

fn collect_secrets(key: &str, document: &Json, found: &mut Vec<(String, SecretReference)>) {
    match document {
        Json::Object(map) => {
            if let (1, Some(Json::String(name))) = (map.len(), map.get("secret"))
                && let Ok(reference) = name.parse()
            {
                found.push((key.to_owned(), reference));
            }
            map.iter().for_each(|(key, value)| collect_secrets(key, value, found));
        }
        Json::Array(items) => items.iter().for_each(|item| collect_secrets(key, item, found)),
        _ => {}
    }
}
