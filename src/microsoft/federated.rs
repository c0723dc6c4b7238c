//! Federated tokens: files on this machine with tokens of another issuer, and for whom each of them is.
//!
//! A profile names the file, and whoever may merge a profile must not be able to have the token sent elsewhere. So the
//! program is told with the file for which environment, sign-in host, tenant, client and mail server it is:
//! `/run/token=prod,tenant=contoso.example,client=GUID`. A file alone is for the first destination that the service
//! accepted for it, which the store remembers ([`FederatedFiles::accept`]).
//!
//! [`FederatedFiles::read`] is the only way to a token.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    str::FromStr,
};

use reqwest::Url;
use secrecy::SecretString;

use super::Endpoints;
use crate::{
    credential,
    model::{Cloud, Destination, Digest, EnvironmentName, Provider, provider::Credential},
};

/// The largest file of a token, in bytes.
const TOKEN_LIMIT: u64 = 16 * 1024;

/// The files that may be read as federated tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FederatedFiles(Vec<FederatedFile>);

/// A file with a federated token, and for whom it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederatedFile {
    path: PathBuf,
    /// None: it is for what was accepted first.
    bound: Option<Bound>,
    /// What was accepted for it, where it is not bound.
    accepted: Vec<Destination>,
}

/// For whom a federated token is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bound {
    environment: EnvironmentName,
    sign_in: Url,
    tenant: String,
    client: String,
    /// The mail server that the token's access token logs in to; none: it is for Graph alone.
    server: Option<String>,
}

impl FederatedFile {
    /// Returns true if it says for whom it is.
    pub fn is_bound(&self) -> bool {
        self.bound.is_some()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl FromStr for FederatedFile {
    type Err = String;

    /// `FILE`, or `FILE=ENV,tenant=TENANT,client=CLIENT[,sign-in=HOST][,server=HOST]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((path, words)) = text.split_once('=') else {
            return Ok(Self { path: PathBuf::from(text), bound: None, accepted: Vec::new() });
        };
        let (mut environment, mut tenant, mut client, mut server) = (None, None, None, None);
        let mut sign_in = Endpoints::of(&Cloud::Global).map_err(|error| error.to_string())?.sign_in;
        for (index, word) in words.split(',').enumerate() {
            let (key, value) = match word.split_once('=') {
                Some(pair) => pair,
                None if index == 0 => ("environment", word),
                None => return Err(format!("`{word}` is not KEY=VALUE")),
            };
            match key {
                _ if value.is_empty() => return Err(format!("`{key}` has no value")),
                "environment" => {
                    environment = Some(value.parse().map_err(|_| format!("`{value}` is not an environment's name"))?);
                }
                "tenant" => tenant = Some(value.to_ascii_lowercase()),
                "client" => client = Some(value.to_ascii_lowercase()),
                "server" => server = Some(value.to_ascii_lowercase()),
                "sign-in" => {
                    let address = if value.contains("://") { value.to_owned() } else { format!("https://{value}") };
                    sign_in = Url::parse(&address).map_err(|_| format!("`{value}` is not the name of a host"))?;
                }
                _ => {
                    return Err(format!(
                        "`{key}` means nothing here: there are environment, tenant, client, sign-in and server"
                    ));
                }
            }
        }
        let missing = |what: &str| format!("it does not say for which {what}: FILE=ENV,tenant=TENANT,client=CLIENT");
        let bound = Bound {
            environment: environment.ok_or_else(|| missing("environment"))?,
            sign_in,
            tenant: tenant.ok_or_else(|| missing("tenant"))?,
            client: client.ok_or_else(|| missing("client"))?,
            server,
        };
        Ok(Self { path: PathBuf::from(path), bound: Some(bound), accepted: Vec::new() })
    }
}

impl Bound {
    fn fits(&self, environment: &EnvironmentName, destination: &Destination) -> bool {
        let (cloud, tenant, client, server) = match destination {
            Destination::MicrosoftGraph { cloud, tenant, client, .. } => (cloud, tenant, client, None),
            Destination::SmtpOauth { host, cloud, tenant, client, .. } => (cloud, tenant, client, Some(host)),
            Destination::Smtp { .. } => return false,
        };
        let is_sign_in =
            Endpoints::of(cloud).is_ok_and(|endpoints| endpoints.sign_in.origin() == self.sign_in.origin());
        self.environment == *environment
            && is_sign_in
            && self.tenant == *tenant
            && self.client == *client
            && self.server.as_ref() == server
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { environment, sign_in, tenant, client, server } = self;
        write!(f, "client {client} in tenant {tenant} at {}", sign_in.origin().ascii_serialization())?;
        if let Some(server) = server {
            write!(f, " for the mail server {server}")?;
        }
        write!(f, " in environment {environment}")
    }
}

impl FederatedFiles {
    /// Files as the command line names them.
    pub fn new(files: Vec<FederatedFile>) -> Self {
        Self(files)
    }

    /// The files that are not bound to anything.
    pub fn unbound(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter(|file| !file.is_bound()).map(FederatedFile::path)
    }

