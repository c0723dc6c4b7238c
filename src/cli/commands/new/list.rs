//! `mailwright new environment --from-csv`: many at once, all or none.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, Exit, Format,
        commands::new::{Base, Given, NewEnvironment, free_name, is_own, missing_secrets, places},
        list_file::{list_error, read_list_file},
    },
    config::{Diagnostic, Repository},
    import::{
        self,
        environments::{self, EnvironmentList, EnvironmentRow},
        spreadsheet::TableProblem,
    },
    model::{Code, EnvironmentName},
};

/// An environment that is to be made.
struct New {
    line: usize,
    name: EnvironmentName,
    text: String,
    warnings: Vec<String>,
}

impl NewEnvironment {
    pub(super) fn make_all(&self, context: &Context, file: &Path) -> Result<Exit, CliError> {
        let repository = context.repository()?;
        let refused = |problems| {
            list_error(Code::EnvironmentListMalformed, file, problems)
                .remedy("`mailwright new environment --help` names the columns.")
        };
        let mut bases = Bases { repository: &repository, found: BTreeMap::new() };
        bases.find(self.given.from.as_deref())?;
        let list = environments::read_environments(&read_list_file(file)?, self.given.from.as_deref(), |base| {
            bases.variables(base)
        })
        .map_err(refused)?;
        let new = self.prepare(&list, &mut bases).map_err(refused)?;
        let problems = try_all(&repository, &list, &new)?;
        if !problems.is_empty() {
            return Err(refused(problems));
        }
        let warnings: BTreeSet<&String> = new.iter().flat_map(|new| &new.warnings).collect();
        for warning in warnings {
            context.printer.note(warning);
        }
        if self.dry_run && self.format == Format::Human {
            for New { name, text, .. } in &new {
                context.printer.out(&format!("# {}\n{text}", places(name).1.display()));
            }
            return Ok(Exit::Done);
        }
        if !self.dry_run {
            write_all(repository.root(), &new)?;
        }
        self.tell_all(context, &new)
    }

