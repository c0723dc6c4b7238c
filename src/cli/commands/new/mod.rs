//! `mailwright new environment`: a folder with a short file, checked before it is left behind; one, or many from a list.

mod list;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use crate::{
    cli::{CliError, Context, ErrorFormat, Exit, Format, Runnable, environment},
    config::{Report, Repository, suggest, write},
    fs::write_atomically,
    model::{Code, EnvironmentName, InvalidName, SecretReference, code::Severity},
};

/// Make an environment: a folder with a short file
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright new environment acme --from base --set domain=acme.example --company ACME\n  \
    mailwright new environment --from base --from-csv customers.csv\n  \
    mailwright new environment --help"
)]
pub(crate) struct New {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A folder under `environments/` with its environment.yaml
    Environment(NewEnvironment),
}

/// A folder under `environments/` with its environment.yaml; one, or many from a list
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailwright new environment [OPTIONS] <NAME>\n       mailwright new environment [OPTIONS] --from-csv <FILE>",
    after_help = "Examples:\n  mailwright new environment acme --from base --set domain=acme.example --set relayPort=587\n  \
    mailwright new environment acme --from base --label region=emea --company ACME --company \"10\" \\\n      \
    --service https://mail.acme.example\n  \
    mailwright new environment acme --from base --dry-run       prints the file\n  \
    mailwright new environment --from base --from-csv customers.csv --label wave=1\n\n\
    A variable keeps the type that the base gives it; a new one is a number or a truth value if it looks like one.\n\
    Nothing is overwritten, and nothing is left behind that would not be understood. Secrets and whatever else is\n\
    missing are listed.\n\n\
    A list is a spreadsheet saved as CSV, an environment a line. Its first line names the columns: name, from,\n\
    description, service, companies, label:NAME, set:NAME; any other column is a variable that the base has or takes:\n  \
    name,companies,domain,label:region,service\n  \
    acme,ACME;10,acme.example,emea,https://mail.acme.example\n\
    What is given on the command line is for every line that does not say otherwise. All are made, or none."
)]
struct NewEnvironment {
    /// Its name, and that of its folder
    #[arg(required_unless_present = "from_csv")]
    name: Option<String>,
    /// A list: an environment a line
    #[arg(long, value_name = "FILE", conflicts_with = "name", value_hint = clap::ValueHint::FilePath)]
    from_csv: Option<PathBuf>,
    #[command(flatten)]
    given: Given,
    /// Print the file, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// How to print what was done
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
}

