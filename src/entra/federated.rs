//! Federated tokens: files on this machine with tokens of another issuer, and the destination of each.
//!
//! A profile names the file, and permission to merge a profile must not be enough to have the token sent elsewhere. So
//! the option names the environment, sign-in host, Graph host, tenant, client and mail server with the file:
//! `/run/token=prod,tenant=contoso.example,client=GUID`. A file alone is refused: the first destination that is applied
//! is also chosen by the author of a profile.
//!
//! [`FederatedFiles::read`] is the only function that returns a token. A file that no option names, another destination, a file
//! that cannot be read or has more than 16 KiB, and one without the form of a JWT are refused with the reason. Whether the token
//! has expired is not checked. A path with `=` cannot be named.

use std::{path::PathBuf, str::FromStr};

use reqwest::Url;
use secrecy::SecretString;

use crate::{
    credential,
    entra::{Endpoints, cloud},
    model::{Cloud, Destination, EnvironmentName},
    text::shell::quote_posix_always,
};

/// The largest file of a token, in bytes.
const TOKEN_LIMIT: u64 = 16 * 1024;

/// The clouds whose hosts are Microsoft's own.
const NAMED_CLOUDS: [Cloud; 4] = [Cloud::Global, Cloud::UsGovernmentL4, Cloud::UsGovernmentL5, Cloud::China];

/// The files that may be read as federated tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FederatedFiles(Vec<FederatedFile>);

/// A file with a federated token, and its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederatedFile {
    path: PathBuf,
    bound: BoundDestination,
}

/// The destination of a federated token.
#[derive(Clone, Debug, PartialEq, Eq)]
struct BoundDestination {
    environment: EnvironmentName,
    sign_in: Url,
    /// The Graph host; none means the one that belongs to the sign-in host ([`is_default_graph`]).
    graph: Option<Url>,
    tenant: String,
    client: String,
    /// The mail server that the token's access token logs in to; none means that it is for Graph only.
    server: Option<String>,
}

impl FromStr for FederatedFile {
    type Err = String;

    /// Parses `FILE=ENV,tenant=TENANT,client=CLIENT[,sign-in=HOST][,graph=HOST][,server=HOST]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((path, words)) = text.split_once('=') else {
            return Err(format!(
                "the destination of the token is missing. Write: --federated-token-file \
                 '{text}=ENV,tenant=TENANT,client=CLIENT', with `,sign-in=HOST` where it is not \
                 login.microsoftonline.com, `,graph=HOST` where it is not the Graph of that cloud, and `,server=HOST` \
                 for a mail server"
            ));
        };
        let (mut environment, mut tenant, mut client, mut graph, mut server) = (None, None, None, None, None);
        let mut sign_in = Endpoints::for_cloud(&Cloud::Global).map_err(|error| error.to_string())?.sign_in;
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
                "server" => server = Some(Destination::normalize_host(value)),
                "sign-in" => sign_in = host(value)?,
                "graph" => graph = Some(host(value)?),
                _ => {
                    return Err(format!(
                        "unknown key `{key}`; the keys are environment, tenant, client, sign-in, graph and server"
                    ));
                }
            }
        }
        let missing = |what: &str| format!("the {what} is missing: FILE=ENV,tenant=TENANT,client=CLIENT");
        let bound = BoundDestination {
            environment: environment.ok_or_else(|| missing("environment"))?,
            sign_in,
            graph,
            tenant: tenant.ok_or_else(|| missing("tenant"))?,
            client: client.ok_or_else(|| missing("client"))?,
            server,
        };
        Ok(Self { path: PathBuf::from(path), bound })
    }
}

/// Parses the address of a host in an option: `login.example`, or `https://login.example:8443`.
fn host(text: &str) -> Result<Url, String> {
    let address = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    cloud::host(&address).map_err(|error| error.to_string())
}

/// Returns true if the option need not name a Graph host next to a sign-in host: it is the sign-in host itself, or the
/// Graph of a named cloud that signs in there.
fn is_default_graph(graph: &Url, sign_in: &Url) -> bool {
    let is_same = |one: &Url, other: &Url| one.origin() == other.origin();
    is_same(graph, sign_in)
        || NAMED_CLOUDS
            .iter()
            .filter_map(|cloud| Endpoints::for_cloud(cloud).ok())
            .any(|own| is_same(&own.sign_in, sign_in) && is_same(&own.graph, graph))
}

