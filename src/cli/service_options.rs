//! The options of every command that talks to the service.
//!
//! Each service has its own token, and may have its own authority: `{environment}` in an address or in the name of a file
//! stands for the environment's name, so that one setting fits all.

use std::path::PathBuf;

use super::{CliError, Context, identity_token, variables};
use crate::{
    client::{Client, Options},
    model::{Code, EnvironmentName},
};

/// What stands for the environment's name.
pub(super) const PLACEHOLDER: &str = "{environment}";

/// How to reach the service.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Service")]
pub(crate) struct ServiceOptions {
    /// Address of the service [default: `MAILWRIGHT_SERVICE`, then `service.address` in environment.yaml]
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    pub(crate) service: Option<String>,
    /// A file with the bearer token; `{environment}` in its name stands for the environment's [default:
    /// `MAILWRIGHT_TOKEN_FILE`; or the token itself in `MAILWRIGHT_TOKEN`]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) token_file: Option<PathBuf>,
    /// On GitHub Actions without a token: the audience of the identity token to get [default: `MAILWRIGHT_OIDC_AUDIENCE`]
    #[arg(long, value_name = "AUDIENCE")]
    pub(crate) oidc_audience: Option<String>,
    /// A PEM file with the certificate authority to trust, besides the machine's; may have `{environment}` in its name,
    /// too [default: `MAILWRIGHT_CA_FILE`]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) ca_file: Option<PathBuf>,
    /// Send the token over plain http to another machine
    #[arg(long)]
    pub(crate) allow_clear_text: bool,
}

impl ServiceOptions {
    /// Refuses an address that is that of one service where several are meant.
    pub(crate) fn fit_for_several(&self) -> Result<(), CliError> {
        let given = [("--service", self.service.clone()), (variables::SERVICE, variables::read(variables::SERVICE))];
        let named = given.into_iter().find(|(_, address)| address.is_some());
        match named {
            Some((by, Some(address))) if !address.contains(PLACEHOLDER) => {
                Err(CliError::coded(Code::Usage, format!("`{by}` names one service, and several environments are meant"))
                    .remedy(
                        "Leave it out: `service.address` in each environment.yaml counts. Or put `{environment}` where the name belongs.",
                    ))
            }
            _ => Ok(()),
        }
    }

    /// A client for the service; `declared` is the address in the environment's file.
    pub(crate) fn client(
        &self,
        context: &Context,
        environment: &EnvironmentName,
        declared: Option<&str>,
    ) -> Result<Client, CliError> {
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
        self.client_at(context, environment, &address)
    }

    /// A client for the service at an address, whatever else is said. A placeholder in it is put in.
    pub(crate) fn client_at(
        &self,
        context: &Context,
        environment: &EnvironmentName,
        address: &str,
    ) -> Result<Client, CliError> {
        let token = self.token(context, environment)?;
        let ca_file = self.ca_file.clone().or_else(|| variables::read(variables::CA_FILE).map(PathBuf::from));
        let ca_file = ca_file.map(|path| of_environment(path, environment));
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
        let options = Options {
            authority: authority.as_deref(),
            allow_clear_text: self.allow_clear_text,
            connections: Some(context.connections()),
        };
        Client::new(&address.replace(PLACEHOLDER, environment.as_str()), token, &options).map_err(CliError::from)
    }

    fn token(&self, context: &Context, environment: &EnvironmentName) -> Result<secrecy::SecretString, CliError> {
        let file = self.token_file.clone().or_else(|| variables::read(variables::TOKEN_FILE).map(PathBuf::from));
        let text = match file.map(|path| of_environment(path, environment)) {
            Some(path) => std::fs::read_to_string(&path).map_err(|error| {
                CliError::coded(Code::TokenMissing, format!("cannot read the token file `{}`: {error}", path.display()))
                    .remedy("Correct `--token-file` or MAILWRIGHT_TOKEN_FILE: a file that holds the token alone, as the service's first start or `mailwright token create` gave it.")
            })?,
            None if variables::read(variables::TOKEN).is_none() && self.audience().is_some() => {
                return identity_token::from_github(context, &self.audience().unwrap_or_default());
            }
            None => variables::read(variables::TOKEN).ok_or_else(|| {
                CliError::coded(Code::TokenMissing, "no token is at hand").remedy(
                    "Set MAILWRIGHT_TOKEN or MAILWRIGHT_TOKEN_FILE, or give `--token-file FILE`. `mailwright token create` makes one.",
                )
            })?,
        };
        Ok(text.trim().to_owned().into())
    }

    fn audience(&self) -> Option<String> {
        self.oidc_audience.clone().or_else(|| variables::read(variables::OIDC_AUDIENCE))
    }
}

/// The file of an environment. A name that is no text has no placeholder.
pub(super) fn of_environment(path: PathBuf, environment: &EnvironmentName) -> PathBuf {
    match path.to_str() {
        Some(text) if text.contains(PLACEHOLDER) => text.replace(PLACEHOLDER, environment.as_str()).into(),
        _ => path,
    }
}
