//! Checks the secrets of a change: each age file is in the store or in the request. Its destination must fit both the one in its
//! header, if that states one, and the one that its value was first accepted for, if it was, whichever file the value is in. A
//! new file opens with the service's identity and holds a suitable value.
//!
//! [`SentSecrets`] are the files of a request, and what the store knows about them. One secret that fails refuses the whole change,
//! as does a sent file that neither a profile nor the reader names. Values are decrypted in memory and wiped; only the encrypted
//! files are stored.

use std::collections::{BTreeMap, HashMap};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rayon::prelude::*;
use secrecy::ExposeSecret as _;

use super::Change;
use crate::{
    changes::access::ValueIds,
    credential,
    model::{Code, Destination, Digest, EnvironmentName, ProfileName, SecretRecord, SecretReference},
    secrets::{FILE_LIMIT, Header, NotAge, OpenError, Purpose, Redirected, ServiceIdentity, describe_acceptance},
    service::http::HttpProblem,
    store::NewSecret,
};

/// Checks the secrets of a change: a profile's digests belong to the secrets that it names, each digest is known or was sent and
/// can be opened, and each value goes to its destination only. Returns the records of all, and the new age files.
pub(super) fn check(
    environment: &EnvironmentName,
    change: &Change,
    secrets: SentSecrets,
    identity: &ServiceIdentity,
) -> Result<(HashMap<Digest, SecretRecord>, Vec<NewSecret>), HttpProblem> {
    let uses = find_uses(change)?;
    let mut first_use: BTreeMap<&Digest, &Use<'_>> = BTreeMap::new();
    for used in &uses {
        first_use.entry(used.digest).or_insert(used);
    }
    if let Some(stray) = change.age_files.keys().find(|digest| !first_use.contains_key(*digest)) {
        return Err(HttpProblem::malformed(format!(
            "an age file ({}) was sent, and no profile names it",
            stray.short()
        )));
    }
    let SentSecrets { records, sent, accepted } = secrets;
    let mut known: HashMap<Digest, SecretRecord> =
        records.into_iter().map(|record| (record.digest.clone(), record)).collect();
    let mut destinations = Destinations { environment, accepted, of_this_change: HashMap::new() };
    for used in &uses {
        let checked = match (known.get(used.digest), sent.get(used.digest)) {
            (Some(record), _) => destinations.check_known(record, &used.destination),
            (None, Some(Ok(sent))) => destinations.check_new(&sent.header, &used.destination),
            // Refused below, with the reason.
            (None, _) => Ok(()),
        };
        checked.map_err(|redirected| used.refuse_redirected(&redirected, environment))?;
    }
    let unknown: Vec<_> = first_use.into_values().filter(|used| !known.contains_key(used.digest)).collect();
    let opened: Vec<NewSecret> = unknown
        .into_par_iter()
        .map(|used| open_sent(used, sent.get(used.digest), &destinations, identity))
        .collect::<Vec<_>>()
        .into_iter()
        .collect::<Result<_, _>>()?;
    for new in &opened {
        known.insert(new.record.digest.clone(), new.record.clone());
    }
    Ok((known, opened))
}

/// A use of an age file by a change.
struct Use<'a> {
    /// The profile; none for the reader of the environment.
    profile: Option<&'a ProfileName>,
    secret: &'a SecretReference,
    digest: &'a Digest,
    destination: Destination,
}

impl Use<'_> {
    fn owner(&self) -> String {
        self.profile.map_or_else(|| "`verify.reader`".to_owned(), |name| format!("profile `{name}`"))
    }

    fn refuse(&self, code: Code, reason: &str, remedy: String) -> HttpProblem {
        HttpProblem::new(code, format!("the secret `{}` of {}: {reason}", self.secret, self.owner())).remedy(remedy)
    }

    fn refuse_redirected(&self, redirected: &Redirected, environment: &EnvironmentName) -> HttpProblem {
        HttpProblem::new(
            Code::SecretRedirected,
            format!(
                "the secret `{}` of {} {} and would travel to {}",
                self.secret,
                self.owner(),
                describe_acceptance(redirected.accepted_for.as_deref()),
                redirected.destination
            ),
        )
        .remedy(format!(
            "If the new destination is intended, let a person who knows the value seal it again: mailwright secrets set {environment} {}",
            self.secret
        ))
    }
}

