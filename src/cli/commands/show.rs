//! `mailwright show`: prints the fields of one profile, live and as the files declare them, next to each other.
//!
//! The comparison is [`crate::reconcile::comparison`]. For all profiles and the changes of an apply use `plan`. A profile that
//! neither side has, and invalid files, are an error.

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, ServiceArgs,
        args::environment::EnvironmentArg, environment, ui::table::table,
    },
    config::suggest,
    model::{Code, ProfileName},
    reconcile,
    time::local::format_time,
};

/// Compare one live profile with its files
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright show prod invoices\n  \
    mailwright show prod invoices --format json")]
pub(crate) struct Show {
    #[command(flatten)]
    environment: EnvironmentArg,
    /// Profile
    #[arg(value_name = "PROFILE")]
    profile: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

impl Runnable for Show {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (environment, profile) = self.environment.find_before_one(context, &self.profile, "a profile")?;
        let desired = environment.desired(context)?;
        let client = environment.client(context, &self.service)?;
        let state = context.runtime()?.block_on(environment::state(&client, &environment.name))?;
        let name = environment::profile_name(&profile)?;
        let (wanted, found) = (desired.profiles.get(&name), state.profiles.get(&name));
        if wanted.is_none() && found.is_none() {
            let error = CliError::coded(Code::NotFound, format!("no profile `{name}` in the files or in the service"));
            let known = desired.profiles.keys().chain(state.profiles.keys()).map(ProfileName::as_str);
            return Err(match suggest::nearest(name.as_str(), known) {
                Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
                None => error.remedy(format!("`mailwright status {}` lists the live ones.", environment.name)),
            });
        }
        let live = found.and_then(|found| found.live.as_ref());
        let applied = found.and_then(|found| found.applied());
        if self.output.format == Format::Json {
            let document = json!({
                "environment": environment.name, "generation": state.generation, "name": name, "desired": wanted.map(|wanted| &wanted.stored), "live": live, "applied": applied,
                "changed": found.map(|found| &found.changed), "place": wanted.map(|wanted| &wanted.place),
            });
            context.printer.json(&document);
            return Ok(Exit::Done);
        }
        let mut lines = vec![format!("{name}")];
        lines.push(match wanted {
            Some(wanted) => format!("files    {}", wanted.place),
            None => "files    not declared".to_owned(),
        });
        lines.push(match found {
            Some(found) => {
                let what = if found.live.is_some() { "changed" } else { "removed" };
                let managed = match found {
                    found if found.is_restored() => "; the last apply had removed it",
                    found if found.is_managed() => "",
                    _ => "; no apply has ever set it",
                };
                let changed = &found.changed;
                format!(
                    "service  {what} by `{}` at {} (generation {}, {}){managed}",
                    crate::text::printable(&changed.by),
                    format_time(changed.at),
                    changed.generation,
                    changed.kind.id()
                )
            }
            None => "service  not present".to_owned(),
        });
        lines.push(String::new());
        let rows = reconcile::compare_profile(wanted.map(|wanted| &wanted.stored), live).into_iter().map(|row| {
            let mark = if row.differs { "~" } else { "" };
            vec![mark.to_owned(), row.path, row.desired, row.live]
        });
        lines.push(table(&["", "field", "desired", "live"], rows));
        context.printer.out(&lines.join("\n"));
        Ok(Exit::Done)
    }
}
