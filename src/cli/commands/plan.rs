//! `mailwright plan`: what would change on the running service.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceOptions,
        environment::{self, Environment},
        fleet::{Environments, Fleet, Outcome, Words},
    },
    client::Client,
    config::Desired,
    fs::write_atomically,
    model::{Allowances, Code, Digest, ProfileName, State, token::Role},
    reconcile::{
        self, PlanRequest, Planned, attachments,
        plan::{Cause, Plan},
        render,
        saved::SavedPlan,
    },
};

/// Show what would change on the running service
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright plan dev\n  mailwright plan dev --out dev.plan && mailwright apply dev.plan\n  \
    mailwright plan prod --format markdown > comment.md\n  \
    mailwright plan --since origin/main...            environments that the branch touches\n  \
    mailwright plan prod --detailed-exitcode          0 nothing, 1 error, 2 changes\n  \
    mailwright plan prod --detailed-exitcode=causes   0 nothing, 1 error, 2 Git is ahead, 3 drift only, 4 both\n  \
    mailwright plan 'prod-*' -l region=emea           several, side by side; one summary\n  \
    mailwright plan 'prod-*' --out plans/             a file each: plans/ENV.plan\n\n\
    Of several environments the exit code is 1 if any failed, and otherwise what they have together.\n\
    The plan compares what the files say, what the service holds and what the last apply left there.\n\
    It asks the service to try the change too (a dry run), if the token's role allows that."
)]
pub(crate) struct PlanCommand {
    #[command(flatten)]
    environments: Environments,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    /// Save the plan, for `mailwright apply FILE` to do exactly that; of several environments a folder, for a file each
    #[arg(long, value_name = "FILE|DIR", value_hint = clap::ValueHint::FilePath)]
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
    /// Only this profile, or those that a pattern names (`'EDU1-*'`); may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// With `--only`: the environment's settings too, which are left out otherwise
    #[arg(long, requires = "only")]
    with_settings: bool,
    /// Deletions that are meant: how many, or the profiles' names, separated by commas
    #[arg(long, value_name = "N|NAMES")]
    allow_deletes: Option<String>,
    /// The branch that the files are of [default: what is checked out, then what the CI system says]
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum DetailedExitcode {
    Changes,
    Causes,
}

impl Runnable for PlanCommand {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let fleet = self.environments.find(context, &self.service)?;
        let several = matches!(fleet, Fleet::Several(_));
        if several && let Some(folder) = &self.out {
            std::fs::create_dir_all(folder).map_err(|error| {
                CliError::coded(Code::Unreadable, format!("cannot make the folder `{}`: {error}", folder.display()))
                    .remedy("Of several environments each plan is a file in a folder: `--out plans/`.")
            })?;
        }
        let saved = Mutex::new(None);
        let ended = fleet.tell(context, self.format, &WORDS, |context, environment| {
            let mut planning = Planning::start(context, environment, &self.limits, &self.service)?;
            let refusal = planning.try_on_service(context)?;
            let plan = &planning.planned.plan;
            if refusal.is_none()
                && let Some(path) = &self.out
            {
                let path = if path.is_dir() { path.join(format!("{}.plan", environment.name)) } else { path.clone() };
                planning.save(&path)?;
                let mut saved = saved.lock().unwrap_or_else(PoisonError::into_inner);
                let needs_approvals = saved.take().is_some_and(|(_, needs)| needs) || plan.approvals.is_some();
                *saved = Some((path, needs_approvals));
            }
            let code = if refusal.is_some() { 1 } else { self.code(plan) };
            Ok(Outcome { code, ..outcome(self.format, plan, refusal) })
        });
        if let Some((path, needs_approvals)) = saved.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let what = if several { path.with_file_name("*.plan") } else { path };
            let approve = if needs_approvals {
                format!("\n  mailwright approve {}    by each signer", what.display())
            } else {
                String::new()
            };
            context
                .printer
                .note(&format!("\nSaved. To do exactly this:{approve}\n  mailwright apply {}", what.display()));
        }
        ended
    }
}

