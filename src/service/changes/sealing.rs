//! Recipients of secrets: checks those that a change brings, lists those that a page of the console encrypts to, and checks the
//! age files that a page sent.
//!
//! [`check_recipients`] refuses texts that are not recipients: pages write them into a list of lines, and every secret that is
//! typed there is encrypted to them. [`Service::sealing_recipients`] returns the list of a page. [`Service::check_sealed`]
//! compares the header of an age file with it, so that a list that was changed on its way is noticed. A header is a claim of its
//! author, and age does not prove which recipient a key is encrypted to: a changed script can still replace the key of an
//! operator.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    model::{Code, Digest, SecretRecipient, SecretReference, Settings, rules},
    secrets::{Header, NoCallbacks, Recipients, ServiceIdentity, fingerprint, needs_plugin},
    service::{Service, http::HttpProblem},
};

/// The recipients of the secrets that a page of the console encrypts.
#[derive(Clone, Debug)]
pub(crate) struct SealingRecipients {
    /// The recipients that a browser encrypts to, that of the service first.
    pub(crate) sealed: Vec<SecretRecipient>,
    /// The recipients that need a plugin of age, which a browser does not have.
    pub(crate) left_out: Vec<SecretRecipient>,
    /// False if no apply has sent the recipients of the environment.
    pub(crate) is_known: bool,
}

impl SealingRecipients {
    fn new(own: &str, settings: &Settings) -> Self {
        let of_service = |one: &&SecretRecipient| one.recipient == own;
        let known = &settings.secret_recipients;
        let name = known.iter().find(of_service).and_then(|one| one.name.clone());
        let (left_out, others): (Vec<_>, Vec<_>) =
            known.iter().filter(|one| !of_service(one)).cloned().partition(|one| needs_plugin(&one.recipient));
        let service = SecretRecipient { recipient: own.to_owned(), name };
        let sealed = std::iter::once(service).chain(others).collect();
        Self { sealed, left_out, is_known: !known.is_empty() }
    }

    /// Returns true if a value that a page encrypts can be read by all recipients that the environment has.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_known && self.left_out.is_empty()
    }

    /// Returns the fingerprints of all recipients of the environment, those that need a plugin included.
    fn fingerprints(&self) -> BTreeSet<String> {
        self.sealed.iter().chain(&self.left_out).map(SecretRecipient::fingerprint).collect()
    }

    /// Returns true if an operator can encrypt a value of a page again.
    pub(crate) fn has_operator(&self) -> bool {
        self.sealed.len() > 1
    }

    /// Compares a header with the recipients of a page. Returns the difference in words; none if they are the same.
    fn difference(&self, header: &Header) -> Option<String> {
        let Some(named) = &header.recipients else {
            return Some("it does not state its recipients".to_owned());
        };
        let lacks = |one: &&SecretRecipient| !named.contains(&one.fingerprint());
        if let Some(lacking) = self.sealed.iter().find(lacks) {
            return Some(format!("it is not sealed for {}", lacking.describe()));
        }
        let wanted: BTreeSet<String> = self.sealed.iter().map(SecretRecipient::fingerprint).collect();
        if let Some(stray) = named.iter().find(|print| !wanted.contains(*print)) {
            return Some(format!("it is also sealed for `{stray}`, which this environment does not have"));
        }
        let (keys, names) = (header.kinds.len(), named.len());
        (keys != names || names != wanted.len())
            .then(|| format!("its header names {names} recipients and has keys for {keys}"))
    }
}

/// Checks the recipients that a change brings.
pub(super) fn check_recipients(
    before: &Settings,
    after: &Settings,
    identity: &ServiceIdentity,
) -> Result<(), HttpProblem> {
    if before.secret_recipients == after.secret_recipients {
        return Ok(());
    }
    let violations = rules::check_secret_recipients(&after.secret_recipients);
    if !violations.is_empty() {
        return Err(HttpProblem::rules(violations));
    }
    for one in &after.secret_recipients {
        let parsed = Recipients::parse(&one.recipient, &NoCallbacks);
        if let Err(error) = parsed {
            let message = format!("{} is not a recipient of secrets: {error}", one.describe());
            return Err(HttpProblem::new(Code::RecipientsInvalid, message)
                .remedy("Correct recipients.txt, and plan again. `mailwright secrets check` finds the line."));
        }
    }
    let demo = ServiceIdentity::demo().map(|demo| demo.recipient());
    if !identity.is_public() && demo.is_ok_and(|demo| after.secret_recipients.iter().any(|one| one.recipient == demo)) {
        let message =
            "the recipients include the public one of the examples: anyone could decrypt what is sealed to it";
        return Err(HttpProblem::new(Code::PublicIdentity, message)
            .remedy("Remove it from recipients.txt, run `mailwright secrets rekey`, and plan again."));
    }
    Ok(())
}