/// Finds every use of an age file by a change.
fn find_uses(change: &Change) -> Result<Vec<Use<'_>>, HttpProblem> {
    let mut uses = Vec::new();
    for profile_change in &change.changes {
        let Some(stored) = profile_change.profile() else { continue };
        let named = stored.profile.provider.secret().map(|(reference, _)| reference);
        if !stored.secrets.keys().eq(named) {
            return Err(HttpProblem::malformed(format!(
                "the secrets of `{}` are not exactly those that its provider names",
                profile_change.name()
            )));
        }
        let is_rotation = |(reference, next): (&SecretReference, &Digest)| {
            stored.secrets.get(reference).is_some_and(|own| own != next)
        };
        if !stored.next.iter().all(is_rotation) {
            return Err(HttpProblem::malformed(format!(
                "the staged secrets of `{}` do not each replace one of its secrets by another",
                profile_change.name()
            )));
        }
        uses.extend(stored.age_files().map(|(secret, digest)| Use {
            profile: Some(profile_change.name()),
            secret,
            digest,
            destination: stored.profile.provider.destination(),
        }));
    }
    if let Some(reader) = change.settings.as_ref().and_then(|settings| settings.reader.as_ref()) {
        if reader.application.credential.secret().is_some() != reader.secret.is_some() {
            return Err(HttpProblem::malformed("the secret of `reader` does not match the one that it names"));
        }
        let destination = reader.application.destination();
        uses.extend(reader.age_file().map(|(secret, digest)| Use { profile: None, secret, digest, destination }));
    }
    Ok(uses)
}

/// Secrets of a change, as the store knows them and as the request sent them.
pub(super) struct SentSecrets {
    /// The records of the age files that the change names.
    pub(super) records: Vec<SecretRecord>,
    /// The age files in the request.
    pub(super) sent: BTreeMap<Digest, Result<SentFile, InvalidFile>>,
    /// The destinations that the sent values were first accepted for, by value id.
    pub(super) accepted: BTreeMap<String, Destination>,
}

impl SentSecrets {
    /// Returns the ids of the values that the change names or sends, by age file.
    pub(super) fn value_ids(&self) -> ValueIds {
        let known = self.records.iter().filter_map(|record| Some((record.digest.clone(), record.value_id.clone()?)));
        let sent = self.sent.values().flatten().map(|file| &file.header);
        known.chain(sent.map(|header| (header.digest.clone(), header.bound_id().as_str().to_owned()))).collect()
    }
}

/// An age file in a request.
pub(super) struct SentFile {
    age_file: Vec<u8>,
    header: Header,
}

/// The reason why the sent bytes are not the age file with the stated digest.
pub(super) enum InvalidFile {
    TooLarge,
    NotBase64,
    OtherDigest,
    NotAge(NotAge),
}

/// Decodes the age files in a request.
pub(super) fn decode(age_files: &BTreeMap<Digest, String>) -> BTreeMap<Digest, Result<SentFile, InvalidFile>> {
    let read = |digest: &Digest, text: &String| {
        if text.len() > FILE_LIMIT * 4 / 3 + 4 {
            return Err(InvalidFile::TooLarge);
        }
        let age_file = BASE64_STANDARD.decode(text).map_err(|_| InvalidFile::NotBase64)?;
        let header = Header::read(&age_file).map_err(InvalidFile::NotAge)?;
        if header.digest == *digest { Ok(SentFile { age_file, header }) } else { Err(InvalidFile::OtherDigest) }
    };
    age_files.par_iter().map(|(digest, text)| (digest.clone(), read(digest, text))).collect()
}

/// The destinations of the values of a change: those that they were accepted for, and those of this change.
struct Destinations<'a> {
    environment: &'a EnvironmentName,
    accepted: BTreeMap<String, Destination>,
    /// The destinations of values that are new with this change, by value id.
    of_this_change: HashMap<String, Destination>,
}

