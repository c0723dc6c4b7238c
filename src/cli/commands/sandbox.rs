//! `mailwright sandbox`: local stand-ins for Entra, Microsoft Graph, a mail server and a name server.

use std::path::PathBuf;

use crate::{
    cli::{CliError, Context, Exit, Runnable, signals::wait_for_stop},
    config,
    sandbox::{Ports, SandboxServer, Scenario},
};

/// The scenario that is played where none is named, and that `--example` prints.
const EXAMPLE: &str = include_str!("../../sandbox/example.yaml");

/// Where a reader of a scenario finds what belongs there.
const WHERE: &str = "`mailwright sandbox --example` prints a scenario with every key.";

/// Run local stand-ins for Entra, Microsoft Graph, a mail server and a name server
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright sandbox --example > scenario.yaml      a scenario with every key\n  \
    mailwright sandbox scenario.yaml --ca-file ca.pem\n  \
    mailwright verify dev --local --outgoing-ca-file ca.pem --dns-server 127.0.0.1:8453\n\n\
    Try a change against a copy of your registration before you ask for it: a profile reaches the sandbox by\n\
    cloud: { custom: { signIn: https://localhost:8471, graph: https://localhost:8471 } }\n\n\
    While it runs:\n  curl --cacert ca.pem https://localhost:8471/sandbox/mail        what was sent\n  \
    curl --cacert ca.pem https://localhost:8471/sandbox/requests    what was asked\n  \
    curl --cacert ca.pem https://localhost:8471/sandbox/faults --json '{\"at\": \"/token\", \"status\": 503, \"times\": 2}'\n\n\
    It listens on 127.0.0.1 alone, keeps nothing on disk, and makes its certificate authority anew at each start.")]
pub(crate) struct Sandbox {
    /// The scenario: YAML or JSON [default: the example]
    #[arg(value_hint = clap::ValueHint::FilePath)]
    scenario: Option<PathBuf>,
    /// Print the example scenario and end
    #[arg(long)]
    example: bool,
    /// Where to write its certificate authority, for clients to trust
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    ca_file: Option<PathBuf>,
    /// Port of Entra and Graph; 0 takes a free one
    #[arg(long, default_value_t = 8471, value_name = "PORT")]
    port: u16,
    /// Port of the mail server with STARTTLS
    #[arg(long, default_value_t = 8487, value_name = "PORT")]
    smtp_port: u16,
    /// Port of the mail server with TLS from the first byte
    #[arg(long, default_value_t = 8465, value_name = "PORT")]
    smtps_port: u16,
    /// Port of the name server (UDP)
    #[arg(long, default_value_t = 8453, value_name = "PORT")]
    dns_port: u16,
    /// End when standard input ends, so that it never outlives the program that started it
    #[arg(long, hide = true)]
    stop_at_end_of_input: bool,
}

impl Runnable for Sandbox {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        if self.example {
            context.printer.out(EXAMPLE);
            return Ok(Exit::Done);
        }
        let scenario: Scenario = match &self.scenario {
            Some(path) => config::read_document(path, WHERE)
                .map_err(|report| crate::cli::environment::problems(context, &report))?,
            None => example()?,
        };
        let ports = Ports { https: self.port, smtp: self.smtp_port, smtps: self.smtps_port, dns: self.dns_port };
        context.runtime()?.block_on(async {
            let running = SandboxServer::start(scenario, ports).await.map_err(|error| {
                CliError::new(error)
                    .remedy("Another port: `--port`, `--smtp-port`, `--smtps-port`, `--dns-port`; 0 takes a free one.")
            })?;
            if let Some(path) = &self.ca_file {
                crate::fs::write_atomically(path, running.authority.as_bytes())
                    .map_err(|error| CliError::new(format!("cannot write `{}`: {error}", path.display())))?;
            }
            context.printer.out(&format!(
                "Entra and Graph  {}\nSMTP (STARTTLS)  {}\nSMTP (TLS)       {}\nDNS (UDP)        {}",
                running.address, running.smtp, running.smtps, running.dns
            ));
            if let Some(path) = &self.ca_file {
                context.printer.out(&format!("Authority        {}", path.display()));
            }
            tokio::select! {
                () = running.wait() => {}
                () = wait_for_stop(self.stop_at_end_of_input) => {}
            }
            Ok(Exit::Done)
        })
    }
}

/// The example as a scenario.
fn example() -> Result<Scenario, CliError> {
    let folder =
        tempfile::tempdir().map_err(|error| CliError::new(format!("cannot make a temporary folder: {error}")))?;
    let path = folder.path().join("example.yaml");
    std::fs::write(&path, EXAMPLE)
        .map_err(|error| CliError::new(format!("cannot write `{}`: {error}", path.display())))?;
    config::read_document(&path, WHERE).map_err(|report| CliError::new(report.human()))
}
