//! The check of a tenant: it exists, it is in the stated cloud, and this machine's clock agrees with it.
//!
//! It reads the public configuration of the tenant and needs no credential. A tenant that is missing, unreachable or in another
//! cloud ends the checks of its profile.

use super::{GraphCheck, credential, directory_access::unreachable};
use crate::{
    entra::{
        Endpoints,
        aadsts::Cause,
        sign_in::{Discovery, SignInError},
    },
    model::{
        Cloud,
        finding::{Finding, Level},
        finding_id::FindingId,
    },
    verify::{Tenant, remedy::Remedies},
};

impl GraphCheck<'_> {
    /// Checks the tenant. Returns the hosts of its cloud if further checks make sense.
    pub(super) async fn tenant(&mut self, cloud: &Cloud, tenant: &str, client: &str, base: &str) -> Option<Endpoints> {
        let endpoints = match Endpoints::for_cloud(cloud) {
            Ok(endpoints) => endpoints,
            Err(error) => {
                let finding = Finding::fail(FindingId::CloudHosts, &format!("{base}/cloud"), error.to_string())
                    .remedy(["Write each as https://host or https://host:port."]);
                self.add(Level::Offline, [finding]);
                return None;
            }
        };
        let verify_command = self.verify_command();
        let remedies = Remedies { verify_command: &verify_command, endpoints: &endpoints, tenant, client };
        let found = self.verifier.tenant(&endpoints, tenant).await;
        let (findings, is_usable) = match found.as_ref() {
            Ok(found) => evaluate(found, cloud, &endpoints, base),
            Err(error) => (vec![not_found(error, base, &remedies)], false),
        };
        self.add(Level::Anonymous, findings);
        is_usable.then_some(endpoints)
    }
}

/// Evaluates what a tenant publishes about itself. Returns true as well if it is in the stated cloud.
fn evaluate(found: &Tenant, cloud: &Cloud, endpoints: &Endpoints, base: &str) -> (Vec<Finding>, bool) {
    let mut findings = vec![Finding::pass(
        FindingId::Tenant,
        &format!("{base}/tenant"),
        format!("the tenant exists in the cloud {}", cloud.name()),
    )];
    let other_cloud = other_cloud(&found.discovery, endpoints, base);
    let is_in_cloud = other_cloud.is_none();
    findings.push(other_cloud.unwrap_or_else(|| {
        Finding::pass(FindingId::Cloud, &format!("{base}/cloud"), "the tenant is in the stated cloud")
    }));
    findings.extend(found.clock_off.map(clock));
    (findings, is_in_cloud)
}

/// Returns the finding for a tenant whose Graph is not the one of the stated cloud.
fn other_cloud(discovery: &Discovery, endpoints: &Endpoints, base: &str) -> Option<Finding> {
    let host = endpoints.graph.host_str().unwrap_or_default();
    let theirs = discovery.msgraph_host.as_str();
    if theirs.is_empty() || theirs.split(':').next() == Some(host) {
        return None;
    }
    let remedy = match Endpoints::cloud_of_graph(theirs) {
        Some(name) => format!("Write `cloud: {name}`."),
        None => "Correct `cloud`: global, us-government-l4, us-government-l5 or china.".to_owned(),
    };
    let message = "the tenant is in another Microsoft cloud than the profile states";
    Some(
        Finding::fail(FindingId::Cloud, &format!("{base}/cloud"), message)
            .seen(format!("Graph at {theirs}"))
            .expected(format!("Graph at {host}"))
            .remedy([remedy]),
    )
}

/// Returns the finding for a tenant whose configuration could not be read.
fn not_found(error: &SignInError, base: &str, remedies: &Remedies<'_>) -> Finding {
    match error {
        SignInError::Refused(refusal) if refusal.cause() == Cause::Tenant => {
            let codes = refusal.error_codes.iter().map(|code| format!("AADSTS{code}"));
            credential::tenant_unknown(base, remedies).seen(codes.collect::<Vec<_>>().join(", "))
        }
        SignInError::Refused(refusal) if refusal.cause() == Cause::Service => credential::busy(base, error.to_string()),
        SignInError::Http(error) => unreachable(error, FindingId::Tenant),
        SignInError::Unknown(500..) => credential::busy(base, error.to_string()),
        other => Finding::unknown(FindingId::Answer, base, "the reply of the sign-in host has an unknown form")
            .seen(other.to_string())
            .expected("an OpenID configuration")
            .remedy(["Check whether a proxy answers in its place; then verify again."]),
    }
}

fn clock(off: i64) -> Finding {
    let (minutes, direction) = (off.abs() / 60, if off > 0 { "ahead" } else { "behind" });
    Finding::fail(
        FindingId::Clock,
        "",
        format!("this machine's clock is {minutes} minutes {direction}; assertions and tokens will be refused"),
    )
    .seen(format!("{off} s against the sign-in host's"))
    .expected("less than two minutes")
    .remedy(["timedatectl set-ntp true"])
}
