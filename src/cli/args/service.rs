//! Arguments of commands that call the service: its address, the token, and the certificate authority.
//!
//! Each service has its own token and may have its own certificate authority. `{environment}` in an address or a file name
//! is replaced by the environment's name, so that one setting serves all environments.
//!
//! The address may come from the repository, but the token belongs to the operator. Therefore a token is sent to an address of the
//! repository only if it is on this machine (loopback) or something outside the repository names its origin: `--service`,
//! `--token-origin`, their variables, a line in the token file, or the audience of an identity token. Otherwise the client is not
//! created (MW0046, MW0047): nothing is sent, and no identity token is requested. A missing token or address is an error too.

use std::{
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Once,
};

use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    cli::{CliError, Context, args::outbound::read_pem, identity_token, variables},
    client::{
        Client, ClientOptions, TokenOrigins,
        origin::{audience_origin, audience_origins, origin_of},
    },
    model::{Code, EnvironmentName},
    net::http_client::is_loopback_url,
    text::{
        self,
        shell::{quote_path, quote_posix},
    },
};

/// The largest token file, in bytes.
const TOKEN_FILE_LIMIT: u64 = 64 * 1024;
/// The beginning of a line of a token file that names an origin.
const ORIGIN_PREFIX: &str = "origin:";

/// The placeholder for the environment's name.
pub(crate) const PLACEHOLDER: &str = "{environment}";

/// Arguments that select the service and authenticate to it.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Service")]
pub(crate) struct ServiceArgs {
    /// Address of the service [default: `MAILWRIGHT_SERVICE`, then `service.address` in environment.yaml]
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    pub(crate) service: Option<String>,
    /// File with the bearer token; `{environment}` in its name is replaced by the environment's name [default:
    /// `MAILWRIGHT_TOKEN_FILE`, or the token itself in `MAILWRIGHT_TOKEN`]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) token_file: Option<PathBuf>,
    /// Origin that the token may be sent to if the address comes from the files: `https://mail.example.com`, or
    /// `ENV=https://...` for one environment (can be repeated) [default: `MAILWRIGHT_TOKEN_ORIGINS`]
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) token_origin: Vec<String>,
    /// Audience of the identity token to request from GitHub Actions if there is no other token [default:
    /// `MAILWRIGHT_OIDC_AUDIENCE`]
    #[arg(long, value_name = "AUDIENCE")]
    pub(crate) oidc_audience: Option<String>,
    /// PEM file with a certificate authority to trust in addition to the system's; its name may contain `{environment}`
    /// [default: `MAILWRIGHT_CA_FILE`]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) ca_file: Option<PathBuf>,
    /// Send the token over unencrypted HTTP to another machine
    #[arg(long)]
    pub(crate) allow_clear_text: bool,
}

/// The source of the bearer token.
enum TokenSource {
    /// The token, and the origins that its file names.
    Given { text: SecretString, origins: TokenOrigins },
    /// GitHub Actions issues an identity token for this audience.
    GithubActions { audience: String },
}

impl TokenSource {
    /// Returns the origins that an identity token is for.
    fn audiences(&self) -> Vec<Url> {
        match self {
            Self::Given { text, .. } => audience_origins(text.expose_secret()),
            Self::GithubActions { audience } => audience_origin(audience).into_iter().collect(),
        }
    }
}

impl ServiceArgs {
    /// Returns an error if the address is that of one service but several environments are selected.
    pub(crate) fn check_for_several(&self) -> Result<(), CliError> {
        let given = [("--service", self.service.clone()), (variables::SERVICE, variables::read(variables::SERVICE))];
        let named = given.into_iter().find(|(_, address)| address.is_some());
        match named {
            Some((by, Some(address))) if !address.contains(PLACEHOLDER) => Err(CliError::coded(
                Code::SeveralEnvironments,
                format!("`{by}` names one service, but several environments are selected"),
            )
            .remedy(
                "Omit it to use `service.address` of each environment.yaml, or write `{environment}` for the name.",
            )),
            _ => Ok(()),
        }
    }

    /// Creates a client for the service; `declared` is the address in the environment's file.
    pub(crate) fn client(
        &self,
        context: &Context,
        environment: &EnvironmentName,
        declared: Option<&str>,
    ) -> Result<Client, CliError> {
        if let Some(given) = self.given_address() {
            return self.client_for(context, environment, &given, false);
        }
        let declared = declared.ok_or_else(|| {
            CliError::coded(Code::AddressMissing, "no service address is configured").remedy(
                "Write `service: { address: https://... }` into environment.yaml, set MAILWRIGHT_SERVICE, or pass `--service URL`.",
            )
        })?;
        self.client_at(context, environment, declared)
    }

