//! `mailwright sandbox`: runs local stand-ins for Entra, Microsoft Graph, a mail server and a name server until it is stopped.
//!
//! Reads a scenario, or uses the built-in one; the servers are [`crate::sandbox`]. They listen on loopback only.

use std::path::PathBuf;

use crate::{
    cli::{CliError, Context, Exit, Runnable, signals::wait_for_stop},
    config,
    sandbox::{Ports, SandboxServer, Scenario},
};

/// The default scenario, which `--example` prints.
const EXAMPLE: &str = include_str!("../../sandbox/example.yaml");

/// The remedy for a wrong scenario.
const SCENARIO_HELP: &str = "`mailwright sandbox --example` prints a scenario with every key.";

/// Run local stand-ins for Entra, Microsoft Graph, a mail server and a name server
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright sandbox --example > scenario.yaml      a scenario with every key\n  \
    mailwright sandbox scenario.yaml --ca-file ca.pem\n  \
    mailwright sandbox --authority .sandbox            the same authority at each start\n  \
    mailwright verify dev --local --outgoing-ca-file ca.pem --dns-server 127.0.0.1:8453\n\n\
    Test a change against a copy of your registration before you request it. A\n\
    profile uses the sandbox with:\n  \
    cloud: { custom: { signIn: https://localhost:8471, graph: https://localhost:8471 } }\n\n\
    While it runs:\n  \
    curl --cacert ca.pem https://localhost:8471/sandbox/mail        mail that was sent\n  \
    curl --cacert ca.pem https://localhost:8471/sandbox/requests    requests that were received\n  \
    curl --cacert ca.pem https://localhost:8471/sandbox/faults --json '{\"at\": \"/token\", \"status\": 503, \"times\": 2}'\n  \
    curl --cacert ca.pem https://localhost:8471/sandbox/faults --json '{\"at\": \"smtp/rcpt\", \"status\": 451}'\n  \
    curl --cacert ca.pem https://localhost:8471/sandbox/faults -X DELETE\n\n\
    It listens on 127.0.0.1 only. It stores nothing on disk and creates a new\n\
    certificate authority at each start, unless `--authority` names a folder.")]
pub(crate) struct Sandbox {
    /// File with the scenario, YAML or JSON [default: the example]
    #[arg(value_hint = clap::ValueHint::FilePath)]
    scenario: Option<PathBuf>,
    /// Print the example scenario and exit
    #[arg(long)]
    example: bool,
    /// File to which the certificate authority is written, for clients to trust
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    ca_file: Option<PathBuf>,
    /// Folder that keeps the certificate authority between starts: ca.pem and ca-key.pem
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    authority: Option<PathBuf>,
    /// Port of Entra and Graph; 0 selects a free port
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
    /// Stop when standard input ends, so that it does not outlive the program that started it
    #[arg(long, hide = true)]
    stop_at_end_of_input: bool,
}

impl Runnable for Sandbox {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        if self.example {
            context.printer.document(EXAMPLE);
            return Ok(Exit::Done);
        }
        let scenario: Scenario = match &self.scenario {
            Some(path) => config::read_document(path, SCENARIO_HELP)
                .map_err(|report| crate::cli::environment::problems(context, &report))?,
            None => example()?,
        };
        let ports = Ports { https: self.port, smtp: self.smtp_port, smtps: self.smtps_port, dns: self.dns_port };
        context.runtime()?.block_on(async {
            let running = SandboxServer::start_with_authority(scenario, ports, self.authority.as_deref())
                .await
                .map_err(|error| {
                    CliError::new(error).remedy(
                    "Use other ports: `--port`, `--smtp-port`, `--smtps-port`, `--dns-port`; 0 selects a free port.",
                )
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

/// Returns the example scenario.
fn example() -> Result<Scenario, CliError> {
    let folder =
        tempfile::tempdir().map_err(|error| CliError::new(format!("cannot make a temporary folder: {error}")))?;
    let path = folder.path().join("example.yaml");
    std::fs::write(&path, EXAMPLE)
        .map_err(|error| CliError::new(format!("cannot write `{}`: {error}", path.display())))?;
    config::read_document(&path, SCENARIO_HELP).map_err(|report| CliError::new(report.human()))
}
