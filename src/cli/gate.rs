//! What stands before an apply: the service verifies the profiles that change, and errors stop it.
//!
//! What somebody accepts travels with the changeset, so the audit log has it.

use std::{collections::BTreeSet, path::Path};

use super::{CliError, Context, environment, verify};
use crate::{
    client::Client,
    config::Desired,
    model::{Changeset, Code, ProfileName},
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
}

impl Gate {
    /// Verifies what the changeset sets. Stops on errors that nobody accepted; what was accepted is written into the
    /// changeset.
    pub(super) async fn pass(
        &self,
        context: &Context,
        client: &Client,
        files: Option<(&Path, &Desired)>,
        changeset: &mut Changeset,
    ) -> Result<(), CliError> {
        if self.skip_verify {
            changeset.allowances.unverified = true;
            return Ok(());
        }
        let accepted = self.accepted(changeset)?;
        let Some(request) = gate::request(changeset, files) else { return Ok(()) };
        let mut report = verify::ask(context, client, &request).await?;
        let failed = gate::judge(&mut report, files.map(|(_, desired)| desired), context.clock.now());
        changeset.allowances.findings = failed.intersection(&accepted).cloned().collect();
        let stopping: Vec<&ProfileName> = failed.difference(&accepted).collect();
        if stopping.is_empty() {
            context.printer.note(&format!("Verify: {}", report.summary()));
            return Ok(());
        }
        context.printer.note(&report.human(false));
        let names = stopping.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        Err(CliError::coded(
            Code::VerifyFailed,
            format!("verify found errors in {names}; nothing was changed"),
        )
        .remedy(format!(
            "Mend them as said above. If they are accepted this once: --allow-findings {names}. For a time: a waiver in the environment's file."
        )))
    }

    fn accepted(&self, changeset: &Changeset) -> Result<BTreeSet<ProfileName>, CliError> {
        let names = self.allow_findings.as_deref().unwrap_or_default().split(',').filter(|name| !name.is_empty());
        let accepted = names.map(|name| environment::profile_name(name.trim())).collect::<Result<BTreeSet<_>, _>>()?;
        let stray = accepted.iter().find(|name| !changeset.changes.iter().any(|change| change.name() == *name));
        match stray {
            Some(name) => {
                Err(CliError::coded(Code::Usage, format!("`--allow-findings`: the plan does not change `{name}`"))
                    .remedy("Name profiles that the plan sets."))
            }
            None => Ok(accepted),
        }
    }
}
