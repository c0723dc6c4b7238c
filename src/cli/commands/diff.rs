//! `mailwright diff`: what a change of files does to the environments, without any service.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable,
        revisions::{said, unopened},
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

/// Show what a change of files does to the environments, without any service
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright diff                          what is not committed\n  \
    mailwright diff main...topic             what the branch `topic` changes\n  \
    mailwright diff origin/main... 'prod-*'  the same of what is checked out, for some environments\n  \
    mailwright diff v1.4..v1.5 -l region=emea\n  \
    mailwright diff main...topic --format markdown > comment.md\n  \
    mailwright diff main...topic --detailed-exitcode     0 nothing, 1 error, 2 differences\n\n\
    A..B compares two revisions, A...B where they parted with B, and A alone the revision with the work tree. A side\n\
    that is left out is HEAD. Both sides are layered and validated as `mailwright validate` does; only environments that\n\
    the changed files touch are read. Environments in which the same changes stand together.")]
pub(crate) struct Diff {
    /// What to compare, then the environments; all if none is named
    #[arg(value_name = "RANGE|ENV")]
    what: Vec<String>,
    /// Only environments with these labels; may be given several times
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Vec<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    /// Tell by the exit code whether there are differences: 2 if so
    #[arg(long)]
    detailed_exitcode: bool,
}

impl Runnable for Diff {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let root = context.project()?;
        let (range, patterns) = self.range(&root)?;
        let sides = RevisionPair::open(&root, &range)?;
        let Some(mut touched) = sides.affected_environments() else { return Err(unopened(context, &range, &sides)) };
        let (Ok(old), Ok(new)) = (&sides.old, &sides.new) else { return Err(unopened(context, &range, &sides)) };
        if !patterns.is_empty() || !self.selector.is_empty() {
            let meant = meant(old, new, patterns, &self.selector)?;
            touched.retain(|name| meant.contains(name));
        }
        let all = differences(&sides, &touched);
        let differences = Differences { from: range.from.describe(), to: range.to.describe(), all };
        context.printer.out(&match self.format {
            Format::Human => differences.to_human(),
            Format::Markdown => differences.to_markdown(),
            Format::Json => {
                let mut document = differences.to_json();
                for (key, side) in [("from", &range.from), ("to", &range.to)] {
                    document[key] = json!({ "named": side.describe(), "commit": side.commit() });
                }
                format!("{document:#}")
            }
        });
        if differences.has_problems() {
            return Err(CliError { in_json: true, ..CliError::already_told() });
        }
        let differs = !differences.all.is_empty();
        Ok(if differs && self.detailed_exitcode { Exit::Code(2) } else { Exit::Done })
    }
}

impl Diff {
    /// The first word is the range, unless it is plainly an environment and nothing that Git knows.
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
                crate::model::Code::Usage,
                format!("`{}` is an environment, and a revision too", first.escape_debug()),
            )
            .remedy(format!("Say which: `mailwright diff HEAD {first}`, or `mailwright diff {first}..`.")));
        }
        Ok((Range::parse(root, "HEAD")?, &self.what))
    }
}

/// The environments that are meant, on either side. A pattern that means nothing on both is an error.
fn meant(
    old: &Repository,
    new: &Repository,
    patterns: &[String],
    selectors: &[String],
) -> Result<BTreeSet<EnvironmentName>, crate::model::Problem> {
    let mut meant = BTreeSet::new();
    let mut one = |patterns: &[String]| {
        let selection = Selection::parse(patterns, selectors)?;
        match (new.select(&selection), old.select(&selection)) {
            (Err(error), Err(_)) => return Err(error),
            (new, old) => meant.extend(new.into_iter().chain(old).flatten()),
        }
        Ok(())
    };
    if patterns.is_empty() {
        one(&[])?;
    }
    for pattern in patterns {
        one(std::slice::from_ref(pattern))?;
    }
    Ok(meant)
}

/// What differs in these environments.
fn differences(sides: &RevisionPair, names: &BTreeSet<EnvironmentName>) -> Vec<Difference> {
    let (Ok(old), Ok(new)) = (&sides.old, &sides.new) else { return Vec::new() };
    sides.read_ahead(names);
    let compared: Vec<_> = names
        .par_iter()
        .map(|name| {
            let (before, after) = (said(old, name), said(new, name));
            let contents =
                |said: &LoadedSide| said.as_ref().and_then(|said| said.as_ref().ok()).map(file_diff::contents_digest);
            let moved = (before.is_none() != after.is_none()).then(|| (contents(&before), contents(&after)));
            (file_diff::compare_environment(name, before, after), name.clone(), moved)
        })
        .collect();
    let mut gone: BTreeMap<Digest, EnvironmentName> = BTreeMap::new();
    let mut come: BTreeMap<EnvironmentName, Digest> = BTreeMap::new();
    let mut all = Vec::new();
    for (difference, name, moved) in compared {
        let (before, after) = moved.unwrap_or_default();
        gone.extend(before.map(|digest| (digest, name.clone())));
        come.extend(after.map(|digest| (name, digest)));
        all.extend(difference);
    }
    file_diff::mark_renames(&mut all, &gone, &come);
    all
}
