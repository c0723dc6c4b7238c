//! [`find_redirected`]: the secrets that a changeset would send to another destination than the one they were sealed or
//! accepted for.
//!
//! The plan reports them before anything is sent, and the service refuses them. A file that neither the state nor the files have is
//! left to the service. What is the same destination is defined in [`crate::model::secret`].

use std::collections::HashMap;

use super::plan::RedirectedSecret;
use crate::{
    config::{Desired, SecretFile},
    model::{Destination, Digest, ProfileChange, ProfileName, SecretReference, Settings, State},
    secrets::{Purpose, ValueId},
};

/// Returns the secrets that were sealed or accepted for one destination and would be sent to another. A value is identified by
/// its id, whichever file it is in. `settings` are those that the plan brings.
pub(super) fn find_redirected(
    desired: &Desired,
    state: &State,
    settings: Option<&Settings>,
    operations: &[ProfileChange],
) -> Vec<RedirectedSecret> {
    let files: HashMap<&Digest, &SecretFile> = desired.age_files().map(|(_, file)| (&file.digest, file)).collect();
    let mut accepted: HashMap<String, Destination> = HashMap::new();
    for (digest, record) in &state.secrets {
        let id = ValueId::bound(record.value_id.as_deref(), digest).as_str().to_owned();
        accepted.entry(id).or_insert_with(|| record.destination.clone());
    }
    let mut here: HashMap<String, Destination> = HashMap::new();
    let mut redirected = Vec::new();
    for AgeFileUse { profile, secret, digest, destination, pointer } in collect_uses(settings, operations) {
        let (id, sealed_for) = match (state.secrets.get(digest), files.get(digest)) {
            (Some(record), _) => {
                (ValueId::bound(record.value_id.as_deref(), digest).as_str().to_owned(), &record.sealed_for)
            }
            (None, Some(file)) => (file.bound_id(), &file.sealed_for),
            (None, None) => continue,
        };
        let accepted_for = match (accepted.get(&id), here.get(&id)) {
            (Some(accepted), _) => Some(accepted),
            (None, Some(here)) if destination.admits(here) => None,
            (None, here) => here,
        };
        let purpose = Purpose { environment: &desired.environment, destination: &destination, accepted_for };
        let Err(refused) = purpose.check(sealed_for.as_ref()) else {
            if accepted_for.is_none() {
                here.insert(id, destination);
            }
            continue;
        };
        let place = match profile {
            Some(name) => desired.profiles.get(name).map(|profile| profile.place_of(&pointer)),
            None => desired.environment_places.find(&pointer),
        };
        redirected.push(RedirectedSecret {
            profile: profile.cloned(),
            secret: secret.clone(),
            digest: digest.clone(),
            accepted_for: refused.accepted_for.map(|accepted| *accepted),
            would_go_to: destination,
            place: place.unwrap_or_else(|| desired.settings_place.clone()),
        });
    }
    redirected
}

/// One use of an age file.
struct AgeFileUse<'a> {
    /// The profile; none for the reader.
    profile: Option<&'a ProfileName>,
    secret: &'a SecretReference,
    digest: &'a Digest,
    destination: Destination,
    /// The pointer to the field that names the secret.
    pointer: String,
}

fn collect_uses<'a>(settings: Option<&'a Settings>, operations: &'a [ProfileChange]) -> Vec<AgeFileUse<'a>> {
    let mut uses = Vec::new();
    if let Some(reader) = settings.and_then(|settings| settings.reader.as_ref())
        && let Some((secret, digest)) = reader.age_file()
    {
        let (destination, pointer) = (reader.application.destination(), "/verify/reader/credential".to_owned());
        uses.push(AgeFileUse { profile: None, secret, digest, destination, pointer });
    }
    for change in operations {
        let Some(stored) = change.profile() else { continue };
        let Some((secret, pointer)) = stored.profile.provider.secret() else { continue };
        for digest in [&stored.secrets, &stored.next].into_iter().filter_map(|digests| digests.get(secret)) {
            let destination = stored.profile.provider.destination();
            uses.push(AgeFileUse {
                profile: Some(change.name()),
                secret,
                digest,
                destination,
                pointer: format!("/provider{pointer}"),
            });
        }
    }
    uses
}
