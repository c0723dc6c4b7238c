//! `mailwright rollout plan`.

use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::{
    cli::{
        CliError, Context, Exit, Format,
        commands::rollout::{Services, material, rollout_name},
    },
    config::Repository,
    rollout::{
        Material,
        plan::{self, RolloutPlan},
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
    let material = material(context, &repository, &rollout_name(name)?, services)?;
    let planned = planned(context, context.runtime()?, &repository, Arc::new(material), parallel);
    context.printer.out(&match format {
        Format::Human => render::plan(&planned),
        Format::Json => format!("{:#}", serde_json::to_value(&planned).unwrap_or_default()),
        Format::Markdown => format!("```\n{}```", anstream::adapter::strip_str(&render::plan(&planned))),
    });
    if planned.failed.is_empty() { Ok(Exit::Done) } else { Err(CliError::already_told()) }
}

pub(super) fn planned(
    context: &Context,
    runtime: &Runtime,
    repository: &Repository,
    material: Arc<Material>,
    parallel: usize,
) -> RolloutPlan {
    runtime.block_on(plan::plan(material, repository, &context.clock, parallel, |_, _| {}))
}
