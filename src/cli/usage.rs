//! Usage errors: suggests the right command line where clap cannot.

use std::ffi::OsString;

use clap::{CommandFactory as _, error::ErrorKind};

use super::Cli;

/// Returns the command line with the verb before its first argument, if the arguments have a noun, another word and then
/// one of the noun's verbs: `outbox status prod` becomes `mailwright outbox status prod`.
pub(super) fn reordered(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let words: Vec<&str> = arguments.iter().skip(1).map(|word| word.to_str()).collect::<Option<_>>()?;
    let command = Cli::command();
    let (at, noun) = words.iter().enumerate().find_map(|(at, word)| {
        let noun = command.find_subcommand(word).filter(|noun| noun.has_subcommands())?;
        Some((at, noun))
    })?;
    let other = words.get(at + 1).filter(|word| !word.starts_with('-') && noun.find_subcommand(word).is_none())?;
    let verb = words.get(at + 2).filter(|word| noun.find_subcommand(word).is_some())?;
    let mut reordered = words.get(..=at)?.to_vec();
    reordered.extend([*verb, *other]);
    reordered.extend(words.get(at + 3..)?);
    Some(format!("mailwright {}", reordered.into_iter().map(quoted).collect::<Vec<_>>().join(" ")))
}

/// Quotes a word for a POSIX shell if that is necessary.
fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=@,+%".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