    /// Returns the address that is given outside the files.
    fn given_address(&self) -> Option<String> {
        self.service.clone().or_else(|| variables::read(variables::SERVICE))
    }

    /// Returns true if something outside the files names origins for tokens, regardless of the environment.
    pub(crate) fn has_origins(&self) -> Result<bool, CliError> {
        Ok(self.given_address().is_some() || !self.origins()?.is_empty())
    }

    /// Returns the origins that the command line or the variable names.
    fn origins(&self) -> Result<TokenOrigins, CliError> {
        let list = if self.token_origin.is_empty() {
            variables::read(variables::TOKEN_ORIGINS).unwrap_or_default()
        } else {
            self.token_origin.join(" ")
        };
        TokenOrigins::parse(&list).map_err(|why| {
            CliError::coded(Code::Usage, why).remedy(
                "Correct `--token-origin` or MAILWRIGHT_TOKEN_ORIGINS; `mailwright explain MW0046` shows the forms.",
            )
        })
    }

    /// Creates a client for the service at an address from the files, even if another one is given outside.
    pub(crate) fn client_at(
        &self,
        context: &Context,
        environment: &EnvironmentName,
        address: &str,
    ) -> Result<Client, CliError> {
        self.client_for(context, environment, address, true)
    }

    fn client_for(
        &self,
        context: &Context,
        environment: &EnvironmentName,
        address: &str,
        is_from_files: bool,
    ) -> Result<Client, CliError> {
        let address = address.replace(PLACEHOLDER, environment.as_str());
        let token = self.token(context, environment)?;
        // An invalid address is reported below, by the client.
        if let Ok(url) = Url::parse(&address) {
            self.check_origin(environment, &url, is_from_files, &token)?;
        }
        let token = match token {
            TokenSource::Given { text, .. } => text,
            TokenSource::GithubActions { audience } => identity_token::from_github(context, &audience)?,
        };
        self.connect(context, environment, &address, token)
    }

    /// Creates a client with the ID token of a person, which is sent only to an address that is given outside the files.
    pub(crate) fn client_of_person(
        &self,
        context: &Context,
        environment: &EnvironmentName,
        id_token: SecretString,
    ) -> Result<Client, CliError> {
        let address = self.given_address().ok_or_else(|| {
            CliError::coded(Code::AddressMissing, "no service address is configured")
                .remedy("Set MAILWRIGHT_SERVICE, or pass `--service URL`.")
        })?;
        self.connect(context, environment, &address.replace(PLACEHOLDER, environment.as_str()), id_token)
    }

    fn connect(
        &self,
        context: &Context,
        environment: &EnvironmentName,
        address: &str,
        token: SecretString,
    ) -> Result<Client, CliError> {
        let ca_file = self.ca_file.clone().or_else(|| variables::read(variables::CA_FILE).map(PathBuf::from));
        let ca_file = ca_file.map(|path| expand_environment(path, environment));
        let read = |path: PathBuf| read_pem(&path, "certificate authority", "`--ca-file` or MAILWRIGHT_CA_FILE");
        let authority = ca_file.map(read).transpose()?;
        let options = ClientOptions {
            environment: Some(environment),
            authority: authority.as_deref(),
            allow_clear_text: self.allow_clear_text,
            connections: Some(context.connections()),
        };
        Client::new(address, token, &options).map_err(CliError::from)
    }

    /// Returns an error if nothing outside the files allows the token for this origin.
    fn check_origin(
        &self,
        environment: &EnvironmentName,
        address: &Url,
        is_from_files: bool,
        token: &TokenSource,
    ) -> Result<(), CliError> {
        let mut origins = self.origins()?;
        if let TokenSource::Given { origins: from_file, .. } = token {
            origins.extend(from_file.clone());
        }
        let origin = origin_of(address);
        let from =
            if is_from_files { format!("the files of `{environment}` name") } else { "it would be sent to".to_owned() };
        let other = |what: String, remedy: String| {
            Err(CliError::coded(Code::TokenOfAnotherOrigin, format!("{what}, and {from} {origin}; nothing was sent"))
                .remedy(remedy))
        };
        if !origins.is_empty() {
            if origins.allow(environment, address) {
                return Ok(());
            }
            return other(
                format!("the token is for {origins}"),
                format!(
                    "Find out who changed the address. If the service has moved, set the new origin where the old one is set: MAILWRIGHT_TOKEN_ORIGINS={origin}, `--token-origin`, or the line in the token file."
                ),
            );
        }
        if !is_from_files {
            return Ok(());
        }
        let audiences = token.audiences();
        if let Some(first) = audiences.first() {
            if audiences.iter().any(|audience| origin_of(audience) == origin) {
                return Ok(());
            }
            return other(
                format!("the identity token is for the audience {}", origin_of(first)),
                format!(
                    "Find out who changed the address. If the service has this audience and another address, set it outside the repository: MAILWRIGHT_TOKEN_ORIGINS={}",
                    quote_posix(&origin)
                ),
            );
        }
        if is_loopback_url(address) {
            return Ok(());
        }
        Err(CliError::coded(
            Code::TokenUnpinned,
            format!("the files of `{environment}` name {origin}, and nothing outside the repository allows the token for this origin; nothing was sent"),
        )
        .remedy(format!("If the address is correct: export MAILWRIGHT_TOKEN_ORIGINS={}", quote_posix(&origin))))
    }

