//! The command line: one file a command, and the only place that prints.
//!
//! A command is a `clap::Args` struct that implements [`Runnable`]. It reads files and calls the service through the
//! library, and gives text to the `Printer`: results go to standard output, messages to standard error. [`main`] turns
//! the result into an exit code and reports errors. Nothing outside `main.rs` calls this module.
//!
//! Exit codes: 0 done or nothing to do; 1 an error, whatever its kind; 2 with `--detailed-exitcode` (or `drift`)
//! when there is a difference; `--detailed-exitcode=causes` splits it into 2, 3 and 4; 3 with `verify` when it found
//! what `--fail-on` names: what keeps mail from leaving, as a rule; with `rollout` 2 when it finished with failures that
//! were tolerated, and 3 when it was paused; with `watch --once` 2 when something waits for a person. Of several
//! environments an error in one beats everything, and otherwise the most telling of their codes stands for all (`fleet`).

mod args;
mod commands;
mod context;
mod environment;
mod error;
mod fleet;
mod gate;
mod identity_token;
mod list_file;
mod log;
mod revisions;
mod signals;
mod ui;
mod variables;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

pub(crate) use args::service::ServiceOptions;
use commands::{
    apply, approve, audit, blame, comment, completions, demo, diff, drift, explain, functions, history, import, new,
    outbox, plan, render, resolve, rollback, rollout, sandbox, schema, secrets, send, serve, show, status, token,
    validate, verify, watch,
};
pub(crate) use context::Context;
pub(crate) use error::CliError;
pub(crate) use ui::{
    format::{ErrorFormat, Format},
    printer::{Color, Printer},
};

/// The exit of a command that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or nothing to do: exit code 0.
    Done,
    /// Another exit code that reports a result, such as "there are changes".
    Code(u8),
}

/// A command or subcommand with its parsed arguments.
pub(crate) trait Runnable {
    /// Returns the format in which standard output reports an error of this command.
    fn error_format(&self) -> ErrorFormat {
        ErrorFormat::Text
    }

    /// Runs the command.
    fn run(&self, context: &Context) -> Result<Exit, CliError>;
}

/// Configuration as code for the e-mail profiles of an ERP's e-mail service
#[derive(Debug, Parser)]
#[command(name = "mailwright", version, propagate_version = true, max_term_width = 110, disable_help_subcommand = true)]
#[command(after_help = "Start here:\n  mailwright demo              the whole way, on this machine, in a minute\n  \
    mailwright validate          check every environment's files\n  \
    mailwright plan dev          what would change on the running service\n  \
    mailwright explain MW0104    a problem code at length")]
