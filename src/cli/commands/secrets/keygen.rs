//! `mailwright secrets keygen`: creates an age identity for an operator in a file with mode 0600, and prints its recipient.
//!
//! The identity is written by `cli::operator_key`. An existing file is not replaced: of the default file the recipient is printed
//! again, another one is an error. The identity of a service is created by `serve`.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable,
        exposure::warn_if_unignored,
        operator_key::{create_identity, default_identity_file, read_recipient},
    },
    model::Code,
};

/// Create an age identity, and print its recipient
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright secrets keygen                      writes ~/.config/age/keys.txt\n  \
    mailwright secrets keygen --out ann.identity\n  \
    mailwright secrets init prod --from-service \"$(mailwright secrets keygen)\"\n\n\
    The file has mode 0600 and is never replaced: where the default file exists, its\n\
    recipient is printed again. Standard output is the recipient alone, so that it\n\
    can be passed on. `secrets` finds the default file by itself.")]
pub(super) struct Keygen {
    /// File to write [default: ~/.config/age/keys.txt]
    #[arg(long, short = 'o', value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    out: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Runnable for Keygen {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let path = self.out.clone().or_else(default_identity_file).ok_or_else(|| {
            CliError::coded(Code::VariableUnusable, "the home folder is not known")
                .remedy("Name the file: `--out FILE`.")
        })?;
        // The same command prepares the next environment: the usual identity is kept, and its recipient is printed again.
        let kept = (self.out.is_none() && path.is_file()).then(|| read_recipient(&path)).and_then(Result::ok);
        let is_kept = kept.is_some();
        let recipient = kept.map_or_else(|| create_identity(&path), Ok)?;
        warn_if_unignored(context, &path);
        if self.output.format == Format::Json {
            context
                .printer
                .json(&json!({ "file": path, "wrote": (!is_kept).then_some(&path), "recipient": recipient }));
        } else {
            context.printer.note(&if is_kept {
                format!("kept {}, which exists already", path.display())
            } else {
                format!("wrote {}; keep a copy in a safe place", path.display())
            });
            context.printer.document(&recipient);
        }
        Ok(Exit::Done)
    }
}
