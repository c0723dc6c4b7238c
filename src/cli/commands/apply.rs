//! `mailwright apply`: changes the running service, all or nothing.

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
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceOptions,
        commands::{
            approve,
            plan::{self, PlanLimits, Planning},
        },
        environment::{self, Environment},
        fleet::{self, Choice, Ended, Fleet, Outcome, Sheet, Words},
        gate::Gate,
        ui::confirm::confirm,
    },
    client::{Client, Progress},
    config::{Desired, Repository, Selection},
    model::{Changeset, Code, Digest, provenance::SourcePolicy},
    reconcile::{Planned, plan::Plan, render, saved::SavedPlan},
};

/// Change the running service: environments, or saved plans
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright apply dev                       shows the plan and asks\n  \
    mailwright apply dev --yes                 does not ask; for scripts\n  \
    mailwright apply --since HEAD^1 --yes      environments that the last commit touches\n  \
    mailwright plan dev --out dev.plan && mailwright apply dev.plan --yes\n  \
    mailwright apply dev --allow-deletes 2     two deletions are meant, for this plan only\n  \
    mailwright apply dev --allow-findings web  what verify finds in `web` is accepted this once\n  \
    mailwright apply 'prod-*' -l wave=canary   all plans first, one question, then each by itself\n  \
    mailwright apply plans/*.plan --yes        what `plan --out plans/` saved\n\n\
    Approvals of a saved plan (`mailwright approve`) lie beside it and are sent along.\n\
    The service checks the profiles that change first, as `mailwright verify` does, and apply stops on errors.\n\
    One request, one transaction: the service takes all of it or nothing. A service that moved on since the plan\n\
    was made refuses it. Sending the same plan again changes nothing. Of several\n\
    environments each is a transaction of its own: those that fail are listed, the rest is applied, and the exit\n\
    code is 1 if any failed.")]
pub(crate) struct Apply {
    /// The environments, by name or pattern ('prod-*'), or files that `plan --out` wrote
    #[arg(value_name = "ENV|PLANFILE", value_hint = clap::ValueHint::AnyPath, required_unless_present_any = ["selector", "since"])]
    what: Vec<String>,
    #[command(flatten)]
    choice: Choice,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
    /// How to print the plan and the result
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    limits: PlanLimits,
    /// Do without approvals in an emergency, and say why; for administrators, where the environment allows it
    #[arg(long, value_name = "REASON")]
    break_glass: Option<String>,
    #[command(flatten)]
    gate: Gate,
    #[command(flatten)]
    service: ServiceOptions,
}

/// What is to be applied: the files, or exactly what a saved plan says.
enum Order {
    Files,
    Saved(Box<SavedPlan>),
}

/// A plan with what it takes to send it.
struct Ready {
    environment: Environment,
    client: Arc<Client>,
    plan: Plan,
    changeset: Changeset,
    /// The age files that the changeset needs.
    files: BTreeMap<Digest, PathBuf>,
    desired: Option<Desired>,
    /// What is particular to a plan that was saved; none if it was made just now.
    saved: Option<Saved>,
}

/// What is particular to a saved plan.
struct Saved {
    /// The generation that it goes back to, if it is a rollback.
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
                "a saved plan is applied as it is: `--only`, `--allow-deletes` and `--branch` belong to `plan`",
            )
            .remedy("Plan again with these options, and save that."));
        }
        let repository = Arc::new(context.repository()?);
        let mut orders = Vec::new();
        if let [what] = &saved[..]
            && self.what.len() == 1
            && !self.choice.is_given()
        {
            let (environment, order) = read_saved(&repository, Path::new(what))?;
            return self.one(context, &environment, order);
        }
        if !patterns.is_empty() || self.choice.is_given() {
            let patterns: Vec<String> = patterns.into_iter().cloned().collect();
            match Fleet::find(context, &repository, &patterns, &self.choice, &self.service)? {
                Fleet::One(environment) if saved.is_empty() => {
                    return self.one(context, &environment, Order::Files);
                }
                Fleet::One(environment) => orders.push((environment, Order::Files)),
                Fleet::Several(several) if saved.is_empty() && several.tell_nothing(context, self.format) => {
                    return Ok(Exit::Done);
                }
                Fleet::Several(several) => {
                    orders.extend(several.environments.into_iter().map(|environment| (environment, Order::Files)));
                }
            }
        }
        for what in saved {
            orders.push(read_saved(&repository, Path::new(what))?);
        }
        self.service.fit_for_several()?;
        if orders.iter().any(|(_, order)| matches!(order, Order::Saved(saved) if saved.rollback.is_some())) {
            return Err(CliError::coded(Code::Usage, "a saved rollback is applied alone")
                .remedy("Apply it by itself, and the others afterwards."));
        }
        orders.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        if let Some([(twice, _), ..]) =
            orders.windows(2).find(|two| matches!(two, [(a, _), (b, _)] if a.name == b.name))
        {
            return Err(CliError::coded(Code::Usage, format!("the environment `{}` is meant twice", twice.name))
                .remedy("Give it once, by name or by its saved plan."));
        }
        self.several(context, orders)
    }
}

impl Apply {
    /// One environment: shows the plan, asks, sends.
    fn one(&self, context: &Context, environment: &Environment, order: Order) -> Result<Exit, CliError> {
        let mut ready = self.read(context, environment, order)?;
        if self.format == Format::Human {
            context.printer.out(&render::render_human(&ready.plan));
        }
        blocked(&ready.plan, &ready.environment)?;
        if ready.plan.has_nothing_to_send() {
            self.report(context, &ready.plan, None);
            return Ok(Exit::Done);
        }
        self.arm(context, &mut ready, false)?;
        // What is only noted changes nothing that is live, so there is nothing to ask about.
        if !ready.plan.is_empty() {
            if self.format != Format::Human && !self.yes {
                context.printer.note(&ready.plan.summary_line());
            }
            self.confirm(context, &format!("Apply this to {} ({})?", ready.plan.environment, ready.plan.service))?;
        }
        if let Some(Saved { rollback: Some(to) }) = ready.saved {
            return self.roll_back(context, ready, to);
        }
        let result = context.runtime()?.block_on(send(context, &ready.client, &ready.changeset))?;
        self.report(context, &ready.plan, Some(&result));
        Ok(Exit::Done)
    }

    /// A plan that needs approvals is saved first: there is nothing yet that somebody could have signed.
    fn approved(&self, plan: &Plan) -> Result<(), CliError> {
        let Some(wanted) = plan.approvals.as_ref().filter(|_| self.break_glass.is_none()) else { return Ok(()) };
        let error = CliError::coded(Code::ApprovalMissing, "the plan needs approvals; nothing was changed");
        let environment = &plan.environment;
        Err(wanted.needs.iter().fold(error, |error, need| error.detail(format!("it needs {}", need.describe()))).remedy(
            format!("mailwright plan {environment} --out {environment}.plan, then each signer: mailwright approve {environment}.plan, then: mailwright apply {environment}.plan"),
        ))
    }

    /// Does what a saved rollback says. The service computes the way back itself, and it must be the one that was shown.
    fn roll_back(&self, context: &Context, ready: Ready, to: u64) -> Result<Exit, CliError> {
        let Changeset { base, allowances, approvals, .. } = ready.changeset;
        let order = Rollback { to, base, allowances, approvals };
        let changed = context.runtime()?.block_on(ready.client.roll_back(&order))?;
        crate::cli::commands::rollback::report(context, self.format, &ready.plan, to, &changed);
        Ok(Exit::Done)
    }

    /// Several: all plans first, one question, then each in a transaction of its own.
    fn several(&self, context: &Context, orders: Vec<(Environment, Order)>) -> Result<Exit, CliError> {
        let parallel = self.choice.parallel();
        let orders = orders.into_iter().map(|order| (order.0.name.clone(), order)).collect();
        let headline = |(ready, refusal): &(Ready, Option<CliError>)| {
            refusal.as_ref().map_or_else(|| plan::line(&ready.plan), CliError::headline)
        };
        let planned = fleet::side_by_side(context, parallel, orders, headline, |context, (environment, order)| {
            let mut ready = self.read(context, &environment, order)?;
            let checked = blocked(&ready.plan, &ready.environment).and_then(|()| self.arm(context, &mut ready, true));
            Ok((ready, checked.err()))
        })?;
        let (mut shown, mut to_send, mut done) = (Vec::new(), Vec::new(), Vec::new());
        for Ended { name, notes, result } in planned {
            // The last word on it, unless there is something to send.
            let word = |result| Ended { name: name.clone(), notes: String::new(), result };
            match result {
                Err(error) => {
                    done.push(word(Ok(failure(json!(null), &error))));
                    shown.push(Ended { name, notes, result: Err(error) });
                }
                Ok((ready, refusal)) => {
                    match &refusal {
                        Some(error) => done.push(word(Ok(failure(json!(ready.plan), error)))),
                        None if ready.plan.has_nothing_to_send() => {
                            done.push(word(Ok(self.applied(&ready.plan, None))));
                        }
                        None => {}
                    }
                    let outcome = plan::outcome(Format::Human, &ready.plan, refusal);
                    let sends = outcome.refusal.is_none() && !ready.plan.has_nothing_to_send();
                    shown.push(Ended { name: name.clone(), notes, result: Ok(outcome) });
                    if sends {
                        to_send.push((name, ready));
                    }
                }
            }
        }
        let sheet = Sheet::new(shown);
        if self.format == Format::Human {
            sheet.show(context, &plan::WORDS);
        } else {
            sheet.tell_failures(context);
        }
        if to_send.is_empty() && self.format == Format::Human {
            return sheet.exit(false);
        }
        let changing = to_send.iter().filter(|(_, ready)| !ready.plan.is_empty()).count();
        if changing > 0 {
            self.confirm(context, &question(changing, done.iter().filter(|ended| is_failure(ended)).count()))?;
        }
        let headline = |(_, result): &(Ready, Result<ChangesetResult, CliError>)| {
            result.as_ref().map_or_else(CliError::headline, outcome_line)
        };
        let sent = fleet::side_by_side(context, parallel, to_send, headline, |context, ready| {
            let result = context.runtime()?.block_on(send(context, &ready.client, &ready.changeset));
            Ok((ready, result))
        })?;
        for Ended { name, notes, result } in sent {
            let result = result.map(|(ready, result)| match result {
                Ok(result) => self.applied(&ready.plan, Some(&result)),
                Err(error) => Outcome { telling: true, ..failure(json!(ready.plan), &error) },
            });
            done.push(Ended { name, notes, result });
        }
        done.sort_by(|a, b| a.name.cmp(&b.name));
        let words = Words { some: ("applied", "applied"), none: ("unchanged", "without changes") };
        if self.format == Format::Human {
            context.printer.out("");
        }
        Sheet::new(done).tell(context, self.format, &words)
    }

    /// Reads both sides.
    fn read(&self, context: &Context, environment: &Environment, order: Order) -> Result<Ready, CliError> {
        match order {
            Order::Files => {
                let planning = Planning::start(context, environment, &self.limits, &self.service)?;
                let files = planning.files();
                let Planning { environment, client, desired, planned, .. } = planning;
                let Planned { plan, mut changeset, .. } = planned;
                changeset.allowances.break_glass.clone_from(&self.break_glass);
                Ok(Ready { environment, client, plan, changeset, files, desired: Some(desired), saved: None })
            }
            Order::Saved(saved) => {
                let client = Arc::new(environment.client(context, &self.service)?);
                let SavedPlan { plan, mut changeset, secret_files, rollback, .. } = *saved;
                changeset.allowances.break_glass.clone_from(&self.break_glass);
                // The files tell waivers and places; a saved plan does not depend on them.
                let desired = environment.repository.load(&environment.name).ok();
                let environment = environment.clone();
                let saved = Some(Saved { rollback });
                Ok(Ready { environment, client, plan, changeset, files: secret_files, desired, saved })
            }
        }
    }

    /// Puts the age files in, and lets the gate have its say.
    fn arm(&self, context: &Context, ready: &mut Ready, several: bool) -> Result<(), CliError> {
        if ready.plan.has_nothing_to_send() {
            return Ok(());
        }
        match &ready.saved {
            None => self.approved(&ready.plan)?,
            // The service computes the way back itself.
            Some(Saved { rollback: Some(_) }) => return Ok(()),
            Some(Saved { rollback: None }) => {}
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
            "Give `--yes`, or save the plan with `mailwright plan --out FILE` and apply that file with `--yes`.",
        )
    }

    fn report(&self, context: &Context, plan: &Plan, result: Option<&ChangesetResult>) {
        if self.format == Format::Json {
            context.printer.out(&format!("{:#}", json!({ "plan": plan, "result": result })));
            return;
        }
        if self.format == Format::Markdown {
            context.printer.out(&render::render_markdown(plan));
        }
        let Some(result) = result else { return };
        for warning in warnings(result) {
            context.printer.note(&warning);
        }
        context.printer.out(&complete(result));
    }

    /// What came of one of several.
    fn applied(&self, plan: &Plan, result: Option<&ChangesetResult>) -> Outcome {
        let mut text = result.map(|result| warnings(result).join("\n")).unwrap_or_default();
        let mut telling = !text.is_empty();
        if self.format == Format::Markdown {
            text = format!("{}\n{text}\n{}", render::render_markdown(plan), result.map(complete).unwrap_or_default());
            telling = result.is_some();
        }
        Outcome {
            text,
            document: json!({ "plan": plan, "result": result }),
            line: result.map_or_else(|| "no changes".to_owned(), outcome_line),
            code: 0,
            telling,
            counts: result.is_some(),
            refusal: None,
        }
    }
}

/// A plan file is what can only be a path, or has the look of one and is a file; everything else is an environment.
fn plan_file(what: &str) -> Option<&Path> {
    let path = Path::new(what);
    let can_only_be_a_path = what.contains(['/', '\\']) || path.extension().is_some_and(|end| end == "plan");
    (can_only_be_a_path || what.contains('.') && path.is_file()).then_some(path)
}

/// A saved plan, and the environment that it is of. The address comes from the repository or the user, never from the
/// file: a plan that somebody else made must not decide where the token goes.
fn read_saved(repository: &Arc<Repository>, path: &Path) -> Result<(Environment, Order), CliError> {
    let mut saved = approve::read_plan(path)?;
    saved.changeset.approvals = approve::collect(path)?;
    let selection = Selection::parse(&[saved.plan.environment.to_string()], &[])?;
    repository.select(&selection)?;
    let environment = Environment::new(saved.plan.environment.clone(), Arc::clone(repository));
    Ok((environment, Order::Saved(Box::new(saved))))
}

/// One that failed, as it stands in the summary.
fn failure(plan: Value, error: &CliError) -> Outcome {
    let mut document = error.to_json();
    if let (Value::Object(map), false) = (&mut document, plan.is_null()) {
        map.insert("plan".to_owned(), plan);
    }
    Outcome {
        text: String::new(),
        document,
        line: error.headline(),
        code: 1,
        telling: false,
        counts: true,
        refusal: Some(error.clone()),
    }
}

fn is_failure(ended: &Ended<Outcome>) -> bool {
    ended.result.as_ref().is_ok_and(|outcome| outcome.refusal.is_some())
}

fn question(changing: usize, failed: usize) -> String {
    let noun = |count: usize| if count == 1 { "1 environment".to_owned() } else { format!("{count} environments") };
    match failed {
        0 => format!("Apply this to {}?", noun(changing)),
        1 => format!("Apply this to {}, and leave out the one that failed?", noun(changing)),
        failed => format!("Apply this to {}, and leave out the {failed} that failed?", noun(changing)),
    }
}

/// What came of a changeset, in one line.
fn outcome_line(result: &ChangesetResult) -> String {
    let line = anstream::adapter::strip_str(&complete(result)).to_string();
    line.trim_start_matches("Apply complete! Resources: ").trim_end_matches('.').to_owned()
}

fn warnings(result: &ChangesetResult) -> Vec<String> {
    let mut lines = Vec::new();
    for warning in &result.warnings {
        let whom = warning.profile.as_ref().map_or("the environment".to_owned(), |name| format!("`{name}`"));
        lines.push(format!("warning[{}]: {whom}: {}", warning.problem.code, warning.problem.message));
    }
    lines
}

/// `Apply complete! Resources: 2 added, 1 changed, 0 destroyed. Generation 4.`
fn complete(result: &ChangesetResult) -> String {
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

/// That a secret would go to another place than the one that it was accepted for.
pub(crate) fn redirected(plan: &Plan) -> Option<CliError> {
    let secret = plan.redirected.first()?;
    let error = CliError::coded(
        Code::SecretRedirected,
        format!(
            "the secret `{}` of `{}` would travel to {}, and {}; nothing was changed",
            secret.secret,
            secret.user(),
            secret.would_go_to,
            secret.describe_acceptance()
        ),
    );
    Some(error.detail(format!("declared at {}", secret.place)).remedy(format!(
        "If the new place is meant, somebody who knows the value seals it again: mailwright secrets set {} {}",
        plan.environment, secret.secret
    )))
}

/// What the plan itself says it cannot get past. Checked before anybody is asked.
fn blocked(plan: &Plan, environment: &Environment) -> Result<(), CliError> {
    if let Some(error) = redirected(plan) {
        return Err(error);
    }
    if let Some(first) = plan.policy.first() {
        if let Some(refusal) = environment.source_refusal() {
            return Err(refusal.detail("the environment's `policy.source` asks where the files come from"));
        }
        let all = plan.policy.iter().map(|breach| breach.message.as_str()).collect::<Vec<_>>().join("; ");
        return Err(
            CliError::coded(SourcePolicy::code(), format!("{all}; nothing was changed")).remedy(first.remedy.clone())
        );
    }
    if plan.guards.is_empty() {
        return Ok(());
    }
    let mut error = CliError::coded(Code::DeletionGuarded, "the plan runs into a guard; nothing was changed");
    for guard in &plan.guards {
        error = error.detail(guard.message());
    }
    let allow = plan.guards.iter().map(crate::changes::guards::Guard::allowance).collect::<Vec<_>>();
    let number = allow.iter().find(|text| text.parse::<u32>().is_ok());
    let allow = number.cloned().unwrap_or_else(|| allow.join(","));
    Err(error.remedy(format!("If this is intended, for this plan only: --allow-deletes {allow}")))
}

/// Sends the changeset, and says how far it is where that takes long.
async fn send(context: &Context, client: &Client, changeset: &Changeset) -> Result<ChangesetResult, CliError> {
    let (changes, secrets) = (changeset.changes.len(), changeset.secrets.len());
    let started = std::time::Instant::now();
    let progress = Progress::default();
    let mut request = std::pin::pin!(client.apply_watched(changeset, &progress));
    // On a terminal one line moves; elsewhere a line now and then is enough.
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
                    format!("Sending {changes} changes and {secrets} secrets in one request: {} ...", parts(sent, of))
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

/// `3.2 of 11.4 MiB`.
fn parts(sent: u64, of: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a tenth is as near as anybody looks")]
    let mebibytes = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
    format!("{:.1} of {:.1} MiB", mebibytes(sent), mebibytes(of))
}
