//! The credential of an application: refusals of the sign-in, and expiry.
//!
//! | part | contents |
//! | --- | --- |
//! | [`Kind`] | client secret, certificate or federated token |
//! | `refusal` | findings for a sign-in that failed ([`SignInAttempt`]) |
//! | `expiry` | findings about the end of the credential in use |
//!
//! Everything here is pure. No finding contains the credential.

mod expiry;
mod refusal;

pub(super) use expiry::{certificate_expiry, expiry};
pub use refusal::findings_of_cause;
pub(super) use refusal::{SignInAttempt, busy, secret_id_finding, tenant_unknown};

use crate::{model::finding::Finding, model::finding_id::FindingId, model::provider::Credential};

/// The kind of credential with which an application signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verify::graph) enum Kind {
    Secret,
    Certificate,
    Federated,
}

impl Kind {
    pub(in crate::verify::graph) fn from_credential(credential: &Credential) -> Self {
        match credential {
            Credential::ClientSecret(_) => Kind::Secret,
            Credential::Certificate(_) => Kind::Certificate,
            Credential::FederatedTokenFile(_) => Kind::Federated,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Kind::Secret => "client secret",
            Kind::Certificate => "certificate",
            Kind::Federated => "federated token",
        }
    }

    pub(in crate::verify::graph) fn pointer(self) -> &'static str {
        match self {
            Kind::Secret => "/provider/microsoft-graph-direct/credential/clientSecret",
            Kind::Certificate => "/provider/microsoft-graph-direct/credential/certificate",
            Kind::Federated => "/provider/microsoft-graph-direct/credential/federatedTokenFile",
        }
    }
}

/// Returns the finding for a sign-in that succeeded.
pub(in crate::verify::graph) fn accepted(kind: Kind) -> Finding {
    Finding::pass(FindingId::SignIn, kind.pointer(), format!("the {} is accepted", kind.noun()))
}
