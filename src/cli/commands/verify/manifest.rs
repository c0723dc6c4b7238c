//! `mailwright verify --manifest`: checks application registrations that were exported from the Entra portal or by `az`.
//!
//! Covers profiles of Microsoft Graph whose client id is in one of the files. Uses no network and opens no secret.
//!
//! A note names the profiles that are not checked: those whose client id is in none of the files, and those that send by SMTP. It
//! is an error instead, and nothing is checked, if such a profile was named on the command line or if no profile has a
//! registration. A file that is not JSON is an error. The checks are those of `verify::graph`.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    cli::{
        CliError, Context,
        commands::verify::{Verify, run_checks},
    },
    config::{Desired, DesiredProfile},
    model::{Code, ProfileName, finding::Report},
    text,
    verify::{self, Subject, SubjectSecret, Verifier},
};

/// The maximum size of a manifest, in bytes.
const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;

/// Checks the profiles whose registrations are in the manifests.
pub(super) fn verify_manifests(
    command: &Verify,
    context: &Context,
    desired: &Desired,
    profiles: &BTreeMap<&ProfileName, &DesiredProfile>,
    are_named: bool,
) -> Result<Report, CliError> {
    let mut manifests = Vec::new();
    for path in &command.manifest {
        let failed = |why: String| CliError::coded(Code::Unreadable, format!("`{}`: {why}", path.display()));
        let bytes = crate::fs::read_given(path, MANIFEST_LIMIT).map_err(|error| failed(error.to_string()))?;
        let text = text::try_decode(&bytes).ok_or_else(|| failed("it is neither UTF-8 nor UTF-16 text".to_owned()))?;
        let document: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
            failed(format!("it is not JSON: {error}")).remedy(
                "Export it with `az ad app show --id CLIENT > app.json`, or download the manifest in the portal.",
            )
        })?;
        manifests.push((path, document));
    }
    let mut options = command.verify_options(context, desired)?;
    options.manifests = manifests.iter().map(|(_, document)| document.clone()).collect();
    let mut verifier = Verifier::new(options).map_err(CliError::new)?;
    let mut subjects = Vec::new();
    let mut why = None;
    let mut others = Vec::new();
    for (name, profile) in profiles {
        let Some(client) = verify::client_id(&profile.stored.profile.provider) else {
            others.push(format!("`{name}` sends by SMTP, and registrations are compared with profiles of Graph only"));
            continue;
        };
        let mut found = None;
        for (path, document) in &manifests {
            match verify::graph::from_export(document, client) {
                Ok(application) => found = Some(application),
                Err(error) => why = Some(format!("`{}`: {error}", path.display())),
            }
        }
        if let Some(application) = found {
            verifier.add_manifest(client, application);
            let secret = SubjectSecret::None;
            subjects.push(Subject {
                name: (*name).clone(),
                profile: profile.stored.profile.clone(),
                secret,
                next: SubjectSecret::None,
                refused: None,
            });
        } else {
            others.push(format!("`{name}` has the client {client}, which is in none of them"));
        }
    }
    // A named profile must be checked; without names, only profiles of the manifests are.
    if are_named && !others.is_empty() && !subjects.is_empty() {
        return Err(CliError::coded(
            Code::NotFound,
            format!("not all named profiles can be checked with the manifests: {}", others.join("; ")),
        )
        .remedy("Pass `--manifest` once per registration, or omit the profile."));
    }
    if !others.is_empty() && !subjects.is_empty() {
        context.printer.note(&format!("Not checked with the manifests: {}.", others.join("; ")));
    }
    if subjects.is_empty() {
        let error = CliError::coded(
            Code::NotFound,
            "the manifests do not contain the registration of any profile of Graph; nothing was checked",
        );
        return Err(match why {
            Some(why) => error.detail(why),
            None => error,
        });
    }
    run_checks(context, &desired.environment, &Arc::new(verifier), subjects)
}
