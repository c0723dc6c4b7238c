//! `mailwright diff`: compares the effective configurations of two revisions of the files, or of a revision and the work tree,
//! without a service.
//!
//! Environments with the same changes are shown once. Revisions are opened by [`crate::reconcile::revisions`], compared by
//! [`crate::reconcile::file_diff`] and rendered by [`crate::reconcile::render`]. Files that cannot be read or have errors are
//! reported, and the exit code is 1.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, MarkdownOutputArgs, Runnable,
        revisions::{load_from, report_unreadable},
    },
    config::{Repository, Selection},
    git::Range,
    model::{Digest, EnvironmentName},
    reconcile::{
        file_diff::{self, Difference, LoadedSide},
        render::Differences,
        revisions::RevisionPair,
    },
};

/// Show how a change of files affects the environments, without a service
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright diff                          uncommitted changes\n  \
    mailwright diff main...topic             changes of the branch `topic`\n  \
    mailwright diff origin/main... 'prod-*'  changes of the checked out branch, for some environments\n  \
    mailwright diff v1.4..v1.5 -l region=emea\n  \
    mailwright diff main...topic --format markdown > comment.md\n  \
    mailwright diff main...topic --detailed-exitcode     0 nothing, 1 error, 2 differences\n\n\
    A..B compares two revisions, A...B compares their merge base with B, and A alone\n\
    compares the revision with the work tree. An omitted side is HEAD. Both sides\n\
    are layered and validated as by `mailwright validate`; only environments that\n\
    the changed files affect are read. Environments with the same changes are\n\
    grouped.")]
pub(crate) struct Diff {
    /// Revisions to compare, then environments [default: uncommitted changes of all environments]
    #[arg(value_name = "RANGE|ENV")]
    what: Vec<String>,
    /// Only environments with these labels (can be repeated)
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Vec<String>,
    #[command(flatten)]
    output: MarkdownOutputArgs,
    /// Exit with code 2 if there are differences
    #[arg(long)]
    detailed_exitcode: bool,
}

impl Runnable for Diff {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let root = context.project()?;
        let (range, patterns) = self.range(&root)?;
        let sides = RevisionPair::open(&root, &range)?;
        let Some(mut touched) = sides.affected_environments() else {
            return Err(report_unreadable(context, &range, &sides));
        };
        let (Ok(old), Ok(new)) = (&sides.old, &sides.new) else {
            return Err(report_unreadable(context, &range, &sides));
        };
        if !patterns.is_empty() || !self.selector.is_empty() {
            let selected = select(old, new, patterns, &self.selector)?;
            touched.retain(|name| selected.contains(name));
        }
        let all = compare_environments(&sides, &touched);
        let differences = Differences { from: range.from.describe(), to: range.to.describe(), all };
        match self.output.format {
            Format::Human => context.printer.out(&differences.to_human()),
            Format::Markdown => context.printer.document(&differences.to_markdown()),
            Format::Json => {
                let mut document = differences.to_json();
                for (key, side) in [("from", &range.from), ("to", &range.to)] {
                    document[key] = json!({ "named": side.describe(), "commit": side.commit() });
                }
                context.printer.json(&document);
            }
        }
        if differences.has_problems() {
            return Err(CliError { in_json: true, ..CliError::already_printed() });
        }
        let differs = !differences.all.is_empty();
        Ok(if differs && self.detailed_exitcode { Exit::Attention } else { Exit::Done })
    }
}

impl Diff {
    /// Returns the range and the environments. The first argument is the range, unless it is an environment and not a
    /// revision.
    fn range<'a>(&'a self, root: &std::path::Path) -> Result<(Range, &'a [String]), CliError> {
        let Some((first, rest)) = self.what.split_first() else { return Ok((Range::parse(root, "HEAD")?, &[])) };
        let is_pattern = first.contains(['*', '?', '[', '{']) && !first.contains("@{");
        let is_environment = is_pattern
            || (!first.contains("..")
                && root.join("environments").join(first).is_dir()
                && first.parse::<EnvironmentName>().is_ok());
        if !is_environment {
            return Ok((Range::parse(root, first)?, rest));
        }
        if !is_pattern && Range::is_revision(root, first) {
            return Err(CliError::coded(
                crate::model::Code::AmbiguousArgument,
                format!("`{}` is both an environment and a revision", first.escape_debug()),
            )
            .remedy(format!("Write `mailwright diff HEAD {first}` or `mailwright diff {first}..`.")));
        }
        Ok((Range::parse(root, "HEAD")?, &self.what))
    }
}

/// Returns the selected environments of both revisions. A pattern that matches none in either is an error.
fn select(
    old: &Repository,
    new: &Repository,
    patterns: &[String],
    selectors: &[String],
) -> Result<BTreeSet<EnvironmentName>, crate::model::Problem> {
    let mut selected = BTreeSet::new();
    let mut add = |patterns: &[String]| {
        let selection = Selection::parse(patterns, selectors)?;
        match (new.select(&selection), old.select(&selection)) {
            (Err(error), Err(_)) => return Err(error),
            (new, old) => selected.extend(new.into_iter().chain(old).flatten()),
        }
        Ok(())
    };
    if patterns.is_empty() {
        add(&[])?;
    }
    for pattern in patterns {
        add(std::slice::from_ref(pattern))?;
    }
    Ok(selected)
}

/// Compares the environments of both revisions.
fn compare_environments(sides: &RevisionPair, names: &BTreeSet<EnvironmentName>) -> Vec<Difference> {
    let (Ok(old), Ok(new)) = (&sides.old, &sides.new) else { return Vec::new() };
    sides.read_ahead(names);
    let compared: Vec<_> = names
        .par_iter()
        .map(|name| {
            let (before, after) = (load_from(old, name), load_from(new, name));
            let contents = |loaded: &LoadedSide| {
                loaded.as_ref().and_then(|loaded| loaded.as_ref().ok()).map(file_diff::contents_digest)
            };
            let moved = (before.is_none() != after.is_none()).then(|| (contents(&before), contents(&after)));
            (file_diff::compare_environment(name, before, after), name.clone(), moved)
        })
        .collect();
    let mut removed: BTreeMap<Digest, EnvironmentName> = BTreeMap::new();
    let mut added: BTreeMap<EnvironmentName, Digest> = BTreeMap::new();
    let mut all = Vec::new();
    for (difference, name, moved) in compared {
        let (before, after) = moved.unwrap_or_default();
        removed.extend(before.map(|digest| (digest, name.clone())));
        added.extend(after.map(|digest| (name, digest)));
        all.extend(difference);
    }
    file_diff::mark_renames(&mut all, &removed, &added);
    all
}
