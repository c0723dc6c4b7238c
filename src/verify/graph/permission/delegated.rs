//! The checks of delegated permissions, with which an application acts as the user who signed in.
//!
//! Used by `delegate`. Pure, as all of [`permission`](super): consent that was read elsewhere is compared with what is needed.

use std::collections::BTreeSet;

use super::{Requested, SHOWN, covered_by, excess, merge_by_permission, names_of_kind, requests};
use crate::{
    entra::{
        graph::OAuth2PermissionGrant,
        permissions::{self, PermissionKind},
    },
    model::{finding::Finding, finding_id::FindingId},
    text::enumerate,
    verify::{needs, remedy::Remedies},
};

/// The delegated permissions of an application: granted, requested and needed.
pub(in crate::verify::graph) struct DelegatedPermissions<'a> {
    pub(in crate::verify::graph) pointer: &'a str,
    /// The grants on Graph; none if they are not visible.
    pub(in crate::verify::graph) grants: Option<&'a [OAuth2PermissionGrant]>,
    pub(in crate::verify::graph) requested: Option<&'a Requested>,
    pub(in crate::verify::graph) address_book: bool,
    /// The address of the profile, if it states one: then users send as another mailbox.
    pub(in crate::verify::graph) shared_sender: Option<&'a str>,
    pub(in crate::verify::graph) redirect: &'a str,
    /// Permissions that at least one profile of the application needs.
    pub(in crate::verify::graph) shared: Option<&'a BTreeSet<&'static str>>,
    pub(in crate::verify::graph) remedies: &'a Remedies<'a>,
}

/// Scopes of the sign-in itself, which are never excessive.
const SIGN_IN_SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

impl DelegatedPermissions<'_> {
    fn needed(&self) -> Vec<&'static str> {
        needs::delegate_permissions(self.address_book, self.shared_sender.is_some())
    }

    /// Runs every check of delegated permissions.
    pub(in crate::verify::graph) fn check(&self) -> Vec<Finding> {
        let needed = self.needed();
        let scopes = |all: bool| -> BTreeSet<String> {
            let grants =
                self.grants.unwrap_or_default().iter().filter(|grant| all == (grant.consent_type == "AllPrincipals"));
            grants
                .flat_map(|grant| {
                    grant.scope.as_deref().unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
                })
                .collect()
        };
        let (for_all, for_some) = (scopes(true), scopes(false));
        let mut findings =
            merge_by_permission(needed.iter().map(|name| (*name, self.finding(name, &for_all, &for_some))));
        let kind = PermissionKind::Delegated;
        let has = if self.grants.is_some() { &for_all | &for_some } else { names_of_kind(self.requested, kind) };
        let needed = excess::Needed::new(&needed, self.shared);
        let mut extra = needed.unneeded(&has.iter().map(String::as_str).collect::<Vec<_>>());
        extra.retain(|name| !SIGN_IN_SCOPES.contains(name));
        findings.extend(excess::finding(self.pointer, kind, self.grants.is_some(), &needed, &extra, self.remedies));
        findings
    }

    fn finding(&self, name: &str, for_all: &BTreeSet<String>, for_some: &BTreeSet<String>) -> Finding {
        let is_shared = name == "Mail.Send.Shared";
        let expected = format!("delegated permission {name}");
        let ask = || {
            let mut steps = self.remedies.request_permission(PermissionKind::Delegated, name);
            steps.extend(self.remedies.consent_steps(Some(self.redirect)));
            steps
        };
        if covered_by(for_all, name).is_some() {
            let id = if is_shared { FindingId::SharedSender } else { FindingId::Permission };
            return Finding::pass(
                id,
                self.pointer,
                format!("there is consent for the whole tenant to the delegated `{name}`"),
            );
        }
        match self.requested {
            Some(requested)
                if covered_by(&delegated(requested), name).is_none() && covered_by(for_some, name).is_none() =>
            {
                let is_other_kind = requests(requested, PermissionKind::Application, name);
                let (id, message) = if is_other_kind {
                    (
                        FindingId::PermissionKind,
                        format!(
                            "the registration requests the application permission `{name}`; signed-in users need the delegated permission of that name"
                        ),
                    )
                } else if is_shared {
                    (
                        FindingId::SharedSender,
                        format!(
                            "the profile sends as {} and not as the signed-in user, which needs the delegated permission `Mail.Send.Shared`",
                            self.shared_sender.unwrap_or_default()
                        ),
                    )
                } else {
                    (
                        FindingId::Permission,
                        format!("the registration does not request the delegated permission `{name}`"),
                    )
                };
                let asked: Vec<String> = delegated(requested).into_iter().collect();
                let seen = if asked.is_empty() {
                    "no delegated permission on Microsoft Graph".to_owned()
                } else {
                    format!("requested: {}", enumerate(&asked, SHOWN))
                };
                return Finding::fail(id, self.pointer, message).seen(seen).expected(expected).remedy(ask());
            }
            _ => {}
        }
        let Some(grants) = self.grants else {
            return Finding::unknown(
                FindingId::ConsentFirst,
                self.pointer,
                format!("it is not known whether there is consent to `{name}`"),
            )
            .remedy([
                "A reader's token with Directory.Read.All or DelegatedPermissionGrant.Read.All decides it (MAILWRIGHT_READER_TOKEN, `--sign-in`).",
            ])
            .remedy(self.remedies.consent_steps(Some(self.redirect)));
        };
        if covered_by(for_some, name).is_some() {
            let users: BTreeSet<&str> = grants
                .iter()
                .filter(|grant| {
                    let scopes = grant.scope.as_deref().unwrap_or_default().split_whitespace();
                    covered_by(&scopes.map(str::to_owned).collect(), name).is_some()
                })
                .filter_map(|grant| grant.principal_id.as_deref())
                .collect();
            return Finding::fail(
                FindingId::ConsentSome,
                self.pointer,
                format!("only some users have consented to `{name}`; every other user, or an administrator, is asked at the first sign-in"),
            )
            .seen(format!("consent of {} user{}", users.len(), if users.len() == 1 { "" } else { "s" }))
            .expected("consent for the whole tenant")
            .remedy(self.remedies.consent_steps(Some(self.redirect)));
        }
        let finding = if permissions::may_users_consent(name) {
            Finding::unknown(
                FindingId::ConsentFirst,
                self.pointer,
                format!(
                    "consent to `{name}` is missing; the tenant's policy, which was not read, decides if users may consent"
                ),
            )
        } else {
            Finding::fail(
                FindingId::ConsentFirst,
                self.pointer,
                format!("consent to `{name}` is missing: the first sign-in must be approved by an administrator"),
            )
        };
        finding
            .seen(if grants.is_empty() {
                "no consent at all".to_owned()
            } else {
                format!("consent to: {}", joined(for_all, for_some))
            })
            .expected("consent for the whole tenant")
            .remedy(self.remedies.consent_steps(Some(self.redirect)))
    }
}

fn delegated(requested: &Requested) -> BTreeSet<String> {
    names_of_kind(Some(requested), PermissionKind::Delegated)
}

fn joined(a: &BTreeSet<String>, b: &BTreeSet<String>) -> String {
    enumerate(a.union(b), SHOWN)
}
