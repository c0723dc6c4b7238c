//! The arguments of commands that work on several environments: names or patterns, labels, and changes since a revision.
//!
//! [`EnvironmentsArgs`] has the names and the filters, [`SelectionArgs`] the filters alone. [`SelectionArgs::select`] returns what
//! matches; a pattern or label that matches nothing is an error, but a result that is empty because of `--since` is not. Commands
//! run on the result by `fleet`.

use std::collections::BTreeMap;

use crate::{
    cli::{CliError, Context, revisions::changed_since},
    config::{Repository, Selection},
    model::EnvironmentName,
    reconcile::plan::MovedService,
    text::shell::quote_posix,
};

/// The default number of environments that are processed in parallel. Most of the time they wait for their services.
const PARALLEL: u16 = 16;

/// Arguments that select at least one environment. They can be omitted if the repository has only one.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct EnvironmentsArgs {
    /// Environments: names, or patterns such as 'prod-*' [default: the only one]
    #[arg(value_name = "ENV")]
    pub(crate) environments: Vec<String>,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
}

/// Filters of environments, and the degree of parallelism.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SelectionArgs {
    /// Only environments with these labels: region=emea, tier!=test, 'wave in (1, 2)', canary, '!frozen'; all must match
    /// (can be repeated)
    #[arg(short = 'l', long, value_name = "LABELS", help_heading = "Many environments")]
    pub(crate) selector: Vec<String>,
    /// Only environments that changed since REV, also through layers, variables and secrets; `REV...` means since the
    /// merge base with REV, and a REV of zeros selects all
    #[arg(long, value_name = "REV", help_heading = "Many environments")]
    pub(crate) since: Option<String>,
    /// Maximum number of environments processed in parallel [default: 16; `validate`: number of cores]
    #[arg(long, value_name = "N", help_heading = "Many environments", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) parallel: Option<u16>,
    /// For several environments: only counts and environments with trouble
    #[arg(long, help_heading = "Many environments")]
    pub(crate) summary: bool,
}

/// Labels and the degree of parallelism, for commands whose `--since` is a time, and for all subcommands of a command.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct LabelArgs {
    /// Only environments with these labels: region=emea, tier!=test (can be repeated)
    #[arg(short = 'l', long, global = true, value_name = "LABELS", help_heading = "Many environments")]
    selector: Vec<String>,
    /// Maximum number of environments processed in parallel [default: 16]
    #[arg(long, global = true, value_name = "N", help_heading = "Many environments", value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: Option<u16>,
    /// For several environments: only counts and environments with trouble
    #[arg(long, global = true, help_heading = "Many environments")]
    pub(crate) summary: bool,
}

impl LabelArgs {
    /// Returns the filters without one by changes.
    pub(crate) fn selection(&self) -> SelectionArgs {
        let Self { selector, parallel, summary } = self.clone();
        SelectionArgs { selector, parallel, summary, since: None }
    }

    /// Returns environments as they were named, as arguments for a shell.
    pub(crate) fn describe(&self, patterns: &[String]) -> String {
        let names = patterns.iter().map(|name| quote_posix(name));
        names
            .chain(self.selector.iter().map(|labels| format!("-l {}", quote_posix(labels))))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

impl SelectionArgs {
    /// Returns the maximum number of environments that are processed in parallel.
    pub(crate) fn parallel(&self) -> usize {
        usize::from(self.parallel.unwrap_or(PARALLEL))
    }

    /// Returns true if environments are filtered by labels or changes.
    pub(crate) fn has_filter(&self) -> bool {
        !self.selector.is_empty() || self.since.is_some()
    }

    /// Returns the environments of a selection that pass the filters.
    pub(crate) fn select(
        &self,
        context: &Context,
        repository: &Repository,
        selection: &Selection,
    ) -> Result<SelectedEnvironments, CliError> {
        let mut names = repository.select(selection)?;
        let Some(revision) = &self.since else {
            return Ok(SelectedEnvironments { names, empty_message: None, moved: BTreeMap::new() });
        };
        let since = changed_since(context, revision)?;
        if selection.is_empty() {
            for name in &since.removed {
                context.printer.note(&format!("{name} was removed since {}; its service is not changed.", since.from));
            }
        }
        names.retain(|name| since.names.contains(name));
        let empty_message = Some(format!("No environment differs from {}.", since.from));
        Ok(SelectedEnvironments { names, empty_message, moved: since.moved })
    }
}

/// The selected environments.
pub(crate) struct SelectedEnvironments {
    pub(crate) names: Vec<EnvironmentName>,
    /// The message if there are none and that is not an error.
    pub(crate) empty_message: Option<String>,
    /// Environments whose files name another service than before.
    pub(crate) moved: BTreeMap<EnvironmentName, MovedService>,
}
