//! The options of `plan` and `apply` that limit a plan to some profiles, and that lift guards for it.
//!
//! [`PlanLimits::only`] is passed to the planner; [`PlanLimits::allowances`] becomes a part of the changeset, and the service
//! decides whether it suffices.
//!
//! A pattern that matches no profile is an error here. A name without a profile is reported by the planner.

use std::collections::BTreeSet;

use crate::{
    cli::{CliError, environment},
    model::{Allowances, Code, ProfileName},
};

/// The limits of a plan, and the guards that are lifted for it.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct PlanLimits {
    /// Plan only this profile, or those that match a pattern such as 'EDU1-*' (can be repeated)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// With `--only`: include the environment's settings, which are left out otherwise
    #[arg(long, requires = "only")]
    pub(crate) with_settings: bool,
    /// Allow deletions: their number, or the names of the profiles, separated by commas
    #[arg(long, value_name = "N|NAMES")]
    allow_deletes: Option<String>,
    /// Allow added rights: by access.yaml, or by recipients.txt (who can read secrets)
    #[arg(long)]
    allow_rights: bool,
    /// Branch that the files are of [default: the branch that is checked out, then that of the CI system]
    #[arg(long, value_name = "BRANCH")]
    pub(crate) branch: Option<String>,
}

impl PlanLimits {
    /// Returns the profiles that the plan is limited to. An unknown name is reported by the planner.
    pub(crate) fn only<'n>(
        &self,
        all: impl Iterator<Item = &'n ProfileName> + Clone,
    ) -> Result<Vec<ProfileName>, CliError> {
        let mut only = BTreeSet::new();
        for text in &self.only {
            if !text.contains(['*', '?', '[', '{']) {
                only.insert(environment::profile_name(text)?);
                continue;
            }
            let refused = |why: String| {
                let shown = text.escape_debug();
                CliError::coded(Code::NotFound, format!("`--only {shown}`: {why}")).remedy("Correct the pattern.")
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

    /// Returns true if nothing is limited or lifted.
    pub(crate) fn is_none(&self) -> bool {
        self.only.is_empty() && self.allow_deletes.is_none() && !self.allow_rights && self.branch.is_none()
    }

    /// Returns the guards that are lifted.
    pub(crate) fn allowances(&self) -> Result<Allowances, CliError> {
        Ok(Allowances { rights: self.allow_rights, ..parse_allowances(self.allow_deletes.as_deref())? })
    }
}

/// Parses the value of `--allow-deletes`: a number, or names separated by commas.
pub(crate) fn parse_allowances(text: Option<&str>) -> Result<Allowances, CliError> {
    let Some(text) = text else { return Ok(Allowances::default()) };
    if let Ok(deletes) = text.parse() {
        return Ok(Allowances { deletes: Some(deletes), ..Allowances::default() });
    }
    let names: BTreeSet<ProfileName> =
        text.split(',').map(|name| environment::profile_name(name.trim())).collect::<Result<_, _>>()?;
    Ok(Allowances { names, ..Allowances::default() })
}
