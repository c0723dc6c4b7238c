//! Errors of a command line that clap cannot parse: suggests the right order of words, and converts the error for `--format
//! json`.
//!
//! `cli::main` calls it. Errors of valid command lines come from the commands. In JSON an incomplete command line is an error too,
//! for which clap prints only its help.

use std::ffi::OsString;

use clap::{CommandFactory as _, error::ErrorKind};

use super::{Cli, CliError};
use crate::{model::Code, text::shell::quote_posix};

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
    Some(format!("mailwright {}", reordered.into_iter().map(quote_posix).collect::<Vec<_>>().join(" ")))
}

/// Returns true if a command line that cannot be parsed asks for JSON.
pub(super) fn asks_for_json(arguments: &[OsString]) -> bool {
    let words = arguments.iter().skip(1).map(|word| word.to_str().unwrap_or_default());
    let words: Vec<&str> = words.take_while(|word| *word != "--").collect();
    words.contains(&"--format=json") || words.windows(2).any(|two| matches!(two, ["--format", "json"]))
}

/// Returns the error of a command line that cannot be parsed, without the text of the usage.
pub(super) fn to_error(error: &clap::Error, arguments: &[OsString]) -> CliError {
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut lines = lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    let message =
        lines.next().and_then(|line| line.strip_prefix("error: ")).unwrap_or("the command line is not complete");
    let usage = || text.lines().find(|line| line.starts_with("Usage:")).map(str::to_owned);
    let remedy = reordered(error, arguments).map(|meant| format!("Did you mean this? {meant}")).or_else(usage);
    let error = CliError::coded(Code::Usage, message)
        .remedy(remedy.unwrap_or("`mailwright help` lists the commands.".to_owned()));
    if text.starts_with("error: ") { lines.fold(error, CliError::detail) } else { error }
}
