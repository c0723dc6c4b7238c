//! `mailwright import --patch FILE`: applies a patch of the console to the files, whatever their form is.
//!
//! `git am` replaces text, so it fits only files in the form that Mailwright writes. [`crate::import::patch`] computes the changes
//! here. Everything is checked before the first file is written; nothing is committed, and no service is asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    changes::{git_patch::FileChange, patch_file::read_patch},
    cli::{
        CliError, Context, Exit, Format,
        commands::import::{Import, cannot_write, write_file},
    },
    config::Repository,
    import::{
        check_files,
        patch::{PatchProblem, PatchedFile, apply_profile, read_profile},
    },
    model::{Code, EnvironmentName, ProfileName, SecretReference},
};

/// Maximum size of a patch, in bytes: a profile and its age files.
const PATCH_LIMIT: u64 = 4 * 1024 * 1024;

/// The effects of a patch on the files.
#[derive(Default)]
struct Outcome {
    environments: BTreeSet<EnvironmentName>,
    written: BTreeMap<PathBuf, String>,
    removed: Vec<PathBuf>,
    /// Files whose comments are lost.
    without_comments: Vec<PathBuf>,
}

/// The file of a patch.
enum Target {
    Profile(EnvironmentName, ProfileName),
    Secret(EnvironmentName, PathBuf),
}

impl Import {
    pub(super) fn import_patch(&self, context: &Context, file: &Path) -> Result<Exit, CliError> {
        let repository = context.repository()?;
        let changes = read_patch(&read_text(file)?).map_err(|reason| unreadable(file, &reason))?;
        let mut outcome = Outcome::default();
        for change in changes {
            match target(&change.path).ok_or_else(|| unreadable(file, &format!("it changes `{}`", change.path)))? {
                Target::Profile(environment, name) => {
                    outcome.add_profile(&repository, (environment, name), &change, file)?;
                }
                Target::Secret(environment, path) => outcome.add_secret(&repository, environment, path, change)?,
            }
        }
        check(context, &repository, &outcome)?;
        if !self.dry_run {
            outcome.write(repository.root())?;
        }
        self.report_patch(context, &outcome);
        Ok(Exit::Done)
    }

    fn report_patch(&self, context: &Context, outcome: &Outcome) {
        let environment = outcome.environments.first().map(EnvironmentName::as_str).unwrap_or_default();
        let names = |paths: &mut dyn Iterator<Item = &PathBuf>| -> Vec<String> {
            paths.map(|path| path.display().to_string()).collect()
        };
        let (written, removed) = (names(&mut outcome.written.keys()), names(&mut outcome.removed.iter()));
        if self.format == Format::Json {
            context.printer.json(&json!({
                "environment": environment, "dryRun": self.dry_run, "written": written, "removed": removed,
                "withoutComments": names(&mut outcome.without_comments.iter()),
            }));
            return;
        }
        if written.is_empty() && removed.is_empty() {
            context.printer.out("Nothing to import: the files have this change.");
            return;
        }
        let would = if self.dry_run { "would " } else { "" };
        let (write, remove) = if self.dry_run { ("write", "remove") } else { ("wrote", "removed") };
        for (verb, path) in written.iter().map(|path| (write, path)).chain(removed.iter().map(|path| (remove, path))) {
            context.printer.out(&format!("{would}{verb} {path}"));
        }
        for path in &outcome.without_comments {
            context.printer.note(&format!("The comments of {} could not be kept: look at `git diff`.", path.display()));
        }
        context.printer.note(&format!("\nNothing was committed. Then: git diff && mailwright plan {environment}"));
    }
}

