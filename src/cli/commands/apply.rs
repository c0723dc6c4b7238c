//! `mailwright apply`: plans one or many environments, or reads saved plans, and sends the changes to the services.
//!
//! The order is: plan or saved plan, the reasons that stop it (redirected secrets, source policy, guards, missing approvals),
//! verification of the changed profiles by the service, confirmation, changeset. A saved rollback is not verified. With several
//! environments all plans and verifications come first, then one confirmation. Planning is in `planning`, verification in `gate`;
//! the service checks everything again and applies a changeset completely or not at all. Of several environments, those whose plan
//! fails or is stopped are reported and left out, the others are sent, and the exit code is 1.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    api::{ChangesetOutcome, ChangesetResult, Rollback},
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceArgs,
        args::environments::SelectionArgs,
        args::plan::PlanLimits,
        environment::{self, Environment},
        fleet::{self, Fleet},
        gate::Gate,
        planning::Planning,
        saved_plan::{read_approvals, read_plan},
        ui::fleet_report::{FleetReport, Significance, Summary, SummaryLabels, TaskResult},
        ui::{
            confirm::confirm,
            plan::{PLAN_LABELS, plan_line, plan_outcome, report_rollback},
            wording::count_of,
        },
    },
    client::{Client, Progress},
    config::{Desired, Repository, Selection},
    model::{Changeset, Code, Digest},
    operations::blockers,
    reconcile::{Planned, plan::Plan, render, saved::SavedPlan},
};

