//! Verification before an apply: the profiles that the service verifies, and the results that stop the apply.
//!
//! [`request`] names the enabled profiles that a changeset sets, and is none without any; [`verify()`] collects the service's
//! report, [`evaluate`] applies the waivers and returns the profiles that fail. [`check`] does all three for rollouts and watch,
//! which have no operator who could accept findings; `cli::gate` does it for `apply`. A reader whose age file cannot be read is an
//! error: without it, checks would be `unknown` for a reason that no finding names. A finding without a profile stops nothing. If
//! the service cannot run the checks or its answer is cut off, the caller fails. The checks run in the service.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{Retry, waivers};
use crate::{
    api::VerifyRequest,
    client::Client,
    config::{Desired, SecretFile},
    model::{
        Changeset, Code, Digest, EnvironmentName, Problem, Profile, ProfileChange, ProfileName, SecretReference,
        Severity, StoredProfile, VerifySettings,
        finding::{Limit, Report, Verified},
    },
    time::Clock,
    verify,
};

/// The number of failing profiles that a message names.
const NAMED: usize = 5;

/// Returns the verification of the enabled profiles that a changeset sets; none if it sets none. `files` are the repository
/// and the desired state, where they can be read: the waivers and the reader of the directory come from there.
pub fn request(changeset: &Changeset, files: Option<(&Path, &Desired)>) -> Result<Option<VerifyRequest>, Problem> {
    let profiles: BTreeMap<ProfileName, StoredProfile> = changeset
        .changes
        .iter()
        // An adopted profile is live already, and an apply does not change it.
        .filter(|change| !matches!(change, ProfileChange::Adopt { .. }))
        .filter_map(|change| Some((change.name().clone(), change.profile()?.clone())))
        .filter(|(_, stored)| stored.profile.enabled)
        .collect();
    if profiles.is_empty() {
        return Ok(None);
    }
    let mut request = match files {
        Some((root, desired)) => profile_request(root, desired, profiles)?,
        None => bare_request(changeset.environment.clone(), profiles, VerifySettings::default().credential_days),
    };
    request.secrets.extend(changeset.secrets.iter().map(|(digest, file)| (digest.clone(), file.clone())));
    Ok(Some(request))
}

/// Returns the verification of profiles whose secrets the service has. Only the secret of the reader is attached.
pub fn profile_request(
    root: &Path,
    desired: &Desired,
    profiles: BTreeMap<ProfileName, StoredProfile>,
) -> Result<VerifyRequest, Problem> {
    Ok(VerifyRequest {
        siblings: sibling_profiles(desired, &profiles),
        secrets: read_reader_secret(root, desired)?.into_iter().collect(),
        reader: desired.settings.reader.clone(),
        ..bare_request(desired.environment.clone(), profiles, desired.verify.credential_days)
    })
}

fn bare_request(
    environment: EnvironmentName,
    profiles: BTreeMap<ProfileName, StoredProfile>,
    credential_days: u16,
) -> VerifyRequest {
    VerifyRequest {
        environment,
        profiles,
        siblings: Vec::new(),
        secrets: BTreeMap::new(),
        credential_days,
        probe: false,
        reader: None,
        reader_token: None,
    }
}

/// Has the service verify profiles, and collects the report. `observe` is called with each result as it arrives.
pub async fn verify(
    client: &Client,
    request: &VerifyRequest,
    mut observe: impl FnMut(usize, &Verified),
) -> Result<Report, Problem> {
    let mut profiles: Vec<Verified> = Vec::new();
    let (findings, requests) = client
        .verify(request, |verified| {
            observe(profiles.len() + 1, &verified);
            profiles.push(verified);
        })
        .await?;
    profiles.sort_by(|a, b| a.profile.cmp(&b.profile));
    let environment = request.environment.to_string();
    Ok(Report { format_version: Report::FORMAT_VERSION, environment, profiles, findings, requests })
}

/// Applies the waivers to a report, and returns the profiles that have a finding above the limit.
pub fn evaluate(
    report: &mut Report,
    desired: Option<&Desired>,
    now: jiff::Timestamp,
    limit: Limit,
) -> BTreeSet<ProfileName> {
    let settings = desired.map_or_else(VerifySettings::default, |desired| desired.verify.clone());
    waivers::apply(report, &settings, now, None);
    if let Some(desired) = desired {
        waivers::add_places(report, desired);
    }
    report.all().filter(|finding| limit.is_passed_by(finding)).filter_map(|finding| finding.profile.clone()).collect()
}

/// Has the service verify profiles, and fails if it finds errors that no waiver accepts.
pub async fn check(
    client: &Client,
    request: &VerifyRequest,
    desired: &Desired,
    clock: &Clock,
    retry: &Retry,
) -> Result<(), Problem> {
    let mut report = retry.run(|| verify(client, request, |_, _| {})).await?;
    let failed = evaluate(&mut report, Some(desired), clock.now(), Limit::Error);
    let Some(first) = failed.first() else { return Ok(()) };
    let cause = report
        .open()
        .find(|finding| finding.severity == Severity::Error && finding.profile.as_ref() == Some(first))
        .map(|finding| format!(": {} {}", finding.id.id(), finding.message))
        .unwrap_or_default();
    let names = failed.iter().take(NAMED).map(ProfileName::as_str).collect::<Vec<_>>().join(", ");
    Err(Problem::new(Code::VerifyFailed, format!("verify found errors in {names}{cause}")).remedy(format!(
        "`mailwright verify {}` shows them with their remedies. A waiver in environment.yaml accepts a finding for a time.",
        desired.environment
    )))
}

/// Returns the profiles of the environment that share an application with some of `profiles` and are not among them.
pub fn sibling_profiles(desired: &Desired, profiles: &BTreeMap<ProfileName, StoredProfile>) -> Vec<Profile> {
    let client = |profile: &Profile| verify::client_id(&profile.provider).map(str::to_ascii_lowercase);
    let shared: BTreeSet<String> = profiles.values().filter_map(|stored| client(&stored.profile)).collect();
    let others = desired.profiles.iter().filter(|(name, _)| !profiles.contains_key(*name));
    let others = others.map(|(_, profile)| &profile.stored.profile);
    others.filter(|profile| client(profile).is_some_and(|client| shared.contains(&client))).cloned().collect()
}

/// Returns the secret of the application that reads the directory (`verify.reader`).
pub fn reader_secret(desired: &Desired) -> Option<(&SecretReference, &SecretFile)> {
    let reference = desired.verify.reader.as_ref()?.credential.secret()?;
    Some((reference, desired.secrets.get(reference)?))
}

/// Reads the age file of that secret, as a request carries it; none if the environment has no reader with a secret.
fn read_reader_secret(root: &Path, desired: &Desired) -> Result<Option<(Digest, String)>, Problem> {
    let Some((_, file)) = reader_secret(desired) else { return Ok(None) };
    let bytes =
        crate::fs::read_ordinary(&root.join(&file.path), crate::secrets::FILE_LIMIT as u64).map_err(|error| {
            let path = file.path.display();
            Problem::new(Code::Unreadable, format!("cannot read the secret of `verify.reader`: `{path}`: {error}"))
                .remedy("Restore the file and its mode, or remove `verify.reader` from environment.yaml.")
        })?;
    Ok(Some((file.digest.clone(), BASE64_STANDARD.encode(bytes))))
}
