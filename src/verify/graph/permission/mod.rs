//! The checks of permissions: needed, requested, granted; and more than needed.
//!
//! [`ApplicationPermissions`] and [`DelegatedPermissions`] hold what is known of an application's permissions of one kind; their
//! `check` returns the findings. Everything here is pure: it evaluates documents that were read elsewhere. What was not visible is
//! `unknown`, as is sending that Exchange may have granted instead.

mod application;
mod delegated;
mod excess;

use std::collections::BTreeSet;

pub(super) use application::ApplicationPermissions;
pub(super) use delegated::DelegatedPermissions;

use crate::{
    entra::{
        graph::{Application, OAuth2PermissionGrant},
        permissions::{self, GRAPH_APP_ID, PermissionKind, PermissionNames},
    },
    model::{
        Cloud,
        finding::{Finding, Verdict},
        finding_id::FindingId,
    },
};

/// Requested permissions: the kind's id and the name of each.
type Requested = BTreeSet<(&'static str, String)>;

/// The number of permissions that a finding names. A registration may request hundreds; the others are counted.
const SHOWN: usize = 10;

/// Returns the permissions on Graph that a registration requests.
pub(super) fn requested(application: &Application, names: &PermissionNames) -> Requested {
    let mut found = BTreeSet::new();
    let graph = application.required_resource_access.iter().filter(|part| part.resource_app_id == GRAPH_APP_ID);
    for access in graph.flat_map(|part| &part.resource_access) {
        for kind in [PermissionKind::Application, PermissionKind::Delegated] {
            if access.kind == kind.id() {
                found.insert((kind.id(), names.name(kind, &access.id).to_owned()));
            }
        }
    }
    found
}

/// Makes findings `unknown` if they depend on ids of permissions that were read with the table of another cloud: Microsoft
/// publishes the ids of the worldwide cloud only.
pub(super) fn weaken_for_other_cloud(findings: Vec<Finding>, cloud: &Cloud, names: &PermissionNames) -> Vec<Finding> {
    if names.is_of_tenant() || matches!(cloud, Cloud::Global | Cloud::Custom(_)) {
        return findings;
    }
    let by_id = [
        FindingId::Permission,
        FindingId::PermissionKind,
        FindingId::Consent,
        FindingId::SharedSender,
        FindingId::MailSend,
        FindingId::PermissionExcess,
    ];
    let weaken = |finding: Finding| {
        if finding.verdict != Verdict::Fail || !by_id.contains(&finding.id) {
            return finding;
        }
        let message = format!("{}, according to the ids of the worldwide cloud", finding.message);
        let remedy = vec![format!(
            "Ids of permissions in the cloud {} are not published: a reader's token (MAILWRIGHT_READER_TOKEN, `--sign-in`) reads the tenant's own.",
            cloud.name()
        )];
        Finding { verdict: Verdict::Unknown, message, ..finding }.remedy(remedy)
    };
    findings.into_iter().map(weaken).collect()
}

/// Returns the grants on Graph among those on all resources; none if they cannot be distinguished.
pub(super) fn grants_on_graph(
    grants: &[OAuth2PermissionGrant],
    names: &PermissionNames,
) -> Option<Vec<OAuth2PermissionGrant>> {
    let mut on_graph = Vec::new();
    for grant in grants {
        if names.is_graph(&grant.resource_id)? {
            on_graph.push(grant.clone());
        }
    }
    Some(on_graph)
}

fn requests(requested: &Requested, kind: PermissionKind, name: &str) -> bool {
    requested.contains(&(kind.id(), name.to_owned()))
}

/// Returns the granted permission that covers `name`, if one does.
fn covered_by<'a>(granted: &'a BTreeSet<String>, name: &str) -> Option<&'a str> {
    granted
        .get(name)
        .or_else(|| permissions::broader(name).iter().find_map(|broader| granted.get(*broader)))
        .map(String::as_str)
}

/// Returns the names of the requested permissions of one kind.
fn names_of_kind(requested: Option<&Requested>, wanted: PermissionKind) -> BTreeSet<String> {
    let all = requested.into_iter().flatten();
    all.filter(|(kind, _)| *kind == wanted.id()).map(|(_, name)| name.clone()).collect()
}

/// Joins findings that differ in the permission's name only, because an administrator corrects them in one step.
fn merge_by_permission(findings: impl IntoIterator<Item = (&'static str, Finding)>) -> Vec<Finding> {
    let mut kept: Vec<(Vec<&'static str>, Finding)> = Vec::new();
    for (name, finding) in findings {
        let shape = finding.message.replace(&format!("`{name}`"), "``");
        let same = kept.iter_mut().find(|(names, first)| {
            let first_shape = first.message.replace(&quoted_list(names), "``");
            (first.id, first.verdict, &first.seen) == (finding.id, finding.verdict, &finding.seen)
                && first_shape == shape
        });
        match same {
            None => kept.push((vec![name], finding)),
            Some((names, first)) => {
                let before = quoted_list(names);
                names.push(name);
                first.message = first.message.replace(&before, &quoted_list(names));
                if first.expected != finding.expected {
                    first.expected = format!("{}, {name}", first.expected);
                }
                let new: Vec<String> = finding.remedy.into_iter().filter(|step| !first.remedy.contains(step)).collect();
                // Requests precede the one consent to all of them.
                let at =
                    first.remedy.iter().position(|step| step.contains("consents at")).unwrap_or(first.remedy.len());
                first.remedy.splice(at..at, new);
            }
        }
    }
    kept.into_iter().map(|(_, finding)| finding).collect()
}

fn quoted_list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