pub(crate) struct Cli {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
struct GlobalOptions {
    /// The repository: the folder that has `environments/` [default: this folder or the nearest above that has it]
    #[arg(short = 'C', long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    project: Option<PathBuf>,
    /// Colour in what people read; `auto` means on a terminal, unless `NO_COLOR` is set
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    color: Color,
    /// How many threads read and compare [default: as many as there are cores]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an environment: a folder with a short file
    New(new::New),
    /// Check the files of all environments, or of those named
    Validate(validate::Validate),
    /// Show what a change of files does to the environments, without any service
    Diff(diff::Diff),
    /// Print what the layers amount to, with the place that each value comes from
    Render(render::Render),
    /// Show what would change on the running service
    Plan(plan::PlanCommand),
    /// Change the running service: environments, or saved plans
    Apply(apply::Apply),
    /// Approve a saved plan: sign what it does with an SSH key
    Approve(approve::Approve),
    /// Tell whether somebody changed the service outside Git
    Drift(drift::Drift),
    /// The service and its environment at a glance
    Status(status::Status),
    /// One profile, live beside desired
    Show(show::Show),
    /// Check that the mail will leave: registrations, permissions, redirect URIs, credentials, mail servers
    Verify(verify::Verify),
    /// Which profile sends for a company and a function, and why
    Resolve(resolve::Resolve),
    /// Send a message through the service
    Send(send::Send),
    /// Follow accepted mail, and try again, call back or hold it
    Outbox(outbox::Outbox),
    /// The generations of the service's state, newest first
    History(history::History),
    /// Which generation, and which commit, set each field of a live profile
    Blame(blame::Blame),
    /// Go back to an earlier generation, as a new one
    Rollback(rollback::Rollback),
    /// Bring a change to many environments in waves, with checks in between
    Rollout(rollout::Rollout),
    /// Follow the files: plan, report drift and expiring credentials, apply where an environment says so
    Watch(watch::Watch),
    /// Write files for profiles that exist only in the service
    Import(import::Import),
    /// Put Markdown under the pull request that a CI job runs for
    Comment(comment::Comment),
    /// Seal, list and check the secrets of an environment
    Secrets(secrets::Secrets),
    /// Make, list and revoke the tokens that the service accepts
    Token(token::Token),
    /// Read and verify the service's audit log
    Audit(audit::Audit),
    /// Run the e-mail service
    Serve(serve::Serve),
    /// The whole way on this machine: serve, validate, plan, apply, look, plan again
    Demo(demo::Demo),
    /// Run local stand-ins for Entra, Microsoft Graph, a mail server and a name server
    Sandbox(sandbox::Sandbox),
    /// The catalogue of functions that a profile can serve
    Functions(functions::Functions),
    /// A problem code at length
    Explain(explain::Explain),
    /// Print the JSON Schemas of the files
    Schema(schema::Schema),
    /// Print completions for a shell
    Completions(completions::Completions),
    /// Write man pages into a folder
    #[command(hide = true)]
    Man(completions::Man),
}

impl Command {
    fn runnable(&self) -> &dyn Runnable {
        match self {
            Self::New(command) => command,
            Self::Validate(command) => command,
            Self::Diff(command) => command,
            Self::Render(command) => command,
            Self::Plan(command) => command,
            Self::Apply(command) => command,
            Self::Approve(command) => command,
            Self::Drift(command) => command,
            Self::Status(command) => command,
            Self::Show(command) => command,
            Self::Verify(command) => command,
            Self::Resolve(command) => command,
            Self::Send(command) => command,
            Self::Outbox(command) => command,
            Self::History(command) => command,
            Self::Blame(command) => command,
            Self::Rollback(command) => command,
            Self::Rollout(command) => command,
            Self::Watch(command) => command,
            Self::Import(command) => command,
            Self::Comment(command) => command,
            Self::Secrets(command) => command,
            Self::Token(command) => command,
            Self::Audit(command) => command,
            Self::Serve(command) => command,
            Self::Demo(command) => command,
            Self::Sandbox(command) => command,
            Self::Functions(command) => command,
            Self::Explain(command) => command,
            Self::Schema(command) => command,
            Self::Completions(command) => command,
            Self::Man(command) => command,
        }
    }
}

/// Parses the arguments, runs the command, and returns the exit code. Reports an error in the format that the command
/// was asked for. Does not panic, whatever the arguments are.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return report_usage(&Printer::new(Color::Auto), &error),
    };
    let printer = Printer::new(cli.global.color);
    let command = cli.command.runnable();
    let result = variables::check().and_then(|()| {
        let context = Context::new(cli.global.project, cli.global.threads, printer.clone())?;
        command.run(&context)
    });
    match result {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Code(code)) => ExitCode::from(code),
        Err(error) => {
            error.report(&printer, command.error_format());
            ExitCode::FAILURE
        }
    }
}

/// Prints the message of an argument error, or the answer to `--help` and `--version`. An argument error is an ordinary
/// error (exit code 1): 2 means "there are changes", and a misspelt flag must never look like that.
fn report_usage(printer: &Printer, error: &clap::Error) -> ExitCode {
    let text = error.render().ansi().to_string();
    if error.use_stderr() {
        printer.note(&text);
        ExitCode::FAILURE
    } else {
        printer.out(&text);
        ExitCode::SUCCESS
    }
}
