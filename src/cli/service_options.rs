//! The options of every command that talks to the service.

use std::path::PathBuf;

use super::{CliError, Context, variables};
use crate::{
    client::{Client, Options},
    model::Code,
};

/// How to reach the service.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Service")]
pub(crate) struct ServiceOptions {
    /// Address of the service [default: `MAILWRIGHT_SERVICE`, then `service.address` in environment.yaml]
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    pub(crate) service: Option<String>,
    /// A file with the bearer token [default: `MAILWRIGHT_TOKEN_FILE`; or the token itself in `MAILWRIGHT_TOKEN`]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) token_file: Option<PathBuf>,
    /// A PEM file with the certificate authority to trust, besides the machine's [default: `MAILWRIGHT_CA_FILE`]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) ca_file: Option<PathBuf>,
    /// Send the token over plain http to another machine
    #[arg(long)]
    pub(crate) allow_clear_text: bool,
}

impl ServiceOptions {
    /// A client for the service; `declared` is the address in the environment's file.
    pub(crate) fn client(&self, _context: &Context, declared: Option<&str>) -> Result<Client, CliError> {
        let address = self
            .service
            .clone()
            .or_else(|| variables::read(variables::SERVICE))
            .or_else(|| declared.map(str::to_owned))
            .ok_or_else(|| {
                CliError::coded(Code::AddressMissing, "no service address is at hand").remedy(
                    "Write `service: { address: https://... }` into environment.yaml, set MAILWRIGHT_SERVICE, or give `--service URL`.",
                )
            })?;
        let token = self.token()?;
        let ca_file = self.ca_file.clone().or_else(|| variables::read(variables::CA_FILE).map(PathBuf::from));
        let authority = match ca_file {
            None => None,
            Some(path) => Some(std::fs::read(&path).map_err(|error| {
                CliError::coded(
                    Code::Unreadable,
                    format!("cannot read the certificate authority `{}`: {error}", path.display()),
                )
                .remedy("Correct `--ca-file` or MAILWRIGHT_CA_FILE; it is a PEM file.")
            })?),
        };
        let options = Options { authority: authority.as_deref(), allow_clear_text: self.allow_clear_text };
        Client::new(&address, token, &options).map_err(CliError::from)
    }

    fn token(&self) -> Result<secrecy::SecretString, CliError> {
        let file = self.token_file.clone().or_else(|| variables::read(variables::TOKEN_FILE).map(PathBuf::from));
        let text = match file {
            Some(path) => std::fs::read_to_string(&path).map_err(|error| {
                CliError::coded(Code::TokenMissing, format!("cannot read the token file `{}`: {error}", path.display()))
                    .remedy("Correct `--token-file` or MAILWRIGHT_TOKEN_FILE: a file that holds the token alone, as the service's first start or `mailwright token create` gave it.")
            })?,
            None => variables::read(variables::TOKEN).ok_or_else(|| {
                CliError::coded(Code::TokenMissing, "no token is at hand").remedy(
                    "Set MAILWRIGHT_TOKEN or MAILWRIGHT_TOKEN_FILE, or give `--token-file FILE`. `mailwright token create` makes one.",
                )
            })?,
        };
        Ok(text.trim().to_owned().into())
    }
}
