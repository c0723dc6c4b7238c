//! `mailwright new`: `new environment` creates a folder with a short file for one environment, `new profile` a file with a
//! profile.
//!
//! `list` creates environments from a list, `profile` has the second command. A file that does not pass the checks of `validate` is
//! not kept, unless it is incomplete for reasons that the arguments do not cause. An existing environment or profile is an error,
//! and is not changed.

mod list;
mod profile;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value, json};

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, environment,
        schema_files::write_missing_schemas,
    },
    config::{Report, Repository, suggest},
    fs::write_atomically,
    model::{Code, EnvironmentName, InvalidName, SecretReference, code::Severity, file_text},
};

/// Create an environment or a profile: files with comments
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright new environment acme --from base --set domain=acme.example --company ACME\n  \
    mailwright new environment --from base --from-csv customers.csv\n  \
    mailwright new profile relay --provider smtp --host smtp.example.com --from erp@example.com\n  \
    mailwright new environment --help")]
pub(crate) struct New {
    #[command(subcommand)]
    command: NewCommand,
}

#[derive(Debug, clap::Subcommand)]
enum NewCommand {
    /// Create a folder under `environments/` with an environment.yaml
    Environment(NewEnvironment),
    /// Write a profile into an environment or a layer
    Profile(Box<profile::NewProfileCommand>),
}

