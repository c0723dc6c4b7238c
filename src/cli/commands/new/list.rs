//! `mailwright new environment --from-csv`: creates one environment for each row of a list, all or none.
//!
//! The list is parsed by [`crate::import::environments`]. All files are checked together with the existing ones before the
//! first is written, and removed again if a later write fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, Exit, Format,
        commands::new::{
            Base, EnvironmentValues, NewEnvironment, check_name, environment_paths, is_from_arguments, missing_secrets,
        },
        list_file::{list_error, read_list_file},
        schema_files::write_missing_schemas,
    },
    config::{Diagnostic, Repository},
    import::{
        self,
        environments::{self, EnvironmentList, EnvironmentRow},
        spreadsheet::{TableProblem, quote_name},
    },
    model::{Code, CompanyId, EnvironmentName},
    text::enumerate,
};

/// The number of names in a list.
const NAMES: usize = 5;

/// An environment to create.
struct NewFile {
    line: usize,
    name: EnvironmentName,
    text: String,
    warnings: Vec<String>,
}

impl NewEnvironment {
    pub(super) fn create_all(&self, context: &Context, file: &Path) -> Result<Exit, CliError> {
        let repository = context.repository()?;
        let refused = |problems| {
            list_error(Code::EnvironmentListMalformed, file, problems)
                .remedy("`mailwright new environment --help` names the columns.")
        };
        let mut bases = Bases { repository: &repository, found: BTreeMap::new() };
        bases.find(self.values.from.as_deref())?;
        let list = environments::read_environments(&read_list_file(file)?, self.values.from.as_deref(), |base| {
            bases.variables(base)
        })
        .map_err(refused)?;
        let new = self.prepare(&list, &mut bases).map_err(refused)?;
        let problems = check_all(&repository, &list, &new)?;
        if !problems.is_empty() {
            return Err(refused(problems));
        }
        let warnings: BTreeSet<&String> = new.iter().flat_map(|new| &new.warnings).collect();
        for warning in warnings {
            context.printer.note(warning);
        }
        if self.dry_run && self.output.format == Format::Human {
            for NewFile { name, text, .. } in &new {
                context.printer.document(&format!("# {}\n{text}", environment_paths(name).1.display()));
            }
            return Ok(Exit::Done);
        }
        if !self.dry_run {
            write_all(repository.root(), &new)?;
            write_missing_schemas(repository.root())?;
        }
        self.report_all(context, &new)
    }

    /// Returns the file of each line, or all problems.
    fn prepare(&self, list: &EnvironmentList, bases: &mut Bases) -> Result<Vec<NewFile>, Vec<TableProblem>> {
        let (mut all, mut problems) = (Vec::new(), Vec::new());
        for row in &list.rows {
            match self.prepare_row(row, bases) {
                Ok(new) => all.push(new),
                Err((section, error)) => problems.push(TableProblem {
                    line: row.line,
                    column: list.column(section, "").unwrap_or(list.name_column()).to_owned(),
                    message: error.message,
                    remedy: error.remedy.unwrap_or_default(),
                }),
            }
        }
        if problems.is_empty() { Ok(all) } else { Err(problems) }
    }

    /// Returns the file of one line, or an error with the part of the file that it concerns.
    fn prepare_row(&self, row: &EnvironmentRow, bases: &mut Bases) -> Result<NewFile, (&'static str, CliError)> {
        check_cells(bases.repository, row)?;
        let name = check_name(bases.repository, &row.name).map_err(|error| ("", error))?;
        let values = self.values.with_row(row);
        let base = bases.find(values.from.as_deref()).map_err(|error| ("extends", error))?;
        let text = values.text(&name, &base).map_err(|error| ("companies", error))?;
        Ok(NewFile { line: row.line, warnings: values.warnings(&base), name, text })
    }