    /// What each line amounts to, or everything that is wrong with them.
    fn prepare(&self, list: &EnvironmentList, bases: &mut Bases) -> Result<Vec<New>, Vec<TableProblem>> {
        let (mut all, mut problems) = (Vec::new(), Vec::new());
        for row in &list.rows {
            match self.one(row, bases) {
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

    /// What one line amounts to; or what is wrong, and with which part of the file.
    fn one(&self, row: &EnvironmentRow, bases: &mut Bases) -> Result<New, (&'static str, CliError)> {
        let name = free_name(bases.repository, &row.name).map_err(|error| ("", error))?;
        let given = self.given.with(row);
        let base = bases.find(given.from.as_deref()).map_err(|error| ("extends", error))?;
        let text = given.text(&name, &base).map_err(|error| ("companies", error))?;
        Ok(New { line: row.line, warnings: given.warnings(&base), name, text })
    }

    /// What was made, and what is still missing in how many.
    fn tell_all(&self, context: &Context, all: &[New]) -> Result<Exit, CliError> {
        // Opened anew: what was read before knows nothing of them.
        let repository = context.repository()?;
        let missing: Vec<_> = all
            .iter()
            .map(|new| (missing_secrets(&repository, &new.name), repository.service_address(&new.name).is_none()))
            .collect();
        if self.format == Format::Json {
            let entries = all.iter().zip(&missing).map(|(new, (secrets, service))| {
                json!({
                    "environment": new.name, "line": new.line, "written": places(&new.name).1.display().to_string(),
                    "warnings": new.warnings, "missing": { "secrets": secrets, "service": service },
                })
            });
            let document = json!({ "dryRun": self.dry_run, "environments": entries.collect::<Vec<_>>() });
            context.printer.out(&format!("{document:#}"));
            return Ok(Exit::Done);
        }
        for new in all {
            context.printer.out(&format!("wrote {}", places(&new.name).1.display()));
        }
        let without = |is_without: fn(&(Vec<_>, bool)) -> bool| -> Vec<&str> {
            all.iter().zip(&missing).filter(|(_, m)| is_without(m)).map(|(new, _)| new.name.as_str()).collect()
        };
        let (no_service, no_secrets) = (without(|(_, service)| *service), without(|(secrets, _)| !secrets.is_empty()));
        let mut steps = Vec::new();
        if !no_service.is_empty() {
            steps.push(format!("service: {{ address: https://... }}          in {}", in_short(&no_service)));
        }
        if !no_secrets.is_empty() {
            steps.push(format!("secrets of {}; mailwright secrets list ENV tells which", in_short(&no_secrets)));
            steps.push("mailwright secrets init ENV RECIPIENT...".to_owned());
            steps.push("mailwright secrets set ENV SECRET".to_owned());
        }
        if !steps.is_empty() {
            context.printer.note(&format!("\nStill missing:\n  {}", steps.join("\n  ")));
        }
        let count = all.len();
        context
            .printer
            .note(&format!("\n{count} environments made. Then: mailwright validate && mailwright plan ENV..."));
        Ok(Exit::Done)
    }
}

impl Given {
    /// What a line says, and what was given for all where it does not.
    fn with(&self, row: &EnvironmentRow) -> Self {
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

/// Bases, each looked at once.
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
        base.known.into_keys().chain(base.taken).collect()
    }
}

/// Reads all of them among the files that are there, before one is written.
fn try_all(repository: &Repository, list: &EnvironmentList, all: &[New]) -> Result<Vec<TableProblem>, CliError> {
    let names: BTreeSet<EnvironmentName> = all.iter().map(|new| new.name.clone()).collect();
    let files: BTreeMap<PathBuf, String> = all.iter().map(|new| (places(&new.name).1, new.text.clone())).collect();
    let (report, _) = import::check_files(repository.root(), &names, &files)
        .map_err(|error| CliError::coded(Code::Unreadable, format!("cannot try the files: {error}")))?;
    let by_path: BTreeMap<PathBuf, &New> = all.iter().map(|new| (places(&new.name).1, new)).collect();
    let problems = report.diagnostics.iter().filter_map(|problem| {
        let path: PathBuf = problem.file.split('/').collect();
        let new = by_path.get(&path).filter(|_| is_own(problem, &path))?;
        Some(TableProblem {
            line: new.line,
            column: column(list, &new.text, problem).to_owned(),
            message: format!("{} ({})", problem.message, problem.code),
            remedy: problem.remedy.clone(),
        })
    });
    Ok(problems.collect())
}

/// The column that a problem of the file is about; the one with the names, if it is about none in particular.
fn column<'a>(list: &'a EnvironmentList, text: &str, problem: &Diagnostic) -> &'a str {
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

fn in_short(names: &[&str]) -> String {
    let more = if names.len() > 5 { format!(" and {} more", names.len() - 5) } else { String::new() };
    format!("{}{more}", names.iter().take(5).copied().collect::<Vec<_>>().join(", "))
}

/// Writes all of them. Where that fails, none is left behind.
fn write_all(root: &Path, all: &[New]) -> Result<(), CliError> {
    let mut made = Vec::new();
    let result = all.iter().try_for_each(|new| {
        let folder = root.join(places(&new.name).0);
        std::fs::create_dir(&folder)?;
        made.push(folder);
        Ok(())
    });
    let files: Vec<(PathBuf, Vec<u8>)> =
        all.iter().map(|new| (places(&new.name).1, new.text.clone().into_bytes())).collect();
    result.and_then(|()| crate::fs::write_all(root, &files)).map_err(|error: std::io::Error| {
        // The folders are new, so nothing of anybody else's is in them.
        for folder in made {
            drop(std::fs::remove_dir_all(folder));
        }
        CliError::coded(Code::Unwritable, format!("cannot write the environments: {error}; none was made"))
            .remedy("Look at the permissions of `environments`, and at the room on the disk.")
    })
}