impl Outcome {
    fn add_profile(
        &mut self,
        repository: &Repository,
        (environment, name): (EnvironmentName, ProfileName),
        change: &FileChange,
        patch: &Path,
    ) -> Result<(), CliError> {
        let read = |text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => match read_profile(text) {
                Some(profile) => Ok(Some(profile)),
                None => Err(unreadable(patch, &format!("`{}` is not a profile in it", change.path))),
            },
        };
        let (before, after) = (read(&change.before)?, read(&change.after)?);
        let Some(draft) = repository.profile_draft(&environment, &name) else {
            let message = format!("cannot apply the patch: the files of `{environment}` cannot be read");
            return Err(CliError::coded(Code::PatchUnfit, message)
                .remedy(format!("Correct them first: mailwright validate {environment}")));
        };
        match apply_profile(&draft, before.as_ref(), after.as_ref()) {
            Ok(PatchedFile::Same) => {}
            Ok(PatchedFile::Removed) => self.removed.push(draft.path),
            Ok(PatchedFile::Written { text, lost_comments }) => {
                self.without_comments.extend(lost_comments.then(|| draft.path.clone()));
                self.written.insert(draft.path, text);
            }
            Err(problem) => return Err(refuse(&problem, &environment, &name)),
        }
        self.environments.insert(environment);
        Ok(())
    }

    fn add_secret(
        &mut self,
        repository: &Repository,
        environment: EnvironmentName,
        path: PathBuf,
        FileChange { before, after, .. }: FileChange,
    ) -> Result<(), CliError> {
        let file = repository.root().join(&path);
        let current = if file.exists() { Some(read_text(&file)?) } else { None };
        self.environments.insert(environment);
        if current == after {
            return Ok(());
        }
        if current != before {
            let message =
                format!("cannot apply the patch: `{}` is another file than the patch expects", path.display());
            return Err(CliError::coded(Code::PatchConflict, message).remedy(
                "Load the patch again after the next apply, or set the secret in the files: mailwright secrets set",
            ));
        }
        match after {
            Some(text) => {
                self.written.insert(path, text);
            }
            None => self.removed.push(path),
        }
        Ok(())
    }

    fn write(&self, root: &Path) -> Result<(), CliError> {
        self.written.iter().try_for_each(|(path, text)| write_file(root, path, text))?;
        self.removed
            .iter()
            .try_for_each(|path| std::fs::remove_file(root.join(path)).map_err(|error| cannot_write(path, &error)))
    }
}

/// Refuses files that would not be valid.
fn check(context: &Context, repository: &Repository, outcome: &Outcome) -> Result<(), CliError> {
    // A removed file is still there for the check, so it says nothing about it.
    if outcome.written.is_empty() || !outcome.removed.is_empty() {
        return Ok(());
    }
    let (report, _) = check_files(repository.root(), &outcome.environments, &outcome.written)
        .map_err(|error| CliError::new(format!("cannot check the files before they are written: {error}")))?;
    if !report.has_errors() {
        return Ok(());
    }
    context.printer.note(&report.human());
    Err(CliError::coded(Code::PatchUnfit, "cannot apply the patch: the files would not be valid; nothing was written")
        .remedy("Correct the problems above in the files first."))
}

fn refuse(problem: &PatchProblem, environment: &EnvironmentName, name: &ProfileName) -> CliError {
    match problem {
        PatchProblem::Conflict(fields) => CliError::coded(
            Code::PatchConflict,
            format!("cannot apply the patch: profile `{name}` has other values in the files than the patch expects"),
        )
        .detail(format!("fields: {}", fields.join(", ")))
        .remedy(format!(
            "Apply the files first (mailwright plan {environment}), make the change in the console again, and load its patch."
        )),
        PatchProblem::Unfit(reason) => {
            CliError::coded(Code::PatchUnfit, format!("cannot apply the patch to profile `{name}`: {reason}"))
                .remedy(format!("Change the file by hand: mailwright show {environment} {name} prints what is live."))
        }
    }
}

fn unreadable(file: &Path, reason: &str) -> CliError {
    CliError::coded(Code::PatchUnreadable, format!("cannot read the patch `{}`: {reason}", file.display()))
        .remedy("Load the patch again from the console, and save it as it is.")
}

/// Reads a text file.
fn read_text(file: &Path) -> Result<String, CliError> {
    let bytes = crate::fs::read_given(file, PATCH_LIMIT).map_err(|error| unreadable(file, &error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| unreadable(file, "it is not UTF-8"))
}

/// Returns the file of the repository that a patch may change.
fn target(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.split('/').collect();
    match &parts[..] {
        ["environments", environment, "profiles", file] => {
            let name = file.strip_suffix(".yaml")?;
            Some(Target::Profile(environment.parse().ok()?, name.parse().ok()?))
        }
        ["secrets", environment, rest @ ..] => {
            let environment: EnvironmentName = environment.parse().ok()?;
            let reference: SecretReference = rest.join("/").strip_suffix(".age")?.parse().ok()?;
            let path = Repository::secret_path(&environment, &reference);
            Some(Target::Secret(environment, path))
        }
        _ => None,
    }
}
