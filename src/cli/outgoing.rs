//! How checks reach the world: options of `serve`, and of `verify --local`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::CliError;
use crate::{model::Code, service::Outgoing};

/// How checks reach Microsoft's hosts, mail servers and DNS.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Outgoing connections")]
pub(crate) struct OutgoingOptions {
    /// A PEM file with certificate authorities to trust beside the machine's, for Microsoft's hosts and mail servers
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    outgoing_ca_file: Option<PathBuf>,
    /// A file that may be read as a federated token; may be given several times
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    federated_token_file: Vec<PathBuf>,
    /// The name server to ask [default: the system's]
    #[arg(long, value_name = "ADDRESS")]
    dns_server: Option<SocketAddr>,
    /// How many seconds one step with a mail server may take
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=300))]
    smtp_timeout: u64,
}

impl OutgoingOptions {
    /// Reads what the options name.
    pub(crate) fn outgoing(&self) -> Result<Outgoing, CliError> {
        let authorities = match &self.outgoing_ca_file {
            None => None,
            Some(path) => Some(std::fs::read(path).map_err(|error| {
                CliError::coded(
                    Code::Unreadable,
                    format!("cannot read the certificate authorities `{}`: {error}", path.display()),
                )
            })?),
        };
        Ok(Outgoing {
            authorities,
            federated_token_files: self.federated_token_file.clone(),
            dns_server: self.dns_server,
            smtp_timeout: Duration::from_secs(self.smtp_timeout),
        })
    }
}
