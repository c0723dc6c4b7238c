//! `mailwright verify --local`: runs the checks on this machine, with secrets that the operator's own age identities open.
//!
//! A secret is opened for its destination only. For a file that does not state one, the service is asked which destination it
//! accepted. The checks are [`crate::verify`].
//!
//! A secret that cannot be opened (no identity, unreadable file, unknown destination without `--send-secret`) does not end the
//! command: the other checks run, and a finding names the reason. An identity named by `--identity` that cannot be used is an
//! error.

use std::{collections::BTreeMap, sync::Arc};

use secrecy::ExposeSecret as _;

use crate::{
    cli::{
        CliError, Context,
        commands::verify::{Verify, run_checks, sign_in::reader_token},
        environment::{self, Environment},
    },
    config::{Desired, DesiredProfile},
    fs::read_ordinary,
    model::{Destination, Digest, ProfileName, SecretReference, finding::Report},
    operations::gate,
    secrets::{self, FILE_LIMIT, Header, Identities, OpenError, Purpose, ValueId},
    sync::Mutex,
    verify::{ReaderApplication, Subject, SubjectSecret, Verifier},
};

/// Locked while a passphrase is requested, so that prompts do not mix.
static PASSPHRASE_PROMPT: Mutex<()> = Mutex::new(());

/// Checks the profiles from this machine.
pub(super) fn verify_locally(
    command: &Verify,
    context: &Context,
    environment: &Environment,
    desired: &Desired,
    profiles: &BTreeMap<&ProfileName, &DesiredProfile>,
) -> Result<Report, CliError> {
    let mut options = command.verify_options(context, desired)?;
    options.reader = reader_token(command, context, profiles, &options)?;
    let mut files: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    for (reference, file) in desired.age_files() {
        let used = profiles.values().any(|profile| profile.stored.secrets.contains_key(reference))
            || gate::reader_secret(desired).is_some_and(|(reader, _)| reader == reference);
        if used && let Ok(bytes) = read_ordinary(&environment.repository.root().join(&file.path), FILE_LIMIT as u64) {
            files.insert(file.digest.clone(), bytes);
        }
    }
    // Without an identity the anonymous checks still run; each finding names what is missing.
    let identities = if files.is_empty() {
        Ok(Identities::default())
    } else {
        // Passphrases are requested one at a time.
        let _guard = PASSPHRASE_PROMPT.lock();
        command.identities.load(files.values().map(Vec::as_slice))
    };
    if !command.identities.is_empty()
        && let Err(error) = identities
    {
        return Err(error);
    }
    let known = known_destinations(command, context, environment, files.values());
    let open = |secret: Option<(&SecretReference, &Digest)>, destination: &Destination| {
        let Some((reference, digest)) = secret else { return SubjectSecret::None };
        let Some(file) = files.get(digest) else {
            return SubjectSecret::Unavailable("its age file cannot be read".to_owned());
        };
        let identities = match &identities {
            Err(error) => return SubjectSecret::Unavailable(error.message.clone()),
            Ok(identities) => identities,
        };
        let accepted_for = match accepted_for(command, reference, file, destination, &known) {
            Err(why) => return SubjectSecret::Unavailable(why),
            Ok(accepted_for) => accepted_for,
        };
        let purpose = Purpose { environment: &desired.environment, destination, accepted_for };
        match secrets::open_for(file, identities.iter(), &purpose) {
            Ok(value) => SubjectSecret::from_bytes(value.expose_secret()),
            Err(OpenError::Redirected(redirected)) => SubjectSecret::Redirected(redirected.to_string()),
            Err(error) => SubjectSecret::Unavailable(error.to_string()),
        }
    };
    let subjects: Vec<Subject> = profiles
        .iter()
        .map(|(name, profile)| {
            let destination = profile.stored.profile.provider.destination();
            Subject {
                name: (*name).clone(),
                profile: profile.stored.profile.clone(),
                secret: open(profile.stored.secrets.iter().next(), &destination),
                next: open(profile.stored.next.iter().next(), &destination),
                refused: None,
            }
        })
        .collect();
    options.reader_application = desired.verify.reader.clone().map(|settings| {
        let secret = gate::reader_secret(desired).map(|(reference, file)| (reference, &file.digest));
        ReaderApplication { secret: open(secret, &settings.destination()), settings }
    });
    let verifier = Arc::new(Verifier::new(options).map_err(CliError::new)?);
    run_checks(context, &desired.environment, &verifier, subjects)
}

/// Returns the destinations for which the service first accepted the values of some files, by the ids to which they are
/// bound. The service is queried only if a file does not contain its destination; an error is only noted.
fn known_destinations<'f>(
    command: &Verify,
    context: &Context,
    environment: &Environment,
    mut files: impl Iterator<Item = &'f Vec<u8>>,
) -> BTreeMap<String, Destination> {
    if files.all(|file| Header::read(file).is_ok_and(|header| header.sealed_for.is_some())) {
        return BTreeMap::new();
    }
    let answer = environment
        .client(context, &command.service)
        .and_then(|client| context.runtime()?.block_on(environment::state(&client, &environment.name)));
    match answer {
        Ok(state) => state
            .secrets
            .into_iter()
            .map(|(digest, record)| {
                let id = ValueId::bound(record.value_id.as_deref(), &digest);
                (id.as_str().to_owned(), record.destination)
            })
            .collect(),
        Err(error) => {
            context.printer.note(&format!(
                "cannot query the service for the destinations of secrets whose files do not contain one: {}",
                error.message
            ));
            BTreeMap::new()
        }
    }
}

/// Returns the destination for which a secret was first accepted, or the reason for not sending it. A file without a
/// destination is used only if the service knows the destination or the operator allows it; otherwise a user who can write
/// the files could obtain every secret that the operator can decrypt.
fn accepted_for<'k>(
    command: &Verify,
    reference: &SecretReference,
    file: &[u8],
    destination: &Destination,
    known: &'k BTreeMap<String, Destination>,
) -> Result<Option<&'k Destination>, String> {
    let header = Header::read(file).map_err(|error| error.to_string())?;
    let accepted_for = known.get(header.bound_id().as_str());
    let is_allowed = command.send_secret.iter().any(|named| named == reference.as_str());
    if header.sealed_for.is_some() || accepted_for.is_some() || is_allowed {
        return Ok(accepted_for);
    }
    Err(format!(
        "its file does not contain its destination, and the service does not know it: it was not sent to {destination}. \
         If the destination is correct, pass `--send-secret {reference}`, or seal it again (`mailwright secrets set`)"
    ))
}
