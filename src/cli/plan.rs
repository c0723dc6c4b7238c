//! `mailwright plan`: what would change on the running service.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde_json::Value;

use super::{
    CliError, Context, Exit, ServiceOptions,
    environment::{self, Environment},
};
use crate::{
    client::Client,
    config::{Desired, write_atomically},
    model::{Allowances, Code, ProfileName, State},
    reconcile::{
        self, Planned, Request,
        plan::{Cause, Plan},
        render,
        saved::SavedPlan,
        sealed,
    },
};

/// Show what would change on the running service
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright plan dev\n  mailwright plan dev --out dev.plan && mailwright apply dev.plan\n  \
    mailwright plan prod --format markdown > comment.md\n  \
    mailwright plan prod --detailed-exitcode          0 nothing, 1 error, 2 changes\n  \
    mailwright plan prod --detailed-exitcode=causes   0 nothing, 1 error, 2 Git is ahead, 3 drift only, 4 both\n\n\
    The plan compares what the files say, what the service holds and what the last apply left there.\n\
    It asks the service to try the change too (a dry run), if the token's role allows that."
)]
pub(crate) struct PlanCommand {
    /// The environment
    environment: String,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    /// Save the plan, for `mailwright apply FILE` to do exactly that
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    out: Option<PathBuf>,
    /// Tell by the exit code whether there are changes: 2 if so; with `=causes` 2 Git, 3 drift, 4 both
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "changes")]
    detailed_exitcode: Option<DetailedExitcode>,
    #[command(flatten)]
    limits: PlanLimits,
    #[command(flatten)]
    service: ServiceOptions,
}

/// What a plan is limited to, and which guards are lifted for it.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct PlanLimits {
    /// Only this profile; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Deletions that are meant: how many, or the profiles' names, separated by commas
    #[arg(long, value_name = "N|NAMES")]
    allow_deletes: Option<String>,
}

/// How to print a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For a terminal.
    Human,
    /// The plan's document; `mailwright schema plan` describes it.
    Json,
    /// For a comment on a pull request.
    Markdown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum DetailedExitcode {
    Changes,
    Causes,
}

impl PlanCommand {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, CliError> {
        json_even_on_errors(context, self.format == Format::Json, || self.plan(context))
    }

    fn plan(&self, context: &Context) -> Result<Exit, CliError> {
        let mut planning = Planning::start(context, &self.environment, &self.limits, &self.service)?;
        let refusal = planning.try_on_service(context)?;
        show(context, self.format, &planning.planned.plan, refusal.as_ref());
        if let Some(refusal) = refusal {
            // JSON carries the refusal already.
            return Err(if self.format == Format::Json { shown_in_json(context, refusal) } else { refusal });
        }
        if let Some(path) = &self.out {
            planning.save(path)?;
            context.printer.note(&format!("\nSaved. To do exactly this:\n  mailwright apply {}", path.display()));
        }
        Ok(self.exit(&planning.planned.plan))
    }

    fn exit(&self, plan: &Plan) -> Exit {
        match (self.detailed_exitcode, plan.cause()) {
            (None, _) | (_, None) => Exit::Done,
            (Some(DetailedExitcode::Changes), Some(_)) | (_, Some(Cause::Git)) => Exit::Code(2),
            (_, Some(Cause::Drift)) => Exit::Code(3),
            (_, Some(Cause::Both)) => Exit::Code(4),
        }
    }
}

/// A plan with all that was read to make it.
pub(super) struct Planning {
    pub(super) environment: Environment,
    pub(super) client: std::sync::Arc<Client>,
    pub(super) runtime: tokio::runtime::Runtime,
    pub(super) desired: Desired,
    pub(super) state: State,
    pub(super) planned: Planned,
}

