//! Completion of the command line by the program itself: environments, profiles, secrets, rollouts, functions, codes and files.
//!
//! A shell calls the program with `COMPLETE` set; `mailwright completions SHELL` prints the shell's part. Names come from the names
//! of files in the repository, or are built into the program (functions, codes, roles, rights, fields); paths come from the file
//! system. A name that a shell would interpret is not offered. A folder that cannot be read has no candidates. Folders are listed;
//! no file is opened and no service is called.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use clap::{Arg, Command, ValueHint};
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _,
};

use super::help;
use crate::model::{
    Code, Function,
    access::{Activity, Area},
    finding_id::FindingId,
    token::Role,
};

/// The variable with which a shell asks for candidates.
pub(super) const VARIABLE: &str = "COMPLETE";
/// The number of entries of a folder that are read.
const ENTRIES: usize = 5000;

/// Returns the definition of the command line, with candidates of names.
pub(super) fn command() -> Command {
    help::command().mut_subcommands(|command| {
        let noun = command.get_name().to_owned();
        with_candidates(command, &noun)
    })
}

/// Adds candidates to the arguments of a command and its subcommands; `noun` is the command of the first level.
fn with_candidates(command: Command, noun: &str) -> Command {
    command
        .mut_args(|argument| complete_argument(argument, noun))
        .mut_subcommands(|subcommand| with_candidates(subcommand, noun))
}

/// Adds candidates to an argument. Arguments with the same id mean the same in all commands.
fn complete_argument(argument: Arg, noun: &str) -> Arg {
    let candidates: fn() -> Vec<CompletionCandidate> = match (noun, argument.get_id().as_str()) {
        (_, "environment" | "environments") => environments,
        (_, "profile" | "profiles") => profiles,
        (_, "secret") | ("secrets", "name" | "names") => secrets,
        ("rollout", "name") => rollouts,
        ("access", "names") => rights_and_fields,
        ("access", "field") => fields,
        ("access" | "token" | "operator", "role") => roles,
        // `resolve` takes a company, then a function; companies are in the files, which are not opened.
        (_, "function" | "functions") | ("resolve", "names") => functions,
        ("explain", "code") => codes,
        _ if is_path(argument.get_value_hint()) => return argument.add(ArgValueCompleter::new(files)),
        _ => return argument,
    };
    argument.add(ArgValueCandidates::new(candidates))
}

fn is_path(hint: ValueHint) -> bool {
    matches!(hint, ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath | ValueHint::ExecutablePath)
}

/// Returns the paths of files that begin with a word. A name that a shell would interpret is not offered, and has to be typed.
fn files(current: &OsStr) -> Vec<CompletionCandidate> {
    let all = PathCompleter::any().complete(current).into_iter();
    all.filter(|candidate| candidate.get_value().to_str().is_some_and(is_safe_path)).collect()
}

fn environments() -> Vec<CompletionCandidate> {
    let Some(root) = repository() else { return Vec::new() };
    let folders = entries(&root.join("environments"));
    as_candidates(folders.iter().filter(|folder| folder.join("environment.yaml").is_file()).filter_map(|it| name(it)))
}

fn profiles() -> Vec<CompletionCandidate> {
    let Some(root) = repository() else { return Vec::new() };
    let folders = entries(&root.join("environments"));
    as_candidates(folders.iter().flat_map(|folder| stems(&folder.join("profiles"), "yaml")))
}

fn secrets() -> Vec<CompletionCandidate> {
    let Some(root) = repository() else { return Vec::new() };
    let folders = entries(&root.join("secrets"));
    let owners = folders.iter().flat_map(|folder| entries(folder)).filter(|owner| owner.is_dir());
    as_candidates(owners.flat_map(|owner| {
        let keys = stems(&owner, "age");
        keys.into_iter().filter_map(move |key| Some(format!("{}/{key}", name(&owner)?)))
    }))
}

fn rollouts() -> Vec<CompletionCandidate> {
    repository().map(|root| as_candidates(stems(&root.join("rollouts"), "yaml"))).unwrap_or_default()
}

fn functions() -> Vec<CompletionCandidate> {
    as_candidates(Function::all().map(|function| function.id().to_owned()))
}

fn rights_and_fields() -> Vec<CompletionCandidate> {
    // Shells divide words at colons, so areas and activities are offered apart.
    let areas = Area::ALL.iter().map(|area| area.id());
    let activities = Activity::ALL.iter().map(|activity| activity.id());
    let words = areas.chain(activities).chain(Area::Profiles.fields().iter().copied());
    as_candidates(words.map(str::to_owned))
}

fn fields() -> Vec<CompletionCandidate> {
    as_candidates(Area::ALL.iter().flat_map(|area| area.fields()).map(|field| (*field).to_owned()))
}

fn roles() -> Vec<CompletionCandidate> {
    as_candidates(Role::ALL.iter().map(|role| role.id().to_owned()))
}

fn codes() -> Vec<CompletionCandidate> {
    let codes = Code::ALL.iter().map(|code| (code.id(), code.title()));
    let findings = FindingId::ALL.iter().map(|finding| (finding.id(), finding.title()));
    codes.chain(findings).map(|(id, title)| CompletionCandidate::new(id).help(Some(title.into()))).collect()
}

/// Returns the folder of the repository: the current one, or the nearest parent with environments.
fn repository() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    here.ancestors().find(|folder| folder.join("environments").is_dir()).map(Path::to_owned)
}

/// Returns the paths in a folder; none if it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.take(ENTRIES).filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// Returns the names of files with an ending, without it.
fn stems(folder: &Path, ending: &str) -> Vec<String> {
    let files = entries(folder).into_iter().filter(|path| path.extension().is_some_and(|own| own == ending));
    files.filter_map(|path| path.file_stem()?.to_str().map(str::to_owned)).collect()
}

/// Returns true for a name that no shell interprets and that is not taken for an option.
fn is_safe_name(name: &str) -> bool {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    !name.starts_with('-') && name.chars().all(is_safe)
}

/// Returns true for a path that no shell interprets. The tilde of a home folder is the user's own.
fn is_safe_path(path: &str) -> bool {
    let is_safe = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '+');
    !path.starts_with('-') && path.strip_prefix("~/").unwrap_or(path).chars().all(is_safe)
}

fn name(path: &Path) -> Option<String> {
    path.file_name()?.to_str().map(str::to_owned)
}

/// Returns candidates in order, each once. A shell inserts them as they are, so that only characters without a meaning for any
/// shell are offered: a folder of a foreign branch could have any name.
fn as_candidates(names: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    let names: BTreeSet<String> = names.into_iter().filter(|name| is_safe_name(name)).collect();
    names.into_iter().map(CompletionCandidate::new).collect()
}
