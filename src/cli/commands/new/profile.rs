//! `mailwright new profile`: writes a profile with comments on the other settings into an environment or a layer.
//!
//! The arguments are those of `args::profile`, the text is rendered by [`crate::config::scaffold`]. The file is checked together
//! with the rest of the environment before it is written. No secret is asked for; the next commands are printed. If the file has an
//! error, nothing is written; variables that are not defined are accepted.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, Exit, Format, OutputArgs,
        args::profile::ProfileArgs,
        commands::new::write_parts,
        environment::{Environment, company, profile_name},
        schema_files::write_missing_schemas,
    },
    config::{Repository, scaffold::UNREGISTERED_CLIENT},
    import::check_files,
    model::{Code, EnvironmentName, code::Severity},
};

/// Write a profile with comments, into an environment or a layer
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright new profile relay --provider smtp --host smtp.example.com \\\n      \
    --username erp --from erp@example.com\n  \
    mailwright new profile documents --provider microsoft-graph-direct \\\n      \
    --tenant contoso.onmicrosoft.com --from documents@contoso.com \\\n      \
    --function all-documents --environment prod\n  \
    mailwright new profile web --provider microsoft-graph-delegate --platform spa \\\n      \
    --tenant contoso.onmicrosoft.com --redirect https://erp.example.com/web\n  \
    mailwright new profile relay --environment base --provider smtp \\\n      \
    --host '${relayHost}' --from 'erp@${domain}'\n\n\
    Nothing is overwritten. Values may contain variables of the environment. Without\n\
    `--client`, the application is still to be registered: the next command is\n\
    `mailwright microsoft register`.")]
pub(super) struct NewProfileCommand {
    /// Name of the profile
    name: String,
    /// Environment or layer [default: the only environment]
    #[arg(long, value_name = "ENV")]
    environment: Option<String>,
    /// Company that the profile applies to (can be repeated) [default: system-wide]
    #[arg(long, value_name = "ID")]
    company: Vec<String>,
    #[command(flatten)]
    settings: ProfileArgs,
    /// Print the file without writing it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

impl NewProfileCommand {
    pub(super) fn create(&self, context: &Context) -> Result<Exit, CliError> {
        let repository = std::sync::Arc::new(context.repository()?);
        let environment = self.environment(&repository)?;
        let name = profile_name(&self.name)?;
        self.company.iter().try_for_each(|id| company(id).map(drop))?;
        let profile = self.settings.profile(name.as_str(), &self.company)?;
        if repository.profile_names(&environment).contains(&name) {
            return Err(CliError::coded(
                Code::EnvironmentExists,
                format!("`{environment}` already has a profile `{name}`"),
            )
            .remedy(format!(
                "Change its file, or choose another name. `mailwright render {environment} {name}` shows it."
            )));
        }
        let path = Path::new("environments").join(environment.as_str()).join("profiles").join(format!("{name}.yaml"));
        let text = profile.render(environment.as_str());
        let (report, _) = check_files(
            repository.root(),
            &BTreeSet::from([environment.clone()]),
            &BTreeMap::from([(path.clone(), text.clone())]),
        )
        .map_err(|error| CliError::coded(Code::Unreadable, format!("cannot check the file: {error}")))?;
        let mut own = report;
        own.diagnostics.retain(|problem| {
            // A layer may use variables that only its environments set.
            let is_own = Path::new(&problem.file) == path && problem.code != Code::UnknownVariable;
            is_own && problem.severity == Severity::Error
        });
        if own.has_errors() {
            context.printer.note(&own.human());
            return Err(CliError::coded(Code::Usage, "the arguments do not make a valid profile; nothing was written")
                .remedy("Correct the arguments that the problems above concern."));
        }
        if self.dry_run && self.output.format == Format::Human {
            context.printer.document(&text);
            return Ok(Exit::Done);
        }
        let mut schemas = Vec::new();
        if !self.dry_run {
            write_parts(repository.root(), &path, &text)?;
            schemas = write_missing_schemas(repository.root())?;
        }
        let mut next = Vec::new();
        if profile.application().is_some_and(|application| application.client == UNREGISTERED_CLIENT) {
            next.push(format!("mailwright microsoft register {environment} {name}"));
        }
        if let Some(key) = profile.secret_key() {
            // A layer has no secrets; each environment that extends it has its own.
            let is_layer = repository.is_abstract(&environment);
            let heir = if is_layer { find_heir(&repository, &environment) } else { Some(environment.clone()) };
            let target = heir.as_ref().map_or("ENV", EnvironmentName::as_str);
            next.push(format!("mailwright secrets set {target} {name}/{key}"));
        }
        if self.output.format == Format::Json {
            let document = json!({
                "environment": environment, "profile": name, "dryRun": self.dry_run,
                "written": path.display().to_string(), "schemas": schemas, "next": next,
            });
            context.printer.json(&document);
            return Ok(Exit::Done);
        }
        context.printer.out(&format!("wrote {}", path.display()));
        next.push(if repository.is_abstract(&environment) {
            "mailwright validate".to_owned()
        } else {
            format!("mailwright plan {environment}")
        });
        context.printer.note(&format!("\nNext:\n  {}", next.join("\n  ")));
        Ok(Exit::Done)
    }

    /// Returns the environment that is named, or the only one that is not abstract.
    fn environment(&self, repository: &std::sync::Arc<Repository>) -> Result<EnvironmentName, CliError> {
        if let Some(name) = &self.environment {
            return Ok(Environment::find_in(repository, name)?.name);
        }
        let names = repository.environments();
        let mut concrete = names.iter().filter(|name| !repository.is_abstract(name));
        if let (Some(only), None) = (concrete.next(), concrete.next()) {
            return Ok(only.clone());
        }
        let names: Vec<&str> = names.iter().map(EnvironmentName::as_str).collect();
        Err(CliError::coded(Code::EnvironmentNotNamed, "the repository has several environments, and none is named")
            .remedy(format!("Pass `--environment` with one of: {}.", names.join(", "))))
    }
}

/// Returns the first environment that extends a layer directly and is not a layer itself.
fn find_heir(repository: &Repository, layer: &EnvironmentName) -> Option<EnvironmentName> {
    let extends = |name: &EnvironmentName| {
        let document = repository.own_document(name).unwrap_or_default();
        let named = &document["extends"];
        named == layer.as_str() || named.as_array().is_some_and(|all| all.iter().any(|one| one == layer.as_str()))
    };
    repository.environments().into_iter().find(|name| !repository.is_abstract(name) && extends(name))
}
