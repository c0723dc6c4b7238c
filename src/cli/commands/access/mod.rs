//! `mailwright access`: shows roles and bindings of an environment, the rights of a subject, and who may change a field.
//!
//! The policy comes from the files, or with `--live` from the service. Every answer is that of
//! [`crate::model::access::decide`], which the service enforces.

mod explain;
mod list;
mod who;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, OutputArgs, Runnable, ServiceArgs,
        environment::{self, Environment},
    },
    model::Settings,
};

/// Show roles, bindings, and who may do what
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright access list prod                           roles and who has them\n  \
    mailwright access explain prod operator:ann           everything that ann may do\n  \
    mailwright access explain prod token:erp outbox:see   one right, with the reason\n  \
    mailwright access who prod provider.smtp.host invoices\n\n\
    Roles and bindings are declared in environments/ENV/access.yaml; a token also\n\
    has the built-in role that it was created with. Nothing is allowed that no grant\n\
    allows. `mailwright schema access` prints the format.")]
pub(crate) struct Access {
    #[command(subcommand)]
    command: AccessCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AccessCommand {
    /// List roles and bindings
    List(list::List),
    /// Show what a subject may do, and why
    Explain(explain::Explain),
    /// Show who may change a field of a profile
    Who(who::Who),
}

impl Runnable for Access {
    fn error_format(&self) -> ErrorFormat {
        match &self.command {
            AccessCommand::List(command) => command.source.output.format.into(),
            AccessCommand::Explain(command) => command.source.output.format.into(),
            AccessCommand::Who(command) => command.source.output.format.into(),
        }
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        match &self.command {
            AccessCommand::List(command) => command.run(context),
            AccessCommand::Explain(command) => command.run(context),
            AccessCommand::Who(command) => command.run(context),
        }
    }
}

/// Options for the source of the policy.
#[derive(Debug, clap::Args)]
struct SourceArgs {
    /// Read the policy of the running service instead of the files
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

/// The settings that the answer is about, with the profiles.
struct Source {
    settings: Settings,
    profiles: std::collections::BTreeMap<crate::model::ProfileName, crate::model::Profile>,
    /// The generation; none for files.
    generation: Option<u64>,
}

impl SourceArgs {
    /// Reads settings and profiles from the files, or from the service.
    fn read(&self, context: &Context, environment: &Environment) -> Result<Source, CliError> {
        if !self.live {
            let desired = environment.desired(context)?;
            let profiles = desired.profiles.into_iter().map(|(name, profile)| (name, profile.stored.profile)).collect();
            return Ok(Source { settings: desired.settings, profiles, generation: None });
        }
        let client = environment.client(context, &self.service)?;
        let state = context.runtime()?.block_on(environment::state(&client, &environment.name))?;
        let profiles = state.live().map(|(name, profile)| (name.clone(), profile.clone())).collect();
        Ok(Source { settings: state.settings, profiles, generation: Some(state.generation) })
    }
}
