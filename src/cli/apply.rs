//! `mailwright apply`: changes the running service, all or nothing.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;

use super::{
    CliError, Context, Exit, ServiceOptions,
    confirm::confirm,
    environment::{self, Environment},
    gate::Gate,
    plan::{self, Format, PlanLimits, Planning},
};
use crate::{
    api::{ChangesetOutcome, ChangesetResult},
    client::{Client, Progress},
    model::{Changeset, Code},
    reconcile::{plan::Plan, saved::SavedPlan, sealed},
};

/// Change the running service: an environment, or a saved plan
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright apply dev                       shows the plan and asks\n  \
    mailwright apply dev --yes                 does not ask; for scripts\n  \
    mailwright plan dev --out dev.plan && mailwright apply dev.plan --yes\n  \
    mailwright apply dev --allow-deletes 2     two deletions are meant, for this plan only\n  \
    mailwright apply dev --allow-findings web  what verify finds in `web` is accepted this once\n\n\
    The service checks the profiles that change first, as `mailwright verify` does, and apply stops on errors.\n\
    One request, one transaction: the service takes all of it or nothing. A service that moved on since the plan\n\
    was made refuses it. Sending the same plan again changes nothing.")]
pub(crate) struct Apply {
    /// The environment, or a file that `plan --out` wrote
    #[arg(value_name = "ENV|PLANFILE", value_hint = clap::ValueHint::AnyPath)]
    what: String,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
    /// How to print the plan and the result
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    limits: PlanLimits,
    #[command(flatten)]
    gate: Gate,
    #[command(flatten)]
    service: ServiceOptions,
}

impl Apply {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, CliError> {
        plan::json_even_on_errors(context, self.format == Format::Json, || match self.plan_file() {
            Some(path) => self.apply_saved(context, &path),
            None => self.apply_environment(context),
        })
    }

    /// A plan file is what can only be a path, or has the look of one and is a file; all else is an environment.
    fn plan_file(&self) -> Option<PathBuf> {
        let path = Path::new(&self.what);
        let can_only_be_a_path = self.what.contains(['/', '\\']) || path.extension().is_some_and(|end| end == "plan");
        (can_only_be_a_path || self.what.contains('.') && path.is_file()).then(|| path.to_owned())
    }

    fn apply_environment(&self, context: &Context) -> Result<Exit, CliError> {
        let mut planning = Planning::start(context, &self.what, &self.limits, &self.service)?;
        if self.format == Format::Human {
            plan::show(context, self.format, &planning.planned.plan, None);
        }
        blocked(&planning.planned.plan)?;
        if planning.planned.plan.has_nothing_to_send() {
            self.report(context, &planning.planned.plan, None);
            return Ok(Exit::Done);
        }
        environment::attach(&mut planning.planned, &planning.environment, &planning.desired, &planning.state)?;
        let files = Some((planning.environment.repository.root(), &planning.desired));
        planning.runtime.block_on(self.gate.pass(context, &planning.client, files, &mut planning.planned.changeset))?;
        // What is only noted changes nothing that is live, so there is nothing to ask about.
        if !planning.planned.plan.is_empty() {
            self.confirm(context, &planning.planned.plan)?;
        }
        let result = planning.runtime.block_on(send(context, &planning.client, &planning.planned.changeset))?;
        self.report(context, &planning.planned.plan, Some(&result));
        Ok(Exit::Done)
    }

    fn apply_saved(&self, context: &Context, path: &Path) -> Result<Exit, CliError> {
        if !self.limits.is_none() {
            return Err(CliError::coded(
                Code::Usage,
                "a saved plan is applied as it is: `--only` and `--allow-deletes` belong to `plan`",
            )
            .remedy("Plan again with these options, and save that."));
        }
        let text = std::fs::read(path).map_err(|error| {
            CliError::coded(Code::Unreadable, format!("cannot read the saved plan `{}`: {error}", path.display()))
                .remedy("Name the file that `mailwright plan ENV --out FILE` wrote, or an environment.")
        })?;
        let saved = SavedPlan::read(&text).map_err(|error| {
            CliError::coded(Code::PlanDamaged, format!("`{}`: {error}", path.display())).remedy("Plan again.")
        })?;
        // The address comes from the repository or the user, never from the file: a plan that somebody else made
        // must not decide where the token goes.
        let environment = Environment::find(context, saved.plan.environment.as_str())?;
        let client = environment.client(context, &self.service)?;
        let SavedPlan { plan: shown, mut changeset, secret_files, .. } = saved;
        if self.format == Format::Human {
            plan::show(context, self.format, &shown, None);
        }
        blocked(&shown)?;
        if shown.has_nothing_to_send() {
            self.report(context, &shown, None);
            return Ok(Exit::Done);
        }
        sealed::attach(&mut changeset, &secret_files, environment.repository.root())
            .map_err(|error| CliError::coded(Code::PlanOutdated, error.to_string()).remedy("Plan again."))?;
        let runtime = context.runtime()?;
        // The files tell waivers and places; a saved plan does not depend on them.
        let desired = environment.repository.load(&environment.name).ok();
        let files = desired.as_ref().map(|desired| (environment.repository.root(), desired));
        runtime.block_on(self.gate.pass(context, &client, files, &mut changeset))?;
        self.confirm(context, &shown)?;
        let result = runtime.block_on(send(context, &client, &changeset))?;
        self.report(context, &shown, Some(&result));
        Ok(Exit::Done)
    }

