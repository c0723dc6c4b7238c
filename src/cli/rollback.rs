//! `mailwright rollback`: back to an earlier generation, as a new one.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    CliError, Context, Exit, ServiceOptions,
    confirm::confirm,
    environment::{self, Environment},
    plan::{self, Format},
};
use crate::{
    api::{GenerationDetail, Rollback as Order},
    config::{Desired, DesiredProfile, Place, Places},
    model::{Allowances, ProfileState, State, VerifySettings},
    reconcile::{self, Plan, Request, plan::Source, render},
};

/// Go back to an earlier generation, as a new one
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright history prod\n  mailwright rollback prod --to 41\n  mailwright rollback prod --to 41 --yes\n\n\
    Profiles, settings and secrets go back. The files do not: until Git says the same, `mailwright drift` tells of it\n\
    and `mailwright plan` would take it back."
)]
pub(crate) struct Rollback {
    /// The environment
    environment: String,
    /// The generation to go back to
    #[arg(long, value_name = "GENERATION")]
    to: u64,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
    /// Deletions that are meant: how many, or the profiles' names, separated by commas
    #[arg(long, value_name = "N|NAMES")]
    allow_deletes: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    service: ServiceOptions,
}

impl Rollback {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, CliError> {
        plan::json_even_on_errors(context, self.format == Format::Json, || self.roll_back(context))
    }

    fn roll_back(&self, context: &Context) -> Result<Exit, CliError> {
        let environment = Environment::find(context, &self.environment)?;
        let client = environment.client(context, &self.service)?;
        let runtime = context.runtime()?;
        let state = runtime.block_on(environment::state(&client, &environment.name))?;
        let target = runtime.block_on(client.generation(self.to))?;
        let allowances = plan::allowances(self.allow_deletes.as_deref())?;
        let shown = difference(&state, &target, client.address(), allowances.clone())?;
        if self.format == Format::Human {
            context.printer.out(&format!("Back to generation {}:\n\n{}", self.to, render::human(&shown)));
        }
        if shown.is_empty() {
            if self.format != Format::Human {
                context.printer.out(&format!("{:#}", json!({ "plan": shown, "result": null })));
            }
            return Ok(Exit::Done);
        }
        let question = format!("Roll {} back to generation {}?", environment.name, self.to);
        confirm(context, self.yes, &question, "Give `--yes`.")?;
        let order = Order { to: self.to, base: state.generation, allowances };
        let changed = runtime.block_on(client.roll_back(&order))?;
        if self.format == Format::Human {
            context.printer.out(&format!(
                "Rolled back to generation {}: {}. This is generation {}.",
                self.to,
                super::history::words(&changed.summary),
                changed.generation
            ));
        } else {
            context.printer.out(&format!("{:#}", json!({ "plan": shown, "result": changed })));
        }
        Ok(Exit::Done)
    }
}

/// The way back, as a plan: what was live at the generation takes the place of the files. Nothing counts as drift
/// on this way, so what is live also counts as applied.
fn difference(
    state: &State,
    target: &GenerationDetail,
    service: &str,
    allowances: Allowances,
) -> Result<Plan, CliError> {
    let place = Place::nowhere();
    let profiles = target.profiles.iter().map(|(name, stored)| {
        let profile = DesiredProfile {
            stored: stored.clone(),
            renamed_from: None,
            place: place.clone(),
            places: Places::default(),
        };
        (name.clone(), profile)
    });
    let desired = Desired {
        environment: state.environment.clone(),
        service_address: None,
        settings: target.settings.clone(),
        settings_place: place.clone(),
        verify: VerifySettings::default(),
        environment_places: Places::default(),
        profiles: profiles.collect(),
        secrets: BTreeMap::new(),
        next: BTreeMap::new(),
    };
    let mut live = state.clone();
    live.applied_settings = Some(live.settings.clone());
    live.profiles = state
        .live_stored()
        .filter_map(|(name, stored)| {
            let changed = state.profiles.get(name)?.changed.clone();
            Some((name.clone(), ProfileState::new(Some(stored.clone()), Some(stored.clone()), changed)))
        })
        .collect();
    let request = Request {
        desired: &desired,
        state: &live,
        service,
        source: Source::default(),
        only: &[],
        allowances,
        verified: &BTreeMap::new(),
    };
    Ok(reconcile::plan(&request)?.plan)
}
