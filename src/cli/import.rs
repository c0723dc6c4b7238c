//! `mailwright import`: writes files for profiles that exist only in the service.

use std::path::PathBuf;

use serde_json::json;

use super::{
    CliError, Context, Exit, ServiceOptions,
    environment::{self, Environment},
    plan::{self, Format},
};
use crate::{
    config::{write, write_atomically},
    model::{Code, ProfileName, StoredProfile},
};

/// Write files for profiles that exist only in the service
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright import prod --dry-run     lists what would be written\n  mailwright import prod\n  \
    mailwright import prod --only invoices\n\n\
    A file that is there already is never overwritten. A secret cannot be read back: the file names it, and\n\
    `mailwright secrets set` seals its value once more."
)]
pub(crate) struct Import {
    /// The environment
    environment: String,
    /// Only this profile; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// List what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    service: ServiceOptions,
}

impl Import {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, CliError> {
        plan::json_even_on_errors(context, self.format == Format::Json, || self.import(context))
    }

    fn import(&self, context: &Context) -> Result<Exit, CliError> {
        let environment = Environment::find(context, &self.environment)?;
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
                write_profile(&environment, &path, stored)?;
            }
            written.push(path.display().to_string());
            for reference in stored.secrets.keys() {
                let (part, key) = reference.parts();
                let file = format!("secrets/{}/{part}/{key}.age", environment.name);
                if !environment.repository.root().join(file).exists() && !secrets.contains(reference) {
                    secrets.push(reference.clone());
                }
            }
        }
        if self.format == Format::Json {
            let document = json!({ "environment": environment.name, "dryRun": self.dry_run, "written": written, "secretsToSet": secrets });
            context.printer.out(&format!("{document:#}"));
            return Ok(Exit::Done);
        }
        if written.is_empty() {
            context.printer.out("Nothing to import: every live profile has its file.");
            return Ok(Exit::Done);
        }
        let verb = if self.dry_run { "would write" } else { "wrote" };
        for path in &written {
            context.printer.out(&format!("{verb} {path}"));
        }
        if !secrets.is_empty() {
            context.printer.note("\nThese secrets cannot be read back. Seal each value once more:");
            for reference in &secrets {
                context.printer.note(&format!("  mailwright secrets set {} {reference}", environment.name));
            }
        }
        context.printer.note(&format!("\nThen: mailwright plan {}", environment.name));
        Ok(Exit::Done)
    }
}

fn write_profile(environment: &Environment, path: &std::path::Path, stored: &StoredProfile) -> Result<(), CliError> {
    let target = environment.repository.root().join(path);
    let failed = |error: &dyn std::fmt::Display| {
        CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", path.display()))
            .remedy("What was written before it stays; run the command again.")
    };
    if target.exists() {
        return Err(failed(&"it is there already"));
    }
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    }
    write_atomically(&target, write::profile(&stored.profile).as_bytes()).map_err(|error| failed(&error))
}
