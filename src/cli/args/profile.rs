//! The arguments that describe a new profile, for `new profile` and `init`: provider, host or tenant, credential, functions.
//!
//! [`ProfileArgs::profile`] returns the profile, or an error that names flags which are missing or which the provider does not
//! have. The values, such as host names, are not checked here. The file is written by [`crate::config::scaffold`].

use crate::{
    cli::{CliError, environment},
    config::scaffold::{NewApplication, NewCredential, NewProfile, NewProvider, UNREGISTERED_CLIENT},
    model::{Code, Function},
};

/// The provider of a new profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ProviderName {
    /// A mail server
    Smtp,
    /// Microsoft 365: the application itself sends
    MicrosoftGraphDirect,
    /// Microsoft 365: the signed-in user sends
    MicrosoftGraphDelegate,
}

impl ProviderName {
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::MicrosoftGraphDirect => "microsoft-graph-direct",
            Self::MicrosoftGraphDelegate => "microsoft-graph-delegate",
        }
    }
}

/// The credential of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CredentialName {
    /// A client secret
    ClientSecret,
    /// A certificate with its private key
    Certificate,
    /// A token file of another issuer (workload identity federation)
    FederatedTokenFile,
}

/// The settings of a new profile.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Profile")]
pub(crate) struct ProfileArgs {
    /// Way to send
    #[arg(long, value_enum, value_name = "PROVIDER")]
    pub(crate) provider: Option<ProviderName>,
    /// Address of the sender
    #[arg(long, value_name = "ADDRESS", value_hint = clap::ValueHint::EmailAddress)]
    pub(crate) from: Option<String>,
    /// Display name of the sender
    #[arg(long, value_name = "NAME")]
    pub(crate) from_name: Option<String>,
    /// Function that the profile serves (can be repeated) [default: `default`; for a delegate `user-interface`]
    #[arg(long, value_name = "FUNCTION")]
    pub(crate) function: Vec<String>,
    /// smtp: host name of the mail server
    #[arg(long, value_name = "HOST", value_hint = clap::ValueHint::Hostname)]
    pub(crate) host: Option<String>,
    /// smtp: port [default: 587, with `--encryption tls` 465, with `none` 25]
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<String>,
    /// smtp: `starttls`, `tls` or `none` [default: starttls]
    #[arg(long, value_name = "HOW")]
    pub(crate) encryption: Option<String>,
    /// smtp: user name of the login; without it the server is used without a login
    #[arg(long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// microsoft-graph: tenant id, or a domain of the tenant
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// microsoft-graph: client id of the application [default: to be registered]
    #[arg(long, value_name = "ID")]
    pub(crate) client: Option<String>,
    /// microsoft-graph: `us-government-l4`, `us-government-l5` or `china` [default: global]
    #[arg(long, value_name = "CLOUD")]
    pub(crate) cloud: Option<String>,
    /// microsoft-graph-direct: credential of the application [default: client-secret]
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) credential: Option<CredentialName>,
    /// microsoft-graph-direct: path of the token file on the service's machine
    #[arg(long, value_name = "PATH")]
    pub(crate) federated_token: Option<String>,
    /// microsoft-graph-delegate: `native` (desktop) or `spa` (web) [default: native]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// microsoft-graph-delegate: redirect URI [default for native: `https://localhost`]
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    pub(crate) redirect: Option<String>,
    /// microsoft-graph: recipients are looked up in the address book
    #[arg(long)]
    pub(crate) address_book: bool,
}

/// Every provider's flags, and whether they were given.
struct Given(&'static str, bool, &'static [ProviderName]);

const GRAPH: &[ProviderName] = &[ProviderName::MicrosoftGraphDirect, ProviderName::MicrosoftGraphDelegate];
const SMTP: &[ProviderName] = &[ProviderName::Smtp];
const DIRECT: &[ProviderName] = &[ProviderName::MicrosoftGraphDirect];
const DELEGATE: &[ProviderName] = &[ProviderName::MicrosoftGraphDelegate];