    /// Reports the new files, and what is still missing.
    fn report_all(&self, context: &Context, all: &[NewFile]) -> Result<Exit, CliError> {
        // Opened again, so that the new files are read.
        let repository = context.repository()?;
        let missing: Vec<_> = all
            .iter()
            .map(|new| (missing_secrets(&repository, &new.name), repository.service_address(&new.name).is_none()))
            .collect();
        if self.output.format == Format::Json {
            let entries = all.iter().zip(&missing).map(|(new, (secrets, service))| {
                let document = json!({
                    "environment": new.name, "line": new.line, "written": environment_paths(&new.name).1.display().to_string(),
                    "warnings": new.warnings, "missing": { "secrets": secrets, "service": service },
                });
                (new.name.to_string(), document)
            });
            let environments: serde_json::Map<_, _> = entries.collect();
            let document = json!({ "dryRun": self.dry_run, "environments": environments });
            context.printer.json(&document);
            return Ok(Exit::Done);
        }
        for new in all {
            context.printer.out(&format!("wrote {}", environment_paths(&new.name).1.display()));
        }
        let without = |is_without: fn(&(Vec<_>, bool)) -> bool| -> Vec<&str> {
            all.iter().zip(&missing).filter(|(_, m)| is_without(m)).map(|(new, _)| new.name.as_str()).collect()
        };
        let (no_service, no_secrets) = (without(|(_, service)| *service), without(|(secrets, _)| !secrets.is_empty()));
        let selected = select_names(&repository, all);
        let mut steps = Vec::new();
        if !no_service.is_empty() {
            steps.push(format!("service: {{ address: https://... }}          in {}", enumerate(no_service, NAMES)));
        }
        if !no_secrets.is_empty() {
            let secrets: BTreeSet<String> =
                missing.iter().flat_map(|(secrets, _)| secrets).map(ToString::to_string).collect();
            steps.push(format!("secrets of {}", enumerate(no_secrets, NAMES)));
            steps.push(format!("mailwright secrets init {selected} --from-service \"$(mailwright secrets keygen)\""));
            steps.extend(secrets.iter().map(|secret| format!("mailwright secrets set {selected} {secret}")));
        }
        if !steps.is_empty() {
            context.printer.note(&format!("\nStill missing:\n  {}", steps.join("\n  ")));
        }
        let count = all.len();
        context
            .printer
            .note(&format!("\n{count} environments created. Then: mailwright validate && mailwright plan {selected}"));
        Ok(Exit::Done)
    }
}

/// Returns the arguments that select the new environments: a pattern if it selects no other one, or their names.
fn select_names(repository: &Repository, all: &[NewFile]) -> String {
    let names: BTreeSet<&str> = all.iter().map(|new| new.name.as_str()).collect();
    let (first, last) = (names.first().copied().unwrap_or_default(), names.last().copied().unwrap_or_default());
    // Names are ASCII. The names in between begin as the first and the last one do.
    let common = first.bytes().zip(last.bytes()).take_while(|(one, other)| one == other).count();
    let prefix = first.get(..common).unwrap_or_default();
    let is_other = |name: &EnvironmentName| {
        name.as_str().starts_with(prefix) && !names.contains(name.as_str()) && !repository.is_abstract(name)
    };
    if names.len() > 1 && !repository.environments().iter().any(is_other) {
        return format!("'{prefix}*'");
    }
    names.into_iter().collect::<Vec<_>>().join(" ")
}

impl EnvironmentValues {
    /// Returns the values of a line, with the arguments as defaults.
    fn with_row(&self, row: &EnvironmentRow) -> Self {
        let over = |given: &[(String, String)], own: &BTreeMap<String, String>| {
            let rest = given.iter().filter(|(name, _)| !own.contains_key(name)).cloned();
            rest.chain(own.iter().map(|(name, value)| (name.clone(), value.clone()))).collect()
        };
        Self {
            from: row.base.clone().or_else(|| self.from.clone()),
            set: over(&self.set, &row.variables),
            label: over(&self.label, &row.labels),
            company: if row.companies.is_empty() { self.company.clone() } else { row.companies.clone() },
            service: row.service.clone().or_else(|| self.service.clone()),
            description: row.description.clone().or_else(|| self.description.clone()),
        }
    }
}

