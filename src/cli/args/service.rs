//! The options of every command that talks to the service.
//!
//! Each service has its own token, and may have its own authority: `{environment}` in an address or in the name of a file
//! stands for the environment's name, so that one setting fits all.
//!
//! The address may come from the files, and the token is the operator's. So a token is sent only where something outside
//! of the repository says that it belongs: `--service`, `--token-origin`, their variables, a line in the token's file, or
//! the audience of an identity token. This is decided before anything is sent, and before an identity token is asked for.

use std::{
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Once,
};

use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    cli::{CliError, Context, identity_token, variables},
    client::{
        Client, Options, TokenOrigins,
        origin::{audience_origin, audience_origins, origin_of},
    },
    model::{Code, EnvironmentName},
    net::http_client::is_loopback_url,
    text,
};

/// The largest file of a token, in bytes.
const TOKEN_FILE_LIMIT: u64 = 64 * 1024;
/// What begins a line of a token's file that names an origin.
const ORIGIN_LINE: &str = "origin:";

/// What stands for the environment's name.
pub(crate) const PLACEHOLDER: &str = "{environment}";

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
    /// An origin that the token may be sent to, where the address comes from the files: `https://mail.example.com`, or
    /// `ENV=https://...` for one environment (can be repeated) [default: `MAILWRIGHT_TOKEN_ORIGINS`]
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) token_origin: Vec<String>,
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

/// A token, or the way to one.
enum Token {
    /// It is available; these are the origins that its file names.
    Available { text: SecretString, origins: TokenOrigins },
    /// GitHub Actions hands it out for this audience.
    OfGithub { audience: String },
}

impl Token {
    /// The origins that an identity token is for.
    fn audiences(&self) -> Vec<Url> {
        match self {
            Self::Available { text, .. } => audience_origins(text.expose_secret()),
            Self::OfGithub { audience } => audience_origin(audience).into_iter().collect(),
        }
    }
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
        if let Some(given) = self.given_address() {
            return self.client_for(context, environment, &given, false);
        }
        let declared = declared.ok_or_else(|| {
            CliError::coded(Code::AddressMissing, "no service address is at hand").remedy(
                "Write `service: { address: https://... }` into environment.yaml, set MAILWRIGHT_SERVICE, or give `--service URL`.",
            )
        })?;
        self.client_at(context, environment, declared)
    }

    /// The address that is given outside of the files.
    fn given_address(&self) -> Option<String> {
        self.service.clone().or_else(|| variables::read(variables::SERVICE))
    }

    /// Returns true if something outside of the files says where tokens go, whatever the environment.
    pub(crate) fn has_origins(&self) -> Result<bool, CliError> {
        Ok(self.given_address().is_some() || !self.origins()?.is_empty())
    }

    /// The origins that the token may be sent to, as the command line or the variable gives them.
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

    /// A client for the service at an address that comes from the files, whatever else is said.
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
        // What is not an address is refused below, with its own reason.
        if let Ok(url) = Url::parse(&address) {
            self.permit(environment, &url, is_from_files, &token)?;
        }
        let token = match token {
            Token::Available { text, .. } => text,
            Token::OfGithub { audience } => identity_token::from_github(context, &audience)?,
        };
        let ca_file = self.ca_file.clone().or_else(|| variables::read(variables::CA_FILE).map(PathBuf::from));
        let ca_file = ca_file.map(|path| of_environment(path, environment));
        let authority = match ca_file {
            None => None,
            Some(path) => {
                let bytes = std::fs::read(&path).map_err(|error| {
                    CliError::coded(
                        Code::Unreadable,
                        format!("cannot read the certificate authority `{}`: {error}", path.display()),
                    )
                    .remedy("Correct `--ca-file` or MAILWRIGHT_CA_FILE; it is a PEM file.")
                })?;
                // PEM is text, and editors of Windows put a mark before it.
                Some(crate::text::try_decode(&bytes).map_or(bytes, String::into_bytes))
            }
        };
        let options = Options {
            authority: authority.as_deref(),
            allow_clear_text: self.allow_clear_text,
            connections: Some(context.connections()),
        };
        Client::new(&address, token, &options).map_err(CliError::from)
    }

    /// Refuses to send a token where nothing outside of the files says that it belongs.
    fn permit(
        &self,
        environment: &EnvironmentName,
        address: &Url,
        is_from_files: bool,
        token: &Token,
    ) -> Result<(), CliError> {
        let mut origins = self.origins()?;
        if let Token::Available { origins: of_file, .. } = token {
            origins.extend(of_file.clone());
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
                    "Find out who changed the address. If the service has moved: MAILWRIGHT_TOKEN_ORIGINS={origin}, `--token-origin`, or the line in the token's file, wherever the old origin is set."
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
                    "Find out who changed the address. If the service has this audience and another address, say so outside of the repository: MAILWRIGHT_TOKEN_ORIGINS={origin}"
                ),
            );
        }
        if is_loopback_url(address) {
            return Ok(());
        }
        Err(CliError::coded(
            Code::TokenUnpinned,
            format!("the files of `{environment}` name {origin}, and nothing outside of them says that the token is for it; nothing was sent"),
        )
        .remedy(format!("If it is: export MAILWRIGHT_TOKEN_ORIGINS={origin}")))
    }

    fn token(&self, context: &Context, environment: &EnvironmentName) -> Result<Token, CliError> {
        let file = self.token_file.clone().or_else(|| variables::read(variables::TOKEN_FILE).map(PathBuf::from));
        if let Some(path) = file {
            let path = of_environment(path, environment);
            warn_of_readers(context, &path);
            return read_token(&path);
        }
        match (variables::read(variables::TOKEN), self.audience()) {
            (Some(token), _) => {
                let token = token.trim_start_matches('\u{feff}').trim();
                Ok(Token::Available { text: token.to_owned().into(), origins: TokenOrigins::default() })
            }
            (None, Some(audience)) => Ok(Token::OfGithub { audience }),
            (None, None) => Err(CliError::coded(Code::TokenMissing, "no token is at hand").remedy(
                "Set MAILWRIGHT_TOKEN or MAILWRIGHT_TOKEN_FILE, or give `--token-file FILE`. `mailwright token create` makes one.",
            )),
        }
    }

    fn audience(&self) -> Option<String> {
        self.oidc_audience.clone().or_else(|| variables::read(variables::OIDC_AUDIENCE))
    }
}

