//! The value that an operator gives: typed or piped, without what a pipe adds, and refused if its field cannot need it.

use std::io::{IsTerminal as _, Read as _};

use secrecy::{ExposeSecret as _, SecretSlice};
use zeroize::Zeroizing;

use crate::{
    cli::{CliError, Context, environment::Environment},
    credential::{self, CredentialError, CredentialKind},
    model::{Code, SecretReference},
    secrets::VALUE_LIMIT,
};

/// Room for a byte order mark and a line end around a value.
const AROUND: usize = 6;

/// Takes a value from the operator: asks on a terminal, and reads standard input elsewhere.
pub(super) fn take(
    context: &Context,
    environment: &Environment,
    reference: &SecretReference,
) -> Result<SecretSlice<u8>, CliError> {
    let given = if std::io::stdin().is_terminal() { typed(reference.as_str())? } else { piped()? };
    fitting(context, environment, reference, &given)
}

/// The value as it is sealed. What it cannot be is refused with the reason; what was left out is said.
pub(super) fn fitting(
    context: &Context,
    environment: &Environment,
    reference: &SecretReference,
    given: &[u8],
) -> Result<SecretSlice<u8>, CliError> {
    let trimmed = credential::trim(given);
    if trimmed.had_mark {
        context.printer.note("A byte order mark before the value was left out.");
    }
    // What is empty or too long is refused with what is sealed.
    let is_sized = !trimmed.value.is_empty() && trimmed.value.len() <= VALUE_LIMIT;
    let uses = environment.repository.used_secrets(&environment.name).remove(reference).unwrap_or_default();
    let mut kinds: Vec<Option<CredentialKind>> = uses.kinds.into_iter().map(Some).collect();
    if kinds.is_empty() {
        kinds.push(None);
    }
    for kind in kinds.into_iter().filter(|_| is_sized) {
        // The check leaves out one line end itself: what was given is checked, so that a second one is found.
        match credential::parse_value(kind, given) {
            Ok(_) => {}
            Err(unfit) if unfit.depends_on_receiver() => {
                context.printer.note(&format!(
                    "warning: `{reference}` is sealed, and will be refused by verify and apply: {unfit}\nhelp: {}",
                    unfit.remedy()
                ));
            }
            Err(unfit) => return Err(refused(reference, &unfit)),
        }
    }
    Ok(SecretSlice::from(trimmed.value.to_vec()))
}

fn refused(reference: &SecretReference, unfit: &CredentialError) -> CliError {
    CliError::coded(Code::SecretUnfit, format!("`{reference}` was not sealed: {unfit}")).remedy(unfit.remedy())
}

fn typed(name: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let failed = |error: std::io::Error| CliError::new(format!("cannot read from the terminal: {error}"));
    let first = Zeroizing::new(rpassword::prompt_password(format!("Value of {name} (not shown): ")).map_err(failed)?);
    let second = Zeroizing::new(rpassword::prompt_password("Once more: ").map_err(failed)?);
    if first != second {
        return Err(CliError::coded(Code::InvalidValue, "the two differ; nothing was sealed")
            .remedy("Try again; or pipe the value in: mailwright secrets set ENV NAME < FILE."));
    }
    Ok(Zeroizing::new(first.as_bytes().to_vec()))
}

/// Standard input, bounded.
fn piped() -> Result<Zeroizing<Vec<u8>>, CliError> {
    let limit = VALUE_LIMIT + AROUND;
    let mut buffer = Zeroizing::new(Vec::with_capacity(limit));
    std::io::stdin()
        .lock()
        .take(limit as u64)
        .read_to_end(&mut buffer)
        .map_err(|error| CliError::new(format!("cannot read standard input: {error}")))?;
    Ok(buffer)
}

/// The value of an edited text. Editors end a file with a line end; it belongs to the value only if it was there before.
pub(super) fn edited(
    context: &Context,
    environment: &Environment,
    reference: &SecretReference,
    before: &SecretSlice<u8>,
    after: &[u8],
) -> Result<SecretSlice<u8>, CliError> {
    let value = fitting(context, environment, reference, after)?;
    if !before.expose_secret().ends_with(b"\n") || !credential::trim(after).had_line_end {
        return Ok(value);
    }
    let mut kept = Zeroizing::new(value.expose_secret().to_vec());
    kept.push(b'\n');
    Ok(SecretSlice::from(kept.to_vec()))
}