impl ProfileArgs {
    /// Returns the flags that are required and missing.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        let mut require = |flag: &'static str, is_given: bool| {
            if !is_given {
                missing.push(flag);
            }
        };
        match self.provider {
            None => require("--provider", false),
            Some(ProviderName::Smtp) => {
                require("--host", self.host.is_some());
                require("--from", self.from.is_some());
            }
            Some(ProviderName::MicrosoftGraphDirect) => {
                require("--tenant", self.tenant.is_some());
                require("--from", self.from.is_some());
                let is_federated = self.credential == Some(CredentialName::FederatedTokenFile);
                require("--federated-token", !is_federated || self.federated_token.is_some());
            }
            Some(ProviderName::MicrosoftGraphDelegate) => {
                require("--tenant", self.tenant.is_some());
                let is_web = self.platform.as_deref() == Some("spa");
                require("--redirect", !is_web || self.redirect.is_some());
            }
        }
        missing
    }

    /// Returns the profile, or an error that names the missing flags, or one that the provider does not have.
    pub(crate) fn profile(&self, name: &str, companies: &[String]) -> Result<NewProfile, CliError> {
        let missing = self.missing();
        let Some(provider) = self.provider.filter(|_| missing.is_empty()) else {
            return Err(missing_error(&missing));
        };
        self.check_flags(provider)?;
        let functions = match (&self.function[..], provider) {
            ([], ProviderName::MicrosoftGraphDelegate) => vec![Function::user_interface()],
            ([], _) => vec![Function::default_function()],
            (names, _) => names.iter().map(|name| environment::function(name)).collect::<Result<_, _>>()?,
        };
        Ok(NewProfile {
            name: name.to_owned(),
            description: None,
            provider: self.provider_settings(provider),
            from: self.from.clone().map(|address| (address, self.from_name.clone())),
            functions,
            companies: companies.to_vec(),
        })
    }

    fn provider_settings(&self, provider: ProviderName) -> NewProvider {
        let text = |value: &Option<String>, default: &str| value.clone().unwrap_or_else(|| default.to_owned());
        let application = || NewApplication {
            cloud: self.cloud.clone(),
            tenant: text(&self.tenant, ""),
            client: text(&self.client, UNREGISTERED_CLIENT),
            address_book: self.address_book,
        };
        match provider {
            ProviderName::Smtp => {
                let encryption = text(&self.encryption, "starttls");
                let port = match encryption.as_str() {
                    "tls" => "465",
                    "none" => "25",
                    _ => "587",
                };
                NewProvider::Smtp {
                    host: text(&self.host, ""),
                    port: text(&self.port, port),
                    encryption,
                    username: self.username.clone(),
                }
            }
            ProviderName::MicrosoftGraphDirect => NewProvider::Direct {
                application: application(),
                credential: match self.credential {
                    None | Some(CredentialName::ClientSecret) => NewCredential::ClientSecret,
                    Some(CredentialName::Certificate) => NewCredential::Certificate,
                    Some(CredentialName::FederatedTokenFile) => {
                        NewCredential::FederatedTokenFile(text(&self.federated_token, ""))
                    }
                },
            },
            ProviderName::MicrosoftGraphDelegate => NewProvider::Delegate {
                application: application(),
                platform: text(&self.platform, "native"),
                redirect: text(&self.redirect, "https://localhost"),
            },
        }
    }

    /// Returns an error for a flag that the provider does not have.
    fn check_flags(&self, provider: ProviderName) -> Result<(), CliError> {
        let given = [
            Given("--host", self.host.is_some(), SMTP),
            Given("--port", self.port.is_some(), SMTP),
            Given("--encryption", self.encryption.is_some(), SMTP),
            Given("--username", self.username.is_some(), SMTP),
            Given("--tenant", self.tenant.is_some(), GRAPH),
            Given("--client", self.client.is_some(), GRAPH),
            Given("--cloud", self.cloud.is_some(), GRAPH),
            Given("--address-book", self.address_book, GRAPH),
            Given("--credential", self.credential.is_some(), DIRECT),
            Given("--federated-token", self.federated_token.is_some(), DIRECT),
            Given("--platform", self.platform.is_some(), DELEGATE),
            Given("--redirect", self.redirect.is_some(), DELEGATE),
        ];
        let stray = given.iter().find(|Given(_, is_given, providers)| *is_given && !providers.contains(&provider));
        match stray {
            None => Ok(()),
            Some(Given(flag, _, providers)) => {
                let names: Vec<String> = providers.iter().map(|known| format!("`{}`", known.id())).collect();
                Err(CliError::coded(Code::Usage, format!("`{flag}` does not belong to `{}`", provider.id()))
                    .remedy(format!("Omit it, or choose another provider: {}.", names.join(" or "))))
            }
        }
    }
}

/// Returns the error for missing flags.
pub(crate) fn missing_error(flags: &[&str]) -> CliError {
    let flags = flags.join(", ");
    CliError::coded(Code::Usage, format!("required flags are missing: {flags}"))
        .remedy("Pass them; `--help` shows the values that each accepts.")
}