/// Reads the file of a token: the token on the first line, perhaps lines that name its origins, perhaps comments.
fn read_token(path: &Path) -> Result<Token, CliError> {
    let wrong = |why: String| {
        CliError::coded(Code::TokenMissing, format!("cannot read the token file `{}`: {why}", path.display()))
            .remedy("Correct `--token-file` or MAILWRIGHT_TOKEN_FILE: a file that holds the token alone, as the service's first start or `mailwright token create` gave it.")
    };
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    std::fs::File::open(path)
        .and_then(|file| file.take(TOKEN_FILE_LIMIT + 1).read_to_end(&mut bytes))
        .map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > TOKEN_FILE_LIMIT {
        return Err(wrong("it is larger than the file of any token".to_owned()));
    }
    let decoded = text::try_decode(&bytes).map(zeroize::Zeroizing::new);
    let decoded = decoded.ok_or_else(|| wrong("it is neither UTF-8 nor UTF-16 text".to_owned()))?;
    let mut lines = decoded.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let token = lines.next().unwrap_or_default();
    let mut origins = TokenOrigins::default();
    for line in lines {
        let list = line.strip_prefix(ORIGIN_LINE);
        let list =
            list.ok_or_else(|| wrong(format!("below the token stand lines that begin with `{ORIGIN_LINE}` alone")))?;
        origins.extend(TokenOrigins::parse(list).map_err(wrong)?);
    }
    Ok(Token::Available { text: token.to_owned().into(), origins })
}

/// Warns, once, of a token file of this user that others can read or write. As with SSH keys, a file of another owner is that
/// owner's business: orchestrators put such into containers, readable for the program's user.
fn warn_of_readers(context: &Context, path: &Path) {
    static WARNED: Once = Once::new();
    let Ok(found) = std::fs::metadata(path) else { return };
    if found.is_file() && found.mode() & 0o077 != 0 && found.uid() == rustix::process::geteuid().as_raw() {
        WARNED.call_once(|| {
            let (shown, mode) = (path.display(), found.mode() & 0o777);
            context.printer.note_of_command(&format!(
                "warning: others can read the token file `{shown}` (mode {mode:03o}). Correct it: chmod 600 {shown}"
            ));
        });
    }
}

/// The file of an environment. A name that is no text has no placeholder.
pub(crate) fn of_environment(path: PathBuf, environment: &EnvironmentName) -> PathBuf {
    match path.to_str() {
        Some(text) if text.contains(PLACEHOLDER) => text.replace(PLACEHOLDER, environment.as_str()).into(),
        _ => path,
    }
}
