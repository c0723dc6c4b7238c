//! What stands before an apply: what the service is asked to verify, and what of its answer stops the apply.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{Report, Severity, waivers};
use crate::{
    api::{Reading, VerifyRequest},
    config::Desired,
    model::{Changeset, Digest, ProfileChange, ProfileName, SecretReference, StoredProfile, VerifySettings},
};

/// What the service is asked before a changeset is sent: the enabled profiles that it sets. None if there are none.
/// `files` tells how the environment wants to be judged, where its files are at hand.
pub fn request(changeset: &Changeset, files: Option<(&Path, &Desired)>) -> Option<VerifyRequest> {
    let profiles: BTreeMap<ProfileName, StoredProfile> = changeset
        .changes
        .iter()
        // What is adopted is live already, and an apply changes nothing about it.
        .filter(|change| !matches!(change, ProfileChange::Adopt { .. }))
        .filter_map(|change| Some((change.name().clone(), change.profile()?.clone())))
        .filter(|(_, stored)| stored.profile.enabled)
        .collect();
    if profiles.is_empty() {
        return None;
    }
    let mut secrets = changeset.secrets.clone();
    secrets.extend(files.and_then(|(root, desired)| reader_file(root, desired)));
    let desired = files.map(|(_, desired)| desired);
    Some(VerifyRequest {
        environment: changeset.environment.clone(),
        profiles,
        secrets,
        credential_days: desired
            .map_or_else(|| VerifySettings::default().credential_days, |d| d.verify.credential_days),
        probe: false,
        reader: desired.and_then(reading),
        reader_token: None,
    })
}

/// Lays the environment's waivers over the answer, and gives the profiles in which an error stands.
pub fn judge(report: &mut Report, desired: Option<&Desired>, now: jiff::Timestamp) -> BTreeSet<ProfileName> {
    let settings = desired.map_or_else(VerifySettings::default, |desired| desired.verify.clone());
    waivers::apply(report, &settings, now, false);
    if let Some(desired) = desired {
        waivers::place(report, desired);
    }
    report
        .open()
        .filter(|finding| finding.severity == Severity::Error)
        .filter_map(|finding| finding.profile.clone())
        .collect()
}

/// The environment's own application for reading the directory, as a request names it.
pub fn reading(desired: &Desired) -> Option<Reading> {
    let application = desired.verify.reader.clone()?;
    let secret = reader_secret(desired).and_then(|reference| desired.secrets.get(reference));
    Some(Reading { application, secret: secret.map(|file| file.digest.clone()) })
}

/// The age file of that application's secret.
pub fn reader_file(root: &Path, desired: &Desired) -> Option<(Digest, String)> {
    let file = desired.secrets.get(reader_secret(desired)?)?;
    let bytes = std::fs::read(root.join(&file.path)).ok()?;
    Some((file.digest.clone(), BASE64_STANDARD.encode(bytes)))
}

/// The name of that application's secret.
pub fn reader_secret(desired: &Desired) -> Option<&SecretReference> {
    desired.verify.reader.as_ref()?.credential.secret()
}
