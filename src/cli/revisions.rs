//! Comparison of two revisions of the files for `diff`, and the environments that `--since REVISION` selects.
//!
//! [`changed_since`] returns the environments whose effective configuration differs; one that cannot be compared counts as changed,
//! and if the older revision cannot be read, all do. Revisions are read by [`crate::reconcile::revisions`].

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{CliError, Context};
use crate::{
    config::{Report, Repository},
    git::{self, Range, Side},
    model::EnvironmentName,
    reconcile::{
        file_diff::{self, LoadedSide},
        plan::MovedService,
        revisions::RevisionPair,
    },
};

/// Loads an environment of one revision. Returns none if it does not exist there or is an abstract layer.
pub(super) fn load_from(side: &Repository, name: &EnvironmentName) -> LoadedSide {
    let exists = !side.layer_names(name).is_empty() && !side.is_abstract(name);
    exists.then(|| side.load(name))
}

/// Prints why the files of a revision cannot be read, and returns the error that ends the command.
pub(super) fn report_unreadable(context: &Context, range: &Range, sides: &RevisionPair) -> CliError {
    let report = |side: &Side, opened: &Result<Repository, Report>| {
        if let Err(problems) = opened {
            context.printer.note(&format!("In {}:\n\n{}", side.describe(), problems.human()));
        }
    };
    report(&range.from, &sides.old);
    report(&range.to, &sides.new);
    CliError::already_printed()
}

/// Returns the environments whose effective configuration differs from that of a revision. Environments that cannot be
/// compared count as changed.
pub(super) fn changed_since(context: &Context, revision: &str) -> Result<ChangedSince, CliError> {
    let root = context.project()?;
    if git::is_null_revision(revision.trim_end_matches("...")) {
        context.printer.note("The revision of zeros has no files; all environments are selected.");
        let repository = context.repository()?;
        let names = repository.environments().into_iter().filter(|name| !repository.is_abstract(name)).collect();
        return Ok(ChangedSince { from: "nothing".to_owned(), names, removed: Vec::new(), moved: BTreeMap::new() });
    }
    let range = Range::since(&root, revision)?;
    let sides = RevisionPair::open(&root, &range)?;
    let Ok(new) = &sides.new else { return Err(report_unreadable(context, &range, &sides)) };
    let from = range.from.describe();
    let (Some(touched), Ok(old)) = (sides.affected_environments(), &sides.old) else {
        // If the revisions cannot be compared, all environments are selected.
        let names = new.environments().into_iter().filter(|name| !new.is_abstract(name)).collect();
        return Ok(ChangedSince { from, names, removed: Vec::new(), moved: BTreeMap::new() });
    };
    sides.read_ahead(&touched);
    let exists = |name: &EnvironmentName| !new.layer_names(name).is_empty() && !new.is_abstract(name);
    let (touched, removed): (Vec<_>, Vec<_>) = touched.into_iter().partition(exists);
    let names: Vec<EnvironmentName> = touched
        .into_par_iter()
        .filter(|name| match (load_from(old, name), load_from(new, name)) {
            (Some(Ok(old)), Some(Ok(new))) => !file_diff::is_same(&old, &new),
            _ => true,
        })
        .collect();
    let moved = |name: &EnvironmentName| {
        let (before, now) = (old.service_address(name), new.service_address(name));
        let is_known = !old.layer_names(name).is_empty() && before != now;
        is_known.then(|| (name.clone(), MovedService { from: before, to: now, since: from.clone() }))
    };
    let moved = names.iter().filter_map(moved).collect();
    Ok(ChangedSince { from, names, removed, moved })
}

/// The environments that `--since` selects.
pub(super) struct ChangedSince {
    /// The revision, for messages.
    pub(super) from: String,
    /// The environments to plan.
    pub(super) names: Vec<EnvironmentName>,
    /// Environments that no longer exist.
    pub(super) removed: Vec<EnvironmentName>,
    /// Environments whose files name another service than before.
    pub(super) moved: BTreeMap<EnvironmentName, MovedService>,
}
