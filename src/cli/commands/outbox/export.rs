//! `mailwright outbox export`: writes the contents of a message to standard output or to a file.
//!
//! The service returns the contents as it keeps them. An existing file is replaced. Control characters are escaped on a terminal.
//! With `--format json` a file must be named.

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
};

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, Format,
        commands::outbox::{Outbox, Target, selection::OneMessage},
    },
    fs::write_atomically,
    model::Code,
};

#[derive(Debug, clap::Args)]
pub(super) struct Export {
    #[command(flatten)]
    pub(super) message: OneMessage,
    /// Output file
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
}

impl Export {
    /// Fetches the contents and writes them.
    pub(super) async fn run(&self, outbox: &Outbox, context: &Context, target: &Target) -> Result<(), CliError> {
        let Self { output, .. } = self;
        if outbox.format == Format::Json && output.is_none() {
            return Err(CliError::coded(Code::Usage, "the contents of a message are not JSON")
                .remedy("Omit `--format`, or write them to a file: `--output FILE`."));
        }
        let id = target.message_id().await?;
        let content = target.client.content(id).await?;
        let shown = output.as_ref().map_or("standard output".to_owned(), |path| format!("`{}`", path.display()));
        let failed =
            |error: std::io::Error| CliError::coded(Code::Unwritable, format!("cannot write {shown}: {error}"));
        match output {
            Some(path) => write_atomically(path, &content).map_err(failed)?,
            // Control characters in mail are escaped on a terminal; a pipe gets the bytes unchanged.
            None if std::io::stdout().is_terminal() => context.printer.document(&String::from_utf8_lossy(&content)),
            None => std::io::stdout().write_all(&content).map_err(failed)?,
        }
        if outbox.format == Format::Json {
            outbox.print_done(context, target, &json!({ "id": id, "file": output }), "");
        }
        Ok(())
    }
}
