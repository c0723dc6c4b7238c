//! Reads the headers of the age files that an environment's profiles and reader name, and reports missing, malformed and too large
//! ones. A staged next value is optional.
//!
//! Needs no key and decrypts nothing. A header is a claim of its author until the file is opened. Recipients are compared by
//! `mailwright secrets check`, not here.

use std::{collections::BTreeMap, path::PathBuf};

use rayon::prelude::*;

use super::{Loader, first_key, profile::CheckedProfile, settings::parse_reader};
use crate::{
    config::{
        Diagnostic, Repository, SecretFile,
        node::Node,
        sources::{FILE_LIMIT, Span, display_path},
    },
    model::{Code, ProfileName, SecretReference},
    secrets::{FILE_LIMIT as AGE_LIMIT, Header},
};

/// The remedy that keeps Git from converting line ends in age files.
const ONLY_BYTES: &str = "Write `*.age -text` into .gitattributes, and check it out again: `git rm --cached -r secrets && git checkout HEAD -- secrets`.";

/// The age files that an environment's files name.
#[derive(Default)]
pub(super) struct AgeFiles {
    pub(super) secrets: BTreeMap<SecretReference, SecretFile>,
    /// The staged next values.
    pub(super) next: BTreeMap<SecretReference, SecretFile>,
    /// The number of files, readable or not.
    pub(super) count: usize,
}

/// An age file, with a warning if the file is usable but unusual.
type ReadFile = Result<(SecretFile, Option<Diagnostic>), Diagnostic>;

impl Loader<'_> {
    /// Reads the header of every age file that a profile or the reader names.
    pub(super) fn read_age_files(
        &self,
        environment: &Node,
        profiles: &BTreeMap<ProfileName, CheckedProfile>,
        problems: &mut Vec<Diagnostic>,
    ) -> AgeFiles {
        let reader = parse_reader(environment);
        let mut first_use: BTreeMap<&SecretReference, Span> = BTreeMap::new();
        for checked in profiles.values() {
            if let Some((reference, pointer)) = checked.profile.provider.secret() {
                let pointer = format!("/provider{pointer}/secret");
                if checked.recovered.overlaps(&pointer) {
                    continue;
                }
                let (_, found) = checked.node.nearest(&pointer);
                first_use.entry(reference).or_insert(found.span);
            }
        }
        if let Some(reference) = reader.as_ref().and_then(|reader| reader.credential.secret()) {
            let (_, found) = environment.nearest("/verify/reader/credential");
            first_use.entry(reference).or_insert(first_key(found));
        }
        let wanted: Vec<(&SecretReference, Span)> = first_use.into_iter().collect();
        let mut files = AgeFiles { count: wanted.len(), ..AgeFiles::default() };
        let read: Vec<(SecretReference, ReadFile, Option<ReadFile>)> = wanted
            .into_par_iter()
            .map(|(reference, span)| (reference.clone(), self.read_secret(reference, span), self.read_next(reference)))
            .collect();
        for (reference, current, next) in read {
            files.count += usize::from(next.is_some());
            files.secrets.extend(accepted(current, problems).map(|file| (reference.clone(), file)));
            files.next.extend(next.and_then(|next| accepted(next, problems)).map(|file| (reference, file)));
        }
        files
    }

    /// Reads the age file of a secret's next value, if one is staged.
    fn read_next(&self, reference: &SecretReference) -> Option<ReadFile> {
        let path = Repository::next_secret_path(self.documents.name, reference);
        let exists = self.documents.files.exists(&path);
        let stage = format!("mailwright secrets rotate {} {reference} --replace", self.documents.name);
        exists.then(|| self.read_age_file(path, &stage))
    }

    fn read_secret(&self, reference: &SecretReference, span: Span) -> ReadFile {
        let path = Repository::secret_path(self.documents.name, reference);
        let set = format!("mailwright secrets set {} {reference}", self.documents.name);
        if reference.next_of().is_some() {
            return Err(self.documents.builder.diagnostic_at(
                span,
                Code::ReservedSecretName,
                format!("`{reference}` is a reserved name: its file would be the next value of another secret"),
                "Give the secret a name that does not end in `.next`.",
            ));
        }
        if !self.documents.files.exists(&path) {
            return Err(self.documents.builder.diagnostic_at(
                span,
                Code::SecretMissing,
                format!("the file {} is missing", display_path(&path)),
                format!("Seal the value: {set}"),
            ));
        }
        self.read_age_file(path, &set)
    }

    fn read_age_file(&self, path: PathBuf, seal: &str) -> ReadFile {
        let bytes = self.documents.files.read_bytes(&path, FILE_LIMIT.min(AGE_LIMIT as u64))?;
        let header = Header::read(&bytes).map_err(|error| {
            if bytes.starts_with(b"age-encryption.org/v1\r\n") {
                let message = "not an age file any more: Git has translated its line ends to CRLF".to_owned();
                return Diagnostic::file(Code::NotAgeFile, &display_path(&path), message, ONLY_BYTES);
            }
            let encoding = crate::text::detect_encoding(&bytes)
                .or(bytes.starts_with(b"\xef\xbb\xbf").then_some("UTF-8 with a byte order mark"));
            let (message, remedy) = match encoding {
                Some(encoding) => (
                    format!("not an age file any more: it was saved as {encoding}"),
                    format!("Restore it from Git, or seal the value: {seal}"),
                ),
                None => (error.to_string(), format!("Seal the value again: {seal}")),
            };
            Diagnostic::file(Code::NotAgeFile, &display_path(&path), message, &remedy)
        })?;
        let has_crlf = bytes.starts_with(b"-----BEGIN") && bytes.windows(2).any(|pair| pair == b"\r\n");
        let warning = has_crlf.then(|| {
            let message = "the lines of this age file end in CRLF".to_owned();
            Diagnostic::file(Code::LineEndings, &display_path(&path), message, ONLY_BYTES)
        });
        let Header { digest, value_id, sealed_for, .. } = header;
        Ok((SecretFile { path, digest, value_id, sealed_for }, warning))
    }
}

/// Returns the file if it is usable, and adds its warning or its problem.
fn accepted(read: ReadFile, problems: &mut Vec<Diagnostic>) -> Option<SecretFile> {
    match read {
        Ok((file, warning)) => {
            problems.extend(warning);
            Some(file)
        }
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}