impl Planning {
    /// Reads both sides and compares them. A read that fails, even in part, gives no plan.
    pub(super) fn start(
        context: &Context,
        environment: &str,
        limits: &PlanLimits,
        service: &ServiceOptions,
    ) -> Result<Self, CliError> {
        let environment = Environment::find(context, environment)?;
        let runtime = context.runtime()?;
        let client = environment.client(context, service).map(std::sync::Arc::new);
        // The service answers while the files are read. What is wrong with the files is told first.
        let answer = client.as_ref().ok().map(|client| {
            let (client, name) = (std::sync::Arc::clone(client), environment.name.clone());
            runtime.spawn(async move {
                let (state, verified) = tokio::join!(environment::state(&client, &name), client.last_verified());
                // A result that cannot be read is one that is not known.
                Ok::<_, CliError>((state?, verified.unwrap_or_default().profiles))
            })
        });
        let desired = environment.desired(context)?;
        let client = client?;
        let (state, verified) = match answer {
            Some(answer) => runtime
                .block_on(answer)
                .map_err(|error| CliError::new(format!("cannot ask the service: {error}")))??,
            None => (runtime.block_on(environment::state(&client, &environment.name))?, BTreeMap::new()),
        };
        let only = limits.only.iter().map(|name| environment::profile_name(name)).collect::<Result<Vec<_>, _>>()?;
        let planned = reconcile::plan(&Request {
            desired: &desired,
            state: &state,
            service: client.address(),
            source: environment.source(),
            only: &only,
            allowances: limits.allowances()?,
            verified: &verified,
        })?;
        Ok(Self { environment, client, runtime, desired, state, planned })
    }

    /// Lets the service try the change. Gives its refusal; none if it would take it, or may not be asked.
    fn try_on_service(&mut self, _context: &Context) -> Result<Option<CliError>, CliError> {
        let plan = &self.planned.plan;
        // No need to ask: the service knows where each secret was accepted for, and so does the plan.
        if let Some(refusal) = super::apply::redirected(plan) {
            return Ok(Some(refusal));
        }
        if plan.has_nothing_to_send() || !plan.guards.is_empty() {
            return Ok(None);
        }
        environment::attach(&mut self.planned, &self.environment, &self.desired, &self.state)?;
        let tried = self.runtime.block_on(self.client.apply(&self.planned.changeset, true));
        self.planned.changeset.secrets.clear();
        match tried {
            Ok(_) => Ok(None),
            Err(error) if error.code == Code::RoleTooLow => Ok(None),
            Err(error) => Ok(Some(CliError::from(error))),
        }
    }

    fn save(&self, path: &std::path::Path) -> Result<(), CliError> {
        let files = sealed::needed(&self.desired, &self.state, &self.planned.changeset);
        let text = SavedPlan::new(&self.planned, files).to_text();
        write_atomically(path, text.as_bytes())
            .map_err(|error| CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", path.display())))
    }
}

impl PlanLimits {
    /// Whether anything was limited or lifted.
    pub(super) fn is_none(&self) -> bool {
        self.only.is_empty() && self.allow_deletes.is_none()
    }

    pub(super) fn allowances(&self) -> Result<Allowances, CliError> {
        allowances(self.allow_deletes.as_deref())
    }
}

/// `--allow-deletes 3`, or `--allow-deletes a,b`.
pub(super) fn allowances(text: Option<&str>) -> Result<Allowances, CliError> {
    let Some(text) = text else { return Ok(Allowances::default()) };
    if let Ok(deletes) = text.parse() {
        return Ok(Allowances { deletes: Some(deletes), ..Allowances::default() });
    }
    let names: BTreeSet<ProfileName> =
        text.split(',').map(|name| environment::profile_name(name.trim())).collect::<Result<_, _>>()?;
    Ok(Allowances { names, ..Allowances::default() })
}

/// Prints a plan, and under it why the service would refuse it.
pub(super) fn show(context: &Context, format: Format, plan: &Plan, refusal: Option<&CliError>) {
    match format {
        Format::Human => context.printer.out(&render::human(plan)),
        Format::Markdown => {
            let mut text = render::markdown(plan);
            if let Some(refusal) = refusal {
                text = format!("{text}\n> [!CAUTION]\n> The service would refuse this plan: {}\n", refusal.message);
            }
            context.printer.out(&text);
        }
        Format::Json => {
            let mut document = serde_json::to_value(plan).unwrap_or_default();
            if let (Value::Object(map), Some(refusal)) = (&mut document, refusal) {
                map.insert("error".to_owned(), refusal.to_json()["error"].clone());
            }
            context.printer.out(&format!("{document:#}"));
        }
    }
}

/// With JSON asked for, a failure is JSON too. The text for people goes to standard error either way.
pub(super) fn json_even_on_errors(
    context: &Context,
    as_json: bool,
    work: impl FnOnce() -> Result<Exit, CliError>,
) -> Result<Exit, CliError> {
    work().inspect_err(|error| {
        if as_json && !error.in_json {
            context.printer.out(&format!("{:#}", error.to_json()));
        }
    })
}

/// Marks an error that standard output has told already.
pub(super) fn shown_in_json(_context: &Context, error: CliError) -> CliError {
    CliError { in_json: true, ..error }
}
