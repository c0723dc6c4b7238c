//! Last step of loading: builds [`Desired`] from the checked settings, profiles, age files and recipients.
//!
//! It is called only if no step before reported an error, and reports none itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Loader,
    age_files::AgeFiles,
    first_key,
    profile::CheckedProfile,
    settings::{CheckedSettings, parse_reader, parse_watch},
};
use crate::{
    config::{Desired, DesiredProfile, Places, documents::labels_in},
    model::{Digest, ProfileName, Reader, SecretRecipient, SecretReference, Settings, StoredProfile},
};

impl Loader<'_> {
    pub(super) fn desired(
        &self,
        settings: CheckedSettings,
        profiles: BTreeMap<ProfileName, CheckedProfile>,
        AgeFiles { secrets, next, .. }: AgeFiles,
        secret_recipients: BTreeSet<SecretRecipient>,
    ) -> Desired {
        let CheckedSettings { node: environment, settings, .. } = settings;
        let sources = &self.documents.builder.sources;
        let reader = parse_reader(&environment).map(|application| {
            let file = application.credential.secret().and_then(|reference| secrets.get(reference));
            Reader { secret: file.map(|file| file.digest.clone()), application }
        });
        let profiles = profiles
            .into_iter()
            .map(|(name, checked)| {
                let named = checked.profile.provider.secret();
                let digests: BTreeMap<SecretReference, Digest> = named
                    .and_then(|(reference, _)| Some((reference.clone(), secrets.get(reference)?.digest.clone())))
                    .into_iter()
                    .collect();
                let staged = digests
                    .keys()
                    .filter_map(|reference| Some((reference.clone(), next.get(reference)?.digest.clone())))
                    .collect();
                let profile = DesiredProfile {
                    place: sources.place(first_key(&checked.node)),
                    places: Places::new(Arc::clone(&checked.node), Arc::clone(sources)),
                    stored: StoredProfile { profile: checked.profile, secrets: digests, next: staged },
                    renamed_from: checked.renamed_from,
                };
                (name, profile)
            })
            .collect();
        let own = self.documents.own().and_then(|own| own.environment.as_ref());
        let section = |key: &str| environment.get(key).map(|entry| &entry.node);
        let address = section("service").and_then(|service| service.get("address"));
        Desired {
            environment: self.documents.name.clone(),
            labels: section("labels").map(|labels| labels_in(labels)).unwrap_or_default(),
            service_address: address.and_then(|entry| entry.node.as_str()).map(str::to_owned),
            settings: Settings { reader, secret_recipients, ..settings },
            settings_place: sources.place(own.map_or(environment.span, |node| first_key(node))),
            verify: section("verify")
                .and_then(|verify| serde_json::from_value(verify.to_json()).ok())
                .unwrap_or_default(),
            watch: parse_watch(&environment),
            environment_places: Places::new(Arc::clone(&environment), Arc::clone(sources)),
            profiles,
            secrets,
            next,
        }
    }
}
