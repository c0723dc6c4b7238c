//! Clouds: the sign-in host, the Graph host and the portal of each of Microsoft's clouds.
//!
//! [`Endpoints::for_cloud`] is the only way from a cloud to its hosts. A custom cloud whose address is not a plain `https://`
//! host is an error. Nothing here connects.
//!
//! Source: Microsoft's pages "National clouds" (authentication endpoints) and "National cloud deployments" of Graph.

use reqwest::Url;

use crate::model::Cloud;

/// The Graph host of the global cloud.
pub const GLOBAL_GRAPH: &str = "https://graph.microsoft.com";

/// The hosts of a cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The sign-in host, `https://login.microsoftonline.com/`.
    pub sign_in: Url,
    /// The Graph host, `https://graph.microsoft.com/`.
    pub graph: Url,
    /// The administrators' portal, without a slash at the end.
    pub portal: &'static str,
    /// The name of the cloud for `az cloud set --name`; none if it has no name.
    pub az_name: Option<&'static str>,
}

/// An invalid address of a custom cloud.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an https:// address without a path")]
pub struct InvalidEndpoint(String);

impl Endpoints {
    /// Returns the hosts of a cloud. Fails for a custom cloud only, if an address is invalid.
    pub fn for_cloud(cloud: &Cloud) -> Result<Self, InvalidEndpoint> {
        let (sign_in, graph, portal, az_name) = match cloud {
            Cloud::Global => {
                ("https://login.microsoftonline.com", GLOBAL_GRAPH, "https://entra.microsoft.com", Some("AzureCloud"))
            }
            Cloud::UsGovernmentL4 => (
                "https://login.microsoftonline.us",
                "https://graph.microsoft.us",
                "https://entra.microsoft.us",
                Some("AzureUSGovernment"),
            ),
            Cloud::UsGovernmentL5 => (
                "https://login.microsoftonline.us",
                "https://dod-graph.microsoft.us",
                "https://entra.microsoft.us",
                Some("AzureUSGovernment"),
            ),
            Cloud::China => (
                "https://login.partner.microsoftonline.cn",
                "https://microsoftgraph.chinacloudapi.cn",
                "https://entra.microsoftonline.cn",
                Some("AzureChinaCloud"),
            ),
            Cloud::Custom(custom) => {
                (custom.sign_in.as_str(), custom.graph.as_str(), "https://entra.microsoft.com", None)
            }
        };
        Ok(Self { sign_in: host(sign_in)?, graph: host(graph)?, portal, az_name })
    }

    /// Returns the scope that asks for every application permission granted on Graph.
    pub fn graph_scope(&self) -> String {
        format!("{}/.default", self.graph.as_str().trim_end_matches('/'))
    }

    /// Returns the scope that asks for every application permission granted on Exchange Online: the token logs in to
    /// its mail server. The Graph host decides, also for a custom cloud; an unknown one has the scope of the global cloud.
    ///
    /// Source: Microsoft, "Authenticate an IMAP, POP or SMTP connection using OAuth"; hosts of the other clouds from
    /// "Office 365 URLs and IP address ranges" of each.
    pub fn exchange_scope(&self) -> &'static str {
        match self.graph.host_str() {
            Some("graph.microsoft.us" | "dod-graph.microsoft.us") => "https://outlook.office365.us/.default",
            Some("microsoftgraph.chinacloudapi.cn") => "https://partner.outlook.cn/.default",
            _ => "https://outlook.office365.com/.default",
        }
    }

    /// Returns the address at which an administrator of a tenant consents to what an application requests.
    pub fn admin_consent(&self, tenant: &str, client: &str) -> String {
        let mut url = self.sign_in.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(tenant).push("adminconsent");
        }
        url.query_pairs_mut().append_pair("client_id", client);
        url.into()
    }

    /// Returns the cloud whose Graph a discovery document names, as files write it; none if no cloud has it.
    pub fn cloud_of_graph(host: &str) -> Option<&'static str> {
        match host {
            "graph.microsoft.com" => Some("global"),
            "graph.microsoft.us" => Some("us-government-l4"),
            "dod-graph.microsoft.us" => Some("us-government-l5"),
            "microsoftgraph.chinacloudapi.cn" => Some("china"),
            _ => None,
        }
    }
}

/// Parses the address of a host: `https://`, without user, path, query and fragment.
pub(super) fn host(address: &str) -> Result<Url, InvalidEndpoint> {
    let wrong = || InvalidEndpoint(address.escape_debug().to_string());
    let url = Url::parse(address).map_err(|_| wrong())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_without_user = url.username().is_empty() && url.password().is_none();
    if url.scheme() == "https" && url.has_host() && bare && is_without_user { Ok(url) } else { Err(wrong()) }
}
