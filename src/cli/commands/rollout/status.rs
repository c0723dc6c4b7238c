//! `mailwright rollout status`: shows the state of one run, or lists all, from their journals alone.
//!
//! No service is asked, and a run that another process works on is not disturbed. A rollout that was named and has no run is an
//! error.

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, Exit,
        commands::rollout::{Format, StateFolder, no_run, rollout_name},
    },
    model::RolloutName,
    rollout::{Run, journal},
};

pub(super) fn status(
    context: &Context,
    name: Option<&str>,
    format: Format,
    state: &StateFolder,
) -> Result<Exit, CliError> {
    let names = match name {
        Some(name) => vec![rollout_name(name)?],
        None => list_rollouts(&state.path(context)?),
    };
    let (mut documents, mut texts) = (Vec::new(), Vec::new());
    for name in &names {
        let folder = state.folder(context, name)?;
        let contents = journal::read(&folder.journal())?;
        let Some(run) = Run::from_entries(&contents.entries) else { continue };
        let running = folder.is_locked();
        texts.push(state.render(context, &run, running));
        documents.push(json!({ "run": run, "running": running, "source": run.spec.source, "folder": folder.path() }));
    }
    match (name, documents.pop()) {
        (Some(_), None) => {
            let name = &names[0];
            return Err(no_run(&state.folder(context, name)?, name));
        }
        (Some(_), Some(document)) if format == Format::Json => context.printer.json(&document),
        (None, last) if format == Format::Json => {
            documents.extend(last);
            context.printer.json(&json!({ "runs": documents }));
        }
        (None, None) => context.printer.out("No rollout was started here."),
        _ => context.printer.out(&texts.join("\n")),
    }
    Ok(Exit::Done)
}

/// Lists the rollouts that have a folder.
fn list_rollouts(state: &std::path::Path) -> Vec<RolloutName> {
    let entries = std::fs::read_dir(state.join("rollouts")).into_iter().flatten();
    let mut names: Vec<RolloutName> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    names.sort();
    names
}
