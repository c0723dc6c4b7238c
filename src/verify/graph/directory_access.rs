//! Access to the directory of a tenant: as a reader, or as the application itself; and the findings about what neither
//! could see.
//!
//! [`DirectoryAccess`] asks the reader first and the application second. A finding about something that is not visible has the
//! verdict `unknown`, and its remedy says which access decides it. If one access is denied the next is tried; any other error is
//! returned at once.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use crate::{
    entra::{
        HttpError,
        graph::{Application, Graph, GraphError, ServicePrincipal, quote_odata},
        http::tls_remedy,
    },
    model::{
        Severity,
        finding::{Finding, Level},
        finding_id::FindingId,
    },
    verify::remedy::Remedies,
};

/// Properties that Graph of a national cloud may not know yet. It refuses a request that names one.
const RECENT_PROPERTIES: &str = ",isDisabled";

/// The reason why only the application itself can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verify) enum NoAccess {
    /// The run has no token of a reader.
    NoToken,
    /// The reader's token is of another tenant than the profile.
    OtherTenant,
}

impl NoAccess {
    fn describe(self) -> &'static str {
        match self {
            Self::NoToken => "no token that may read it",
            Self::OtherTenant => "the reader's token is of another tenant",
        }
    }
}

/// Access to a tenant's directory.
pub(super) struct DirectoryAccess {
    /// Graph as the application of the profile, if it could sign in.
    pub(super) own: Option<Graph>,
    /// Graph as a reader, or the reason why there is none.
    pub(super) reader: Result<Graph, NoAccess>,
}

impl DirectoryAccess {
    /// Reads a registration.
    pub(super) async fn application(&self, client: &str) -> Result<(Application, Level), GraphError> {
        self.select(&format!("/applications(appId='{}')", quote_odata(client)), Application::SELECT).await
    }

    /// Reads a client's service principal.
    pub(super) async fn principal(&self, client: &str) -> Result<(ServicePrincipal, Level), GraphError> {
        self.select(&format!("/servicePrincipals(appId='{}')", quote_odata(client)), ServicePrincipal::SELECT).await
    }

    async fn select<T: DeserializeOwned>(&self, path: &str, select: &str) -> Result<(T, Level), GraphError> {
        match self.get(&format!("{path}?$select={select}")).await {
            Err(GraphError::Refused { status: 400, .. }) => {
                self.get(&format!("{path}?$select={}", select.replace(RECENT_PROPERTIES, ""))).await
            }
            other => other,
        }
    }