/// Create a folder under `environments/` with an environment.yaml, or many from a list
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailwright new environment [OPTIONS] <NAME>\n       mailwright new environment [OPTIONS] --from-csv <FILE>",
    after_help = "Examples:\n  \
    mailwright new environment acme --from base --set domain=acme.example --set relayPort=587\n  \
    mailwright new environment acme --from base --label region=emea --company ACME --company \"10\" \\\n      \
    --service https://mail.acme.example\n  \
    mailwright new environment acme --from base --dry-run       prints the file\n  \
    mailwright new environment --from base --from-csv customers.csv --label wave=1\n\n\
    A variable keeps its type in the base; a new one becomes a number or a boolean\n\
    if it looks like one. Nothing is overwritten, and files that do not pass the\n\
    checks are removed. Missing secrets and settings are listed.\n\n\
    A list is a spreadsheet saved as CSV with one environment per line. Its first\n\
    line names the columns: name, from, description, service, companies, label:NAME,\n\
    set:NAME; any other column is a variable that the base defines or uses:\n  \
    name,companies,domain,label:region,service\n  \
    acme,ACME;10,acme.example,emea,https://mail.acme.example\n\
    Arguments on the command line apply to every line without its own value. All\n\
    environments are created, or none."
)]
struct NewEnvironment {
    /// Name of the environment and its folder
    #[arg(required_unless_present = "from_csv")]
    name: Option<String>,
    /// CSV file with one environment per line
    #[arg(long, value_name = "FILE", conflicts_with = "name", value_hint = clap::ValueHint::FilePath)]
    from_csv: Option<PathBuf>,
    #[command(flatten)]
    values: EnvironmentValues,
    /// Print the file without writing it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// The contents of the file.
#[derive(Clone, Debug, clap::Args)]
struct EnvironmentValues {
    /// Environment or abstract layer to extend
    #[arg(long, value_name = "BASE")]
    from: Option<String>,
    /// Variable (can be repeated)
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    set: Vec<(String, String)>,
    /// Label (can be repeated)
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    label: Vec<(String, String)>,
    /// Company of the environment (can be repeated)
    #[arg(long, value_name = "ID")]
    company: Vec<String>,
    /// Address of its service
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    service: Option<String>,
    /// Description
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// The variables of a base, which is the environment or layer to extend.
#[derive(Clone, Debug, Default)]
struct Base {
    name: Option<EnvironmentName>,
    /// The variables that the base defines.
    known: BTreeMap<String, Value>,
    /// The variables that the base uses.
    used: Vec<String>,
}

/// Parses `NAME=VALUE`.
fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=VALUE"))?;
    if name.is_empty() {
        return Err(format!("`{text}` has no name before the `=`"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

impl Runnable for New {
    fn error_format(&self) -> ErrorFormat {
        match &self.command {
            NewCommand::Environment(new) => new.output.format.into(),
            NewCommand::Profile(new) => new.output.format.into(),
        }
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let new = match &self.command {
            NewCommand::Environment(new) => new,
            NewCommand::Profile(new) => return new.create(context),
        };
        match (&new.from_csv, &new.name) {
            (Some(list), _) => new.create_all(context, list),
            (None, name) => new.create(context, name.as_deref().unwrap_or_default()),
        }
    }
}

impl NewEnvironment {
    fn create(&self, context: &Context, name: &str) -> Result<Exit, CliError> {
        let Some(repository) = Self::repository(context)? else { return self.create_first(context, name) };
        let name = check_name(&repository, name)?;
        let base = Base::find(&repository, self.values.from.as_deref())?;
        let text = self.values.text(&name, &base)?;
        let warnings = self.values.warnings(&base);
        let (folder, path) = environment_paths(&name);
        for warning in &warnings {
            context.printer.note(warning);
        }
        if self.dry_run {
            context.printer.document(&text);
            return Ok(Exit::Done);
        }
        write_new(repository.root(), &folder, &path, &text)?;
        // Opened again, so that the new file is read.
        let repository = context.repository()?;
        let mut report = repository.check(std::slice::from_ref(&name));
        if report.diagnostics.iter().any(|problem| is_from_arguments(problem, &path)) {
            // The folder was just created and contains only this file.
            let folder = repository.root().join(&folder);
            let removed =
                std::fs::remove_file(folder.join("environment.yaml")).and_then(|()| std::fs::remove_dir(folder));
            removed.map_err(|error| {
                CliError::coded(Code::Unreadable, format!("cannot remove `{}`: {error}", path.display()))
            })?;
            report.diagnostics.retain(|problem| is_from_arguments(problem, &path));
            context.printer.note(&report.human());
            return Err(CliError::coded(
                Code::Usage,
                "cannot create the environment: the arguments are invalid; nothing was written",
            )
            .remedy("Correct the problems listed above."));
        }
        self.report(context, &repository, &name, &path, report, &warnings);
        for schema in write_missing_schemas(repository.root())? {
            context.printer.note(&format!("wrote {}", schema.display()));
        }
        Ok(Exit::Done)
    }

    /// Opens the repository; none if it has no environment yet.
    fn repository(context: &Context) -> Result<Option<Arc<Repository>>, CliError> {
        match context.project() {
            Err(_) if !context.project_or_new().join("environments").exists() => Ok(None),
            _ => context.repository().map(|repository| Some(Arc::new(repository))),
        }
    }

    /// Creates the folder `environments` of a new repository, and the environment in it.
    fn create_first(&self, context: &Context, name: &str) -> Result<Exit, CliError> {
        name.parse::<EnvironmentName>().map_err(|rule| invalid_name(name, &rule))?;
        if let Some(base) = &self.values.from {
            return Err(CliError::coded(
                Code::LayerMissing,
                format!("the folder `environments/{}` does not exist", base.escape_debug()),
            )
            .remedy("The repository has no environments yet. Create the layer first, or omit `--from`."));
        }
        if self.dry_run {
            let name = name.parse().map_err(|rule| invalid_name(name, &rule))?;
            context.printer.document(&self.values.text(&name, &Base::default())?);
            return Ok(Exit::Done);
        }
        let folder = context.project_or_new().join("environments");
        std::fs::create_dir(&folder).map_err(|error| {
            CliError::coded(Code::Unwritable, format!("cannot create `{}`: {error}", folder.display()))
                .remedy("Check the permissions of the folder, or name another one with `--project DIR`.")
        })?;
        let created = self.create(context, name);
        if created.is_err() {
            // Still empty, if nothing else was written.
            drop(std::fs::remove_dir(&folder));
        }
        created
    }

    /// Reports the new file, and what is still missing.
    fn report(
        &self,
        context: &Context,
        repository: &Repository,
        name: &EnvironmentName,
        path: &Path,
        report: Report,
        warnings: &[String],
    ) {
        let missing = missing_secrets(repository, name);
        let address = repository.service_address(name);
        let mut rest = report;
        rest.diagnostics.retain(|problem| problem.code != Code::SecretMissing && problem.severity == Severity::Error);
        if self.output.format == Format::Json {
            let document = json!({
                "environment": name, "written": path.display().to_string(), "warnings": warnings,
                "missing": { "secrets": missing, "service": address.is_none() }, "problems": rest.diagnostics,
            });
            context.printer.json(&document);
            return;
        }
        context.printer.out(&format!("wrote {}", path.display()));
        if rest.has_errors() {
            context.printer.note(&format!("\nIt is not complete yet:\n\n{}", rest.human()));
        }
        let mut steps = Vec::new();
        if address.is_none() {
            steps.push(format!("service: {{ address: https://... }}          in {}", path.display()));
        }
        if !missing.is_empty() {
            let recipients = repository.root().join(Repository::recipients_path(name));
            if !recipients.exists() {
                steps.push(format!(
                    "mailwright secrets init {name} --from-service \"$(mailwright secrets keygen)\"          the service and you"
                ));
            }
            steps.extend(missing.iter().map(|reference| format!("mailwright secrets set {name} {reference}")));
        }
        if !steps.is_empty() {
            context.printer.note(&format!("\nStill missing:\n  {}", steps.join("\n  ")));
        }
        let then = if address.is_none() { "validate" } else { "plan" };
        context.printer.note(&format!("\nThen: mailwright {then} {name}"));
    }
}

impl Base {
    fn find(repository: &Repository, wanted: Option<&str>) -> Result<Self, CliError> {
        let Some(wanted) = wanted else { return Ok(Self::default()) };
        let known = repository.environments();
        if let Some(found) = known.iter().find(|known| known.as_str() == wanted) {
            let (known, used) = repository.variables(found);
            return Ok(Self { name: Some(found.clone()), known, used });
        }
        let error = CliError::coded(
            Code::LayerMissing,
            format!("the folder `environments/{}` does not exist", wanted.escape_debug()),
        );
        let names = || known.iter().map(EnvironmentName::as_str);
        Err(match suggest::nearest(wanted, names()) {
            Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
            None => error.remedy(format!("Use one of: {}.", names().take(20).collect::<Vec<_>>().join(", "))),
        })
    }
}

impl EnvironmentValues {
    /// Returns the text of the file.
    fn text(&self, name: &EnvironmentName, base: &Base) -> Result<String, CliError> {
        let mut entries: Vec<(&str, Value)> = Vec::new();
        let description =
            self.description.clone().or_else(|| base.name.is_none().then(|| format!("The environment {name}")));
        entries.extend(description.map(|text| ("description", Value::from(text))));
        entries.extend(base.name.as_ref().map(|base| ("extends", Value::from(base.as_str()))));
        if !self.company.is_empty() {
            let companies: Vec<Value> = self
                .company
                .iter()
                .map(|id| environment::company(id).map(|id| Value::from(id.to_string())))
                .collect::<Result<_, _>>()?;
            entries.push(("companies", Value::from(companies)));
        }
        if let Some(address) = &self.service {
            entries.push(("service", json!({ "address": address })));
        }
        if !self.label.is_empty() {
            entries.push(("labels", Value::Object(unique_pairs("--label", &self.label)?)));
        }
        if !self.set.is_empty() {
            let variables = unique_pairs("--set", &self.set)?.into_iter();
            let variables = variables.map(|(name, value)| {
                let value = convert(&value, base.known.get(&name));
                (name, value)
            });
            entries.push(("variables", Value::Object(variables.collect())));
        }
        Ok(file_text::render_environment(&entries))
    }

    /// Returns a warning for each variable that the base neither defines nor uses. Without a base there are none.
    fn warnings(&self, base: &Base) -> Vec<String> {
        let Base { name: Some(_), known, used } = base else { return Vec::new() };
        let unused =
            self.set.iter().map(|(name, _)| name).filter(|name| !known.contains_key(*name) && !used.contains(name));
        let line = |name: &String| {
            let names = known.keys().chain(used).map(String::as_str);
            let meant =
                suggest::nearest(name, names).map(|meant| format!(" Did you mean `{meant}`?")).unwrap_or_default();
            format!("warning[{}]: no layer defines or uses the variable `{name}`.{meant}", Code::VariableUnused)
        };
        unused.map(line).collect()
    }
}

/// Returns the folder of an environment, and its file.
fn environment_paths(name: &EnvironmentName) -> (PathBuf, PathBuf) {
    let folder = Path::new("environments").join(name.as_str());
    let path = folder.join("environment.yaml");
    (folder, path)
}

fn invalid_name(text: &str, rule: &InvalidName) -> CliError {
    CliError::coded(Code::InvalidName, format!("`{}` is not an environment's name", text.escape_debug()))
        .remedy(format!("{rule}."))
}

/// Returns the name if it is valid and not in use.
fn check_name(repository: &Repository, text: &str) -> Result<EnvironmentName, CliError> {
    let name: EnvironmentName = text.parse().map_err(|rule| invalid_name(text, &rule))?;
    let (folder, _) = environment_paths(&name);
    let known = repository.environments();
    let same = known.iter().find(|known| known.as_str().eq_ignore_ascii_case(name.as_str()));
    let existing = same
        .map(ToString::to_string)
        .or_else(|| repository.root().join(&folder).symlink_metadata().is_ok().then(|| name.to_string()));
    match existing {
        Some(existing) => Err(CliError::coded(
            Code::EnvironmentExists,
            format!("`environments/{existing}` already exists"),
        )
        .remedy(format!(
            "Choose another name, or change its environment.yaml. `mailwright render {existing}` shows its effective configuration."
        ))),
        None => Ok(name),
    }
}

/// Returns the secrets that an environment uses and that have no file yet.
fn missing_secrets(repository: &Repository, name: &EnvironmentName) -> Vec<SecretReference> {
    let is_missing =
        |reference: &SecretReference| !repository.root().join(Repository::secret_path(name, reference)).is_file();
    repository.used_secrets(name).into_keys().filter(is_missing).collect()
}

/// Returns true if a problem is caused by the arguments, and not by settings that are still missing.
fn is_from_arguments(problem: &crate::config::Diagnostic, path: &Path) -> bool {
    let file: PathBuf = problem.file.split('/').collect();
    let to_come = [Code::SecretMissing, Code::UnknownVariable, Code::MissingKey, Code::NoRoute];
    problem.severity == Severity::Error && file == path && !to_come.contains(&problem.code)
}

/// Returns pairs by name, or an error for a name that is given twice.
fn unique_pairs(option: &str, pairs: &[(String, String)]) -> Result<Map<String, Value>, CliError> {
    let mut map = Map::new();
    for (name, value) in pairs {
        if map.insert(name.clone(), Value::from(value.as_str())).is_some() {
            return Err(CliError::coded(Code::Usage, format!("`{option} {}` is given twice", name.escape_debug()))
                .remedy("Give each name once."));
        }
    }
    Ok(map)
}

/// Returns a value with its type in the base. Without a base, numbers and booleans are recognized.
fn convert(value: &Value, known: Option<&Value>) -> Value {
    let text = value.as_str().unwrap_or_default();
    // Only values that are written back unchanged: `0123` and `1e3` are text.
    let parsed = serde_json::from_str::<Value>(text)
        .ok()
        .filter(|parsed| matches!(parsed, Value::Bool(_) | Value::Number(_)))
        .filter(|parsed| serde_json::to_string(parsed).is_ok_and(|written| written == text));
    match (known, parsed) {
        (Some(Value::String(_)), _) | (_, None) => value.clone(),
        (_, Some(parsed)) => parsed,
    }
}

/// Writes a file and the folders that it is in.
fn write_parts(root: &Path, path: &Path, text: &str) -> Result<(), CliError> {
    let folder = root.join(path.parent().unwrap_or(Path::new(".")));
    std::fs::create_dir_all(folder).and_then(|()| write_atomically(&root.join(path), text.as_bytes())).map_err(
        |error| {
            CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", path.display()))
                .remedy("Check the permissions of `environments`.")
        },
    )
}

/// Writes the file into a new folder.
fn write_new(root: &Path, folder: &Path, path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", path.display()))
            .remedy("Check the permissions of `environments`.")
    };
    std::fs::create_dir(root.join(folder)).map_err(failed)?;
    write_atomically(&root.join(path), text.as_bytes()).map_err(|error| {
        // The folder is empty, so this cannot remove anything else.
        drop(std::fs::remove_dir(root.join(folder)));
        failed(error)
    })
}
