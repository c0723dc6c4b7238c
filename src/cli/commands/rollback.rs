//! `mailwright rollback`: returns one or many environments to an earlier generation, or saves that as a plan for approval.
//!
//! The changes are computed and shown first ([`crate::operations::rollback`]); the service computes them again and applies them in
//! one transaction. The source policy stays as it is. Environments that fail are left out, and the exit code is 1. The files are
//! not changed.

use std::{path::PathBuf, str::FromStr};

use serde_json::json;

use crate::{
    api::{Changed, Rollback as RollbackRequest},
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, ServiceArgs,
        args::{environments::EnvironmentsArgs, plan::parse_allowances},
        environment::{self, Environment},
        fleet::{self, EnvironmentSet, Fleet},
        saved_plan::write_plan,
        ui::{
            confirm::confirm,
            fleet_report::{FleetReport, Significance, Summary, SummaryLabels, TaskResult},
            plan::{PLAN_LABELS, plan_line, plan_outcome, report_rollback},
            wording::{count_of, describe_changes},
        },
    },
    client::Client,
    model::{Allowances, Code},
    operations::rollback::{RollbackTarget, plan_rollback},
    reconcile::{Plan, Planned, render, saved::SavedPlan},
    text::shell::quote_path,
};

/// Return to an earlier generation, as a new one
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright history prod\n  mailwright rollback prod --to 41\n  mailwright rollback prod --to 41 --yes\n  \
    mailwright rollback prod --to 41 --out back.plan    where it needs approvals\n  \
    mailwright rollback 'cust-*' --to previous          each to the generation before its present one\n  \
    mailwright rollback test --to 0 --allow-deletes 3   empty, as before the first apply\n\n\
    Profiles, settings and secrets are rolled back. The source policy\n\
    (`policy.source`) stays as it is, and so do the files: until they say the same,\n\
    `mailwright drift` reports the difference and `mailwright plan` would undo the\n\
    rollback."
)]
pub(crate) struct Rollback {
    #[command(flatten)]
    environments: EnvironmentsArgs,
    /// Generation to return to: a number, or `previous` for the one before the present one
    #[arg(long, value_name = "GENERATION")]
    to: TargetGeneration,
    /// Skip the confirmation prompt
    #[arg(long, short = 'y')]
    yes: bool,
    /// Allow deletions: their number, or the names of the profiles, separated by commas
    #[arg(long, value_name = "N|NAMES")]
    allow_deletes: Option<String>,
    /// Save the rollback as a plan, for `mailwright approve FILE` and `mailwright apply FILE`
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    out: Option<PathBuf>,
    /// Skip approvals in an emergency, for this reason; for administrators, if the environment allows it
    #[arg(long, value_name = "REASON")]
    break_glass: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

impl Runnable for Rollback {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        match Fleet::from_args(context, &self.environments, &self.service)? {
            Fleet::Single(environment) => self.roll_back_single(context, &environment),
            Fleet::Many(set) if set.print_if_empty(context, self.output.format) => Ok(Exit::Done),
            Fleet::Many(set) => self.roll_back_many(context, set),
        }
    }
}

/// The generation that `--to` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TargetGeneration {
    Number(u64),
    Previous,
}

impl FromStr for TargetGeneration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "previous" => Ok(Self::Previous),
            text => text.parse().map(Self::Number).map_err(|_| "neither a number nor `previous`".to_owned()),
        }
    }
}

/// A rollback that was computed from the present state.
struct PreparedRollback {
    client: Client,
    planned: Planned,
    base: u64,
    to: u64,
}

impl Rollback {
    fn allowances(&self) -> Result<Allowances, CliError> {
        parse_allowances(self.allow_deletes.as_deref())
    }

    fn prepare(&self, context: &Context, environment: &Environment) -> Result<PreparedRollback, CliError> {
        let client = environment.client(context, &self.service)?;
        let runtime = context.runtime()?;
        let state = runtime.block_on(environment::state(&client, &environment.name))?;
        let to = match self.to {
            TargetGeneration::Number(number) => number,
            TargetGeneration::Previous => state.generation.checked_sub(1).ok_or_else(|| {
                CliError::coded(
                    Code::NoPreviousGeneration,
                    format!("cannot roll {} back: it has no generation yet", environment.name),
                )
            })?,
        };
        let target = match to {
            // Generation 0 is the empty state before the first apply; the service does not store it.
            0 => RollbackTarget::default(),
            number => runtime.block_on(client.generation(number))?.into(),
        };
        let planned = plan_rollback(&state, to, &target, client.address(), self.allowances()?)?;
        Ok(PreparedRollback { client, planned, base: state.generation, to })
    }