    /// Reads an object, and returns the level at which it was visible.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<(T, Level), GraphError> {
        let mut last = self.denied();
        for (graph, level) in [(self.reader.as_ref().ok(), Level::Reader), (self.own.as_ref(), Level::Credential)] {
            let Some(graph) = graph else { continue };
            match graph.get(path).await {
                Ok(value) => return Ok((value, level)),
                Err(error) if error.is_denied() => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Reads a list, as far as it goes.
    pub(super) async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, GraphError> {
        let mut last = self.denied();
        for graph in [self.reader.as_ref().ok(), self.own.as_ref()].into_iter().flatten() {
            match graph.list(path).await {
                Ok(items) => return Ok(items),
                Err(error) if error.is_denied() => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Returns true if all applications are visible: to a reader, or to an application with these roles.
    pub(super) fn reads_all_applications(&self, roles: &BTreeSet<String>) -> bool {
        self.reader.is_ok() || allow_reading_applications(roles)
    }

    /// Returns the error for a request that was not sent, because no access remains.
    pub(super) fn denied(&self) -> GraphError {
        let why = self.reader.as_ref().err().copied().unwrap_or(NoAccess::NoToken);
        GraphError::Refused { status: 0, code: why.describe().to_owned(), message: String::new() }
    }
}

/// Returns true if an application with these roles may read all registrations.
pub(super) fn allow_reading_applications(roles: &BTreeSet<String>) -> bool {
    ["Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"]
        .iter()
        .any(|role| roles.contains(*role))
}

/// Returns Graph's status and code for something that could not be read, without its texts.
pub(super) fn error_code(error: &GraphError) -> String {
    match error {
        GraphError::Refused { status: 0, code, .. } => code.clone(),
        GraphError::Refused { status, code, .. } => format!("HTTP {status} {code}"),
        other => other.to_string(),
    }
}

/// Drops the level at which a value was visible.
pub(super) fn without_level<T>(result: Result<(T, Level), GraphError>) -> Result<T, GraphError> {
    result.map(|(value, _)| value)
}

/// Returns the finding for a host of Microsoft that gave no usable reply. `id` is the check that needed the reply.
pub(super) fn unreachable(error: &HttpError, id: FindingId) -> Finding {
    let (id, message, remedy) = match error {
        HttpError::NotJson { status: 500.., .. } => {
            (FindingId::Answer, "Microsoft's host is overloaded, or fails".to_owned(), "Verify again in some minutes.")
        }
        HttpError::NotJson { .. } | HttpError::Redirect { .. } | HttpError::Huge { .. } => (
            FindingId::Answer,
            "the reply is not from Microsoft: a proxy, a captive portal, or another service answered".to_owned(),
            "Check HTTPS_PROXY and NO_PROXY, and the reply of the address from this machine.",
        ),
        HttpError::Busy { status: 429, .. } => (
            FindingId::Answer,
            "Microsoft's host is throttling, and asks to wait for longer than the run may take".to_owned(),
            "Verify again in some minutes, fewer profiles at once.",
        ),
        HttpError::Busy { .. } => {
            (FindingId::Answer, "Microsoft's host is overloaded, or fails".to_owned(), "Verify again in some minutes.")
        }
        HttpError::Tls { fault, .. } => (
            FindingId::Reachable,
            "TLS to Microsoft's host failed: a proxy that intercepts TLS, an old certificate store, or the wrong host"
                .to_owned(),
            tls_remedy(fault),
        ),
        _ => (
            if id == FindingId::Tenant { FindingId::Reachable } else { id },
            "Microsoft's host could not be reached".to_owned(),
            "Check the network from this machine, HTTPS_PROXY, and the firewall: ports 443 to the sign-in and Graph hosts.",
        ),
    };
    Finding::unknown(id, "", message)
        .seen(error.to_string())
        .expected("an answer of the sign-in host or of Graph")
        .remedy([remedy])
}

/// Returns the finding for a registration that could not be read.
///
/// A registration exists in its home tenant only. The registration of a partner is not found here, although its service
/// principal is, or the application signs in. Only if neither is the case, the client does not exist.
pub(super) fn registration_not_visible(
    error: &GraphError,
    principal: Option<&Result<ServicePrincipal, GraphError>>,
    signed_in: bool,
    base: &str,
    remedies: &Remedies<'_>,
) -> Finding {
    let client = format!("{base}/client");
    if error.is_absent() {
        let exists = signed_in || principal.is_none_or(|found| !found.as_ref().is_err_and(GraphError::is_absent));
        if !exists {
            return Finding::fail(FindingId::Client, &client, "the registration does not exist in this tenant")
                .seen(error_code(error))
                .expected(format!("an application {} in tenant {}", remedies.client, remedies.tenant))
                .remedy(["A registration of another tenant is read there; here only its service principal exists."])
                .remedy([format!("az ad app show --id {}", remedies.id())]);
        }
        let (message, seen) = match principal {
            Some(Ok(principal)) => {
                let owner = principal.app_owner_organization_id.as_deref().unwrap_or("not named");
                let owner: String = owner.chars().take(60).collect();
                (
                    "the registration is another tenant's (a partner's): redirect URIs, requested permissions and expiry cannot be seen from here",
                    format!("{}; a service principal, registered in tenant {owner}", error_code(error)),
                )
            }
            _ => (
                "the registration is not in this tenant, or not yet: redirect URIs, requested permissions and expiry are not known",
                error_code(error),
            ),
        };
        return Finding::unknown(FindingId::Registration, &client, message)
            .seen(seen)
            .expected("the registration")
            .remedy([
                "The sign-in, its token and the service principal decide whether mail leaves; see their findings."
                    .to_owned(),
                format!("The owner of the registration exports it: az ad app show --id {} > app.json", remedies.id()),
                format!("Then: {} --manifest app.json", remedies.verify_command),
            ]);
    }
    if let GraphError::Http(error) = error {
        return unreachable(error, FindingId::Registration);
    }
    Finding::unknown(FindingId::Registration, &client, "the registration could not be read, so redirect URIs, requested permissions and expiry are not known")
        .seen(error_code(error))
        .expected("the registration")
        .remedy([
            "A reader's token decides it: Application.Read.All and Directory.Read.All in MAILWRIGHT_READER_TOKEN, or `--sign-in CLIENT`.".to_owned(),
            format!("Or an exported registration: az ad app show --id {0} > app.json; {1} --manifest app.json", remedies.id(), remedies.verify_command),
        ])
}

/// Returns the finding for a service principal that could not be read.
pub(super) fn principal_not_visible(error: &GraphError, what: &str, base: &str) -> Finding {
    let finding = Finding::unknown(
        FindingId::ServicePrincipal,
        &format!("{base}/client"),
        format!("it is not known whether the application {what}"),
    );
    // Mail leaves although it is not visible.
    Finding { severity: Severity::Warning, ..finding }
        .seen(error_code(error))
        .expected("the service principal of the application")
        .remedy([
            "A reader's token with Application.Read.All decides it (MAILWRIGHT_READER_TOKEN, `--sign-in CLIENT`).",
        ])
}
