//! Checks that the value in an age file belongs to its environment and name. A user who can write files can copy another
//! secret's file there; re-sealing must not give that value to the recipients of the new place.
//!
//! A value is refused (MW0042) if it was sealed for another destination; one without a destination also if it is a copy of another
//! secret or is encrypted to other recipients, unless the operator named it. A file that cannot be parsed passes; the command
//! reports it when it opens that file.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::{
    cli::{
        CliError,
        commands::secrets::files::{file_names, list_files, read_age},
        environment::Environment,
    },
    config::SecretUsage,
    model::{Code, EnvironmentName, SecretReference},
    secrets::{Header, Recipients},
};

/// Checks files of one environment.
pub(super) struct OwnershipCheck<'a> {
    environment: &'a Environment,
    /// The recipients in the repository, before any change.
    recipients: &'a Recipients,
    used: BTreeMap<SecretReference, SecretUsage>,
}

/// All age files of the repository, by the id to which the value is bound. Built on first use.
#[derive(Default)]
pub(super) struct ValueIndex(Option<BTreeMap<String, Vec<(EnvironmentName, SecretReference)>>>);

impl ValueIndex {
    fn places(
        &mut self,
        environment: &Environment,
        id: &str,
    ) -> Result<&[(EnvironmentName, SecretReference)], CliError> {
        if self.0.is_none() {
            self.0 = Some(build_index(environment)?);
        }
        Ok(self.0.as_ref().and_then(|all| all.get(id)).map_or(&[][..], Vec::as_slice))
    }
}

fn build_index(
    environment: &Environment,
) -> Result<BTreeMap<String, Vec<(EnvironmentName, SecretReference)>>, CliError> {
    let root = environment.repository.root();
    let names: Vec<EnvironmentName> =
        file_names(root, std::path::Path::new("secrets"))?.iter().filter_map(|name| name.parse().ok()).collect();
    let read = |name: &EnvironmentName| -> Result<Vec<(String, EnvironmentName, SecretReference)>, CliError> {
        let mut found = Vec::new();
        for (reference, path) in list_files(root, name)?.age_files() {
            // An unreadable file is reported when it is sealed again.
            if let Ok(header) = Header::read(&read_age(root, path)?) {
                found.push((header.bound_id().as_str().to_owned(), name.clone(), reference.clone()));
            }
        }
        Ok(found)
    };
    let found: Vec<_> = names.par_iter().map(read).collect::<Result<_, _>>()?;
    let mut all: BTreeMap<String, Vec<(EnvironmentName, SecretReference)>> = BTreeMap::new();
    for (id, name, reference) in found.into_iter().flatten() {
        all.entry(id).or_default().push((name, reference));
    }
    Ok(all)
}

impl<'a> OwnershipCheck<'a> {
    pub(super) fn new(environment: &'a Environment, recipients: &'a Recipients) -> Self {
        Self { environment, recipients, used: environment.repository.used_secrets(&environment.name) }
    }

    /// Returns an error if the value of a file belongs elsewhere. `is_named`: the operator named the secret.
    pub(super) fn check(
        &self,
        reference: &SecretReference,
        file: &[u8],
        is_named: bool,
        value_index: &mut ValueIndex,
    ) -> Result<(), CliError> {
        // An unreadable file is reported when it is opened.
        let Ok(header) = Header::read(file) else { return Ok(()) };
        let name = &self.environment.name;
        let refuse = |why: String| self.refuse(reference, &why);
        let set = format!("mailwright secrets set {name} {reference}");
        let destinations: Vec<_> =
            self.used.get(reference).into_iter().flat_map(|uses| uses.destinations.values().flatten()).collect();
        if let (Some(sealed_for), Some(first)) = (&header.sealed_for, destinations.first()) {
            return if destinations.iter().any(|destination| destination.matches(name, sealed_for)) {
                Ok(())
            } else {
                let why = format!("it was sealed for another destination than {first} in `{name}`");
                Err(refuse(why).remedy(format!("If the value belongs here, set it again: {set}")))
            };
        }
        if is_named {
            return Ok(());
        }
        self.check_copies(reference, &header, value_index)?;
        let named = format!("If its value belongs here: mailwright secrets rekey {name} {reference}, or {set}");
        let Some(addressed) = &header.recipients else {
            let why = "it was made by another program, so its destination is unknown".to_owned();
            return Err(refuse(why).remedy(named));
        };
        let is_recipient = |print: &String| self.recipients.fingerprints().any(|own| own == print);
        let is_addressed = |own: &str| addressed.iter().any(|print| print == own);
        if !addressed.iter().all(is_recipient) && !self.recipients.fingerprints().all(is_addressed) {
            let why = format!("it is encrypted to other recipients than those of `{name}`");
            return Err(refuse(why).remedy(named));
        }
        Ok(())
    }

    /// Returns an error if another file has the same value but another destination.
    pub(super) fn check_copies(
        &self,
        reference: &SecretReference,
        header: &Header,
        value_index: &mut ValueIndex,
    ) -> Result<(), CliError> {
        let name = &self.environment.name;
        for (other_name, other) in value_index.places(self.environment, header.bound_id().as_str())? {
            if (other_name, other) != (name, reference) && !(other_name == name && self.is_same_place(reference, other))
            {
                let why = format!("secrets/{other_name}/{other} has the same value");
                return Err(self.refuse(reference, &why).remedy(format!(
                    "If its value belongs here: mailwright secrets rekey {name} {reference}, or mailwright secrets set {name} {reference}"
                )));
            }
        }
        Ok(())
    }

    fn refuse(&self, reference: &SecretReference, why: &str) -> CliError {
        let name = &self.environment.name;
        CliError::coded(Code::SecretFromElsewhere, format!("cannot use the file of `{reference}` in `{name}`: {why}"))
    }

    /// Returns true if two secrets have the same destination, so that their values are interchangeable.
    fn is_same_place(&self, one: &SecretReference, other: &SecretReference) -> bool {
        let destination = |reference| self.used.get(reference).and_then(|uses| uses.destination().ok());
        match (destination(one), destination(other)) {
            (Some(one), Some(other)) => one.admits(other) && other.admits(one),
            _ => false,
        }
    }
}
