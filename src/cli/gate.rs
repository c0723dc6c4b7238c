//! What stands before an apply: the service verifies the profiles that change, and errors stop it.
//!
//! What somebody accepts travels with the changeset, so the audit log has it.

use std::{collections::BTreeSet, path::Path};

use super::{CliError, Context, environment};
use crate::{
    cli::commands::verify,
    client::Client,
    config::Desired,
    model::{Changeset, Code, ProfileName, finding::Verdict},
    verify::gate,
};

/// What is accepted before an apply.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Verify")]
pub(crate) struct Gate {
    /// What verify finds in these profiles is accepted, this once; names separated by commas
    #[arg(long, value_name = "NAMES", conflicts_with = "skip_verify")]
    allow_findings: Option<String>,
    /// Do not verify at all, this once
    #[arg(long)]
    skip_verify: bool,
    /// What verify must not find: errors, warnings as well, or anything unknown as well
    #[arg(long, value_enum, default_value_t = verify::FailOn::Error, value_name = "LIMIT", conflicts_with = "skip_verify")]
    fail_on: verify::FailOn,
}

impl Gate {
    /// Verifies what the changeset sets. Stops on errors that nobody accepted; what was accepted is written into the
    /// changeset. `several` says whether it is one of several environments.
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
        let Some(request) = gate::request(changeset, files) else { return Ok(()) };
        let mut report = verify::ask(context, client, &request).await?;
        let limit = self.fail_on.limit();
        let failed = gate::judge(&mut report, files.map(|(_, desired)| desired), context.clock.now(), limit);
        changeset.allowances.findings = failed.intersection(&accepted).cloned().collect();
        let stopping: Vec<&ProfileName> = failed.difference(&accepted).collect();
        if stopping.is_empty() {
            context.printer.note(&format!("Verify: {}", report.summary()));
            if report.open().any(|finding| finding.verdict == Verdict::Unknown) {
                context.printer.note(&format!(
                    "What is unknown was not seen, and is not clean: `mailwright verify {}` tells more, and `--fail-on unknown` stops there.",
                    changeset.environment
                ));
            }
            return Ok(());
        }
        context.printer.note(&report.human(false));
        let names = stopping.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        Err(CliError::coded(
            Code::VerifyFailed,
            format!("verify found {} in {names}; nothing was changed", self.fail_on.words()),
        )
        .remedy(format!(
            "Mend them as said above. If they are accepted this once: --allow-findings {names}. For a time: a waiver in the environment's file."
        )))
    }

    /// The profiles whose findings are accepted. Each must be one that the plan sets; of several environments, only some
    /// may have it.
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