    fn confirm(&self, context: &Context, plan: &Plan) -> Result<(), CliError> {
        if self.format != Format::Human && !self.yes {
            context.printer.note(&plan.summary_line());
        }
        let question = format!("Apply this to {} ({})?", plan.environment, plan.service);
        confirm(
            context,
            self.yes,
            &question,
            "Give `--yes`, or save the plan with `mailwright plan --out FILE` and apply that file with `--yes`.",
        )
    }

    fn report(&self, context: &Context, plan: &Plan, result: Option<&ChangesetResult>) {
        if self.format == Format::Json {
            context.printer.out(&format!("{:#}", json!({ "plan": plan, "result": result })));
            return;
        }
        if self.format == Format::Markdown {
            plan::show(context, self.format, plan, None);
        }
        let Some(result) = result else { return };
        for warning in &result.warnings {
            let whom = warning.profile.as_ref().map_or("the environment".to_owned(), |name| format!("`{name}`"));
            context.printer.note(&format!("warning[{}]: {whom}: {}", warning.code, warning.message));
        }
        context.printer.out(&complete(result));
    }
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
pub(super) fn redirected(plan: &Plan) -> Option<CliError> {
    let secret = plan.redirected.first()?;
    let error = CliError::coded(
        Code::SecretRedirected,
        format!(
            "the secret `{}` of `{}` would travel to {}, and was accepted for {}; nothing was changed",
            secret.secret, secret.profile, secret.would_go_to, secret.accepted_for
        ),
    );
    Some(error.detail(format!("declared at {}", secret.place)).remedy(format!(
        "If the new place is meant, somebody who knows the value seals it again: mailwright secrets set {} {}",
        plan.environment, secret.secret
    )))
}

/// What the plan itself says it cannot get past. Checked before anybody is asked.
fn blocked(plan: &Plan) -> Result<(), CliError> {
    if let Some(error) = redirected(plan) {
        return Err(error);
    }
    if plan.guards.is_empty() {
        return Ok(());
    }
    let mut error = CliError::coded(Code::DeletionGuarded, "the plan runs into a guard; nothing was changed");
    for guard in &plan.guards {
        error = error.detail(guard.message());
    }
    let allow = plan.guards.iter().map(crate::reconcile::guards::Guard::allowance).collect::<Vec<_>>();
    let number = allow.iter().find(|text| text.parse::<u32>().is_ok());
    let allow = number.cloned().unwrap_or_else(|| allow.join(","));
    Err(error.remedy(format!("If that is meant, for this plan only: --allow-deletes {allow}")))
}

/// Sends the changeset, and says how far it is where that takes long.
async fn send(context: &Context, client: &Client, changeset: &Changeset) -> Result<ChangesetResult, CliError> {
    let (changes, secrets) = (changeset.changes.len(), changeset.secrets.len());
    let started = std::time::Instant::now();
    let progress = Progress::default();
    let mut request = std::pin::pin!(client.apply_watched(changeset, &progress));
    // On a terminal one line moves; elsewhere a line now and then is enough.
    let is_live = context.printer.has_live_line();
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
                context.printer.live_line(&words);
            }
        }
    };
    context.printer.end_live_line();
    result.map_err(CliError::from)
}

/// `3.2 of 11.4 MiB`.
fn parts(sent: u64, of: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a tenth is as near as anybody looks")]
    let mebibytes = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
    format!("{:.1} of {:.1} MiB", mebibytes(sent), mebibytes(of))
}
