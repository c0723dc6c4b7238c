//! Command line: one file or folder per command. The only module that prints.
//!
//! A command is a `clap::Args` struct that implements `Runnable`. It reads files and calls the service through the
//! library, and gives text to the `Printer`: results go to standard output, messages to standard error. [`main`] turns
//! the result into an exit code and reports errors. Nothing outside `main.rs` calls this module; tests read [`command`].
//!
//! `Exit` has the exit codes. With several environments, an error in one makes the code 1; otherwise `fleet` combines
//! their codes.

mod args;
mod backup_folder;
mod commands;
mod completion;
mod context;
mod data_folder;
mod environment;
mod error;
mod exit;
mod exposure;
mod fleet;
mod gate;
mod help;
mod identity_token;
mod list_file;
mod log;
mod message_parts;
mod operator_key;
mod planning;
mod revisions;
mod saved_plan;
mod schema_files;
mod short_id;
mod signals;
mod signing_key;
mod ui;
mod usage;
mod variables;
mod verification;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use args::{
    output::{MarkdownOutputArgs, OutputArgs},
    service::ServiceArgs,
};
use commands::{
    access, address_book, apply, approve, audit, backup, blame, comment, completions, delegate, demo, diff, doctor,
    drift, explain, functions, history, import, init, microsoft, new, operator, outbox, plan, render, resolve, restore,
    rollback, rollout, sandbox, schema, secrets, send, serve, show, status, token, validate, verify, watch, why,
};
pub(crate) use context::Context;
pub(crate) use error::CliError;
pub(crate) use exit::Exit;
pub(crate) use ui::{
    format::{ErrorFormat, Format},
    printer::{Color, Printer},
};

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
#[command(after_help = "Start here:\n  \
    mailwright demo              every step on this machine, in a minute\n  \
    mailwright init              the files of a first environment, by questions\n  \
    mailwright validate          check every environment's files\n  \
    mailwright plan dev          what would change on the running service\n  \
    mailwright explain MW0104    the meaning of a problem code\n\n\
    Topics: `mailwright help environment`, `mailwright help exit-codes`.")]
pub(crate) struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command accepts.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
struct GlobalArgs {
    /// Repository: the folder with `environments/` [default: the current folder or the nearest parent that has it]
    #[arg(short = 'C', long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    project: Option<PathBuf>,
    /// Colour of text output; `auto` uses colour on a terminal unless `NO_COLOR` is set
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    color: Color,
    /// Number of threads that read and compare files [default: number of cores]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set up a repository: an environment, its first profile, recipients, schemas and CI
    Init(Box<init::Init>),
    /// Create an environment or a profile: files with comments
    New(new::New),
    /// Check the files of all environments, or of the named ones
    Validate(validate::Validate),
    /// Show how a change of files affects the environments, without a service
    Diff(diff::Diff),
    /// Print the effective configuration, with the origin of each value
    Render(render::Render),
    /// Show what would change on the running service
    Plan(plan::PlanCommand),
    /// Change the running service: environments, or saved plans
    Apply(apply::Apply),
    /// Approve a saved plan: sign its changes with an SSH key
    Approve(approve::Approve),
    /// Detect changes made outside Git
    Drift(drift::Drift),
    /// Show the status of a service
    Status(status::Status),
    /// Compare one live profile with its files
    Show(show::Show),
    /// Check that mail can be sent: registrations, permissions, redirect URIs, credentials, mail servers
    Verify(verify::Verify),
    /// Show which profile sends for a company and a function, and why
    Resolve(resolve::Resolve),
    /// Send a message through the service
    Send(send::Send),
    /// Send mail as the signed-in user, from this desktop
    Delegate(Box<delegate::Delegate>),
    /// Search the address book of a profile for recipients
    AddressBook(address_book::AddressBook),
    /// Inspect, retry, cancel or hold queued mail
    Outbox(outbox::Outbox),
    /// Explain why a message did not leave, and what to do
    Why(why::Why),
    /// List past generations, newest first
    History(history::History),
    /// Show which commit last changed each field
    Blame(blame::Blame),
    /// Return to an earlier generation, as a new one
    Rollback(rollback::Rollback),
    /// Roll out a change to many environments in waves
    Rollout(rollout::Rollout),
    /// Follow the files: plan, report drift and expiring credentials, apply where configured
    Watch(watch::Watch),
    /// Write files for profiles that exist only in the service
    Import(import::Import),
    /// Post or update a pull request comment
    Comment(comment::Comment),
    /// Seal, list and check the secrets of an environment
    Secrets(secrets::Secrets),
    /// Set up what a profile needs at Microsoft
    Microsoft(microsoft::Microsoft),
    /// Create, list and revoke the tokens that the service accepts
    Token(token::TokenArgs),
    /// Add, list and remove the people who sign in to the console with a passkey
    Operator(operator::OperatorArgs),
    /// Show roles, bindings, and who may do what
    Access(access::Access),
    /// Read and verify the service's audit log
    Audit(audit::Audit),
    /// Run the e-mail service
    Serve(serve::Serve),
    /// Back up a service: its store, and its identity, sealed
    Backup(backup::Backup),
    /// Restore a backup into an empty data folder
    Restore(restore::Restore),
    /// Check this machine's access to environments and their services, with remedies
    Doctor(doctor::Doctor),
    /// Demonstrate every step on this machine: serve, validate, plan, apply, send, plan again
    Demo(demo::Demo),
    /// Run local stand-ins for Entra, Microsoft Graph, a mail server and a name server
    Sandbox(sandbox::Sandbox),
    /// List the functions that a profile can serve
    Functions(functions::Functions),
    /// Explain a problem code, a finding, an error code of Microsoft, or an SMTP reply
    Explain(explain::Explain),
    /// Print the JSON Schemas of the files
    Schema(schema::Schema),
    /// Print the help of a command, or a topic
    Help(commands::help::Help),
    /// Print completions for a shell
    Completions(completions::Completions),
    /// Write man pages into a folder
    Man(completions::Man),
}

