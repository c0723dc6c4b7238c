//! `mailwright rollout status`.

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, Exit,
        commands::rollout::{Format, StateFolder, not_begun, rollout_name},
    },
    model::RolloutName,
    rollout::{Run, journal, render},
};

pub(super) fn status(
    context: &Context,
    name: Option<&str>,
    format: Format,
    state: &StateFolder,
) -> Result<Exit, CliError> {
    let now = context.clock.now();
    let names = match name {
        Some(name) => vec![rollout_name(name)?],
        None => known(&state.path(context)?),
    };
    let (mut documents, mut texts) = (Vec::new(), Vec::new());
    for name in &names {
        let folder = state.folder(context, name)?;
        let contents = journal::read(&folder.journal())?;
        let Some(run) = Run::of(&contents.entries) else { continue };
        let running = folder.is_locked();
        texts.push(render::run(&run, running, now));
        documents.push(json!({ "run": run, "running": running, "source": run.order.source, "folder": folder.path() }));
    }
    match (name, documents.pop()) {
        (Some(_), None) => {
            let name = &names[0];
            return Err(not_begun(&state.folder(context, name)?, name));
        }
        (Some(_), Some(document)) if format == Format::Json => context.printer.out(&format!("{document:#}")),
        (None, last) if format == Format::Json => {
            documents.extend(last);
            context.printer.out(&format!("{:#}", json!({ "runs": documents })));
        }
        (None, None) => context.printer.out("No rollout was started here."),
        _ => context.printer.out(&texts.join("\n")),
    }
    Ok(Exit::Done)
}

/// The rollouts that have a folder.
fn known(state: &std::path::Path) -> Vec<RolloutName> {
    let entries = std::fs::read_dir(state.join("rollouts")).into_iter().flatten();
    let mut names: Vec<RolloutName> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    names.sort();
    names
}