/// Change the running service: environments, or saved plans
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright apply dev                       shows the plan, and asks\n  \
    mailwright apply dev --yes                 without the prompt, for scripts\n  \
    mailwright apply --since HEAD^1 --yes      environments that the last commit touches\n  \
    mailwright plan dev --out dev.plan && mailwright apply dev.plan --yes\n  \
    mailwright apply dev --allow-deletes 2     allows two deletions, for this plan only\n  \
    mailwright apply dev --allow-findings web  accepts the findings in `web` once\n  \
    mailwright apply 'prod-*' -l wave=canary   all plans first, one prompt, then each by itself\n  \
    mailwright apply plans/*.plan --yes        what `plan --out plans/` saved\n\n\
    Approvals of a saved plan (`mailwright approve`) are sent with it.\n\
    The service checks the profiles that change first, as `mailwright verify` does, and apply stops on errors.\n\
    One request, one transaction: the service applies all of it or nothing. It refuses a plan that was made for\n\
    an earlier generation. Sending the same plan again changes nothing. Each of several environments has a\n\
    transaction of its own: those that fail are listed, the others are applied, and the exit code is 1.")]
pub(crate) struct Apply {
    /// Environments, by name or pattern ('prod-*'), or files that `plan --out` wrote [default: the only environment]
    #[arg(value_name = "ENV|PLANFILE", value_hint = clap::ValueHint::AnyPath)]
    what: Vec<String>,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Skip the confirmation prompt
    #[arg(long, short = 'y')]
    yes: bool,
    /// Output format of the plan and the result
    #[arg(long, value_parser = Format::any(), default_value = Format::HUMAN, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    limits: PlanLimits,
    /// Skip approvals in an emergency, for this reason; for administrators, if the environment allows it
    #[arg(long, value_name = "REASON")]
    break_glass: Option<String>,
    #[command(flatten)]
    gate: Gate,
    #[command(flatten)]
    service: ServiceArgs,
}

/// The source of the plan: the files, or a saved plan.
enum PlanSource {
    Files,
    Saved(Box<SavedPlan>),
}

/// A plan, with everything that is needed to send it.
struct PreparedApply {
    environment: Environment,
    client: Arc<Client>,
    plan: Plan,
    changeset: Changeset,
    /// The age files that the changeset needs.
    files: BTreeMap<Digest, PathBuf>,
    desired: Option<Desired>,
    /// Details of a saved plan; none if the plan was computed now.
    saved: Option<SavedDetails>,
}

/// Details of a saved plan.
struct SavedDetails {
    /// The generation to return to, if the plan is a rollback.
    rollback: Option<u64>,
}

impl Runnable for Apply {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (saved, patterns): (Vec<&String>, Vec<&String>) =
            self.what.iter().partition(|what| plan_file(what).is_some());
        if !saved.is_empty() && !self.limits.is_none() {
            return Err(CliError::coded(
                Code::Usage,
                "a saved plan cannot be changed: `--only`, `--allow-deletes`, `--allow-rights` and `--branch` are options of `plan`",
            )
            .remedy("Plan again with these options, and save that plan."));
        }
        let repository = Arc::new(context.repository()?);
        let mut sources = Vec::new();
        if let [what] = &saved[..]
            && self.what.len() == 1
            && !self.selection.has_filter()
        {
            let (environment, source) = read_saved(&repository, Path::new(what))?;
            return self.apply_single(context, &environment, source);
        }
        if saved.is_empty() || !patterns.is_empty() || self.selection.has_filter() {
            let patterns: Vec<String> = patterns.into_iter().cloned().collect();
            match Fleet::find(context, &repository, &patterns, &self.selection, &self.service)? {
                Fleet::Single(environment) if saved.is_empty() => {
                    return self.apply_single(context, &environment, PlanSource::Files);
                }
                Fleet::Single(environment) => sources.push((environment, PlanSource::Files)),
                Fleet::Many(several) if saved.is_empty() && several.print_if_empty(context, self.format) => {
                    return Ok(Exit::Done);
                }
                Fleet::Many(several) => {
                    sources
                        .extend(several.environments.into_iter().map(|environment| (environment, PlanSource::Files)));
                }
            }
        }
        for what in saved {
            sources.push(read_saved(&repository, Path::new(what))?);
        }
        if sources.len() > 1 {
            self.service.check_for_several()?;
        }
        if sources.iter().any(|(_, source)| matches!(source, PlanSource::Saved(saved) if saved.rollback.is_some())) {
            return Err(CliError::coded(Code::Usage, "a saved rollback cannot be applied with other plans")
                .remedy("Apply the rollback by itself, then the others."));
        }
        sources.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        if let Some([(twice, _), ..]) =
            sources.windows(2).find(|two| matches!(two, [(a, _), (b, _)] if a.name == b.name))
        {
            return Err(CliError::coded(Code::Usage, format!("the environment `{}` is given twice", twice.name))
                .remedy("Name it once, or give its saved plan."));
        }
        self.apply_many(context, sources)
    }
}

impl Apply {
    /// Applies to one environment: shows the plan, asks, sends.
    fn apply_single(&self, context: &Context, environment: &Environment, source: PlanSource) -> Result<Exit, CliError> {
        let mut ready = self.load(context, environment, source)?;
        if self.format == Format::Human && self.selection.summary {
            context.printer.out(&ready.plan.summary_line());
        } else if self.format == Format::Human {
            context.printer.out(&render::render_human(&ready.plan));
        }
        blockers::check_plan(&ready.plan, ready.environment.source_refusal().as_ref())?;
        if ready.plan.has_nothing_to_send() {
            self.report(context, &ready.plan, None);
            return Ok(Exit::Done);
        }
        self.prepare(context, &mut ready, false)?;
        // Records of what Git manages change nothing that is live, so there is no prompt.
        if !ready.plan.is_empty() {
            if self.format != Format::Human && !self.yes {
                context.printer.note(&ready.plan.summary_line());
            }
            self.confirm(context, &format!("Apply this to {} ({})?", ready.plan.environment, ready.plan.service))?;
        }
        if let Some(SavedDetails { rollback: Some(to) }) = ready.saved {
            return self.roll_back(context, ready, to);
        }
        let result = context.runtime()?.block_on(send(context, &ready.client, &ready.changeset))?;
        self.report(context, &ready.plan, Some(&result));
        Ok(Exit::Done)
    }

    /// Requests a saved rollback. The service computes the changes itself and compares them with those that were shown.
    fn roll_back(&self, context: &Context, ready: PreparedApply, to: u64) -> Result<Exit, CliError> {
        let Changeset { base, allowances, approvals, .. } = ready.changeset;
        let rollback = Rollback { to, base, allowances, approvals };
        let changed = context.runtime()?.block_on(ready.client.roll_back(&rollback))?;
        report_rollback(context, self.format, &ready.plan, to, &changed);
        Ok(Exit::Done)
    }

    /// Applies to several environments: all plans first, then one prompt, then one transaction per environment.
    fn apply_many(&self, context: &Context, sources: Vec<(Environment, PlanSource)>) -> Result<Exit, CliError> {
        let parallel = self.selection.parallel();
        let repository = sources.first().map(|(environment, _)| Arc::clone(&environment.repository));
        let sources = sources.into_iter().map(|source| (source.0.name.clone(), source)).collect();
        let headline = |(ready, refusal): &(PreparedApply, Option<CliError>)| {
            refusal.as_ref().map_or_else(|| plan_line(&ready.plan), CliError::headline)
        };
        let planned = fleet::run_parallel(context, parallel, sources, headline, |context, (environment, source)| {
            let mut ready = self.load(context, &environment, source)?;
            let refusal = ready.environment.source_refusal();
            let checked = blockers::check_plan(&ready.plan, refusal.as_ref());
            let checked = checked.map_err(CliError::from).and_then(|()| self.prepare(context, &mut ready, true));
            Ok((ready, checked.err()))
        })?;
        let (mut shown, mut to_send, mut done) = (Vec::new(), Vec::new(), Vec::new());
        for TaskResult { name, notes, result } in planned {
            // Makes the result of an environment that ends here: nothing to send, or refused.
            let ended = |result| TaskResult { name: name.clone(), notes: String::new(), result };
            match result {
                Err(error) => {
                    done.push(ended(Ok(failure_outcome(json!(null), &error))));
                    shown.push(TaskResult { name, notes, result: Err(error) });
                }
                Ok((ready, refusal)) => {
                    match &refusal {
                        Some(error) => done.push(ended(Ok(failure_outcome(json!(ready.plan), error)))),
                        None if ready.plan.has_nothing_to_send() => {
                            done.push(ended(Ok(self.apply_outcome(&ready.plan, None))));
                        }
                        None => {}
                    }
                    let outcome = plan_outcome(Format::Human, &ready.plan, refusal, true);
                    let sends = outcome.refusal.is_none() && !ready.plan.has_nothing_to_send();
                    shown.push(TaskResult { name: name.clone(), notes, result: Ok(outcome) });
                    if sends {
                        to_send.push((name, ready));
                    }
                }
            }
        }
        let summary_only = self.selection.summary;
        let plans = FleetReport::new(shown, repository.as_deref()).summary_only(summary_only);
        if self.format == Format::Human {
            plans.print_text(context, &PLAN_LABELS);
        } else {
            plans.print_failures(context);
        }
        if to_send.is_empty() && self.format == Format::Human {
            return plans.exit(false);
        }
        let changing = to_send.iter().filter(|(_, ready)| !ready.plan.is_empty()).count();
        if changing > 0 {
            self.confirm(context, &question(changing, done.iter().filter(|ended| is_failure(ended)).count()))?;
        }
        let headline = |(_, result): &(PreparedApply, Result<ChangesetResult, CliError>)| {
            result.as_ref().map_or_else(CliError::headline, outcome_line)
        };
        let sent = fleet::run_parallel(context, parallel, to_send, headline, |context, ready| {
            let result = context.runtime()?.block_on(send(context, &ready.client, &ready.changeset));
            Ok((ready, result))
        })?;
        for TaskResult { name, notes, result } in sent {
            let result = result.map(|(ready, result)| match result {
                Ok(result) => self.apply_outcome(&ready.plan, Some(&result)),
                Err(error) => {
                    Summary { significance: Significance::Shown, ..failure_outcome(json!(ready.plan), &error) }
                }
            });
            done.push(TaskResult { name, notes, result });
        }
        done.sort_by(|a, b| a.name.cmp(&b.name));
        let labels = SummaryLabels { notable: ("applied", "applied"), quiet: ("unchanged", "without changes") };
        if self.format == Format::Human {
            context.printer.out("");
        }
        let report = FleetReport::new(done, repository.as_deref()).summary_only(summary_only);
        report.print(context, self.format, &labels)
    }

    /// Loads a plan and everything that is needed to send it.
    fn load(
        &self,
        context: &Context,
        environment: &Environment,
        source: PlanSource,
    ) -> Result<PreparedApply, CliError> {
        match source {
            PlanSource::Files => {
                let planning = Planning::start(context, environment, &self.limits, &self.service)?;
                let files = planning.files();
                let Planning { environment, client, desired, planned, .. } = planning;
                let Planned { plan, mut changeset, .. } = planned;
                changeset.allowances.break_glass.clone_from(&self.break_glass);
                Ok(PreparedApply { environment, client, plan, changeset, files, desired: Some(desired), saved: None })
            }
            PlanSource::Saved(saved) => {
                let client = Arc::new(environment.client(context, &self.service)?);
                let SavedPlan { plan, mut changeset, secret_files, rollback, .. } = *saved;
                changeset.allowances.break_glass.clone_from(&self.break_glass);
                // The files have the waivers and places. A saved plan can be applied without them.
                let desired = environment.repository.load(&environment.name).ok();
                let environment = environment.clone();
                let saved = Some(SavedDetails { rollback });
                Ok(PreparedApply { environment, client, plan, changeset, files: secret_files, desired, saved })
            }
        }
    }

    /// Checks that no approval is missing, attaches the age files, and has the service verify the changeset.
    fn prepare(&self, context: &Context, ready: &mut PreparedApply, several: bool) -> Result<(), CliError> {
        if ready.plan.has_nothing_to_send() {
            return Ok(());
        }
        match &ready.saved {
            None if self.break_glass.is_none() => blockers::check_approvals(&ready.plan)?,
            // The service computes the changes of a rollback itself.
            Some(SavedDetails { rollback: Some(_) }) => return Ok(()),
            None | Some(SavedDetails { rollback: None }) => {}
        }
        environment::attach(&mut ready.changeset, &ready.files, &ready.environment)?;
        let root = ready.environment.repository.root();
        let files = ready.desired.as_ref().map(|desired| (root, desired));
        let gate = self.gate.pass(context, &ready.client, files, &mut ready.changeset, several);
        context.runtime()?.block_on(gate)
    }

    fn confirm(&self, context: &Context, question: &str) -> Result<(), CliError> {
        confirm(
            context,
            self.yes,
            question,
            "Pass `--yes` to skip the prompt, or save the plan with `mailwright plan --out FILE` and apply that file with `--yes`.",
        )
    }

    fn report(&self, context: &Context, plan: &Plan, result: Option<&ChangesetResult>) {
        if self.format == Format::Json {
            context.printer.json(&json!({
                "environment": plan.environment,
                "generation": result.map_or(plan.base, |result| result.generation),
                "plan": plan, "result": result,
            }));
            return;
        }
        if self.format == Format::Markdown {
            context.printer.document(&render::render_markdown(plan));
        }
        let Some(result) = result else { return };
        for warning in warnings(result) {
            context.printer.note(&warning);
        }
        context.printer.out(&completion_line(result));
    }

    /// Returns the outcome of one of several environments.
    fn apply_outcome(&self, plan: &Plan, result: Option<&ChangesetResult>) -> Summary {
        let mut text = result.map(|result| warnings(result).join("\n")).unwrap_or_default();
        if self.format == Format::Markdown {
            text = format!(
                "{}\n{text}\n{}",
                render::render_markdown(plan),
                result.map(completion_line).unwrap_or_default()
            );
        }
        let significance = if result.is_some() { Significance::Counted } else { Significance::Quiet };
        let line = result.map_or_else(|| "no changes".to_owned(), outcome_line);
        let generation = result.map_or(plan.base, |result| result.generation);
        Summary::new(significance, line, text, json!({ "generation": generation, "plan": plan, "result": result }))
    }
}

/// Returns the path of a plan file: an argument that can only be a path, or that could be one and is a file. Every other argument
/// is an environment.
fn plan_file(argument: &str) -> Option<&Path> {
    let path = Path::new(argument);
    let can_only_be_a_path = argument.contains(['/', '\\']) || path.extension().is_some_and(|end| end == "plan");
    (can_only_be_a_path || argument.contains('.') && path.is_file()).then_some(path)
}

/// Reads a saved plan, and finds its environment. The address of the service comes from the repository or the user, never from
/// the file: the author of a plan must not decide where the token is sent.
fn read_saved(repository: &Arc<Repository>, path: &Path) -> Result<(Environment, PlanSource), CliError> {
    let mut saved = read_plan(path)?;
    saved.changeset.approvals = read_approvals(path)?;
    let selection = Selection::parse(&[saved.plan.environment.to_string()], &[])?;
    repository.select(&selection)?;
    let environment = Environment::new(saved.plan.environment.clone(), Arc::clone(repository));
    Ok((environment, PlanSource::Saved(Box::new(saved))))
}

/// Returns the outcome of an environment that failed.
fn failure_outcome(plan: Value, error: &CliError) -> Summary {
    let mut document = error.to_json();
    if let (Value::Object(map), false) = (&mut document, plan.is_null()) {
        map.insert("plan".to_owned(), plan);
    }
    let summary = Summary::new(Significance::Quiet, error.headline(), String::new(), document);
    Summary { exit: Exit::Error, refusal: Some(error.clone()), ..summary }
}

fn is_failure(ended: &TaskResult<Summary>) -> bool {
    ended.result.as_ref().is_ok_and(|outcome| outcome.refusal.is_some())
}

fn question(changing: usize, failed: usize) -> String {
    let environments = count_of(changing, "environment");
    match failed {
        0 => format!("Apply this to {environments}?"),
        1 => format!("Apply this to {environments}, and leave out the one that failed?"),
        failed => format!("Apply this to {environments}, and leave out the {failed} that failed?"),
    }
}

/// Describes the result of a changeset in one line.
fn outcome_line(result: &ChangesetResult) -> String {
    let line = anstream::adapter::strip_str(&completion_line(result)).to_string();
    line.trim_start_matches("Apply complete! Resources: ").trim_end_matches('.').to_owned()
}

fn warnings(result: &ChangesetResult) -> Vec<String> {
    let mut lines = Vec::new();
    for warning in &result.warnings {
        let object = warning.profile.as_ref().map_or("the environment".to_owned(), |name| format!("`{name}`"));
        lines.push(format!("warning[{}]: {object}: {}", warning.problem.code, warning.problem.message));
    }
    lines
}

/// Returns the last line: `Apply complete! Resources: 2 added, 1 changed, 0 destroyed. Generation 4.`
fn completion_line(result: &ChangesetResult) -> String {
    let green = anstyle::AnsiColor::Green.on_default().bold();
    if result.outcome == ChangesetOutcome::AlreadyApplied {
        return format!("{green}Already applied{green:#} as generation {}; nothing changed now.", result.generation);
    }
    let summary = &result.summary;
    let changed = summary.changed + u64::from(summary.settings);
    let mut more = String::new();
    for (count, word) in [(summary.renamed, "renamed"), (summary.adopted, "adopted"), (summary.forgotten, "forgotten")]
    {
        if count > 0 {
            more = format!("{more}, {count} {word}");
        }
    }
    format!(
        "{green}Apply complete!{green:#} Resources: {} added, {changed} changed, {} destroyed{more}. Generation {}.",
        summary.added, summary.destroyed, result.generation
    )
}

/// Sends the changeset, and shows the progress of a long request.
async fn send(context: &Context, client: &Client, changeset: &Changeset) -> Result<ChangesetResult, CliError> {
    let (changes, secrets) = (changeset.changes.len(), changeset.secrets.len());
    let started = std::time::Instant::now();
    let progress = Progress::default();
    let mut request = std::pin::pin!(client.apply_watched(changeset, &progress));
    // A terminal has one line that is updated; elsewhere a line every few seconds is printed.
    let is_live = context.printer.is_live();
    let mut every = tokio::time::interval(if is_live { Duration::from_millis(100) } else { Duration::from_secs(5) });
    if changes < 1000 {
        every.reset();
    }
    let result = loop {
        tokio::select! {
            result = &mut request => break result,
            _ = every.tick() => {
                let (sent, of) = progress.bytes();
                let words = if sent < of || of == 0 {
                    format!("Sending {changes} changes and {secrets} secrets in one request: {} ...", format_progress(sent, of))
                } else {
                    let seconds = started.elapsed().as_secs();
                    format!("The service checks {changes} changes and opens {secrets} secrets, {seconds} s ...")
                };
                if is_live { context.printer.status_line(&words) } else { context.printer.progress_line(&words) }
            }
        }
    };
    if is_live {
        context.printer.status_line("");
    }
    result.map_err(CliError::from)
}

/// Formats the progress of a request: `3.2 of 11.4 MiB`.
fn format_progress(sent: u64, of: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    let mebibytes = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
    format!("{:.1} of {:.1} MiB", mebibytes(sent), mebibytes(of))
}