impl Command {
    fn runnable(&self) -> &dyn Runnable {
        match self {
            Self::Init(command) => command.as_ref(),
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
            Self::Delegate(command) => command.as_ref(),
            Self::AddressBook(command) => command,
            Self::Outbox(command) => command,
            Self::Why(command) => command,
            Self::History(command) => command,
            Self::Blame(command) => command,
            Self::Rollback(command) => command,
            Self::Rollout(command) => command,
            Self::Watch(command) => command,
            Self::Import(command) => command,
            Self::Comment(command) => command,
            Self::Secrets(command) => command,
            Self::Microsoft(command) => command,
            Self::Token(command) => command,
            Self::Operator(command) => command,
            Self::Access(command) => command,
            Self::Audit(command) => command,
            Self::Serve(command) => command,
            Self::Backup(command) => command,
            Self::Restore(command) => command,
            Self::Doctor(command) => command,
            Self::Demo(command) => command,
            Self::Sandbox(command) => command,
            Self::Functions(command) => command,
            Self::Explain(command) => command,
            Self::Schema(command) => command,
            Self::Help(command) => command,
            Self::Completions(command) => command,
            Self::Man(command) => command,
        }
    }
}

/// Returns the definition of the command line, with every command and option.
pub fn command() -> clap::Command {
    help::command()
}

/// Parses the arguments, runs the command, and returns the exit code. Reports an error in the format that the command
/// was asked for. Does not panic, whatever the arguments are.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let completion = clap_complete::CompleteEnv::with_factory(completion::command).var(completion::VARIABLE);
    let current = std::env::current_dir().ok();
    // The first argument, the name of the program, must be there.
    if !arguments.is_empty() {
        match completion.try_complete(arguments.iter().cloned(), current.as_deref()) {
            Ok(false) => {}
            Ok(true) => return ExitCode::SUCCESS,
            Err(error) => return report_usage(&Printer::new(Color::Auto), &error, &arguments),
        }
    }
    // Fitting the help of all commands to the terminal takes longer than parsing, and only an error or `--help` shows any.
    let parsed = parse(Cli::command(), &arguments).or_else(|_| parse(help::command(), &arguments));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return report_usage(&Printer::new(Color::Auto), &error, &arguments),
    };
    let printer = Printer::new(cli.global.color);
    let command = cli.command.runnable();
    let result = variables::check().and_then(|()| {
        let context = Context::new(cli.global.project, cli.global.threads, printer.clone())?;
        command.run(&context)
    });
    match result {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            error.report(&printer, command.error_format());
            ExitCode::from(error.exit.code())
        }
    }
}

/// Parses the arguments by a definition of the command line.
fn parse(mut command: clap::Command, arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Prints the message of an argument error, or the answer to `--help` and `--version`.
fn report_usage(printer: &Printer, error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let text = error.render().ansi().to_string();
    if error.use_stderr() {
        if usage::asks_for_json(arguments) {
            printer.json(&usage::to_error(error, arguments).to_json());
        }
        printer.note(&text);
        if let Some(meant) = usage::reordered(error, arguments) {
            printer.note(&format!("The verb comes first. Did you mean this?\n\n  {meant}"));
        }
        ExitCode::FAILURE
    } else {
        printer.out(&text);
        ExitCode::SUCCESS
    }
}