    /// Returns true if a file is for what the store accepted for it, and nothing else is said of it.
    pub fn is_unbound(&self, path: &str) -> bool {
        let mut named = self.0.iter().filter(|file| file.path.as_os_str() == path).peekable();
        named.peek().is_some() && named.all(|file| !file.is_bound())
    }

    /// Returns true if something is said of whom a file is for.
    pub fn is_bound(&self, path: &str) -> bool {
        self.0.iter().any(|file| file.is_bound() && file.path.as_os_str() == path)
    }

    /// Notes a destination that was accepted for a file which is not bound.
    pub fn accept(&mut self, path: &str, destination: &Destination) {
        for file in self.0.iter_mut().filter(|file| !file.is_bound() && file.path.as_os_str() == path) {
            file.accepted.push(destination.clone());
        }
    }

    /// Says why the token of a file may not be used for a destination; nothing if it may.
    pub fn refusal(&self, path: &str, environment: &EnvironmentName, destination: &Destination) -> Option<String> {
        let named: Vec<&FederatedFile> = self.0.iter().filter(|file| file.path.as_os_str() == path).collect();
        let Some(first) = named.first() else {
            return Some("this file was not allowed to be read as a federated token".to_owned());
        };
        let is_for = |file: &&&FederatedFile| match &file.bound {
            Some(bound) => bound.fits(environment, destination),
            None => file.accepted.iter().any(|accepted| is_same_place(accepted, destination)),
        };
        if named.iter().any(|file| is_for(&file)) {
            return None;
        }
        Some(match (&first.bound, first.accepted.first()) {
            (Some(bound), _) => format!("the file is for {bound}, and would be used for {destination}"),
            (None, Some(accepted)) => {
                format!("the file was accepted for {accepted}, and would be used for {destination}")
            }
            (None, None) => {
                format!(
                    "nothing says that the file is for {destination}: it is for what is applied first, or for what the option says"
                )
            }
        })
    }

    /// Reads a token for a destination. What is not a JWT is not sent anywhere: a profile names the path, and must not be
    /// able to name any other file.
    pub fn read(
        &self,
        path: &str,
        environment: &EnvironmentName,
        destination: &Destination,
    ) -> Result<SecretString, String> {
        if let Some(refusal) = self.refusal(path, environment, destination) {
            return Err(refusal);
        }
        let mut bytes = zeroize::Zeroizing::new(Vec::new());
        std::fs::File::open(path)
            .and_then(|file| file.take(TOKEN_LIMIT).read_to_end(&mut bytes))
            .map_err(|error| format!("cannot be read: {error}"))?;
        let text = std::str::from_utf8(credential::trim(&bytes).value).unwrap_or_default();
        let token = text.trim();
        let is_base64 =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if token.split('.').count() == 3 && token.split('.').all(is_base64) {
            Ok(SecretString::from(token))
        } else {
            Err("it holds no JWT".to_owned())
        }
    }
}

/// The option that says that a file is for a destination.
pub fn option(path: &str, environment: &EnvironmentName, destination: &Destination) -> String {
    let (cloud, tenant, client, server) = match destination {
        Destination::MicrosoftGraph { cloud, tenant, client, .. } => (cloud, tenant, client, String::new()),
        Destination::SmtpOauth { host, cloud, tenant, client, .. } => {
            (cloud, tenant, client, format!(",server={host}"))
        }
        Destination::Smtp { .. } => return format!("--federated-token-file {path}"),
    };
    let sign_in = match (cloud, Endpoints::of(cloud)) {
        (Cloud::Global, _) | (_, Err(_)) => String::new(),
        (_, Ok(endpoints)) => format!(",sign-in={}", endpoints.sign_in.origin().ascii_serialization()),
    };
    format!("--federated-token-file '{path}={environment},tenant={tenant},client={client}{sign_in}{server}'")
}

/// Returns true if two destinations are the same place for a token: port and encryption apart, which are always
/// encrypted for a login by token.
pub fn is_same_place(one: &Destination, other: &Destination) -> bool {
    match (one, other) {
        (
            Destination::SmtpOauth { host, cloud, tenant, client, .. },
            Destination::SmtpOauth { host: host2, cloud: cloud2, tenant: tenant2, client: client2, .. },
        ) => (host, cloud, tenant, client) == (host2, cloud2, tenant2, client2),
        (one, other) => one == other,
    }
}

/// The file that a provider signs in with, if it signs in with one.
pub fn file_of(provider: &Provider) -> Option<&str> {
    let credential = match provider {
        Provider::Smtp(smtp) => &smtp.oauth.as_ref()?.credential,
        Provider::MicrosoftGraphDirect(direct) => &direct.credential,
        Provider::MicrosoftGraphDelegate(_) => return None,
    };
    match credential {
        Credential::FederatedTokenFile(path) => Some(path),
        Credential::ClientSecret(_) | Credential::Certificate(_) => None,
    }
}

