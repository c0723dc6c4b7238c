//! `mailwright status`: the service and its environment at a glance.

use serde_json::json;

use super::{
    CliError, Context, Exit, ServiceOptions,
    environment::{self, Environment},
    plan::{self, Format},
};
use crate::{
    model::Function,
    model::resolution::{Cell, Resolver},
    reconcile,
};

/// The service and its environment at a glance
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright status prod\n  mailwright status prod --format json")]
pub(crate) struct Status {
    /// The environment
    environment: String,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    service: ServiceOptions,
}

impl Status {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, CliError> {
        plan::json_even_on_errors(context, self.format == Format::Json, || self.status(context))
    }

    fn status(&self, context: &Context) -> Result<Exit, CliError> {
        let environment = Environment::find(context, &self.environment)?;
        let client = environment.client(context, &self.service)?;
        let runtime = context.runtime()?;
        let info = runtime.block_on(client.service())?;
        let state = runtime.block_on(environment::state(&client, &environment.name))?;
        let outbox = runtime.block_on(client.outbox())?;
        let last = runtime.block_on(client.generations(None, 1))?.generations.into_iter().next();

        let drift = reconcile::drift(&state).len();
        let live: Vec<_> = state.live().collect();
        let disabled = live.iter().filter(|(_, profile)| !profile.enabled).count();
        let unmanaged = state.profiles.values().filter(|p| p.live.is_some() && p.applied().is_none()).count();
        let resolver = Resolver::new(live.iter().copied());
        let cells = Cell::all(&state.settings.companies);
        let unserved: Vec<&Cell> = cells.iter().filter(|cell| resolver.sender(cell).is_none()).collect();

        if self.format == Format::Json {
            let document = json!({
                "service": info, "address": client.address(), "lastChange": last, "profiles": live.len(),
                "disabled": disabled, "unmanaged": unmanaged, "drift": drift,
                "companies": state.settings.companies, "unserved": unserved, "outbox": outbox,
            });
            context.printer.out(&format!("{document:#}"));
            return Ok(Exit::Done);
        }
        let mut lines = vec![
            format!("environment  {}", info.environment),
            format!(
                "service      {} (mailwright {}, API v{}){}",
                client.address(),
                info.version,
                info.api_version,
                if info.demo { ", DEMO: its key is public" } else { "" }
            ),
            format!(
                "generation   {}{}",
                state.generation,
                last.map(|last| format!(
                    ", {} by `{}` at {}",
                    last.kind.id(),
                    last.by,
                    last.at.strftime("%Y-%m-%d %H:%M:%SZ")
                ))
                .unwrap_or_default()
            ),
            format!("profiles     {} live ({disabled} disabled, {unmanaged} not in Git)", live.len()),
            format!(
                "companies    {}",
                state.settings.companies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ),
            format!(
                "drift        {}",
                if drift == 0 {
                    "none".to_owned()
                } else {
                    format!("{drift} changed outside Git; `mailwright drift {}` tells more", info.environment)
                }
            ),
        ];
        if !unserved.is_empty() {
            lines.push(format!("nobody sends {} of {} cells of company and function", unserved.len(), cells.len()));
        }
        lines.push(super::outbox::standing(&outbox));
        if !live.is_empty() {
            lines.push(String::new());
            let rows = live.iter().map(|(name, profile)| {
                let functions = if profile.functions.len() == Function::all().len() {
                    "all".to_owned()
                } else {
                    profile.functions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                };
                let companies = match &profile.applies_to {
                    crate::model::AppliesTo::SystemWide => "system-wide".to_owned(),
                    crate::model::AppliesTo::Companies(companies) => {
                        companies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                    }
                };
                let enabled = if profile.enabled { "" } else { " (disabled)" };
                vec![format!("{name}{enabled}"), profile.provider.id().to_owned(), companies, functions]
            });
            let shown = rows.take(50);
            lines.push(super::table::table(&["profile", "provider", "applies to", "functions"], shown));
            if live.len() > 50 {
                lines.push(format!("... and {} more; `--format json` and the API have them all", live.len() - 50));
            }
        }
        context.printer.out(&lines.join("\n"));
        Ok(Exit::Done)
    }
}