impl BoundDestination {
    /// Returns true if the token may be used for a destination of an environment.
    fn matches(&self, environment: &EnvironmentName, destination: &Destination) -> bool {
        let (cloud, tenant, client, server) = match destination {
            Destination::MicrosoftGraph { cloud, tenant, client, .. } => (cloud, tenant, client, None),
            Destination::SmtpOauth { host, cloud, tenant, client, .. } => (cloud, tenant, client, Some(host)),
            Destination::Smtp { .. } => return false,
        };
        let are_hosts = Endpoints::for_cloud(cloud).is_ok_and(|endpoints| {
            endpoints.sign_in.origin() == self.sign_in.origin()
                && match &self.graph {
                    Some(graph) => endpoints.graph.origin() == graph.origin(),
                    None => is_default_graph(&endpoints.graph, &endpoints.sign_in),
                }
        });
        self.environment == *environment
            && are_hosts
            && self.tenant == *tenant
            && self.client == *client
            && self.server.as_ref() == server
    }
}

impl std::fmt::Display for BoundDestination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { environment, sign_in, graph, tenant, client, server } = self;
        write!(f, "client {client} in tenant {tenant} at {}", sign_in.origin().ascii_serialization())?;
        if let Some(graph) = graph {
            write!(f, " with Graph at {}", graph.origin().ascii_serialization())?;
        }
        if let Some(server) = server {
            write!(f, " for the mail server {server}")?;
        }
        write!(f, " in environment {environment}")
    }
}

impl FederatedFiles {
    /// Creates the list of files from the options of the command line.
    pub fn new(files: Vec<FederatedFile>) -> Self {
        Self(files)
    }

    /// Returns the reason why the token of a file may not be used for a destination; none if it may.
    pub fn refusal(&self, path: &str, environment: &EnvironmentName, destination: &Destination) -> Option<String> {
        let named: Vec<&FederatedFile> = self.0.iter().filter(|file| file.path.as_os_str() == path).collect();
        let Some(first) = named.first() else {
            return Some("this file was not allowed to be read as a federated token".to_owned());
        };
        if named.iter().any(|file| file.bound.matches(environment, destination)) {
            return None;
        }
        Some(format!(
            "the file is for {}, and would be used for {destination}{}",
            first.bound,
            custom_hosts(destination).map(|hosts| format!(" at {hosts}")).unwrap_or_default()
        ))
    }

    /// Reads a token for a destination. A file that is not a JWT is refused: a profile names the path, and must not be
    /// able to have any other file sent.
    pub fn read(
        &self,
        path: &str,
        environment: &EnvironmentName,
        destination: &Destination,
    ) -> Result<SecretString, String> {
        if let Some(refusal) = self.refusal(path, environment, destination) {
            return Err(refusal);
        }
        let bytes = crate::fs::read_ordinary(std::path::Path::new(path), TOKEN_LIMIT)
            .map(zeroize::Zeroizing::new)
            .map_err(|error| format!("cannot read the file: {error}"))?;
        let text = std::str::from_utf8(credential::trim(&bytes).value).unwrap_or_default();
        let token = text.trim();
        let is_base64 =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if token.split('.').count() == 3 && token.split('.').all(is_base64) {
            Ok(SecretString::from(token))
        } else {
            Err("the file is not a JWT".to_owned())
        }
    }
}

/// Returns the option that allows a file for a destination.
pub fn format_option(path: &str, environment: &EnvironmentName, destination: &Destination) -> String {
    let (cloud, tenant, client, server) = match destination {
        Destination::MicrosoftGraph { cloud, tenant, client, .. } => (cloud, tenant, client, String::new()),
        Destination::SmtpOauth { host, cloud, tenant, client, .. } => {
            (cloud, tenant, client, format!(",server={host}"))
        }
        // A password is not a token, so no option applies.
        Destination::Smtp { .. } => {
            let text = format!("{path}={environment},tenant=...,client=...");
            return format!("--federated-token-file {}", quote_posix_always(&text));
        }
    };
    let mut hosts = String::new();
    if let (false, Ok(endpoints)) = (*cloud == Cloud::Global, Endpoints::for_cloud(cloud)) {
        hosts = format!(",sign-in={}", endpoints.sign_in.origin().ascii_serialization());
        if !is_default_graph(&endpoints.graph, &endpoints.sign_in) {
            hosts.push_str(&format!(",graph={}", endpoints.graph.origin().ascii_serialization()));
        }
    }
    let text = format!("{path}={environment},tenant={tenant},client={client}{hosts}{server}");
    format!("--federated-token-file {}", quote_posix_always(&text))
}