/// The digest under which the store remembers what a file was accepted for: one destination for Graph, one for mail
/// servers.
pub fn record_digest(path: &str, destination: &Destination) -> Digest {
    let use_ = match destination {
        Destination::Smtp { .. } | Destination::SmtpOauth { .. } => "smtp",
        Destination::MicrosoftGraph { .. } => "graph",
    };
    Digest::of_bytes(format!("mailwright federated token file\0{use_}\0{path}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Encryption, provider::CustomCloud};

    const CLIENT: &str = "0c0ffee0-0000-4000-8000-0000000000d1";

    fn graph(cloud: Cloud, tenant: &str, client: &str) -> Destination {
        Destination::MicrosoftGraph { cloud, tenant: tenant.to_owned(), client: client.to_owned(), kind: None }
    }

    fn smtp(host: &str) -> Destination {
        let (tenant, client) = ("contoso.example".to_owned(), CLIENT.to_owned());
        let encryption = Encryption::Starttls;
        Destination::SmtpOauth {
            host: host.to_owned(),
            port: 587,
            encryption,
            cloud: Cloud::Global,
            tenant,
            client,
            kind: None,
        }
    }

    fn custom(sign_in: &str) -> Cloud {
        Cloud::Custom(CustomCloud { sign_in: sign_in.to_owned(), graph: "https://graph.example".to_owned() })
    }

    fn files(options: &[&str]) -> FederatedFiles {
        FederatedFiles::new(options.iter().map(|option| option.parse().unwrap()).collect())
    }

    #[test]
    fn a_file_is_for_what_the_option_says_and_for_nothing_else() {
        let own = files(&[
            &format!("/t=prod,tenant=Contoso.example,client={}", CLIENT.to_ascii_uppercase()),
            &format!("/t=prod,tenant=contoso.example,client={CLIENT},server=smtp.office365.com"),
            &format!("/t=test,tenant=contoso.example,client={CLIENT},sign-in=login.test.example:8443"),
        ]);
        let (prod, test, other): (EnvironmentName, EnvironmentName, EnvironmentName) =
            ("prod".parse().unwrap(), "test".parse().unwrap(), "other".parse().unwrap());
        let right = graph(Cloud::Global, "contoso.example", CLIENT);
        assert_eq!(own.refusal("/t", &prod, &right), None);
        assert_eq!(own.refusal("/t", &prod, &smtp("smtp.office365.com")), None);
        assert_eq!(
            own.refusal("/t", &test, &graph(custom("https://login.test.example:8443"), "contoso.example", CLIENT)),
            None
        );
        for (environment, destination) in [
            (&other, right.clone()),
            (&test, right.clone()),
            (&prod, graph(Cloud::Global, "evil.example", CLIENT)),
            (&prod, graph(Cloud::Global, "contoso.example", "0c0ffee0-0000-4000-8000-0000000000ff")),
            (&prod, graph(Cloud::China, "contoso.example", CLIENT)),
            (&prod, graph(custom("https://evil.example"), "contoso.example", CLIENT)),
            (&prod, graph(custom("https://login.microsoftonline.com:8443"), "contoso.example", CLIENT)),
            (&prod, smtp("evil.example")),
            (&test, graph(custom("https://login.test.example"), "contoso.example", CLIENT)),
        ] {
            assert!(
                own.refusal("/t", environment, &destination).unwrap().contains("would be used for"),
                "{destination}"
            );
        }
        assert!(own.refusal("/other", &prod, &right).unwrap().contains("not allowed"));
    }

    #[test]
    fn a_file_alone_is_for_what_was_accepted() {
        let mut own = files(&["/t"]);
        let dev: EnvironmentName = "dev".parse().unwrap();
        let (right, evil) = (graph(Cloud::Global, "a", CLIENT), graph(custom("https://evil.example"), "a", CLIENT));
        assert!(own.refusal("/t", &dev, &right).unwrap().contains("nothing says"));
        own.accept("/t", &right);
        own.accept("/other", &evil);
        assert_eq!(own.refusal("/t", &dev, &right), None);
        assert!(own.refusal("/t", &dev, &evil).unwrap().contains("was accepted for"));
        // Said once, it is not widened by what is accepted.
        let mut own = files(&[&format!("/t=dev,tenant=a,client={CLIENT}")]);
        own.accept("/t", &evil);
        assert!(own.refusal("/t", &dev, &evil).is_some());
        assert_ne!(record_digest("/t", &right), record_digest("/t", &smtp("x")));
    }

    #[test]
    fn an_option_that_says_too_little_is_refused() {
        for option in [
            "/t=prod",
            "/t=prod,tenant=a",
            "/t=tenant=a,client=b",
            "/t=prod,tenant=,client=b",
            "/t=prod,tenant=a,client=b,port=25",
            "/t=prod,tenant=a,client=b,x",
            "/t=pr od,tenant=a,client=b",
            "/t=prod,tenant=a,client=b,sign-in=https://",
        ] {
            assert!(option.parse::<FederatedFile>().is_err(), "{option}");
        }
        assert!("/t=environment=prod,tenant=a,client=b".parse::<FederatedFile>().is_ok());
    }
}
