//! Pre-apply verification: the request to the service, and the results that block the apply.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{client_id, waivers};
use crate::{
    api::VerifyRequest,
    config::Desired,
    model::{
        Changeset, Digest, Profile, ProfileChange, ProfileName, Reader, SecretReference, StoredProfile, VerifySettings,
        finding::{Limit, Report},
    },
};

/// Returns the verification request for a changeset: the enabled profiles that it sets. None if it sets none.
/// `files` contains the settings of the environment, if its files are available.
pub fn request(changeset: &Changeset, files: Option<(&Path, &Desired)>) -> Option<VerifyRequest> {
    let profiles: BTreeMap<ProfileName, StoredProfile> = changeset
        .changes
        .iter()
        // An adopted profile is live already, and an apply does not change it.
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
        siblings: desired.map(|desired| beside(desired, &profiles)).unwrap_or_default(),
        profiles,
        secrets,
        credential_days: desired
            .map_or_else(|| VerifySettings::default().credential_days, |d| d.verify.credential_days),
        probe: false,
        reader: desired.and_then(reading),
        reader_token: None,
    })
}

/// Applies the environment's waivers to the results, and returns the profiles that block the apply.
pub fn judge(
    report: &mut Report,
    desired: Option<&Desired>,
    now: jiff::Timestamp,
    limit: Limit,
) -> BTreeSet<ProfileName> {
    let settings = desired.map_or_else(VerifySettings::default, |desired| desired.verify.clone());
    waivers::apply(report, &settings, now, None);
    if let Some(desired) = desired {
        waivers::place(report, desired);
    }
    report.all().filter(|finding| limit.is_passed_by(finding)).filter_map(|finding| finding.profile.clone()).collect()
}

/// Returns the environment's own application for reading the directory, for a request.
pub fn reading(desired: &Desired) -> Option<Reader> {
    desired.settings.reader.clone()
}

/// Returns the other profiles of the environment that share an application with the given ones.
pub fn beside(desired: &Desired, asked: &BTreeMap<ProfileName, StoredProfile>) -> Vec<Profile> {
    let client = |profile: &Profile| client_id(&profile.provider).map(str::to_ascii_lowercase);
    let shared: BTreeSet<String> = asked.values().filter_map(|stored| client(&stored.profile)).collect();
    let others = desired.profiles.iter().filter(|(name, _)| !asked.contains_key(*name));
    let others = others.map(|(_, profile)| &profile.stored.profile);
    others.filter(|profile| client(profile).is_some_and(|client| shared.contains(&client))).cloned().collect()
}

/// Returns the age file of that application's secret.
pub fn reader_file(root: &Path, desired: &Desired) -> Option<(Digest, String)> {
    let file = desired.secrets.get(reader_secret(desired)?)?;
    let bytes = std::fs::read(root.join(&file.path)).ok()?;
    Some((file.digest.clone(), BASE64_STANDARD.encode(bytes)))
}

/// Returns the digest of that application's secret.
pub fn reader_digest(desired: &Desired) -> Option<&Digest> {
    desired.secrets.get(reader_secret(desired)?).map(|file| &file.digest)
}

/// Returns the name of that application's secret.
pub fn reader_secret(desired: &Desired) -> Option<&SecretReference> {
    desired.verify.reader.as_ref()?.credential.secret()
}