    fn token(&self, context: &Context, environment: &EnvironmentName) -> Result<TokenSource, CliError> {
        let file = self.token_file.clone().or_else(|| variables::read(variables::TOKEN_FILE).map(PathBuf::from));
        if let Some(path) = file {
            let path = expand_environment(path, environment);
            warn_of_readers(context, &path);
            return read_token(&path);
        }
        match (variables::read(variables::TOKEN), self.audience()) {
            (Some(token), _) => {
                let token = token.trim_start_matches('\u{feff}').trim();
                Ok(TokenSource::Given { text: token.to_owned().into(), origins: TokenOrigins::default() })
            }
            (None, Some(audience)) => Ok(TokenSource::GithubActions { audience }),
            (None, None) => Err(CliError::coded(Code::TokenMissing, "no token is configured").remedy(
                "Set MAILWRIGHT_TOKEN or MAILWRIGHT_TOKEN_FILE, or pass `--token-file FILE`. `mailwright token create` creates one.",
            )),
        }
    }

    fn audience(&self) -> Option<String> {
        self.oidc_audience.clone().or_else(|| variables::read(variables::OIDC_AUDIENCE))
    }
}

/// Reads a token file: the token on the first line, then optional lines that name its origins, and comments.
fn read_token(path: &Path) -> Result<TokenSource, CliError> {
    let wrong = |why: String| {
        CliError::coded(Code::TokenMissing, format!("cannot read the token file `{}`: {why}", path.display()))
            .remedy("Correct `--token-file` or MAILWRIGHT_TOKEN_FILE: a file that contains only the token, as printed by the service's first start or `mailwright token create`.")
    };
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    std::fs::File::open(path)
        .and_then(|file| file.take(TOKEN_FILE_LIMIT + 1).read_to_end(&mut bytes))
        .map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > TOKEN_FILE_LIMIT {
        return Err(wrong("it is larger than any token file".to_owned()));
    }
    let decoded = text::try_decode(&bytes).map(zeroize::Zeroizing::new);
    let decoded = decoded.ok_or_else(|| wrong("it is neither UTF-8 nor UTF-16 text".to_owned()))?;
    let mut lines = decoded.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let token = lines.next().unwrap_or_default();
    let mut origins = TokenOrigins::default();
    for line in lines {
        let list = line.strip_prefix(ORIGIN_PREFIX);
        let list = list.ok_or_else(|| wrong(format!("lines after the token must begin with `{ORIGIN_PREFIX}`")))?;
        origins.extend(TokenOrigins::parse(list).map_err(wrong)?);
    }
    Ok(TokenSource::Given { text: token.to_owned().into(), origins })
}

/// Warns once if others can read or write a token file of this user. A file of another owner is not checked: orchestrators
/// mount such files into containers, readable for the program's user.
fn warn_of_readers(context: &Context, path: &Path) {
    static WARNED: Once = Once::new();
    let Ok(found) = std::fs::metadata(path) else { return };
    if found.is_file() && found.mode() & 0o077 != 0 && found.uid() == rustix::process::geteuid().as_raw() {
        WARNED.call_once(|| {
            let (shown, mode) = (path.display(), found.mode() & 0o777);
            context.printer.note_for_command(&format!(
                "warning: others can read the token file `{shown}` (mode {mode:03o}). Correct it: chmod 600 {}",
                quote_path(path)
            ));
        });
    }
}

/// Replaces the placeholder in a file's name by the environment's name.
pub(crate) fn expand_environment(path: PathBuf, environment: &EnvironmentName) -> PathBuf {
    match path.to_str() {
        Some(text) if text.contains(PLACEHOLDER) => text.replace(PLACEHOLDER, environment.as_str()).into(),
        _ => path,
    }
}