impl Service {
    /// Returns the recipients of the secrets that a page encrypts.
    pub(crate) fn sealing_recipients(&self) -> SealingRecipients {
        SealingRecipients::new(&self.recipient(), &self.state().settings)
    }

    /// Returns true if the text of an age file is sealed for the recipients that a page has now.
    pub(crate) fn is_sealed_for_page(&self, age_file: &str) -> bool {
        Header::read(age_file.as_bytes()).is_ok_and(|header| self.sealing_recipients().difference(&header).is_none())
    }

    /// Checks that bytes are an age file that is sealed for the recipients of a page, and returns its digest. Whether it opens,
    /// and is for the right destination, is checked with the change.
    pub(super) fn check_sealed(&self, reference: &SecretReference, file: &[u8]) -> Result<Digest, HttpProblem> {
        let set = format!("mailwright secrets set {} {reference}", self.store.environment());
        let header = Header::read(file).map_err(|error| {
            HttpProblem::new(Code::NotAgeFile, format!("the secret `{reference}`: {error}"))
                .remedy(format!("Type the value again with JavaScript, or seal it on the command line: {set}"))
        })?;
        let own = fingerprint(&self.recipient());
        if header.recipients.as_ref().is_some_and(|named| !named.contains(&own)) {
            return Err(HttpProblem::new(
                Code::SecretNotOpenable,
                format!("the secret `{reference}`: it is not sealed for this service"),
            )
            .remedy(format!("Seal it again: {set}")));
        }
        match self.sealing_recipients().difference(&header) {
            None => Ok(header.digest),
            Some(difference) => {
                Err(HttpProblem::new(Code::RecipientMissing, format!("the secret `{reference}`: {difference}")).remedy(
                    format!(
                        "Load the page again, and type the value again: the recipients may have changed. If this is repeated, something changes the page on its way: set the value on the command line, `{set}`."
                    ),
                ))
            }
        }
    }

    /// Checks the age files of a proposal: none is sealed for a recipient that was removed. A recipient that was added since is
    /// no reason to refuse it.
    pub(super) fn check_proposed_files(&self, age_files: &BTreeMap<Digest, String>) -> Result<(), HttpProblem> {
        let recipients = self.sealing_recipients();
        if !recipients.is_known {
            return Ok(());
        }
        let allowed = recipients.fingerprints();
        for file in age_files.values() {
            // Other bytes than those of an age file are refused with the change.
            let header = BASE64_STANDARD.decode(file).ok().and_then(|file| Header::read(&file).ok());
            let named = header.and_then(|header| header.recipients).unwrap_or_default();
            if let Some(stray) = named.iter().find(|print| !allowed.contains(*print)) {
                let message = format!(
                    "the secret of the proposal is sealed for `{stray}`, which this environment does not have any more"
                );
                return Err(HttpProblem::new(Code::RecipientMissing, message)
                    .remedy("Reject the proposal, and propose the change again with the value typed again."));
            }
        }
        Ok(())
    }

    /// Returns what is to be done after a patch with these age files is in Git; none if all of them are sealed for every
    /// recipient of the environment.
    pub(super) fn remaining_sealing<'a>(&self, age_files: impl Iterator<Item = &'a String>) -> Option<String> {
        let environment = self.store.environment();
        let recipients = self.sealing_recipients();
        let wanted = recipients.fingerprints();
        let is_current = |file: &String| {
            let named = Header::read(file.as_bytes()).ok().and_then(|header| header.recipients);
            named.is_some_and(|named| named.into_iter().collect::<BTreeSet<String>>() == wanted)
        };
        let mut age_files = age_files.peekable();
        age_files.peek()?;
        let is_all_current = age_files.all(is_current);
        match (recipients.is_known, is_all_current) {
            // The service is the only recipient that is known; more than that cannot be said of other files.
            (true, true) | (false, false) => None,
            (true, false) if recipients.has_operator() => Some(format!(
                "A secret is not sealed for all recipients of this environment. Run: mailwright secrets rekey {environment}"
            )),
            (true, false) | (false, true) => Some(format!(
                "A secret is sealed for the service alone, so no operator can read it. Set it again: mailwright secrets set {environment} NAME/KEY"
            )),
        }
    }
}
