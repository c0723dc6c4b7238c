//! `mailwright import`: writes files for existing profiles, of a service, of a list, or of a patch of the console.
//!
//! Existing files are not overwritten, except for each `environment.yaml` with `--layers`, and the files of a patch. Lists and layers are checked as a whole
//! before anything is written; profiles of a service are written one by one, and those that were written remain after an error.

mod layers;
mod list;
mod patch;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceArgs,
        environment::{self, Environment},
        schema_files::write_missing_schemas,
    },
    config::Repository,
    fs::write_atomically,
    model::{Code, EnvironmentName, ProfileName, SecretReference, StoredProfile, file_text},
};

/// Write files for existing profiles: of a service, of whole services, or of a list
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright import prod --dry-run               lists what would be written\n  \
    mailwright import prod                         profiles that only the service has\n  \
    mailwright import prod --only invoices\n  \
    mailwright import 'cust-*' --layers customers  whole services: shared values become a base with variables\n  \
    mailwright import prod --from profiles.csv     a list of profiles; CSV or JSON\n  \
    mailwright import --patch invoices.patch       a change that was made in the console\n\n\
    Existing files are not overwritten, except for each environment.yaml with\n\
    --layers, and the files of a patch. Secrets cannot be read back: the file names them, and `mailwright\n\
    secrets set` seals their values again. Schemas that the files name for editors\n\
    are written to schema/.\n\n\
    --layers needs environments that consist of an environment.yaml with the\n\
    service's address, and replaces that file: its description, labels, service and\n\
    verify stay, comments do not. The proposed files are validated and planned\n\
    first, and are written only if the plan has no changes.\n\n\
    --patch applies a patch of the console to files in any form, YAML or JSON, in\n\
    the environment's own folder. Comments stay where that is possible. Nothing is\n\
    committed, and no service is asked. `git am` fits only files in the form that\n\
    Mailwright writes.\n\n\
    The first line of a list names the columns: name, environment, description,\n\
    enabled, provider, host, port, encryption, username, from, from name, functions,\n\
    companies, tenant, client, credential, platform, redirect, cloud, address book.\n\
    The names of the ERP's own fields are understood as well: SMTP Host name,\n\
    Outgoing email address, Apply to, Select companies, SSL, Tenant ID, Client ID,\n\
    Redirect URL. A column with passwords is rejected. A cell may contain several\n\
    functions or companies, separated by semicolons or vertical bars; in JSON it may\n\
    be a list of texts. A profile without companies is system-wide; in JSON, leave\n\
    the key out for that, because an empty value is an error.")]
pub(crate) struct Import {
    /// Environment; with `--layers` several, or patterns
    #[arg(value_name = "ENV")]
    environments: Vec<String>,
    /// With `--layers`: environments with these labels (`region=emea,!frozen`)
    #[arg(short = 'l', long, value_name = "LABELS", requires = "layers")]
    selector: Vec<String>,
    /// Import whole services: write shared values to this new folder, and the rest to the environments
    #[arg(long, value_name = "BASE", conflicts_with_all = ["only", "from"])]
    layers: Option<EnvironmentName>,
    /// List of profiles, CSV or JSON
    #[arg(long, value_name = "FILE", conflicts_with = "only", value_hint = clap::ValueHint::FilePath)]
    from: Option<PathBuf>,
    /// Patch of the console: apply it to the files, whatever their form is
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "from", "layers", "environments"], value_hint = clap::ValueHint::FilePath)]
    patch: Option<PathBuf>,
    /// Only this profile (can be repeated)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// List the files without writing them
    #[arg(long)]
    dry_run: bool,
    /// Output format
    #[arg(long, value_parser = Format::text_or_json(), default_value = Format::HUMAN, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    service: ServiceArgs,
}

impl Runnable for Import {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        if let Some(patch) = &self.patch {
            return self.import_patch(context, patch);
        }
        match (&self.layers, &self.from) {
            (Some(base), _) => self.import_layers(context, base),
            (None, Some(list)) => self.import_list(context, list),
            (None, None) => self.import(context),
        }
    }
}

impl Import {
    /// Returns the environment, or an error if several are named. Without a name it is the only one.
    fn single_environment(&self, repository: &Arc<Repository>) -> Result<Environment, CliError> {
        match &self.environments[..] {
            [] => Environment::only_in(repository),
            [one] => Environment::find_in(repository, one),
            _ => Err(CliError::coded(Code::SeveralEnvironments, "exactly one environment is required")
                .remedy("Name one environment. Several are possible with `--layers BASE`, or in a list with a column `environment`.")),
        }
    }