impl PlanCommand {
    fn code(&self, plan: &Plan) -> u8 {
        match (self.detailed_exitcode, plan.cause()) {
            (None, _) | (_, None) => 0,
            (Some(DetailedExitcode::Changes), Some(_)) | (_, Some(Cause::Git)) => 2,
            (_, Some(Cause::Drift)) => 3,
            (_, Some(Cause::Both)) => 4,
        }
    }
}

/// A plan with all that was read to make it.
pub(crate) struct Planning {
    pub(crate) environment: Environment,
    pub(crate) client: std::sync::Arc<Client>,
    pub(crate) desired: Desired,
    pub(crate) state: State,
    pub(crate) planned: Planned,
}

impl Planning {
    /// Reads both sides and compares them. A read that fails, even in part, gives no plan.
    pub(crate) fn start(
        context: &Context,
        environment: &Environment,
        limits: &PlanLimits,
        service: &ServiceOptions,
    ) -> Result<Self, CliError> {
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
        warn_of_role(context, &client)?;
        let only = limits.only(desired.profiles.keys().chain(state.profiles.keys()))?;
        let planned = reconcile::plan(&PlanRequest {
            desired: &desired,
            state: &state,
            service: client.address(),
            source: environment.source(context, limits.branch.as_deref()),
            only: &only,
            with_settings: limits.with_settings,
            allowances: limits.allowances()?,
            verified: &verified,
        })?;
        let mut planned = planned;
        planned.plan.moved.clone_from(&environment.moved);
        Ok(Self { environment: environment.clone(), client, desired, state, planned })
    }

    /// Lets the service try the change. Gives its refusal; none if it would take it, or may not be asked.
    fn try_on_service(&mut self, context: &Context) -> Result<Option<CliError>, CliError> {
        let plan = &self.planned.plan;
        // No need to ask: the service knows where each secret was accepted for, and so does the plan.
        if let Some(refusal) = crate::cli::commands::apply::redirected(plan) {
            return Ok(Some(refusal));
        }
        if plan.has_nothing_to_send() || !plan.guards.is_empty() {
            return Ok(None);
        }
        let files = self.files();
        environment::attach(&mut self.planned.changeset, &files, &self.environment)?;
        let tried = context.runtime()?.block_on(self.client.apply(&self.planned.changeset, true));
        self.planned.changeset.secrets.clear();
        match tried {
            Ok(_) => Ok(None),
            Err(error) if error.code == Code::RoleTooLow => Ok(None),
            Err(error) => Ok(Some(CliError::from(error))),
        }
    }

    /// The age files that the changeset needs.
    pub(crate) fn files(&self) -> BTreeMap<Digest, PathBuf> {
        attachments::required_age_files(&self.desired, &self.state, &self.planned.changeset)
    }

    fn save(&self, path: &Path) -> Result<(), CliError> {
        write_plan(path, &SavedPlan::new(&self.planned, self.files()))
    }
}

/// Says so if a pull request's job has a token that may apply: whoever writes the request can use it.
fn warn_of_role(context: &Context, client: &Client) -> Result<(), CliError> {
    if !crate::cli::variables::is_pull_request() {
        return Ok(());
    }
    // What the service does not tell is no reason to have no plan.
    let role = context.runtime()?.block_on(client.service()).ok().and_then(|info| info.role);
    if role.is_some_and(|role| role.includes(Role::Deployer)) {
        context.printer.note(
            "warning: the token of this pull request's job may apply, and whoever writes the request can use it\nhelp: Give such jobs a token of the role planner, and the deployer's to the merge alone (docs/ci.md).",
        );
    }
    Ok(())
}

