//! The verification gate of `apply`: the service verifies the profiles that change, and errors stop the apply.
//!
//! [`Gate::pass`] returns an error unless `--allow-findings` names the profiles with findings at or above `--fail-on` (errors by
//! default). Findings that a waiver of the files accepts do not count. Unknown findings are noted. If the service cannot verify,
//! nothing is applied; `--skip-verify` leaves the gate out. Accepted findings are recorded in the changeset, so that the audit log
//! has them. The requests and the evaluation are [`crate::operations::gate`].

use std::{collections::BTreeSet, path::Path};

use super::{CliError, Context, environment};
use crate::{
    cli::{args::fail_on::FailOn, verification::verify_with_progress},
    client::Client,
    config::Desired,
    model::{Changeset, Code, ProfileName, finding::Verdict},
    operations::gate,
};

/// The options of the gate.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Verify")]
pub(crate) struct Gate {
    /// Accept the findings in these profiles once; names separated by commas
    #[arg(long, value_name = "NAMES", conflicts_with = "skip_verify")]
    allow_findings: Option<String>,
    /// Skip verification once
    #[arg(long)]
    skip_verify: bool,
    /// Findings that stop the apply: errors, also warnings, or also anything unknown
    #[arg(long, value_enum, default_value_t = FailOn::Error, value_name = "LIMIT", conflicts_with = "skip_verify")]
    fail_on: FailOn,
}

impl Gate {
    /// Has the service verify the profiles that the changeset sets. Fails on findings that are not accepted, and records those
    /// that are accepted in the changeset. `several` is true for one of several environments.
    pub(super) async fn pass(
        &self,
        context: &Context,
        client: &Client,
        files: Option<(&Path, &Desired)>,
        changeset: &mut Changeset,
        several: bool,
    ) -> Result<(), CliError> {
        if self.skip_verify {
            changeset.allowances.unverified = true;
            return Ok(());
        }
        let accepted = self.accepted(changeset, several)?;
        let Some(request) = gate::request(changeset, files)? else { return Ok(()) };
        let mut report = verify_with_progress(context, client, &request).await?;
        let limit = self.fail_on.limit();
        let failed = gate::evaluate(&mut report, files.map(|(_, desired)| desired), context.clock.now(), limit);
        changeset.allowances.findings = failed.intersection(&accepted).cloned().collect();
        let stopping: Vec<&ProfileName> = failed.difference(&accepted).collect();
        if stopping.is_empty() && several {
            // The same words for all environments without errors, so that they are reported together.
            let open = report
                .open()
                .next()
                .map(|_| format!(". Warnings and unknown results: mailwright verify {}", changeset.environment));
            context.printer.note(&format!("Verify: no {}{}", self.fail_on.describe(), open.unwrap_or_default()));
            return Ok(());
        }
        if stopping.is_empty() {
            context.printer.note(&format!("Verify: {}", report.summary()));
            if report.open().any(|finding| finding.verdict == Verdict::Unknown) {
                context.printer.note(&format!(
                    "Unknown means that a check could not be made: `mailwright verify {}` shows why, and `--fail-on unknown` stops the apply.",
                    changeset.environment
                ));
            }
            return Ok(());
        }
        if several {
            // One environment of many shows why it stops; its own `verify` shows everything.
            report.profiles.retain(|verified| stopping.contains(&&verified.profile));
            for verified in &mut report.profiles {
                verified.findings.retain(|finding| limit.is_passed_by(finding));
            }
        }
        context.printer.note(&report.human(false));
        let names = stopping.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        Err(CliError::coded(
            Code::VerifyFailed,
            format!("verify found {} in {names}", self.fail_on.describe()),
        )
        .remedy(format!(
            "Fix them as described above. To accept them once: --allow-findings {names}. To accept them for a time, add a waiver to environment.yaml."
        )))
    }

    /// Returns the profiles whose findings are accepted. The plan must set each of them; for several environments, names that
    /// this one does not have are ignored.
    fn accepted(&self, changeset: &Changeset, several: bool) -> Result<BTreeSet<ProfileName>, CliError> {
        let names = self.allow_findings.as_deref().unwrap_or_default().split(',').filter(|name| !name.is_empty());
        let mut accepted =
            names.map(|name| environment::profile_name(name.trim())).collect::<Result<BTreeSet<_>, _>>()?;
        let is_set = |name: &ProfileName| changeset.changes.iter().any(|change| change.name() == name);
        if several {
            accepted.retain(is_set);
        }
        let stray = accepted.iter().find(|name| !is_set(name));
        match stray {
            Some(name) => {
                Err(CliError::coded(Code::Usage, format!("`--allow-findings`: the plan does not change `{name}`"))
                    .remedy("Name profiles that the plan sets."))
            }
            None => Ok(accepted),
        }
    }
}
