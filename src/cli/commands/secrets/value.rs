//! Reads the value of a secret from the terminal or standard input, and checks that it suits the field that uses it.
//!
//! [`read_given`] reads it and [`prepare`] checks it, with the rules of [`crate::credential`]. The value stays in memory that
//! is wiped, and is not part of an error.
//!
//! A value that does not suit is an error; an empty or oversized one is reported when it is sealed. What only the receiver can judge
//! is a note, which the caller prints once the value is sealed.

use std::io::{IsTerminal as _, Read as _};

use secrecy::{ExposeSecret as _, SecretSlice};
use zeroize::Zeroizing;

use crate::{
    cli::{CliError, Context, environment::Environment},
    credential::{self, CertificateWithKey, CredentialError, CredentialKind},
    model::{Code, SecretReference},
    secrets::VALUE_LIMIT,
};

/// The largest value with a byte order mark and a line break, in bytes.
pub(super) const GIVEN_LIMIT: usize = VALUE_LIMIT + 6;

/// Reads a value: asks on a terminal, otherwise reads standard input. `secret` is shown in the prompt.
pub(super) fn read_given(secret: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    if std::io::stdin().is_terminal() { prompt_value(secret) } else { read_stdin() }
}

/// A value that suits the fields that use it.
pub(super) struct PreparedValue {
    pub(super) value: SecretSlice<u8>,
    notes: Vec<String>,
}

impl PreparedValue {
    /// Prints the notes. They say that the value is sealed, so the caller seals it first.
    pub(super) fn print_notes(&self, context: &Context) {
        self.notes.iter().for_each(|note| context.printer.note(note));
    }
}

/// Returns the value to seal, or an error if it does not fit. Notes that a byte order mark was removed; one line break at the end is
/// removed without a note.
pub(super) fn prepare(
    context: &Context,
    environment: &Environment,
    reference: &SecretReference,
    given: &[u8],
) -> Result<PreparedValue, CliError> {
    let trimmed = credential::trim(given);
    let mut notes = Vec::new();
    if trimmed.had_mark {
        notes.push("A byte order mark before the value was removed.".to_owned());
    }
    // Sealing reports empty and oversized values.
    let is_sized = !trimmed.value.is_empty() && trimmed.value.len() <= VALUE_LIMIT;
    let uses = environment.repository.used_secrets(&environment.name).remove(reference).unwrap_or_default();
    let mut kinds: Vec<Option<CredentialKind>> = uses.kinds.into_iter().map(Some).collect();
    if kinds.is_empty() {
        kinds.push(None);
    }
    for kind in kinds.into_iter().filter(|_| is_sized) {
        // The check removes one line break itself, so the original value is checked to detect a second one.
        match credential::parse_value(kind, given) {
            Ok(text) => {
                let file = (kind == Some(CredentialKind::Certificate)).then(|| CertificateWithKey::parse(text).ok());
                if let Some(reason) = file.flatten().and_then(|file| file.invalid_at(context.clock.now())) {
                    notes.push(format!(
                        "warning: `{reference}` is sealed, but no sign-in succeeds with it: {reason}\nhelp: Renew it: upload the new certificate to the registration, then seal it with its key."
                    ));
                }
            }
            Err(unfit) if unfit.depends_on_receiver() => {
                notes.push(format!(
                    "warning: `{reference}` is sealed, but verify and apply will reject it: {unfit}\nhelp: {}",
                    unfit.remedy()
                ));
            }
            Err(unfit) => return Err(unfit_error(reference, &unfit)),
        }
    }
    if std::str::from_utf8(trimmed.value).is_ok_and(credential::has_blank_at_end) {
        notes.push("warning: the value begins or ends with a blank, which is a part of it.".to_owned());
    }
    Ok(PreparedValue { value: SecretSlice::from(trimmed.value.to_vec()), notes })
}

/// Returns the error for a value that does not fit.
fn unfit_error(reference: &SecretReference, unfit: &CredentialError) -> CliError {
    CliError::coded(Code::SecretUnfit, format!("cannot seal `{reference}`: {unfit}")).remedy(unfit.remedy())
}

/// Asks for a value twice on the terminal.
fn prompt_value(name: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let failed = |error: std::io::Error| CliError::new(format!("cannot read from the terminal: {error}"));
    let first = Zeroizing::new(rpassword::prompt_password(format!("Value of {name} (not shown): ")).map_err(failed)?);
    let second = Zeroizing::new(rpassword::prompt_password("Once more: ").map_err(failed)?);
    if first != second {
        return Err(CliError::coded(Code::InvalidValue, "the two values differ; nothing was sealed")
            .remedy("Try again, or give the value on standard input: `< FILE`."));
    }
    Ok(Zeroizing::new(first.as_bytes().to_vec()))
}

/// Reads standard input up to the size limit.
fn read_stdin() -> Result<Zeroizing<Vec<u8>>, CliError> {
    let mut buffer = Zeroizing::new(Vec::with_capacity(GIVEN_LIMIT));
    std::io::stdin()
        .lock()
        .take(GIVEN_LIMIT as u64)
        .read_to_end(&mut buffer)
        .map_err(|error| CliError::new(format!("cannot read standard input: {error}")))?;
    Ok(buffer)
}

/// Returns the value of an edited text. A line break at the end is kept only if the value had one before.
pub(super) fn prepare_edited(
    context: &Context,
    environment: &Environment,
    reference: &SecretReference,
    before: &SecretSlice<u8>,
    after: &[u8],
) -> Result<PreparedValue, CliError> {
    let prepared = prepare(context, environment, reference, after)?;
    if !before.expose_secret().ends_with(b"\n") || !credential::trim(after).had_line_end {
        return Ok(prepared);
    }
    let mut kept = Zeroizing::new(prepared.value.expose_secret().to_vec());
    kept.push(b'\n');
    Ok(PreparedValue { value: SecretSlice::from(kept.to_vec()), ..prepared })
}
