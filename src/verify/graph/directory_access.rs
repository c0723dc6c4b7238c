//! Who reads for a profile, and what is said of what nobody could see.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use crate::{
    entra::{
        HttpError,
        graph::{Graph, GraphError, ServicePrincipal},
        http::tls_remedy,
    },
    model::{
        finding::{Finding, Level, Severity},
        finding_id::Id,
    },
    verify::remedy::Remedies,
};

/// Why nobody reads for a profile beside its own application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verify) enum Blind {
    /// Nobody gave a token that may.
    Nobody,
    /// The reader's token is of another tenant than the profile.
    OtherTenant,
}

impl Blind {
    fn words(self) -> &'static str {
        match self {
            Self::Nobody => "no token that may read it",
            Self::OtherTenant => "the reader's token is of another tenant",
        }
    }
}

/// Who reads: the application itself, somebody who may read the directory, or nobody.
pub(super) struct Eyes {
    pub(super) own: Option<Graph>,
    pub(super) reader: Result<Graph, Blind>,
}

impl Eyes {
    /// Reads with whoever may. The answer says at which level it was seen.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<(T, Level), GraphError> {
        let mut last = self.nobody();
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

    /// The same for a list, as far as it goes.
    pub(super) async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, GraphError> {
        let mut last = self.nobody();
        for graph in [self.reader.as_ref().ok(), self.own.as_ref()].into_iter().flatten() {
            match graph.list(path).await {
                Ok(items) => return Ok(items),
                Err(error) if error.is_denied() => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// A reader sees everything, and so does an application that may; one that may not asks in vain.
    pub(super) fn can_read_others(&self, roles: &BTreeSet<String>) -> bool {
        self.reader.is_ok() || may_read_others(roles)
    }

    /// What everything ends with that nobody is there to read.
    pub(super) fn nobody(&self) -> GraphError {
        let why = self.reader.as_ref().err().copied().unwrap_or(Blind::Nobody);
        GraphError::Refused { status: 0, code: why.words().to_owned(), message: String::new() }
    }
}

/// Whether an application with these roles may read registrations.
pub(super) fn may_read_others(roles: &BTreeSet<String>) -> bool {
    ["Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"]
        .iter()
        .any(|role| roles.contains(*role))
}

/// Why something could not be read, in Graph's own code and in none of its texts.
pub(super) fn reason(error: &GraphError) -> String {
    match error {
        GraphError::Refused { status: 0, code, .. } => code.clone(),
        GraphError::Refused { status, code, .. } => format!("HTTP {status} {code}"),
        other => other.to_string(),
    }
}

pub(super) fn without_level<T>(result: Result<(T, Level), GraphError>) -> Result<T, GraphError> {
    result.map(|(value, _)| value)
}

/// No answer to speak of. `id` says what could not be seen because of it.
pub(super) fn unreachable(error: &HttpError, id: Id) -> Finding {
    let (id, message, remedy) = match error {
        HttpError::NotJson { status: 500.., .. } => (
            Id::Answer,
            "Microsoft's host is busy, or has trouble of its own".to_owned(),
            "Verify again in some minutes.",
        ),
        HttpError::NotJson { .. } | HttpError::Redirect { .. } | HttpError::Huge { .. } => (
            Id::Answer,
            "what answers in Microsoft's place is something else: a proxy, a captive portal, or another service"
                .to_owned(),
            "Check HTTPS_PROXY and NO_PROXY, and what the address answers from this machine.",
        ),
        HttpError::Busy { status: 429, .. } => (
            Id::Answer,
            "Microsoft's host is throttling, and asks for more patience than there is".to_owned(),
            "Verify again in some minutes, fewer profiles at once.",
        ),
        HttpError::Busy { .. } => (
            Id::Answer,
            "Microsoft's host is busy, or has trouble of its own".to_owned(),
            "Verify again in some minutes.",
        ),
        HttpError::Tls { fault, .. } => (
            Id::Reachable,
            "TLS to Microsoft's host failed: a proxy that looks inside, an old certificate store, or the wrong host"
                .to_owned(),
            tls_remedy(fault),
        ),
        _ => (
            if id == Id::Tenant { Id::Reachable } else { id },
            "Microsoft's host could not be reached".to_owned(),
            "Check the network from this machine, HTTPS_PROXY, and the firewall: ports 443 to the sign-in and Graph hosts.",
        ),
    };
    Finding::unknown(id, "", message)
        .seen(error.to_string())
        .expected("an answer of the sign-in host or of Graph")
        .remedy([remedy])
}

/// The registration could not be read. A registration lives in its home tenant alone: that of a partner is not found here, and
/// its service principal is, or the application signs in. Only where neither is so, the client does not exist.
pub(super) fn unseen(
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
            return Finding::fail(Id::Client, &client, "the registration does not exist in this tenant")
                .seen(reason(error))
                .expected(format!("an application {} in tenant {}", remedies.client, remedies.tenant))
                .remedy(["A registration of another tenant is read there; here only its service principal exists."])
                .remedy([format!("az ad app show --id {}", remedies.client)]);
        }
        let (message, seen) = match principal {
            Some(Ok(principal)) => {
                let owner = principal.app_owner_organization_id.as_deref().unwrap_or("not named");
                let owner: String = owner.chars().take(60).collect();
                (
                    "the registration is another tenant's (a partner's): redirect URIs, requested permissions and expiry cannot be seen from here",
                    format!("{}; a service principal, registered in tenant {owner}", reason(error)),
                )
            }
            _ => (
                "the registration is not in this tenant, or not yet: redirect URIs, requested permissions and expiry are not known",
                reason(error),
            ),
        };
        return Finding::unknown(Id::Registration, &client, message).seen(seen).expected("the registration").remedy([
            "The sign-in, its token and the service principal decide whether mail leaves; see their findings."
                .to_owned(),
            format!("Whoever registered it exports it: az ad app show --id {} > app.json", remedies.client),
            format!("Then: {} --manifest app.json", remedies.again),
        ]);
    }
    if let GraphError::Http(error) = error {
        return unreachable(error, Id::Registration);
    }
    Finding::unknown(Id::Registration, &client, "the registration could not be read, so redirect URIs, requested permissions and expiry are not known")
        .seen(reason(error))
        .expected("the registration")
        .remedy([
            "A reader's token decides it: Application.Read.All and Directory.Read.All in MAILWRIGHT_READER_TOKEN, or `--sign-in CLIENT`.".to_owned(),
            format!("Or an exported registration: az ad app show --id {0} > app.json; {1} --manifest app.json", remedies.client, remedies.again),
        ])
}

/// The application as the tenant has it could not be read.
pub(super) fn unseen_principal(error: &GraphError, what: &str, base: &str) -> Finding {
    let finding = Finding::unknown(
        Id::ServicePrincipal,
        &format!("{base}/client"),
        format!("whether the application {what} could not be seen"),
    );
    // Not to see it keeps no mail from leaving.
    Finding { severity: Severity::Warning, ..finding }
        .seen(reason(error))
        .expected("the service principal of the application")
        .remedy([
            "A reader's token with Application.Read.All decides it (MAILWRIGHT_READER_TOKEN, `--sign-in CLIENT`).",
        ])
}
