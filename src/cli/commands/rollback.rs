//! `mailwright rollback`: returns to an earlier generation.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    api::Rollback as RollbackRequest,
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceArgs,
        args::plan::parse_allowances,
        environment::{self, Environment},
        saved_plan::write_plan,
        ui::{confirm::confirm, plan::report_rollback},
    },
    model::Allowances,
    operations::rollback::{RollbackTarget, plan_rollback},
    reconcile::{render, saved::SavedPlan},
};

/// Return to an earlier generation, as a new one
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright history prod\n  mailwright rollback prod --to 41\n  mailwright rollback prod --to 41 --yes\n  \
    mailwright rollback prod --to 41 --out back.plan    where it needs approvals\n  \
    mailwright rollback test --to 0 --allow-deletes 3   empty, as before the first apply\n\n\
    Profiles, settings and secrets are rolled back; the files are not. Until the files say the same,\n\
    `mailwright drift` reports the difference and `mailwright plan` would undo the rollback."
)]
pub(crate) struct Rollback {
    /// Environment
    environment: String,
    /// Generation to return to
    #[arg(long, value_name = "GENERATION")]
    to: u64,
    /// Skip the confirmation prompt
    #[arg(long, short = 'y')]
    yes: bool,
    /// Allow deletions: their number, or the names of the profiles, separated by commas
    #[arg(long, value_name = "N|NAMES")]
    allow_deletes: Option<String>,
    /// Save the rollback as a plan, for `mailwright approve FILE` and `mailwright apply FILE`
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    out: Option<PathBuf>,
    /// Skip approvals in an emergency, for this reason; for administrators, if the environment allows it
    #[arg(long, value_name = "REASON")]
    break_glass: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    service: ServiceArgs,
}

impl Runnable for Rollback {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let environment = Environment::find(context, &self.environment)?;
        let client = environment.client(context, &self.service)?;
        let runtime = context.runtime()?;
        let state = runtime.block_on(environment::state(&client, &environment.name))?;
        let target = match self.to {
            // Generation 0 is the empty state before the first apply; the service does not store it.
            0 => RollbackTarget::default(),
            number => runtime.block_on(client.generation(number))?.into(),
        };
        let allowances = parse_allowances(self.allow_deletes.as_deref())?;
        let planned = plan_rollback(&state, self.to, &target, client.address(), allowances.clone())?;
        let shown = &planned.plan;
        if self.format == Format::Human {
            context.printer.out(&format!("Back to generation {}:\n\n{}", self.to, render::render_human(shown)));
        }
        if shown.is_empty() {
            if self.format != Format::Human {
                context.printer.json(&json!({ "plan": shown, "result": null }));
            }
            return Ok(Exit::Done);
        }
        if let Some(path) = &self.out {
            write_plan(path, &SavedPlan::rollback(&planned, self.to))?;
            context.printer.note(&format!(
                "\nSaved. To carry it out:\n  mailwright approve {0}    by each signer, if it needs approvals\n  mailwright apply {0}",
                path.display()
            ));
            return Ok(Exit::Done);
        }
        let question = format!("Roll {} back to generation {}?", environment.name, self.to);
        confirm(context, self.yes, &question, "Pass `--yes` to skip the prompt.")?;
        let allowances = Allowances { break_glass: self.break_glass.clone(), ..allowances };
        let request = RollbackRequest { to: self.to, base: state.generation, allowances, approvals: Vec::new() };
        let changed = runtime.block_on(client.roll_back(&request))?;
        report_rollback(context, self.format, shown, self.to, &changed);
        Ok(Exit::Done)
    }
}