/// Writes a plan file, whole or not at all.
pub(crate) fn write_plan(path: &std::path::Path, saved: &SavedPlan) -> Result<(), CliError> {
    write_atomically(path, saved.to_text().as_bytes())
        .map_err(|error| CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", path.display())))
}

impl PlanLimits {
    /// The profiles that are meant, of those that there are. A name that nobody has is told of by whoever compares.
    fn only<'n>(&self, all: impl Iterator<Item = &'n ProfileName> + Clone) -> Result<Vec<ProfileName>, CliError> {
        let mut only = std::collections::BTreeSet::new();
        for text in &self.only {
            if !text.contains(['*', '?', '[', '{']) {
                only.insert(environment::profile_name(text)?);
                continue;
            }
            let refused = |why: String| {
                let shown = text.escape_debug();
                CliError::coded(Code::NotFound, format!("`--only {shown}`: {why}")).remedy("Correct it.")
            };
            let glob = globset::Glob::new(text).map_err(|error| refused(error.kind().to_string()))?.compile_matcher();
            let before = only.len();
            only.extend(all.clone().filter(|name| glob.is_match(name.as_str())).cloned());
            if only.len() == before && !only.iter().any(|name| glob.is_match(name.as_str())) {
                return Err(refused("no profile has such a name".to_owned()));
            }
        }
        Ok(only.into_iter().collect())
    }

    /// Whether anything was limited or lifted.
    pub(crate) fn is_none(&self) -> bool {
        self.only.is_empty() && self.allow_deletes.is_none() && self.branch.is_none()
    }

    pub(crate) fn allowances(&self) -> Result<Allowances, CliError> {
        allowances(self.allow_deletes.as_deref())
    }
}

/// `--allow-deletes 3`, or `--allow-deletes a,b`.
pub(crate) fn allowances(text: Option<&str>) -> Result<Allowances, CliError> {
    let Some(text) = text else { return Ok(Allowances::default()) };
    if let Ok(deletes) = text.parse() {
        return Ok(Allowances { deletes: Some(deletes), ..Allowances::default() });
    }
    let names: BTreeSet<ProfileName> =
        text.split(',').map(|name| environment::profile_name(name.trim())).collect::<Result<_, _>>()?;
    Ok(Allowances { names, ..Allowances::default() })
}

/// What a summary says of plans.
pub(crate) const WORDS: Words = Words { some: ("changed", "with changes"), none: ("unchanged", "without changes") };

/// A plan, and under it why it would be refused.
pub(crate) fn outcome(format: Format, plan: &Plan, refusal: Option<CliError>) -> Outcome {
    let (mut text, mut document) = (String::new(), Value::Null);
    match format {
        Format::Human => text = render::render_human(plan),
        Format::Markdown => {
            text = render::render_markdown(plan);
            if let Some(refusal) = &refusal {
                text = format!("{text}\n> [!CAUTION]\n> The service would refuse this plan: {}\n", refusal.message);
            }
        }
        Format::Json => {
            document = serde_json::to_value(plan).unwrap_or_default();
            if let (Value::Object(map), Some(refusal)) = (&mut document, &refusal) {
                map.insert("error".to_owned(), refusal.to_json()["error"].clone());
            }
        }
    }
    let telling = !plan.is_empty() || !plan.drift.is_empty() || refusal.is_some();
    Outcome { text, document, line: line(plan), code: 0, telling, counts: !plan.is_empty(), refusal }
}

/// A plan in one line.
pub(crate) fn line(plan: &Plan) -> String {
    match (plan.is_empty(), plan.notes()) {
        (true, 0) => "no changes".to_owned(),
        (true, notes) => format!("no changes; {notes} to note as known to Git"),
        (false, _) => {
            let line = plan.summary_line().trim_start_matches("Plan: ").trim_end_matches('.').to_owned();
            match (plan.redirected.is_empty(), plan.guards.is_empty()) {
                (false, _) => format!("{line}; a secret would go to a new place"),
                (true, false) => format!("{line}; a guard stands in the way"),
                (true, true) => line,
            }
        }
    }
}