/// Returns the hosts of a custom cloud, which the text of a destination does not contain.
fn custom_hosts(destination: &Destination) -> Option<String> {
    let (Destination::MicrosoftGraph { cloud, .. } | Destination::SmtpOauth { cloud, .. }) = destination else {
        return None;
    };
    let Cloud::Custom(custom) = cloud else { return None };
    Some(format!("{} with Graph at {}", custom.sign_in.escape_debug(), custom.graph.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Encryption, cloud::CustomCloud};

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
        Cloud::Custom(CustomCloud { sign_in: sign_in.to_owned(), graph: sign_in.to_owned() })
    }

    fn files(options: &[&str]) -> FederatedFiles {
        FederatedFiles::new(options.iter().map(|option| option.parse().unwrap()).collect())
    }

    #[test]
    fn a_file_is_used_for_the_destination_of_its_option_only() {
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
    fn the_graph_host_is_part_of_the_destination() {
        let dev: EnvironmentName = "dev".parse().unwrap();
        let to = |sign_in: &str, at: &str| {
            let cloud = CustomCloud { sign_in: sign_in.to_owned(), graph: at.to_owned() };
            graph(Cloud::Custom(cloud), "a", CLIENT)
        };
        let own = |words: &str| files(&[&format!("/t=dev,tenant=a,client={CLIENT}{words}")]);
        let (login, evil) = ("https://login.microsoftonline.com", "https://evil.example");
        let fits = |words: &str, to: &Destination| own(words).refusal("/t", &dev, to).is_none();
        assert!(fits("", &to(login, "https://graph.microsoft.com")));
        assert!(!fits("", &to(login, evil)));
        assert!(!fits("", &to(login, "https://graph.microsoft.com:8443")));
        assert!(!fits("", &to(login, "https://graph.microsoft.us")), "another cloud's");
        for cloud in [Cloud::UsGovernmentL4, Cloud::UsGovernmentL5] {
            assert!(fits(",sign-in=login.microsoftonline.us", &graph(cloud, "a", CLIENT)));
        }
        let (private, at) = (",sign-in=login.test", ",sign-in=login.test,graph=graph.test:8443");
        assert!(fits(private, &to("https://login.test", "https://login.test")));
        assert!(!fits(private, &to("https://login.test", "https://graph.test:8443")), "nothing names it");
        assert!(fits(at, &to("https://login.test", "https://graph.test:8443")));
        for other in ["https://graph.test", "https://login.test", evil] {
            assert!(!fits(at, &to("https://login.test", other)), "{other}");
        }
        let said = own(at).refusal("/t", &dev, &to("https://login.test", evil)).unwrap();
        assert!(said.contains("with Graph at https://graph.test:8443") && said.contains(evil), "{said}");
        // The message names the option that allows the destination.
        for to in
            [to("https://login.test", "https://graph.test:8443"), to(login, evil), graph(Cloud::China, "a", CLIENT)]
        {
            let text = format_option("/t", &dev, &to);
            let file: FederatedFile = text.split('\'').nth(1).unwrap().parse().unwrap();
            assert_eq!(FederatedFiles::new(vec![file]).refusal("/t", &dev, &to), None, "{text}");
        }
        let text = format_option("/t", &dev, &smtp("mail.example"));
        let file: FederatedFile = text.split('\'').nth(1).unwrap().parse().unwrap();
        assert_eq!(FederatedFiles::new(vec![file]).refusal("/t", &dev, &smtp("mail.example")), None, "{text}");
    }

    #[test]
    fn an_incomplete_option_is_refused() {
        for option in [
            "/t",
            "/t=",
            "/t=prod",
            "/t=prod,tenant=a",
            "/t=tenant=a,client=b",
            "/t=prod,tenant=,client=b",
            "/t=prod,tenant=a,client=b,port=25",
            "/t=prod,tenant=a,client=b,x",
            "/t=pr od,tenant=a,client=b",
            "/t=prod,tenant=a,client=b,sign-in=https://",
            "/t=prod,tenant=a,client=b,sign-in=http://login.example",
            "/t=prod,tenant=a,client=b,sign-in=me@login.example",
            "/t=prod,tenant=a,client=b,graph=graph.example/path",
            "/t=prod,tenant=a,client=b,graph=",
        ] {
            assert!(option.parse::<FederatedFile>().is_err(), "{option}");
        }
        assert!("/t=environment=prod,tenant=a,client=b".parse::<FederatedFile>().is_ok());
    }
}
