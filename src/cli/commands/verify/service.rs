//! `mailwright verify` in its usual form: sends the declared profiles and their age files to the service, which runs the
//! checks.
//!
//! The service opens the secrets; this machine sees no value. A profile need not be applied before.
//!
//! An age file that cannot be read is left out. An error of the service, or an answer that is cut off, ends the command.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    api::{Redacted, VerifyRequest},
    cli::{
        CliError, Context,
        commands::verify::{Verify, sign_in::reader_token},
        environment::Environment,
        verification::verify_with_progress,
    },
    config::{Desired, DesiredProfile, SecretFile},
    fs::read_ordinary,
    model::{Code, Digest, ProfileName, StoredProfile, finding::Report},
    operations::gate,
    secrets::FILE_LIMIT,
};

/// Has the service verify the profiles as the files declare them. Their age files are sent too.
pub(super) fn verify_by_service(
    command: &Verify,
    context: &Context,
    environment: &Environment,
    desired: &Desired,
    profiles: &BTreeMap<&ProfileName, &DesiredProfile>,
) -> Result<Report, CliError> {
    let client = environment.client(context, &command.service).map_err(|error| {
        if error.code == Some(Code::TokenMissing) {
            error.detail("or check from this machine with `--local`")
        } else {
            error
        }
    })?;
    let options = command.verify_options(context, desired)?;
    let reader = reader_token(command, context, profiles, &options)?;
    let root = environment.repository.root();
    let mut secrets = BTreeMap::new();
    let files: BTreeMap<&Digest, &SecretFile> = desired.age_files().map(|(_, file)| (&file.digest, file)).collect();
    for (_, digest) in profiles.values().flat_map(|profile| profile.stored.age_files()) {
        if let Some(file) = files.get(digest)
            && let Ok(bytes) = read_ordinary(&root.join(&file.path), FILE_LIMIT as u64)
        {
            secrets.insert(digest.clone(), BASE64_STANDARD.encode(bytes));
        }
    }
    let profiles: BTreeMap<ProfileName, StoredProfile> =
        profiles.iter().map(|(name, profile)| ((*name).clone(), profile.stored.clone())).collect();
    let mut request = gate::profile_request(root, desired, profiles)?;
    request.secrets.extend(secrets);
    let request = VerifyRequest { probe: command.probe, reader_token: reader.map(Redacted), ..request };
    context.runtime()?.block_on(verify_with_progress(context, &client, &request))
}