    fn import(&self, context: &Context) -> Result<Exit, CliError> {
        let environment = self.single_environment(&Arc::new(context.repository()?))?;
        let client = environment.client(context, &self.service)?;
        let state = context.runtime()?.block_on(environment::state(&client, &environment.name))?;
        let only = self.only.iter().map(|name| environment::profile_name(name)).collect::<Result<Vec<_>, _>>()?;
        if let Some(missing) = only.iter().find(|name| state.profiles.get(*name).is_none_or(|p| p.live.is_none())) {
            return Err(CliError::coded(Code::NotFound, format!("the service has no profile `{missing}`"))
                .remedy(format!("`mailwright status {}` lists the live ones.", environment.name)));
        }
        let declared = environment.repository.profile_names(&environment.name);
        let missing: Vec<(&ProfileName, &StoredProfile)> = state
            .live_stored()
            .filter(|(name, _)| !declared.contains(*name) && (only.is_empty() || only.contains(name)))
            .collect();

        let folder = PathBuf::from("environments").join(environment.name.as_str()).join("profiles");
        let mut written = Vec::new();
        let mut secrets = Vec::new();
        for (name, stored) in missing {
            let path = folder.join(format!("{name}.yaml"));
            if !self.dry_run {
                write_new(environment.repository.root(), &path, &file_text::render_profile(&stored.profile))?;
            }
            written.push(path.display().to_string());
            for reference in stored.file_names() {
                let file = Repository::secret_path(&environment.name, &reference);
                if !environment.repository.root().join(file).exists() && !secrets.contains(&reference) {
                    secrets.push(reference);
                }
            }
        }
        if self.format == Format::Json {
            let document = json!({ "environment": environment.name, "dryRun": self.dry_run, "written": written, "secretsToSet": secrets });
            context.printer.json(&document);
            return Ok(Exit::Done);
        }
        if written.is_empty() {
            context.printer.out("Nothing to import: every live profile has a file.");
            return Ok(Exit::Done);
        }
        let verb = if self.dry_run { "would write" } else { "wrote" };
        for path in &written {
            context.printer.out(&format!("{verb} {path}"));
        }
        let named: Vec<_> = secrets.into_iter().map(|reference| (environment.name.clone(), reference)).collect();
        report_missing_secrets(context, &named);
        context.printer.note(&format!("\nThen: mailwright plan {}", environment.name));
        Ok(Exit::Done)
    }
}

/// Returns the document of each environment, by name: its files, and its secrets without a value.
fn documents_by_name<'n>(
    names: impl Iterator<Item = &'n EnvironmentName>,
    written: &[String],
    missing: &BTreeSet<(EnvironmentName, SecretReference)>,
) -> serde_json::Map<String, serde_json::Value> {
    let document = |name: &EnvironmentName| {
        let folder = Path::new("environments").join(name.as_str());
        let own: Vec<&String> = written.iter().filter(|path| Path::new(path).starts_with(&folder)).collect();
        let secrets: Vec<_> = missing.iter().filter(|(owner, _)| owner == name).map(|(_, secret)| secret).collect();
        (name.to_string(), json!({ "environment": name, "written": own, "secretsToSet": secrets }))
    };
    names.map(document).collect()
}

/// Writes a new file.
fn write_new(root: &Path, path: &Path, text: &str) -> Result<(), CliError> {
    if root.join(path).exists() {
        return Err(cannot_write(path, &"it already exists"));
    }
    write_file(root, path, text)
}

/// Writes a file, and replaces an existing one.
fn write_file(root: &Path, path: &Path, text: &str) -> Result<(), CliError> {
    let target = root.join(path);
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder).map_err(|error| cannot_write(path, &error))?;
    }
    write_atomically(&target, text.as_bytes()).map_err(|error| cannot_write(path, &error))?;
    // The first line of the file names a schema.
    write_missing_schemas(root).map(drop)
}

fn cannot_write(path: &Path, error: &dyn std::fmt::Display) -> CliError {
    CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", path.display()))
        .remedy("Files that were written before remain; run the command again.")
}

/// Reports the secrets without a file, with the commands that seal them.
fn report_missing_secrets<'a>(
    context: &Context,
    secrets: impl IntoIterator<Item = &'a (EnvironmentName, SecretReference)>,
) {
    let mut secrets = secrets.into_iter().peekable();
    if secrets.peek().is_some() {
        context.printer.note("\nThese secrets cannot be read back. Seal each value again:");
    }
    for (environment, reference) in secrets {
        context.printer.note(&match reference.next_of() {
            Some(current) => {
                format!("  mailwright secrets rotate {environment} {current}    # the service has a next value")
            }
            None => format!("  mailwright secrets set {environment} {reference}"),
        });
    }
}
