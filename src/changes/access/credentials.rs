//! [`Credentials`]: for which companies and functions each credential is used.
//!
//! A person who may change profiles of one company must not send with the login of another one by naming its secret. So a profile,
//! or the reader of the environment, gets a credential that others use only by a right that includes those others. Nothing here
//! decides whether a caller has the right.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use super::{Field, NeededRight, ValueIds, concerned};
use crate::{
    changes::fields,
    model::{
        CompanyId, Digest, Function, ProfileName, Reader, State, StoredProfile,
        access::{Activity, Area},
    },
};

/// The companies and functions for which each credential is used: the value of a secret, or a federated token.
pub(super) struct Credentials<'a> {
    state: &'a State,
    sent: &'a ValueIds,
    /// The uses by credential. Computed when a change gives a credential to a profile: there can be ten thousand profiles.
    uses: OnceCell<HashMap<String, Uses>>,
}

/// The companies and functions of all profiles that use a credential; none means all.
struct Uses {
    /// One of these profiles; none if only the reader of the environment uses it.
    profile: Option<ProfileName>,
    companies: Option<BTreeSet<CompanyId>>,
    functions: Option<BTreeSet<Function>>,
}

impl<'a> Credentials<'a> {
    /// Prepares for a state. `sent` are the ids of values in age files that the state does not have.
    pub(super) fn new(state: &'a State, sent: &'a ValueIds) -> Self {
        Self { state, sent, uses: OnceCell::new() }
    }

    fn find_uses(&self) -> HashMap<String, Uses> {
        let mut all: HashMap<String, Uses> = HashMap::new();
        for (name, found) in &self.state.profiles {
            for stored in found.live.iter().chain(found.applied()) {
                let (companies, functions) = concerned(std::iter::once(&stored.profile));
                let secrets = stored.age_files().map(|(_, digest)| self.secret_key(digest));
                for key in secrets.chain(stored.profile.provider.federated_token_file().map(file_key)) {
                    let none = || Uses {
                        profile: Some(name.clone()),
                        companies: Some(BTreeSet::new()),
                        functions: Some(BTreeSet::new()),
                    };
                    let uses = all.entry(key).or_insert_with(none);
                    merge(&mut uses.companies, companies.as_ref());
                    merge(&mut uses.functions, Some(&functions));
                }
            }
        }
        // The reader of the environment concerns everything.
        let settings = std::iter::once(&self.state.settings).chain(&self.state.applied_settings);
        for reader in settings.filter_map(|settings| settings.reader.as_ref()) {
            for key in self.reader_keys(reader) {
                let uses = all.entry(key).or_insert(Uses { profile: None, companies: None, functions: None });
                (uses.companies, uses.functions) = (None, None);
            }
        }
        all
    }

    /// Returns the credential of a reader of the directory.
    fn reader_keys(&self, reader: &Reader) -> Vec<String> {
        let secret = reader.age_file().map(|(_, digest)| self.secret_key(digest));
        let file = reader.application.credential.federated_token_file().map(file_key);
        secret.into_iter().chain(file).collect()
    }

    /// Returns the rights to give the reader of the environment a credential that profiles use: those to change it in all of
    /// these profiles. Who may only change settings must not sign in with the credential of a profile.
    pub(super) fn reader_rights(&self, old: Option<&Reader>, new: Option<&Reader>) -> Vec<NeededRight> {
        let had = old.map(|old| self.reader_keys(old)).unwrap_or_default();
        let given = new.map(|new| self.reader_keys(new)).unwrap_or_default();
        given.into_iter().filter(|key| !had.contains(key)).filter_map(|key| self.right_to_take(&key)).collect()
    }

    /// Returns the right to change a credential in all profiles that use it; none if no profile does.
    fn right_to_take(&self, key: &str) -> Option<NeededRight> {
        let uses = self.uses.get_or_init(|| self.find_uses()).get(key)?;
        let name = uses.profile.clone()?;
        let found = self.state.profiles.get(&name)?;
        let of_key = |stored: &StoredProfile| {
            let mut keys = self.keys(stored).into_iter();
            keys.find(|(_, own)| own == key).map(|(path, _)| path)
        };
        let path = found.live.iter().chain(found.applied()).find_map(of_key)?;
        Some(NeededRight {
            profile: Some(name),
            area: Area::Profiles,
            activity: Activity::Change,
            field: Field::One(path),
            companies: uses.companies.clone(),
            functions: uses.functions.clone().unwrap_or_default(),
            takes_credential: true,
        })
    }

    /// Returns the credential of an age file. Two age files of one value are one credential.
    fn secret_key(&self, digest: &Digest) -> String {
        let in_use = || self.state.secrets.get(digest).and_then(|record| record.value_id.clone());
        self.sent.get(digest).cloned().or_else(in_use).unwrap_or_else(|| digest.to_string())
    }

    /// Returns the credentials of a profile by the paths of their fields.
    pub(super) fn keys(&self, stored: &StoredProfile) -> BTreeMap<String, String> {
        let key = |(path, field): (String, fields::Field)| {
            let key = match (&field.digest, field.value.as_str()) {
                (Some(digest), _) => self.secret_key(digest),
                (None, Some(file)) if path.ends_with(".federatedTokenFile") => file_key(file),
                _ => return None,
            };
            Some((path, key))
        };
        fields::profile_fields(stored).into_iter().filter_map(key).collect()
    }

    /// Adds the companies and functions of the other profiles that use a credential to the rights that give it to a profile.
    pub(super) fn extend(&self, rights: &mut [NeededRight], old: Option<&StoredProfile>, new: &StoredProfile) {
        let given = self.keys(new);
        let had = old.map(|old| self.keys(old)).unwrap_or_default();
        for right in rights {
            let Field::One(path) = &right.field else { continue };
            let Some(key) = given.get(path).filter(|key| had.values().all(|own| own != *key)) else { continue };
            let Some(uses) = self.uses.get_or_init(|| self.find_uses()).get(key) else { continue };
            merge(&mut right.companies, uses.companies.as_ref());
            match &uses.functions {
                Some(functions) if !right.functions.is_empty() => right.functions.extend(functions),
                _ => right.functions.clear(),
            }
            right.takes_credential = true;
        }
    }
}

fn file_key(path: &str) -> String {
    format!("file {path}")
}

/// Adds items to a set; none means all.
fn merge<T: Ord + Clone>(all: &mut Option<BTreeSet<T>>, more: Option<&BTreeSet<T>>) {
    match (all.as_mut(), more) {
        (Some(all), Some(more)) => all.extend(more.iter().cloned()),
        _ => *all = None,
    }
}
