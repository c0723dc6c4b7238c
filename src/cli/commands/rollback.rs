//! `mailwright rollback`: back to an earlier generation, as a new one.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::json;

use crate::{
    api::{Changed, Rollback as Order},
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceOptions,
        commands::plan,
        environment::{self, Environment},
        ui::confirm::confirm,
    },
    model::{
        Allowances, GenerationDetail, ProfileName, Settings, State, StoredProfile,
        approvals::{SignedAction, digest},
    },
    reconcile::{self, Plan, PlanRequest, Planned, plan::Action, recompute, render, saved::SavedPlan},
};

/// Go back to an earlier generation, as a new one
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright history prod\n  mailwright rollback prod --to 41\n  mailwright rollback prod --to 41 --yes\n  \
    mailwright rollback prod --to 41 --out back.plan    where it needs approvals\n  \
    mailwright rollback test --to 0 --allow-deletes 3   to nothing, as before the first apply\n\n\
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
    /// Save it as a plan, for `mailwright approve FILE` and `mailwright apply FILE`
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    out: Option<PathBuf>,
    /// Do without approvals in an emergency, and say why; for administrators, where the environment allows it
    #[arg(long, value_name = "REASON")]
    break_glass: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    service: ServiceOptions,
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
            // That of a store in which nothing was ever put; no service keeps it.
            0 => Target::default(),
            number => runtime.block_on(client.generation(number))?.into(),
        };
        let allowances = plan::allowances(self.allow_deletes.as_deref())?;
        let planned = difference(&state, self.to, &target, client.address(), allowances.clone())?;
        let shown = &planned.plan;
        if self.format == Format::Human {
            context.printer.out(&format!("Back to generation {}:\n\n{}", self.to, render::render_human(shown)));
        }
        if shown.is_empty() {
            if self.format != Format::Human {
                context.printer.out(&format!("{:#}", json!({ "plan": shown, "result": null })));
            }
            return Ok(Exit::Done);
        }
        if let Some(path) = &self.out {
            plan::write_plan(path, &SavedPlan::rollback(&planned, self.to))?;
            context.printer.note(&format!(
                "\nSaved. To do exactly this:\n  mailwright approve {0}    by each signer, where it needs approvals\n  mailwright apply {0}",
                path.display()
            ));
            return Ok(Exit::Done);
        }
        let question = format!("Roll {} back to generation {}?", environment.name, self.to);
        confirm(context, self.yes, &question, "Give `--yes`.")?;
        let allowances = Allowances { break_glass: self.break_glass.clone(), ..allowances };
        let order = Order { to: self.to, base: state.generation, allowances, approvals: Vec::new() };
        let changed = runtime.block_on(client.roll_back(&order))?;
        report(context, self.format, shown, self.to, &changed);
        Ok(Exit::Done)
    }
}

/// What was live at a generation.
#[derive(Default)]
struct Target {
    settings: Settings,
    profiles: BTreeMap<ProfileName, StoredProfile>,
}

impl From<GenerationDetail> for Target {
    fn from(GenerationDetail { settings, profiles, .. }: GenerationDetail) -> Self {
        Self { settings, profiles }
    }
}

/// The way back, as a plan: what was live at the generation takes the place of the files. Nothing counts as drift
/// on this way, so what is live also counts as applied.
fn difference(
    state: &State,
    number: u64,
    target: &Target,
    service: &str,
    allowances: Allowances,
) -> Result<Planned, CliError> {
    let profiles =
        target.profiles.iter().map(|(name, stored)| (name.clone(), recompute::declare_profile(stored, None)));
    let settings = state.settings.going_back_to(&target.settings);
    let desired = recompute::desired_from_state(state, settings, profiles.collect());
    let live = recompute::assume_applied(state);
    let request = PlanRequest { allowances, ..PlanRequest::new(&desired, &live, service) };
    let mut planned = reconcile::plan(&request)?;
    for change in &mut planned.plan.changes {
        if change.action == Action::Delete {
            change.reason = Some(match number {
                0 => "because nothing was there before the first apply".to_owned(),
                _ => format!("because generation {number} does not have it"),
            });
        }
    }
    // What is sent is only where to go; the changes are there to be shown, counted and signed.
    let changeset = &mut planned.changeset;
    changeset.changes = crate::changes::revert_changes(state, &target.profiles);
    changeset.settings = (target.settings != state.settings).then(|| target.settings.clone());
    if let Some(approvals) = &mut planned.plan.approvals {
        let action = SignedAction::Rollback(number);
        approvals.digest =
            digest(&state.environment, state.generation, action, changeset.settings.as_ref(), &changeset.changes);
    }
    changeset.provenance.plan = Some(planned.plan.digest());
    Ok(planned)
}

/// What a rollback did.
pub(crate) fn report(context: &Context, format: Format, shown: &Plan, to: u64, changed: &Changed) {
    if format == Format::Human {
        context.printer.out(&format!(
            "Rolled back to generation {to}: {}. This is generation {}.",
            crate::cli::ui::wording::describe_changes(&changed.summary),
            changed.generation
        ));
    } else {
        context.printer.out(&format!("{:#}", json!({ "plan": shown, "result": changed })));
    }
}