    fn send(&self, context: &Context, ready: &PreparedRollback) -> Result<Changed, CliError> {
        let allowances = Allowances { break_glass: self.break_glass.clone(), ..self.allowances()? };
        let request = RollbackRequest { to: ready.to, base: ready.base, allowances, approvals: Vec::new() };
        Ok(context.runtime()?.block_on(ready.client.roll_back(&request))?)
    }

    fn roll_back_single(&self, context: &Context, environment: &Environment) -> Result<Exit, CliError> {
        let ready = self.prepare(context, environment)?;
        let (shown, to) = (&ready.planned.plan, ready.to);
        if self.output.format == Format::Human {
            context.printer.out(&format!("Back to generation {to}:\n\n{}", render::render_human(shown)));
        }
        if shown.is_empty() {
            if self.output.format != Format::Human {
                context.printer.json(&json!({
                    "environment": environment.name, "generation": ready.base, "plan": shown, "result": null,
                }));
            }
            return Ok(Exit::Done);
        }
        if let Some(path) = &self.out {
            write_plan(path, &SavedPlan::rollback(&ready.planned, to))?;
            context.printer.note(&format!(
                "\nSaved. To carry it out:\n  mailwright approve {0}    by each signer, if it needs approvals\n  mailwright apply {0}",
                quote_path(path)
            ));
            return Ok(Exit::Done);
        }
        let question = format!("Roll {} back to generation {to}?", environment.name);
        confirm(context, self.yes, &question, "Pass `--yes` to skip the prompt.")?;
        let changed = self.send(context, &ready)?;
        report_rollback(context, self.output.format, shown, to, &changed);
        Ok(Exit::Done)
    }

    /// Rolls several environments back: all plans first, one prompt, then each in a transaction of its own.
    fn roll_back_many(&self, context: &Context, set: EnvironmentSet) -> Result<Exit, CliError> {
        if self.out.is_some() {
            return Err(CliError::coded(Code::SeveralEnvironments, "`--out` saves the rollback of one environment")
                .remedy("Name one environment, or omit `--out`."));
        }
        let (repository, summary_only) = (set.repository(), set.summary_only);
        let parallel = self.environments.selection.parallel();
        let headline = |ready: &PreparedRollback| plan_line(&ready.planned.plan);
        let planned = set.run(context, headline, |context, environment| self.prepare(context, environment))?;
        let (mut shown, mut to_send, mut done) = (Vec::new(), Vec::new(), Vec::new());
        for TaskResult { name, notes, result } in planned {
            let result = match result {
                Ok(ready) => {
                    let summary = plan_outcome(Format::Human, &ready.planned.plan, None, true);
                    if ready.planned.plan.is_empty() {
                        let result = Ok(unchanged(&ready.planned.plan));
                        done.push(TaskResult { name: name.clone(), notes: String::new(), result });
                    } else {
                        to_send.push((name.clone(), ready));
                    }
                    Ok(summary)
                }
                Err(error) => {
                    let result = Err(error.clone());
                    done.push(TaskResult { name: name.clone(), notes: String::new(), result });
                    Err(error)
                }
            };
            shown.push(TaskResult { name, notes, result });
        }
        let plans = FleetReport::new(shown, repository.as_deref()).summary_only(summary_only);
        if self.output.format == Format::Human {
            plans.print_text(context, &PLAN_LABELS);
        } else {
            plans.print_failures(context);
        }
        if !to_send.is_empty() {
            let question = format!("Roll {} back?", count_of(to_send.len(), "environment"));
            confirm(context, self.yes, &question, "Pass `--yes` to skip the prompt.")?;
        } else if self.output.format == Format::Human {
            return plans.exit(false);
        }
        let headline = |(_, changed): &(PreparedRollback, Changed)| describe_changes(&changed.summary);
        let sent = fleet::run_parallel(context, parallel, to_send, headline, |context, ready| {
            let changed = self.send(context, &ready)?;
            Ok((ready, changed))
        })?;
        for TaskResult { name, notes, result } in sent {
            let result = result.map(|(ready, changed)| {
                let line = format!("back to generation {}: {}", ready.to, describe_changes(&changed.summary));
                let document =
                    json!({ "generation": changed.generation, "plan": ready.planned.plan, "result": changed });
                Summary::new(Significance::Listed, line, String::new(), document)
            });
            done.push(TaskResult { name, notes, result });
        }
        done.sort_by(|a, b| a.name.cmp(&b.name));
        let labels = SummaryLabels { notable: ("rolledBack", "rolled back"), quiet: ("unchanged", "without changes") };
        if self.output.format == Format::Human {
            context.printer.out("");
        }
        let report = FleetReport::new(done, repository.as_deref()).summary_only(summary_only);
        report.print(context, self.output.format, &labels)
    }
}

/// The result of an environment that is as the generation says.
fn unchanged(plan: &Plan) -> Summary {
    let document = json!({ "generation": plan.base, "plan": plan, "result": null });
    Summary::new(Significance::Quiet, "no changes".to_owned(), String::new(), document)
}
