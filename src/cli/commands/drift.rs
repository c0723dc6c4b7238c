//! `mailwright drift`: shows differences between the live state of a service and the state that the last apply left.
//!
//! The files play no part; `plan` compares all three. Profiles that were never applied are listed, and are not drift. The comparison
//! is in [`crate::changes`]. The exit code is 2 if there is drift, and 1 if an environment failed.

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, MarkdownOutputArgs, Runnable, ServiceArgs,
        args::environments::EnvironmentsArgs,
        environment::{self, Environment},
        fleet::Fleet,
        ui::fleet_report::{Significance, Summary, SummaryLabels},
    },
    model::ProfileName,
    reconcile::render,
};

/// Detect changes made outside Git
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright drift prod\n  mailwright drift prod --format json\n  mailwright drift 'prod-*' -l region=emea\n\n\
    Drift is the difference between the live state and the state after the last apply. The files do not matter;\n\
    `mailwright plan` compares all three. Profiles that were never applied are listed, and are not drift.\n\n\
    Exit code: 0 no drift, 1 error, 2 drift."
)]
pub(crate) struct Drift {
    #[command(flatten)]
    environments: EnvironmentsArgs,
    #[command(flatten)]
    output: MarkdownOutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

impl Runnable for Drift {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let labels = SummaryLabels { notable: ("drifted", "with drift"), quiet: ("clean", "without drift") };
        let fleet = Fleet::from_args(context, &self.environments, &self.service)?;
        fleet.run(context, self.output.format, &labels, |context, environment| self.drift(context, environment))
    }
}

impl Drift {
    fn drift(&self, context: &Context, environment: &Environment) -> Result<Summary, CliError> {
        let client = environment.client(context, &self.service)?;
        let state = context.runtime()?.block_on(environment::state(&client, &environment.name))?;
        let drift = crate::changes::drift::drift(&state);
        let unmanaged: Vec<&ProfileName> = state
            .profiles
            .iter()
            .filter(|(_, profile)| profile.live.is_some() && !profile.is_managed())
            .map(|(name, _)| name)
            .collect();
        let mut text = render::render_drift(&drift);
        if !unmanaged.is_empty() {
            let names = unmanaged.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            text = format!("{text}Not in Git, created outside it: {names}\n\n");
        }
        let summary = match drift.len() {
            0 => format!("No drift in {} at generation {}.", environment.name, state.generation),
            1 => format!("1 object of {} was changed outside Git.", environment.name),
            count => format!("{count} objects of {} were changed outside Git.", environment.name),
        };
        let next = if drift.is_empty() {
            String::new()
        } else {
            format!(
                "\n`mailwright plan {0}` shows what an apply would undo; to keep a change, write it into the files.",
                environment.name
            )
        };
        let document = json!({
            "environment": environment.name, "generation": state.generation, "drift": drift, "unmanaged": unmanaged,
        });
        let line = match drift.len() {
            0 => "no drift".to_owned(),
            1 => "1 object was changed outside Git".to_owned(),
            count => format!("{count} objects were changed outside Git"),
        };
        let (exit, significance) =
            if drift.is_empty() { (Exit::Done, Significance::Quiet) } else { (Exit::Attention, Significance::Counted) };
        Ok(Summary { exit, ..Summary::new(significance, line, format!("{text}{summary}{next}"), document) })
    }
}