/// What is to stand in the file.
#[derive(Clone, Debug, clap::Args)]
struct Given {
    /// The environment or abstract layer that it extends
    #[arg(long, value_name = "BASE")]
    from: Option<String>,
    /// A variable; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// A label; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// A company that exists in it; may be given several times
    #[arg(long, value_name = "ID")]
    company: Vec<String>,
    /// The address of its service
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    service: Option<String>,
    /// What it is
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// What a base has and takes.
#[derive(Clone, Debug, Default)]
struct Base {
    name: Option<EnvironmentName>,
    /// The variables that it has.
    known: BTreeMap<String, Value>,
    /// Those that something in it takes.
    taken: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=VALUE"))?;
    if name.is_empty() {
        return Err(format!("`{text}` has no name before the `=`"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

impl Runnable for New {
    fn error_format(&self) -> ErrorFormat {
        let What::Environment(new) = &self.what;
        new.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let What::Environment(new) = &self.what;
        match (&new.from_csv, &new.name) {
            (Some(list), _) => new.make_all(context, list),
            (None, name) => new.make(context, name.as_deref().unwrap_or_default()),
        }
    }
}

impl NewEnvironment {
    fn make(&self, context: &Context, name: &str) -> Result<Exit, CliError> {
        let repository = context.repository()?;
        let name = free_name(&repository, name)?;
        let base = Base::find(&repository, self.given.from.as_deref())?;
        let text = self.given.text(&name, &base)?;
        let warnings = self.given.warnings(&base);
        let (folder, path) = places(&name);
        for warning in &warnings {
            context.printer.note(warning);
        }
        if self.dry_run {
            context.printer.out(&text);
            return Ok(Exit::Done);
        }
        write_new(repository.root(), &folder, &path, &text)?;
        // Opened anew: what was read before knows nothing of it.
        let repository = context.repository()?;
        let mut report = repository.check(std::slice::from_ref(&name));
        if report.diagnostics.iter().any(|problem| is_own(problem, &path)) {
            // Of an environment that was just made nothing but this file can be there.
            let folder = repository.root().join(&folder);
            let gone = std::fs::remove_file(folder.join("environment.yaml")).and_then(|()| std::fs::remove_dir(folder));
            gone.map_err(|error| {
                CliError::coded(Code::Unreadable, format!("cannot take back `{}`: {error}", path.display()))
            })?;
            report.diagnostics.retain(|problem| is_own(problem, &path));
            context.printer.note(&report.human());
            return Err(CliError::coded(Code::Usage, "what was given makes no sense, so nothing was written")
                .remedy("Correct it as said above."));
        }
        self.tell(context, &repository, &name, &path, report, &warnings);
        Ok(Exit::Done)
    }

    /// What was made, and what is still missing.
    fn tell(
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
        if self.format == Format::Json {
            let document = json!({
                "environment": name, "written": path.display().to_string(), "warnings": warnings,
                "missing": { "secrets": missing, "service": address.is_none() }, "problems": rest.diagnostics,
            });
            context.printer.out(&format!("{document:#}"));
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
            let recipients = repository.root().join("secrets").join(name.as_str()).join("recipients.txt");
            if !recipients.exists() {
                steps.push(format!("mailwright secrets init {name} RECIPIENT..."));
            }
            steps.extend(missing.iter().map(|reference| format!("mailwright secrets set {name} {reference}")));
        }
        if !steps.is_empty() {
            context.printer.note(&format!("\nStill missing:\n  {}", steps.join("\n  ")));
        }
        context.printer.note(&format!("\nThen: mailwright plan {name}"));
    }
}

impl Base {
    fn find(repository: &Repository, wanted: Option<&str>) -> Result<Self, CliError> {
        let Some(wanted) = wanted else { return Ok(Self::default()) };
        let known = repository.environments();
        if let Some(found) = known.iter().find(|known| known.as_str() == wanted) {
            let (known, taken) = repository.variables(found);
            return Ok(Self { name: Some(found.clone()), known, taken });
        }
        let error = CliError::coded(
            Code::LayerMissing,
            format!("the folder `environments/{}` does not exist", wanted.escape_debug()),
        );
        let names = || known.iter().map(EnvironmentName::as_str);
        Err(match suggest::nearest(wanted, names()) {
            Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
            None => error.remedy(format!("There are: {}.", names().take(20).collect::<Vec<_>>().join(", "))),
        })
    }
}

impl Given {
    /// The text of the file.
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
            entries.push(("labels", Value::Object(once("--label", &self.label)?)));
        }
        if !self.set.is_empty() {
            let variables = once("--set", &self.set)?.into_iter();
            let variables = variables.map(|(name, value)| {
                let value = typed(&value, base.known.get(&name));
                (name, value)
            });
            entries.push(("variables", Value::Object(variables.collect())));
        }
        Ok(write::render_environment(&entries))
    }

    /// Variables that nothing takes. Without a base nothing is known of that.
    fn warnings(&self, base: &Base) -> Vec<String> {
        let Base { name: Some(_), known, taken } = base else { return Vec::new() };
        let unused =
            self.set.iter().map(|(name, _)| name).filter(|name| !known.contains_key(*name) && !taken.contains(name));
        let line = |name: &String| {
            let names = known.keys().chain(taken).map(String::as_str);
            let meant =
                suggest::nearest(name, names).map(|meant| format!(" Did you mean `{meant}`?")).unwrap_or_default();
            format!("warning[{}]: no layer defines or uses the variable `{name}`.{meant}", Code::VariableUnused)
        };
        unused.map(line).collect()
    }
}

/// The folder of an environment, and its file.
fn places(name: &EnvironmentName) -> (PathBuf, PathBuf) {
    let folder = Path::new("environments").join(name.as_str());
    let path = folder.join("environment.yaml");
    (folder, path)
}

/// The name, if it is one and nobody has it.
fn free_name(repository: &Repository, text: &str) -> Result<EnvironmentName, CliError> {
    let name: EnvironmentName = text.parse().map_err(|rule: InvalidName| {
        CliError::coded(Code::InvalidName, format!("`{}` is not an environment's name", text.escape_debug()))
            .remedy(format!("{rule}."))
    })?;
    let (folder, _) = places(&name);
    let known = repository.environments();
    let same = known.iter().find(|known| known.as_str().eq_ignore_ascii_case(name.as_str()));
    let there = same
        .map(ToString::to_string)
        .or_else(|| repository.root().join(&folder).symlink_metadata().is_ok().then(|| name.to_string()));
    match there {
        Some(there) => Err(CliError::coded(
            Code::EnvironmentExists,
            format!("`environments/{there}` is there already"),
        )
        .remedy(format!(
            "Choose another name, or change its environment.yaml. `mailwright render {there}` shows what it amounts to."
        ))),
        None => Ok(name),
    }
}

/// The secrets that an environment names and that have no file yet.
fn missing_secrets(repository: &Repository, name: &EnvironmentName) -> Vec<SecretReference> {
    let is_missing =
        |reference: &SecretReference| !repository.root().join(Repository::secret_path(name, reference)).is_file();
    repository.used_secrets(name).into_keys().filter(is_missing).collect()
}

/// Whether a problem is of what was given on the command line, and not of what is still to come.
fn is_own(problem: &crate::config::Diagnostic, path: &Path) -> bool {
    let file: PathBuf = problem.file.split('/').collect();
    let to_come = [Code::SecretMissing, Code::UnknownVariable, Code::MissingKey, Code::NoRoute];
    problem.severity == Severity::Error && file == path && !to_come.contains(&problem.code)
}

/// Pairs by name; one that is given twice is refused.
fn once(option: &str, pairs: &[(String, String)]) -> Result<Map<String, Value>, CliError> {
    let mut map = Map::new();
    for (name, value) in pairs {
        if map.insert(name.clone(), Value::from(value.as_str())).is_some() {
            return Err(CliError::coded(Code::Usage, format!("`{option} {}` is given twice", name.escape_debug()))
                .remedy("Give each name once."));
        }
    }
    Ok(map)
}

/// A value with the type that the base has for it; without a base, that which it looks like.
fn typed(value: &Value, known: Option<&Value>) -> Value {
    let text = value.as_str().unwrap_or_default();
    // Only what is written back as it was: `0123` and `1e3` are text.
    let parsed = serde_json::from_str::<Value>(text)
        .ok()
        .filter(|parsed| matches!(parsed, Value::Bool(_) | Value::Number(_)))
        .filter(|parsed| serde_json::to_string(parsed).is_ok_and(|written| written == text));
    match (known, parsed) {
        (Some(Value::String(_)), _) | (_, None) => value.clone(),
        (_, Some(parsed)) => parsed,
    }
}

/// Writes the file into a folder that must not be there yet.
fn write_new(root: &Path, folder: &Path, path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", path.display()))
            .remedy("Look at the permissions of `environments`.")
    };
    std::fs::create_dir(root.join(folder)).map_err(failed)?;
    write_atomically(&root.join(path), text.as_bytes()).map_err(|error| {
        // What is left of it is empty.
        drop(std::fs::remove_dir(root.join(folder)));
        failed(error)
    })
}
