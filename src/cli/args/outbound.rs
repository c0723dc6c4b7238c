//! The arguments for connections to Microsoft, mail servers and DNS, of `verify --local` and `serve`.
//!
//! [`OutgoingArgs`] has trust, host names and timeouts, [`DeliveryArgs`] adds what only delivery uses. Their `outgoing` methods
//! read the file of certificate authorities and return the settings; an unreadable file is an error. The files with federated
//! tokens are read later, when a token is needed. Arguments for connections to Mailwright's own service are in `service`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cli::CliError,
    delivery::{OutboundOptions, SmtpDeadlines},
    entra::{FederatedFiles, federated::FederatedFile},
    model::Code,
    smtp::HelloName,
    sync::BlockingPool,
};

/// Arguments for connections to Microsoft's hosts, mail servers and DNS.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Outgoing connections")]
pub(crate) struct OutgoingArgs {
    /// PEM file with certificate authorities to trust in addition to the system's, for Microsoft's hosts and mail
    /// servers; a server's own certificate in it is trusted for its name
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    outgoing_ca_file: Option<PathBuf>,
    /// File with a federated token, and its allowed destination: FILE=ENV,tenant=TENANT,client=CLIENT, and if needed
    /// ,sign-in=HOST ,graph=HOST ,server=HOST (can be repeated)
    #[arg(long, value_name = "FILE")]
    federated_token_file: Vec<FederatedFile>,
    /// Name server for DNS queries [default: the system's]
    #[arg(long, value_name = "ADDRESS")]
    dns_server: Option<SocketAddr>,
    /// Timeout of one step of an SMTP conversation, in seconds [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=300))]
    smtp_timeout: Option<u64>,
    /// Name in the greeting to mail servers (EHLO) [default: this machine's full name, or its address]
    #[arg(long, value_name = "NAME")]
    smtp_helo_name: Option<HelloName>,
}

/// Arguments for outgoing connections and delivery of the service.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Outgoing connections")]
pub(crate) struct DeliveryArgs {
    #[command(flatten)]
    connections: OutgoingArgs,
    /// Timeouts of the phases of a delivery, in seconds; one second is added to `data` for every 10 kB
    #[arg(long, value_name = "PHASES", value_parser = parse_deadlines, default_value = "connect=30,command=60,data=60,dot=600")]
    delivery_deadlines: SmtpDeadlines,
    /// Delay before the first attempt to resume a suspended profile, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    probe_after: u64,
}

/// Parses timeouts: `connect=30,dot=600`. A phase that is not named keeps its default.
fn parse_deadlines(text: &str) -> Result<SmtpDeadlines, String> {
    let mut deadlines = SmtpDeadlines::default();
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

impl DeliveryArgs {
    /// Reads the files and returns the settings.
    pub(crate) fn outgoing(&self) -> Result<OutboundOptions, CliError> {
        let outgoing = self.connections.outgoing()?;
        let probe_after = Duration::from_secs(self.probe_after);
        Ok(OutboundOptions { deadlines: self.delivery_deadlines, probe_after, ..outgoing })
    }
}

impl OutgoingArgs {
    /// Returns the arguments that were given and that apply only if this process connects. With `signs_in` it connects to
    /// the sign-in host, so the certificate authorities apply in any case.
    pub(crate) fn explicitly_set(&self, signs_in: bool) -> Vec<&'static str> {
        let all = [
            (self.outgoing_ca_file.is_some() && !signs_in, "--outgoing-ca-file"),
            (!self.federated_token_file.is_empty(), "--federated-token-file"),
            (self.dns_server.is_some(), "--dns-server"),
            (self.smtp_timeout.is_some(), "--smtp-timeout"),
            (self.smtp_helo_name.is_some(), "--smtp-helo-name"),
        ];
        all.into_iter().filter(|(given, _)| *given).map(|(_, name)| name).collect()
    }

    /// Reads the files and returns the settings.
    pub(crate) fn outgoing(&self) -> Result<OutboundOptions, CliError> {
        let authorities = self.outgoing_ca_file.as_deref().map(read_authorities).transpose()?;
        Ok(OutboundOptions {
            authorities,
            federated: FederatedFiles::new(self.federated_token_file.clone()),
            dns_server: self.dns_server,
            smtp_timeout: Duration::from_secs(self.smtp_timeout.unwrap_or(10)),
            hello: self.smtp_helo_name.clone().unwrap_or_else(HelloName::from_machine),
            deadlines: SmtpDeadlines::default(),
            probe_after: Duration::from_secs(60),
            pool: BlockingPool::default(),
        })
    }
}

/// Reads certificate authorities that are trusted in addition to the system's.
pub(crate) fn read_authorities(path: &Path) -> Result<Vec<u8>, CliError> {
    read_pem(path, "certificate authorities", "`--outgoing-ca-file`")
}

/// The maximum size of a PEM file, in bytes. The authorities of a system have about 250 kB.
const PEM_LIMIT: u64 = 4 * 1024 * 1024;

/// Reads a PEM file. `contents` and `setting` name its contents and the option or variable that names it, for the error.
pub(crate) fn read_pem(path: &Path, contents: &str, setting: &str) -> Result<Vec<u8>, CliError> {
    let bytes = crate::fs::read_given(path, PEM_LIMIT).map_err(|error| {
        CliError::coded(Code::Unreadable, format!("cannot read the {contents} `{}`: {error}", path.display()))
            .remedy(format!("Correct {setting}; it is a PEM file."))
    })?;
    // PEM is text; editors on Windows write a byte order mark.
    Ok(crate::text::try_decode(&bytes).map_or(bytes, String::into_bytes))
}
