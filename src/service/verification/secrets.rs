//! Secrets of a verifier run: which of them the caller may have used, and for which destination; opens them in memory.
//!
//! A file that the service has not accepted yet is opened only for callers who may apply changes. The reason for a secret that is
//! not opened becomes a finding, and the run continues. A profile whose secrets are not those that its provider names refuses the
//! whole run (400), and a failure of the store does too (503). A value that has no accepted destination yet is bound to the one of
//! this run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::ExposeSecret as _;

use crate::{
    api::VerifyRequest,
    changes::access::ValueIds,
    model::{
        Cloud, Code, Destination, Digest, ProfileName, Provider, Reader, SecretRecord, StoredProfile,
        provider::Credential, rotation::Standing, rules,
    },
    secrets::{FILE_LIMIT, Header, OpenError, Purpose},
    service::{Service, http::HttpProblem},
    verify::{ReaderApplication, Subject, SubjectSecret},
};

/// Maximum size of a sent age file as base64, in bytes.
const SENT_LIMIT: usize = FILE_LIMIT * 4 / 3 + 4;

impl Service {
    /// Returns the application that reads the directory, with its secret.
    pub(super) async fn reader_application(
        &self,
        reader: Reader,
        sent: &BTreeMap<Digest, String>,
        may_apply: bool,
    ) -> Result<ReaderApplication, HttpProblem> {
        let settings = reader.application;
        let violations = rules::check_reader(&settings);
        if let Some(violation) = violations.first() {
            return Err(HttpProblem::malformed(format!(
                "`reader`{}: {}",
                violation.pointer, violation.problem.message
            )));
        }
        let secret = match &reader.secret {
            None => SubjectSecret::None,
            Some(_) if !may_apply => SubjectSecret::Unavailable(
                "it reads the directory, and only a caller with the right `apply` in `changes` (built-in role `deployer`) may use it".to_owned(),
            ),
            Some(digest) => {
                let records = self.store.secrets(vec![digest.clone()]).await?;
                self.open_secret(digest, records.first(), &settings.destination(), sent, may_apply).await?
            }
        };
        let secret = match (&settings.credential, may_apply) {
            // A token file is a secret as well.
            (Credential::FederatedTokenFile(_), false) => {
                return Err(HttpProblem::new(
                    Code::RoleTooLow,
                    "the environment's reader signs in with a token file of the service, which needs the right `apply` in `changes` (built-in role `deployer`)",
                )
                .remedy("Verify with a token that has this right, or set MAILWRIGHT_READER_TOKEN to a reader's token."));
            }
            _ => secret,
        };
        Ok(ReaderApplication { settings, secret })
    }

    /// Returns the ids of the values in the age files that a request names or sends. A file that cannot be read, or does not have
    /// its digest, has none; it is not opened either.
    pub(super) async fn value_ids(&self, request: &VerifyRequest) -> Result<ValueIds, HttpProblem> {
        let named = request.profiles.values().flat_map(|stored| stored.age_files().map(|(_, digest)| digest.clone()));
        let records = self.store.secrets(named.collect::<BTreeSet<_>>().into_iter().collect()).await?;
        let mut ids: ValueIds =
            records.into_iter().filter_map(|record| Some((record.digest, record.value_id?))).collect();
        for (digest, text) in request.secrets.iter().filter(|(_, text)| text.len() <= SENT_LIMIT) {
            let header = BASE64_STANDARD.decode(text).ok().and_then(|file| Header::read(&file).ok());
            // Otherwise a caller could state another id for a value that the service has.
            if let Some(header) = header.filter(|header| header.digest == *digest) {
                ids.insert(digest.clone(), header.bound_id().as_str().to_owned());
            }
        }
        Ok(ids)
    }

