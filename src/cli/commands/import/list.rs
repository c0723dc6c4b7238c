//! `mailwright import --from LIST`: writes profiles from a list in CSV or JSON into environments.
//!
//! The list is parsed by [`crate::import::table`], and the resulting files are validated together with those of the repository
//! first; with one problem, or a profile that exists, nothing is written. Lists do not contain secrets.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, Exit, Format,
        commands::import::{Import, documents_by_name, report_missing_secrets, write_new},
        list_file::{list_error, read_list_file},
    },
    config::{Repository, suggest},
    import::table::{self, ProfileRow},
    model::{
        Code, EnvironmentName, SecretReference,
        file_text::{self, FileKind},
    },
};

impl Import {
    pub(super) fn import_list(&self, context: &Context, list: &Path) -> Result<Exit, CliError> {
        let repository = Arc::new(context.repository()?);
        let rows = read_rows(list)?;
        let mut files: BTreeMap<PathBuf, String> = BTreeMap::new();
        let mut environments: BTreeSet<EnvironmentName> = BTreeSet::new();
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        for row in rows {
            let name = self.environment_of(&repository, &row)?;
            let path =
                Path::new("environments").join(name.as_str()).join("profiles").join(format!("{}.yaml", row.name));
            if repository.profile_names(&name).contains(&row.name) {
                return Err(CliError::coded(
                    Code::InvalidName,
                    format!("line {}: `{name}` already has a profile `{}`; nothing was written", row.line, row.name),
                )
                .remedy("Remove the line from the list, or rename the profile."));
            }
            lines.insert(path.display().to_string(), row.line);
            files.insert(path, file_text::render_file(FileKind::Profile, &file_text::escape_variables(row.document)));
            environments.insert(name);
        }
        let (mut report, missing) = crate::import::check_files(repository.root(), &environments, &files)
            .map_err(|error| CliError::coded(Code::Unreadable, format!("cannot check the files: {error}")))?;
        if report.has_errors() {
            // A cell in the wrong column can be a secret, so no line of a file that was not written is shown.
            for problem in &mut report.diagnostics {
                if let Some(line) = lines.get(&problem.file) {
                    problem.message = format!("line {line} of the list: {}", problem.message);
                    problem.excerpt = None;
                }
            }
            context.printer.note(&report.human());
            return Err(CliError::coded(
                Code::ImportNotVerified,
                "the profiles of the list do not pass the checks; nothing was written",
            )
            .remedy("Correct the list. The problems above are in the files that would have been written."));
        }
        if !self.dry_run {
            files.iter().try_for_each(|(path, text)| write_new(repository.root(), path, text))?;
        }
        self.report_files(context, &files, &environments, &missing);
        Ok(Exit::Done)
    }

    /// Returns the environment of a row: the one in its column, or the one on the command line.
    fn environment_of(&self, repository: &Arc<Repository>, row: &ProfileRow) -> Result<EnvironmentName, CliError> {
        let known = repository.environments();
        let name = match (&row.environment, &self.environments[..]) {
            (Some(name), []) => name.to_string(),
            (Some(name), [one]) if name.as_str() == one => one.clone(),
            (Some(name), [one]) => {
                return Err(CliError::coded(
                    Code::Usage,
                    format!("line {} is for `{name}`, not for `{one}`", row.line),
                )
                .remedy("Omit the environment from the command, or remove the column from the list."));
            }
            _ => self.single_environment(repository)?.name.to_string(),
        };
        known.iter().find(|known| known.as_str() == name).cloned().ok_or_else(|| {
            let error = CliError::coded(
                Code::UnknownEnvironment,
                format!("line {}: unknown environment `{}`", row.line, name.escape_debug()),
            );
            match suggest::nearest(&name, known.iter().map(EnvironmentName::as_str)) {
                Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
                None => error.remedy(format!("`mailwright new environment {name}` creates it.")),
            }
        })
    }

    fn report_files(
        &self,
        context: &Context,
        files: &BTreeMap<PathBuf, String>,
        environments: &BTreeSet<EnvironmentName>,
        missing: &BTreeSet<(EnvironmentName, SecretReference)>,
    ) {
        let written: Vec<String> = files.keys().map(|path| path.display().to_string()).collect();
        if self.format == Format::Json {
            let documents = documents_by_name(environments.iter(), &written, missing);
            context.printer.json(&json!({ "environments": documents, "dryRun": self.dry_run }));
            return;
        }
        let verb = if self.dry_run { "would write" } else { "wrote" };
        for path in &written {
            context.printer.out(&format!("{verb} {path}"));
        }
        report_missing_secrets(context, missing);
        let names: Vec<&str> = environments.iter().map(EnvironmentName::as_str).collect();
        context.printer.note(&format!("\nThen: mailwright validate && mailwright plan {}", names.join(" ")));
    }
}

fn read_rows(list: &Path) -> Result<Vec<ProfileRow>, CliError> {
    table::read_profiles(&read_list_file(list)?).map_err(|problems| {
        list_error(Code::ListMalformed, list, problems).remedy("`mailwright import --help` names the columns.")
    })
}
