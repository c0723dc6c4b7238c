//! How checks and mail reach the world: options of `verify --local`, and, with those of delivery, of `serve`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cli::CliError,
    delivery::{Outgoing, smtp::Deadlines},
    entra::{FederatedFiles, federated::FederatedFile},
    model::Code,
    smtp::HelloName,
};

/// How Microsoft's hosts, mail servers and DNS are reached.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Outgoing connections")]
pub(crate) struct OutgoingOptions {
    /// A PEM file with certificate authorities to trust beside the machine's, for Microsoft's hosts and mail servers; a
    /// server's own certificate in it is trusted for its name
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    outgoing_ca_file: Option<PathBuf>,
    /// A file with a federated token, and where the token may be sent: FILE=ENV,tenant=TENANT,client=CLIENT, and
    /// ,sign-in=HOST ,graph=HOST ,server=HOST where they are needed (can be repeated)
    #[arg(long, value_name = "FILE")]
    federated_token_file: Vec<FederatedFile>,
    /// The name server to ask [default: the system's]
    #[arg(long, value_name = "ADDRESS")]
    dns_server: Option<SocketAddr>,
    /// How many seconds one step with a mail server may take [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=300))]
    smtp_timeout: Option<u64>,
    /// The name to greet mail servers with (EHLO) [default: this machine's full name, or else its address]
    #[arg(long, value_name = "NAME")]
    smtp_helo_name: Option<HelloName>,
}

/// How the service reaches them, and how it delivers.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Outgoing connections")]
pub(crate) struct DeliveryOptions {
    #[command(flatten)]
    reached: OutgoingOptions,
    /// How long each phase of a delivery may take, in seconds: connect=30,command=60,data=60,dot=600 (`data` grows by
    /// one for every 10 kB)
    #[arg(long, value_name = "PHASES", value_parser = deadlines, default_value = "connect=30,command=60,data=60,dot=600")]
    delivery_deadlines: Deadlines,
    /// How many seconds after it was parked a profile is tried again for the first time
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    probe_after: u64,
}

/// `connect=30,dot=600`: what is not named is as usual.
fn deadlines(text: &str) -> Result<Deadlines, String> {
    let mut deadlines = Deadlines::default();
    for part in text.split(',') {
        let wrong = || format!("`{part}` is not a phase and seconds, such as dot=600");
        let (phase, seconds) = part.split_once('=').ok_or_else(wrong)?;
        let seconds: u64 = seconds.parse().map_err(|_| wrong())?;
        let time = Duration::from_secs(seconds.clamp(1, 3600));
        match phase {
            "connect" => deadlines.connect = time,
            "command" => deadlines.command = time,
            "data" => deadlines.data = time,
            "dot" => deadlines.dot = time,
            _ => return Err(wrong()),
        }
    }
    Ok(deadlines)
}

impl DeliveryOptions {
    /// Reads what the options name.
    pub(crate) fn outgoing(&self) -> Result<Outgoing, CliError> {
        let reached = self.reached.outgoing()?;
        let probe_after = Duration::from_secs(self.probe_after);
        Ok(Outgoing { deadlines: self.delivery_deadlines, probe_after, ..reached })
    }
}

impl OutgoingOptions {
    /// The options that were given and that matter only to whoever connects. `signs_in` says that somebody signs in
    /// from here, so that authorities matter all the same.
    pub(crate) fn given(&self, signs_in: bool) -> Vec<&'static str> {
        let all = [
            (self.outgoing_ca_file.is_some() && !signs_in, "--outgoing-ca-file"),
            (!self.federated_token_file.is_empty(), "--federated-token-file"),
            (self.dns_server.is_some(), "--dns-server"),
            (self.smtp_timeout.is_some(), "--smtp-timeout"),
            (self.smtp_helo_name.is_some(), "--smtp-helo-name"),
        ];
        all.into_iter().filter(|(given, _)| *given).map(|(_, name)| name).collect()
    }

    /// Reads what the options name.
    pub(crate) fn outgoing(&self) -> Result<Outgoing, CliError> {
        let authorities = self.outgoing_ca_file.as_deref().map(authorities).transpose()?;
        Ok(Outgoing {
            authorities,
            federated: FederatedFiles::new(self.federated_token_file.clone()),
            dns_server: self.dns_server,
            smtp_timeout: Duration::from_secs(self.smtp_timeout.unwrap_or(10)),
            hello: self.smtp_helo_name.clone().unwrap_or_else(HelloName::from_machine),
            deadlines: Deadlines::default(),
            probe_after: Duration::from_secs(60),
        })
    }
}

/// Reads the certificate authorities that are trusted beside the machine's.
pub(crate) fn authorities(path: &Path) -> Result<Vec<u8>, CliError> {
    let bytes = std::fs::read(path).map_err(|error| {
        CliError::coded(
            Code::Unreadable,
            format!("cannot read the certificate authorities `{}`: {error}", path.display()),
        )
        .remedy("Correct `--outgoing-ca-file`; it is a PEM file.")
    })?;
    // PEM is text, and editors of Windows put a mark before it.
    Ok(crate::text::try_decode(&bytes).map_or(bytes, String::into_bytes))
}
