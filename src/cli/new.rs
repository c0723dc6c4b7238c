//! `mailwright new environment`: a folder with a short file, checked before it is left behind.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{
    CliError, Context, Exit, environment,
    plan::{self, Format},
};
use crate::{
    config::{Report, Repository, suggest, write, write_atomically},
    model::{Code, EnvironmentName, SecretReference, code::Severity},
};

/// Make an environment: a folder with a short file
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright new environment acme --from base --set domain=acme.example --company ACME\n  \
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

/// A folder under `environments/` with its environment.yaml
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright new environment acme --from base --set domain=acme.example --set relayPort=587\n  \
    mailwright new environment acme --from base --label region=emea --company ACME --company \"10\" \\\n      \
    --service https://mail.acme.example\n  \
    mailwright new environment acme --from base --dry-run       prints the file\n\n\
    A variable keeps the type that the base gives it; a new one is a number or a truth value if it looks like one.\n\
    Nothing is overwritten, and nothing is left behind that would not be understood. Secrets and whatever else is\n\
    missing are listed."
)]
struct NewEnvironment {
    /// Its name, and that of its folder
    name: String,
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
    /// Print the file, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// How to print what was done
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=VALUE"))?;
    if name.is_empty() {
        return Err(format!("`{text}` has no name before the `=`"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

impl New {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let What::Environment(new) = self.what;
        plan::json_even_on_errors(context, new.format == Format::Json, || new.make(context))
    }
}

impl NewEnvironment {
    fn make(&self, context: &Context) -> Result<Exit, CliError> {
        let repository = context.repository()?;
        let name = self.free_name(&repository)?;
        let base = self.base(&repository)?;
        let (known, taken) = base.as_ref().map(|base| repository.variables(base)).unwrap_or_default();
        let text = self.text(base.as_ref(), &known)?;
        let warnings = if base.is_some() { self.warnings(&known, &taken) } else { Vec::new() };
        let folder = Path::new("environments").join(name.as_str());
        let path = folder.join("environment.yaml");
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

    /// The name, if it is one and nobody has it.
    fn free_name(&self, repository: &Repository) -> Result<EnvironmentName, CliError> {
        let name: EnvironmentName = self.name.parse().map_err(|_| {
            CliError::coded(Code::InvalidName, format!("`{}` is not an environment's name", self.name.escape_debug()))
                .remedy(format!("{}.", EnvironmentName::RULE))
        })?;
        let folder = Path::new("environments").join(name.as_str());
        let known = repository.environments();
        let same = known.iter().find(|known| known.as_str().eq_ignore_ascii_case(name.as_str()));
        let there = same
            .map(ToString::to_string)
            .or_else(|| repository.root().join(&folder).symlink_metadata().is_ok().then(|| name.to_string()));
        match there {
            Some(there) => Err(CliError::coded(Code::EnvironmentExists, format!("`environments/{there}` is there already"))
                .remedy(format!("Choose another name, or change its environment.yaml. `mailwright render {there}` shows what it amounts to."))),
            None => Ok(name),
        }
    }

    fn base(&self, repository: &Repository) -> Result<Option<EnvironmentName>, CliError> {
        let Some(wanted) = &self.from else { return Ok(None) };
        let known = repository.environments();
        if let Some(found) = known.iter().find(|known| known.as_str() == wanted) {
            return Ok(Some(found.clone()));
        }
        let error =
            CliError::coded(Code::LayerMissing, format!("there is no folder `environments/{}`", wanted.escape_debug()));
        let names = || known.iter().map(EnvironmentName::as_str);
        Err(match suggest::nearest(wanted, names()) {
            Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
            None => error.remedy(format!("There are: {}.", names().take(20).collect::<Vec<_>>().join(", "))),
        })
    }

    /// The text of its file.
    fn text(
        &self,
        base: Option<&EnvironmentName>,
        known: &std::collections::BTreeMap<String, Value>,
    ) -> Result<String, CliError> {
        let mut entries: Vec<(&str, Value)> = Vec::new();
        let description =
            self.description.clone().or_else(|| base.is_none().then(|| format!("The environment {}", self.name)));
        entries.extend(description.map(|text| ("description", Value::from(text))));
        entries.extend(base.map(|base| ("extends", Value::from(base.as_str()))));
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
                let value = typed(&value, known.get(&name));
                (name, value)
            });
            entries.push(("variables", Value::Object(variables.collect())));
        }
        Ok(write::environment(&entries))
    }

    /// Variables that nothing takes.
    fn warnings(&self, known: &std::collections::BTreeMap<String, Value>, taken: &[String]) -> Vec<String> {
        let unused =
            self.set.iter().map(|(name, _)| name).filter(|name| !known.contains_key(*name) && !taken.contains(name));
        let line = |name: &String| {
            let names = known.keys().chain(taken).map(String::as_str);
            let meant =
                suggest::nearest(name, names).map(|meant| format!(" Did you mean `{meant}`?")).unwrap_or_default();
            format!("warning[{}]: no layer has or takes the variable `{name}`.{meant}", Code::VariableUnused)
        };
        unused.map(line).collect()
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
        let missing: Vec<SecretReference> = repository
            .used_secrets(name)
            .into_keys()
            .filter(|reference| !repository.root().join(Repository::secret_path(name, reference)).is_file())
            .collect();
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

/// Whether a problem is of what was given on the command line, and not of what is still to come.
fn is_own(problem: &crate::config::Diagnostic, path: &Path) -> bool {
    let file: PathBuf = problem.file.split('/').collect();
    let to_come = [Code::SecretMissing, Code::UnknownVariable, Code::MissingKey, Code::NobodySends];
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