impl Destinations<'_> {
    fn check_known(&self, record: &SecretRecord, destination: &Destination) -> Result<(), Redirected> {
        let accepted_for = Some(&record.destination);
        Purpose { environment: self.environment, destination, accepted_for }.check(record.sealed_for.as_ref())
    }

    fn check_new(&mut self, header: &Header, destination: &Destination) -> Result<(), Redirected> {
        let id = header.bound_id().as_str().to_owned();
        let accepted_for = match (self.accepted.get(&id), self.of_this_change.get(&id)) {
            (Some(accepted), _) => Some(accepted),
            // Two profiles of this change share the value: the one with the weaker connection admits the other.
            (None, Some(own)) if destination.admits(own) => None,
            (None, own) => own,
        };
        Purpose { environment: self.environment, destination, accepted_for }.check(header.sealed_for.as_ref())?;
        if accepted_for.is_none() {
            self.of_this_change.insert(id, destination.clone());
        }
        Ok(())
    }

    /// Returns the destination of a value after all of its uses were checked.
    fn find(&self, header: &Header) -> Option<&Destination> {
        let id = header.bound_id();
        self.accepted.get(id.as_str()).or_else(|| self.of_this_change.get(id.as_str()))
    }
}

fn open_sent(
    used: &Use<'_>,
    sent: Option<&Result<SentFile, InvalidFile>>,
    destinations: &Destinations<'_>,
    identity: &ServiceIdentity,
) -> Result<NewSecret, HttpProblem> {
    let set = format!("mailwright secrets set {} {}", destinations.environment, used.secret);
    let seal_again = format!("Restore the file from Git, or seal the value again: {set}");
    let plan_again = || "Plan and apply again.".to_owned();
    let SentFile { age_file, header } = match sent {
        None => {
            let digest = used.digest.short();
            let reason = format!("the service does not have its age file ({digest}), and it was not sent");
            return Err(used.refuse(Code::SecretNotSent, &reason, plan_again()));
        }
        Some(Err(InvalidFile::TooLarge)) => {
            let reason = format!("its age file has more than {FILE_LIMIT} bytes");
            return Err(used.refuse(Code::TooLarge, &reason, "Seal a smaller value.".to_owned()));
        }
        Some(Err(InvalidFile::NotBase64)) => {
            return Err(used.refuse(Code::MalformedRequest, "its age file is not base64", plan_again()));
        }
        Some(Err(InvalidFile::OtherDigest)) => {
            let reason = "its age file does not have the digest in the plan";
            return Err(used.refuse(Code::DigestMismatch, reason, plan_again()));
        }
        Some(Err(InvalidFile::NotAge(error))) => {
            return Err(used.refuse(Code::NotAgeFile, &error.to_string(), seal_again));
        }
        Some(Ok(sent)) => sent,
    };
    let accepted_for = destinations.find(header).unwrap_or(&used.destination);
    let purpose = Purpose {
        environment: destinations.environment,
        destination: &used.destination,
        accepted_for: Some(accepted_for),
    };
    // Opened to check the value; it is wiped at the end of this function.
    let value = identity.open_for(age_file, &purpose).map_err(|error| {
        let remedy = match &error {
            OpenError::Redirected(redirected) => return used.refuse_redirected(redirected, destinations.environment),
            // Another recipient may still be able to open it.
            OpenError::NotForUs => format!(
                "Add the service's recipient, {}, to recipients.txt and run: mailwright secrets rekey {}, or: {set}",
                identity.recipient(),
                destinations.environment
            ),
            OpenError::Size | OpenError::Masked => format!("Seal the real value: {set}"),
            OpenError::NotAge | OpenError::Tampered | OpenError::Key(_) => seal_again,
        };
        used.refuse(Code::SecretNotOpenable, &error.to_string(), remedy)
    })?;
    credential::parse_value(used.destination.kind(), value.expose_secret()).map_err(|unfit| {
        used.refuse(Code::SecretUnfit, &unfit.to_string(), format!("{} Seal it with: {set}", unfit.remedy()))
    })?;
    drop(value);
    let record = SecretRecord {
        digest: used.digest.clone(),
        value_id: Some(header.bound_id().as_str().to_owned()),
        sealed_for: header.sealed_for.clone(),
        destination: accepted_for.clone(),
    };
    Ok(NewSecret { record, age_file: age_file.clone() })
}

/// Returns the ids of the values in the sent age files.
pub(super) fn value_ids(sent: &BTreeMap<Digest, Result<SentFile, InvalidFile>>) -> Vec<String> {
    sent.values().flatten().map(|file| file.header.bound_id().as_str().to_owned()).collect()
}
