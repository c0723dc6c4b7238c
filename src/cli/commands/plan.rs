//! `mailwright plan`: shows the changes that an apply would make, for one or many environments, and can save them to a file.
//!
//! Plans are made by `planning`, which also has the service try the change without committing it. If the service refuses the
//! change, the plan is shown with the refusal and not saved, and the exit code is 1. `--propose` stores the plan in the service, for
//! another person to apply or reject in the console. `--detailed-exitcode` is decided here. Changes no configuration of a service.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, MarkdownOutputArgs, Runnable, ServiceArgs,
        args::environments::EnvironmentsArgs,
        args::plan::PlanLimits,
        fleet::Fleet,
        planning::Planning,
        ui::fleet_report::Summary,
        ui::plan::{PLAN_LABELS, plan_outcome},
    },
    model::{Code, EnvironmentName},
    reconcile::plan::{Cause, Plan},
    sync::Mutex,
    text::shell::quote_path,
};

/// Show what would change on the running service
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright plan dev\n  mailwright plan dev --out dev.plan && mailwright apply dev.plan\n  \
    mailwright plan prod --format markdown > comment.md\n  \
    mailwright plan --since origin/main...            environments that the branch touches\n  \
    mailwright plan prod --detailed-exitcode          0 nothing, 1 error, 2 changes\n  \
    mailwright plan prod --detailed-exitcode=causes   0 nothing, 1 error, 2 Git is ahead, 7 drift only, 8 both\n  \
    mailwright plan 'prod-*' -l region=emea           several environments, one summary\n  \
    mailwright plan 'prod-*' --out plans/             a file each: plans/ENV.plan\n  \
    mailwright plan prod --propose --reason 'New relay'\n\n\
    For several environments the exit code is 1 if any failed, and otherwise that of all changes together.\n\
    The plan compares the files, the state of the service and the state after the last apply.\n\
    It also has the service try the change (a dry run), if the role of the token allows that.\n\
    With `--propose` another person applies or rejects the plan in the console."
)]
pub(crate) struct PlanCommand {
    #[command(flatten)]
    environments: EnvironmentsArgs,
    #[command(flatten)]
    output: MarkdownOutputArgs,
    /// Save the plan for `mailwright apply FILE`; for several environments, a folder with a file for each
    #[arg(long, value_name = "FILE|DIR", value_hint = clap::ValueHint::FilePath)]
    out: Option<PathBuf>,
    /// Store the plan in the service, for another person to apply or reject in the console
    #[arg(long, conflicts_with = "out")]
    propose: bool,
    /// Reason of the proposal, on one line
    #[arg(long, value_name = "TEXT", requires = "propose")]
    reason: Option<String>,
    /// Exit with 2 if there are changes; with `=causes`: 2 Git, 7 drift, 8 both
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "changes")]
    detailed_exitcode: Option<DetailedExitcode>,
    #[command(flatten)]
    limits: PlanLimits,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum DetailedExitcode {
    Changes,
    Causes,
}

impl Runnable for PlanCommand {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let fleet = Fleet::from_args(context, &self.environments, &self.service)?;
        let several = matches!(fleet, Fleet::Many(_));
        if several && let Some(folder) = &self.out {
            std::fs::create_dir_all(folder).map_err(|error| {
                CliError::coded(Code::Unreadable, format!("cannot create the folder `{}`: {error}", folder.display()))
                    .remedy("For several environments, name a folder: `--out plans/`.")
            })?;
        }
        let (saved, proposed) = (Mutex::new(None), Mutex::new(Vec::new()));
        let ended = fleet.run(context, self.output.format, &PLAN_LABELS, |context, environment| {
            let mut planning = Planning::start(context, environment, &self.limits, &self.service)?;
            let mut refusal = planning.try_on_service(context)?;
            let mut proposal = Value::Null;
            if self.propose && refusal.is_none() {
                match planning.propose(context, self.reason.as_deref().unwrap_or_default()) {
                    Ok(None) => {}
                    Ok(Some(entry)) => {
                        let address = format!("{}/console/proposals/{}", planning.client.address(), entry.id);
                        proposal = json!({ "id": entry.id, "address": address });
                        proposed.lock().push((environment.name.clone(), entry.id, address));
                    }
                    Err(error) => refusal = Some(error),
                }
            }
            let plan = &planning.planned.plan;
            if refusal.is_none()
                && let Some(path) = &self.out
            {
                let path = if path.is_dir() { path.join(format!("{}.plan", environment.name)) } else { path.clone() };
                planning.save(&path)?;
                let mut saved = saved.lock();
                let needs_approvals = saved.take().is_some_and(|(_, needs)| needs) || plan.approvals.is_some();
                *saved = Some((path, needs_approvals));
            }
            let exit = if refusal.is_some() { Exit::Error } else { self.exit(plan) };
            let mut outcome = plan_outcome(self.output.format, plan, refusal, several);
            if self.propose && outcome.document.is_object() {
                outcome.document["proposal"] = proposal;
            }
            Ok(Summary { exit, ..outcome })
        });
        if self.propose {
            report_proposals(context, proposed.into_inner(), several);
        }
        if let Some((path, needs_approvals)) = saved.into_inner() {
            // The shell expands the pattern.
            let what = match path.parent() {
                Some(folder) if several && !folder.as_os_str().is_empty() => format!("{}/*.plan", quote_path(folder)),
                _ if several => "*.plan".to_owned(),
                _ => quote_path(&path),
            };
            let approve = if needs_approvals {
                format!("\n  mailwright approve {what}    by each signer")
            } else {
                String::new()
            };
            context.printer.note(&format!("\nSaved. To carry it out:{approve}\n  mailwright apply {what}"));
        }
        ended
    }
}

/// Prints the proposals that were stored, with their pages in the console.
fn report_proposals(context: &Context, mut proposed: Vec<(EnvironmentName, String, String)>, several: bool) {
    proposed.sort();
    for (environment, id, address) in proposed {
        let of = if several { format!(" for {environment}") } else { String::new() };
        context.printer.note(&format!("\nProposed{of} as {id}. To decide about it, open:\n  {address}"));
    }
}

impl PlanCommand {
    fn exit(&self, plan: &Plan) -> Exit {
        match (self.detailed_exitcode, plan.cause()) {
            (None, _) | (_, None) => Exit::Done,
            (Some(DetailedExitcode::Changes), Some(_)) | (_, Some(Cause::Git)) => Exit::Attention,
            (_, Some(Cause::Drift)) => Exit::DriftOnly,
            (_, Some(Cause::Both)) => Exit::ChangesAndDrift,
        }
    }
}
