//! Two revisions of the files side by side: what `diff` compares, and what `--since` selects.

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

/// What a side says of an environment. An abstract layer is none.
pub(super) fn said(side: &Repository, name: &EnvironmentName) -> LoadedSide {
    let is_there = !side.layer_names(name).is_empty() && !side.is_abstract(name);
    is_there.then(|| side.load(name))
}

/// A side whose `environments/` cannot be read as a whole.
pub(super) fn unopened(context: &Context, range: &Range, sides: &RevisionPair) -> CliError {
    let told = |side: &Side, opened: &Result<Repository, Report>| {
        if let Err(report) = opened {
            context.printer.note(&format!("In {}:\n\n{}", side.describe(), report.human()));
        }
    };
    told(&range.from, &sides.old);
    told(&range.to, &sides.new);
    CliError::already_told()
}

/// The environments that a change touches and that say something else than before: what `--since` selects. Those that
/// cannot be compared are among them; those that are gone are apart.
pub(super) fn since(context: &Context, revision: &str) -> Result<Since, CliError> {
    let root = context.project()?;
    if git::is_null_revision(revision.trim_end_matches("...")) {
        context.printer.note("Nothing was before the revision of zeros, so every environment is meant.");
        let repository = context.repository()?;
        let names = repository.environments().into_iter().filter(|name| !repository.is_abstract(name)).collect();
        return Ok(Since { from: "nothing".to_owned(), names, gone: Vec::new(), moved: BTreeMap::new() });
    }
    let range = Range::since(&root, revision)?;
    let sides = RevisionPair::open(&root, &range)?;
    let Ok(new) = &sides.new else { return Err(unopened(context, &range, &sides)) };
    let from = range.from.describe();
    let (Some(touched), Ok(old)) = (sides.affected_environments(), &sides.old) else {
        // What cannot be compared is planned: rather too much than too little.
        let names = new.environments().into_iter().filter(|name| !new.is_abstract(name)).collect();
        return Ok(Since { from, names, gone: Vec::new(), moved: BTreeMap::new() });
    };
    sides.read_ahead(&touched);
    let there = |name: &EnvironmentName| !new.layer_names(name).is_empty() && !new.is_abstract(name);
    let (touched, gone): (Vec<_>, Vec<_>) = touched.into_iter().partition(there);
    let names: Vec<EnvironmentName> = touched
        .into_par_iter()
        .filter(|name| match (said(old, name), said(new, name)) {
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
    Ok(Since { from, names, gone, moved })
}

/// What `--since` selects.
pub(super) struct Since {
    /// The revision, in words.
    pub(super) from: String,
    /// The environments to plan.
    pub(super) names: Vec<EnvironmentName>,
    /// Environments that are there no more.
    pub(super) gone: Vec<EnvironmentName>,
    /// Those whose files name another service than before.
    pub(super) moved: BTreeMap<EnvironmentName, MovedService>,
}