/// Checks the cells of a line that name something. The errors for arguments quote what the user typed; these quote a cell only
/// if it has the form of a name, because a cell in the wrong column can be a secret.
fn check_cells(repository: &Repository, row: &EnvironmentRow) -> Result<(), (&'static str, CliError)> {
    let invalid = |message: &str, rule: &str| CliError::coded(Code::InvalidName, message).remedy(format!("{rule}."));
    if let Err(rule) = row.name.parse::<EnvironmentName>() {
        return Err(("", invalid("this is not an environment's name", &rule.to_string())));
    }
    if quote_name(&row.name).is_none() {
        return Err((
            "",
            invalid("this looks like a key or a password", "Correct the name and the order of the columns"),
        ));
    }
    let known = repository.environments();
    if let Some(base) = row.base.as_deref().filter(|base| known.iter().all(|known| known.as_str() != *base))
        && quote_name(base).is_none()
    {
        return Err((
            "extends",
            CliError::coded(Code::LayerMissing, "this is not the name of a layer")
                .remedy("Write the name of a folder below `environments`."),
        ));
    }
    if row.companies.iter().any(|id| id.parse::<CompanyId>().is_err()) {
        return Err(("companies", invalid("one of these is not a company id", CompanyId::RULE)));
    }
    Ok(())
}

/// A cache of bases.
struct Bases<'a> {
    repository: &'a Repository,
    found: BTreeMap<Option<String>, Base>,
}

impl Bases<'_> {
    fn find(&mut self, wanted: Option<&str>) -> Result<Base, CliError> {
        let key = wanted.map(str::to_owned);
        if let Some(base) = self.found.get(&key) {
            return Ok(base.clone());
        }
        let base = Base::find(self.repository, wanted)?;
        self.found.insert(key, base.clone());
        Ok(base)
    }

    fn variables(&mut self, wanted: &str) -> Vec<String> {
        let base = self.find(Some(wanted)).unwrap_or_default();
        base.known.into_keys().chain(base.used).collect()
    }
}

/// Checks all new files together with the existing ones before any is written.
fn check_all(repository: &Repository, list: &EnvironmentList, all: &[NewFile]) -> Result<Vec<TableProblem>, CliError> {
    let names: BTreeSet<EnvironmentName> = all.iter().map(|new| new.name.clone()).collect();
    let files: BTreeMap<PathBuf, String> =
        all.iter().map(|new| (environment_paths(&new.name).1, new.text.clone())).collect();
    let (report, _) = import::check_files(repository.root(), &names, &files)
        .map_err(|error| CliError::coded(Code::Unreadable, format!("cannot check the files: {error}")))?;
    let by_path: BTreeMap<PathBuf, &NewFile> = all.iter().map(|new| (environment_paths(&new.name).1, new)).collect();
    let problems = report.diagnostics.iter().filter_map(|problem| {
        let path: PathBuf = problem.file.split('/').collect();
        let new = by_path.get(&path).filter(|_| is_from_arguments(problem, &path))?;
        Some(TableProblem {
            line: new.line,
            column: find_column(list, &new.text, problem).to_owned(),
            message: format!("{} ({})", problem.message, problem.code),
            remedy: problem.remedy.clone(),
        })
    });
    Ok(problems.collect())
}

/// Returns the column that a problem of the file concerns, or the column of the names.
fn find_column<'a>(list: &'a EnvironmentList, text: &str, problem: &Diagnostic) -> &'a str {
    let mut section = "";
    for (index, line) in text.lines().enumerate() {
        let key = line.split(':').next().unwrap_or_default();
        if !line.starts_with(' ') {
            section = key;
        }
        if index + 1 == problem.line {
            return list.column(section, key.trim().trim_matches('"')).unwrap_or(list.name_column());
        }
    }
    list.name_column()
}

/// Writes all files. After an error none is left.
fn write_all(root: &Path, all: &[NewFile]) -> Result<(), CliError> {
    let mut created = Vec::new();
    let result = all.iter().try_for_each(|new| {
        let folder = root.join(environment_paths(&new.name).0);
        std::fs::create_dir(&folder)?;
        created.push(folder);
        Ok(())
    });
    let files: Vec<(PathBuf, Vec<u8>)> =
        all.iter().map(|new| (environment_paths(&new.name).1, new.text.clone().into_bytes())).collect();
    result.and_then(|()| crate::fs::write_all(root, &files)).map_err(|error: std::io::Error| {
        // The folders are new and contain nothing else.
        for folder in created {
            drop(std::fs::remove_dir_all(folder));
        }
        CliError::coded(Code::Unwritable, format!("cannot write the environments: {error}; none was created"))
            .remedy("Check the permissions of `environments` and the free space of the disk.")
    })
}
