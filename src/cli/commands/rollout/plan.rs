//! `mailwright rollout plan`: shows the changes of a rollout by wave, equal changes grouped.
//!
//! [`plan`] is also the first step of `start`. Plans are made and grouped in [`crate::rollout::plan`]; nothing is changed. If an
//! environment cannot be planned, the others are shown and the exit code is 1.

use std::sync::Arc;

use crate::{
    cli::{
        CliError, Context, Exit, Format,
        commands::rollout::{Services, load_rollout, rollout_name},
    },
    config::Repository,
    rollout::{
        LoadedRollout,
        plan::{RolloutPlan, plan_rollout},
        render,
    },
};

pub(super) fn show(
    context: &Context,
    name: &str,
    parallel: usize,
    format: Format,
    services: &Services,
) -> Result<Exit, CliError> {
    let repository = context.repository()?;
    let rollout = load_rollout(context, &repository, &rollout_name(name)?, services)?;
    let plan = plan(context, &repository, Arc::new(rollout), parallel)?;
    let text = render::render_plan(&plan);
    match format {
        Format::Human => context.printer.out(&text),
        Format::Json => context.printer.json(&serde_json::to_value(&plan).unwrap_or_default()),
        Format::Markdown => {
            context.printer.document(&format!("```\n{}```", anstream::adapter::strip_str(&text)));
        }
    }
    if plan.failed.is_empty() { Ok(Exit::Done) } else { Err(CliError::already_printed()) }
}

/// Plans the rollout.
pub(super) fn plan(
    context: &Context,
    repository: &Repository,
    rollout: Arc<LoadedRollout>,
    parallel: usize,
) -> Result<RolloutPlan, CliError> {
    Ok(context.runtime()?.block_on(plan_rollout(rollout, repository, &context.clock, parallel, |_, _| {})))
}
