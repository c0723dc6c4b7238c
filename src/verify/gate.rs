//! What stands before an apply: what the service is asked to verify, and what of its answer stops the apply.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{client, waivers};
use crate::{
    api::VerifyRequest,
    config::Desired,
    model::{
        Changeset, Digest, Profile, ProfileChange, ProfileName, Reader, SecretReference, StoredProfile, VerifySettings,
        finding::{Limit, Report},
    },
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

/// Lays the environment's waivers over the answer, and gives the profiles in which something stands that stops.
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

/// The environment's own application for reading the directory, as a request names it.
pub fn reading(desired: &Desired) -> Option<Reader> {
    desired.settings.reader.clone()
}

/// The other profiles of the environment that share an application with some.
pub fn beside(desired: &Desired, asked: &BTreeMap<ProfileName, StoredProfile>) -> Vec<Profile> {
    let client = |profile: &Profile| client(&profile.provider).map(str::to_ascii_lowercase);
    let shared: BTreeSet<String> = asked.values().filter_map(|stored| client(&stored.profile)).collect();
    let others = desired.profiles.iter().filter(|(name, _)| !asked.contains_key(*name));
    let others = others.map(|(_, profile)| &profile.stored.profile);
    others.filter(|profile| client(profile).is_some_and(|client| shared.contains(&client))).cloned().collect()
}

/// The age file of that application's secret.
pub fn reader_file(root: &Path, desired: &Desired) -> Option<(Digest, String)> {
    let file = desired.secrets.get(reader_secret(desired)?)?;
    let bytes = std::fs::read(root.join(&file.path)).ok()?;
    Some((file.digest.clone(), BASE64_STANDARD.encode(bytes)))
}

/// The digest of that application's secret.
pub fn reader_digest(desired: &Desired) -> Option<&Digest> {
    desired.secrets.get(reader_secret(desired)?).map(|file| &file.digest)
}

/// The name of that application's secret.
pub fn reader_secret(desired: &Desired) -> Option<&SecretReference> {
    desired.verify.reader.as_ref()?.credential.secret()
}
