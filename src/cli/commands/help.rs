//! `mailwright help`: prints the help of a command, or one of the topics `environment` and `exit-codes`.
//!
//! Texts and layout are in `cli::help`.

use crate::{
    cli::{CliError, Context, Exit, Runnable, help},
    config::suggest,
    model::Code,
};

/// Print the help of a command, or a topic: environment, exit-codes
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright help\n  \
    mailwright help outbox list\n  \
    mailwright help environment     the environment variables\n  \
    mailwright help exit-codes")]
pub(crate) struct Help {
    /// Command with its subcommands, or a topic
    #[arg(value_name = "COMMAND|TOPIC")]
    words: Vec<String>,
}

impl Runnable for Help {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let mut root = help::command();
        root.build();
        let mut command = &mut root;
        for word in &self.words {
            let names: Vec<String> =
                command.get_subcommands().map(|subcommand| subcommand.get_name().to_owned()).collect();
            if names.iter().all(|name| name != word) {
                let topic = help::TOPICS.iter().find(|(name, _)| name == word);
                if let Some((_, topic)) = topic.filter(|_| self.words.len() == 1) {
                    context.printer.out(&topic());
                    return Ok(Exit::Done);
                }
                let known = names.iter().map(String::as_str).chain(help::TOPICS.iter().map(|(name, _)| *name));
                let error = CliError::coded(Code::UnknownValue, format!("unknown command `{}`", word.escape_debug()));
                return Err(match suggest::nearest(word, known) {
                    Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
                    None => error.remedy("`mailwright help` lists the commands."),
                });
            }
            command =
                command.find_subcommand_mut(word).ok_or_else(|| CliError::new(format!("cannot find `{word}`")))?;
        }
        context.printer.document(&command.render_long_help().ansi().to_string());
        Ok(Exit::Done)
    }
}