    /// Returns the profiles to verify, each with its opened secrets, and the names of those that the rights of the caller keep from
    /// being checked whole: their hosts may not be contacted, or a secret may not be used.
    pub(super) async fn subjects(
        &self,
        profiles: BTreeMap<ProfileName, StoredProfile>,
        sent: &BTreeMap<Digest, String>,
        may_apply: bool,
    ) -> Result<(Vec<Subject>, BTreeSet<ProfileName>), HttpProblem> {
        let state = self.state();
        let named: BTreeSet<Digest> =
            profiles.values().flat_map(|stored| stored.age_files().map(|(_, digest)| digest.clone())).collect();
        let records: BTreeMap<Digest, SecretRecord> = self
            .store
            .secrets(named.into_iter().collect())
            .await?
            .into_iter()
            .map(|record| (record.digest.clone(), record))
            .collect();
        let contacted: BTreeSet<Destination> =
            state.live_stored().map(|(_, stored)| stored.profile.provider.destination().without_kind()).collect();
        let mut promoted = self.delivery.trouble().rotations;
        promoted.retain(|rotation| rotation.standing == Standing::Promoted);
        let (mut subjects, mut limited) = (Vec::new(), BTreeSet::new());
        for (name, stored) in profiles {
            let named = stored.profile.provider.secret().map(|(reference, _)| reference);
            if !stored.secrets.keys().eq(named) {
                return Err(HttpProblem::malformed(format!(
                    "the secrets of `{name}` are not exactly those that its provider names"
                )));
            }
            let destination = stored.profile.provider.destination();
            let is_contacted = contacted.contains(&destination.without_kind());
            let may_contact = may_apply || is_contacted || is_microsoft_cloud(&stored.profile.provider);
            let is_new = stored.age_files().any(|(_, digest)| !records.contains_key(digest));
            if !may_contact || (is_new && !may_apply) {
                limited.insert(name.clone());
            }
            let open = async |digest: Option<&Digest>| match digest {
                None => Ok(SubjectSecret::None),
                Some(digest) => self.open_secret(digest, records.get(digest), &destination, sent, may_apply).await,
            };
            let next = stored.next.values().next();
            // A staged value that delivery already uses is the current one.
            let (secret, next) = if promoted.iter().any(|own| own.profile == name && Some(&own.next) == next) {
                (open(next).await?, SubjectSecret::None)
            } else {
                (open(stored.secrets.values().next()).await?, open(next).await?)
            };
            let refused = (!may_contact).then(|| {
                "the service contacts only hosts of live profiles, unless the caller has the right `apply` in `changes` (built-in role `deployer`)".to_owned()
            });
            subjects.push(Subject { name, profile: stored.profile, secret, next, refused });
        }
        Ok((subjects, limited))
    }

    /// Opens a secret for a destination. A value without an accepted destination is bound to this one.
    async fn open_secret(
        &self,
        digest: &Digest,
        record: Option<&SecretRecord>,
        destination: &Destination,
        sent: &BTreeMap<Digest, String>,
        may_apply: bool,
    ) -> Result<SubjectSecret, HttpProblem> {
        let unavailable = |reason: &str| Ok(SubjectSecret::Unavailable(reason.to_owned()));
        let file = match record {
            Some(_) => self.store.age_file(digest).await?,
            None if !may_apply => {
                return unavailable(
                    "the service has not accepted it yet, and only a caller with the right `apply` in `changes` (built-in role `deployer`) may use it",
                );
            }
            None => match sent.get(digest) {
                None => None,
                Some(text) if text.len() > SENT_LIMIT => return unavailable("its age file is too large"),
                Some(text) => BASE64_STANDARD.decode(text).ok(),
            },
        };
        let Some(file) = file else {
            return unavailable("the service does not have its age file, and it was not sent");
        };
        let header = match Header::read(&file) {
            Ok(header) if header.digest == *digest => header,
            Ok(_) => return unavailable("its age file does not have the digest in the request"),
            Err(error) => return Ok(SubjectSecret::Unavailable(error.to_string())),
        };
        let value_id = header.bound_id().as_str().to_owned();
        let accepted = match record {
            Some(record) => Some(record.destination.clone()),
            None => self.store.destinations(vec![value_id.clone()]).await?.remove(&value_id),
        };
        let (identity, environment) = (Arc::clone(&self.identity), self.store.environment().clone());
        let (to, is_bound) = (destination.clone(), accepted.is_some());
        let open = move || {
            let purpose = Purpose { environment: &environment, destination: &to, accepted_for: accepted.as_ref() };
            identity.open_for(&file, &purpose)
        };
        let value = match tokio::task::spawn_blocking(open).await.map_err(HttpProblem::internal)? {
            Ok(value) => value,
            Err(OpenError::Redirected(redirected)) => return Ok(SubjectSecret::Redirected(redirected.to_string())),
            Err(error) => return Ok(SubjectSecret::Unavailable(error.to_string())),
        };
        if !is_bound {
            // No change may be checked meanwhile: both must bind the value to the same destination.
            let _one_at_a_time = self.changing.lock().await;
            let first = self.store.bind(value_id, destination.clone()).await?;
            if !first.admits(destination) {
                return Ok(SubjectSecret::Redirected(format!(
                    "it was accepted for {first} and would travel to {destination}"
                )));
            }
        }
        Ok(SubjectSecret::from_bytes(value.expose_secret()))
    }
}

/// Returns true if the provider's hosts belong to a Microsoft cloud, so that no profile can choose them.
fn is_microsoft_cloud(provider: &Provider) -> bool {
    match provider {
        Provider::Smtp(_) => false,
        Provider::MicrosoftGraphDelegate(delegate) => !matches!(delegate.cloud, Cloud::Custom(_)),
        Provider::MicrosoftGraphDirect(direct) => !matches!(direct.cloud, Cloud::Custom(_)),
    }
}
