//! The checks of application permissions, which an administrator grants to an application without a user.
//!
//! Used by `direct`. Pure, as all of [`permission`](super).

use std::collections::BTreeSet;

use super::{Requested, SHOWN, covered_by, excess, merge_by_permission, names_of_kind, requests};
use crate::{
    entra::permissions::PermissionKind,
    model::{finding::Finding, finding_id::FindingId},
    text::enumerate,
    verify::{needs, remedy::Remedies},
};

/// The application permissions of an application: granted, requested and needed.
pub(in crate::verify::graph) struct ApplicationPermissions<'a> {
    pub(in crate::verify::graph) pointer: &'a str,
    /// Permissions in a new token, or grants in the directory; none if neither is visible.
    pub(in crate::verify::graph) granted: Option<&'a BTreeSet<String>>,
    /// Permissions that the registration requests; none if it is not visible.
    pub(in crate::verify::graph) requested: Option<&'a Requested>,
    pub(in crate::verify::graph) from: &'a str,
    pub(in crate::verify::graph) address_book: bool,
    /// The object id of the service principal, for Exchange.
    pub(in crate::verify::graph) object_id: Option<&'a str>,
    /// The redirect URI after consent.
    pub(in crate::verify::graph) redirect: Option<&'a str>,
    /// Permissions that at least one profile of the application needs.
    pub(in crate::verify::graph) shared: Option<&'a BTreeSet<&'static str>>,
    pub(in crate::verify::graph) remedies: &'a Remedies<'a>,
}

impl ApplicationPermissions<'_> {
    fn needed(&self) -> Vec<&'static str> {
        needs::direct_permissions(self.address_book)
    }

    /// Runs every check of application permissions.
    pub(in crate::verify::graph) fn check(&self) -> Vec<Finding> {
        let mut findings =
            merge_by_permission(self.needed().into_iter().map(|name| (name, self.granted_finding(name))));
        findings.extend(self.excess());
        if self.granted.is_some_and(|granted| granted.contains("Mail.Send")) {
            findings.push(
                Finding::fail(
                    FindingId::MailSendUnscoped,
                    self.pointer,
                    "`Mail.Send` is granted in Entra, for the whole tenant: unless an application access policy limits it, the application may send as any user of the tenant",
                )
                .seen("Mail.Send among the permissions that are granted")
                .expected(format!("the right to send as {} alone", self.from))
                .remedy(self.remedies.scope_in_exchange(self.from, self.object_id)),
            );
        }
        findings
    }

    /// Runs the checks for an exported registration, which shows what is requested and not what was granted.
    pub(in crate::verify::graph) fn check_requested(&self) -> Vec<Finding> {
        let mut findings =
            merge_by_permission(self.needed().into_iter().map(|name| (name, self.requested_finding(name))));
        findings.extend(self.excess());
        findings
    }

    fn requested_finding(&self, name: &str) -> Finding {
        let id = if name == "Mail.Send" { FindingId::MailSend } else { FindingId::Permission };
        let requested = self.requested.cloned().unwrap_or_default();
        let asked: Vec<String> = requested.iter().map(|(kind, name)| format!("{name} ({kind})")).collect();
        let seen = if asked.is_empty() {
            "no permission on Microsoft Graph".to_owned()
        } else {
            format!("requested: {}", enumerate(&asked, SHOWN))
        };
        let expected = format!("application permission {name}");
        let roles = names_of_kind(self.requested, PermissionKind::Application);
        if covered_by(&roles, name).is_some() {
            return Finding::unknown(
                id,
                self.pointer,
                format!(
                    "`{name}` is requested; an exported registration does not show if an administrator has consented"
                ),
            )
            .seen(seen)
            .expected(expected)
            .remedy([format!(
                "`{}` without `--manifest` decides it: a token shows what is granted.",
                self.remedies.verify_command
            )]);
        }
        let ask = self.remedies.request_permission(PermissionKind::Application, name);
        if requests(&requested, PermissionKind::Delegated, name) {
            return Finding::fail(
                FindingId::PermissionKind,
                self.pointer,
                format!("the registration requests the delegated `{name}`; an application without a user needs the application permission of that name"),
            )
            .seen(seen)
            .expected(expected)
            .remedy(ask);
        }
        if name == "Mail.Send" {
            return Finding::unknown(id, self.pointer, "`Mail.Send` is not requested; Exchange may grant it (RBAC for Applications), which no registration shows")
                .seen(seen)
                .expected(expected)
                .remedy(self.remedies.ask_exchange(self.from))
                .remedy(["If Exchange is not to grant it:".to_owned()])
                .remedy(ask);
        }
        Finding::fail(
            id,
            self.pointer,
            format!("the registration does not request the application permission `{name}`"),
        )
        .seen(seen)
        .expected(expected)
        .remedy(ask)
    }

    fn granted_finding(&self, name: &str) -> Finding {
        let id = if name == "Mail.Send" { FindingId::MailSend } else { FindingId::Permission };
        let Some(granted) = self.granted else {
            return Finding::unknown(id, self.pointer, format!("it is not known whether `{name}` is granted")).remedy(
                ["A token that is a JWT, or a reader's token (MAILWRIGHT_READER_TOKEN, `--sign-in`), decides it."],
            );
        };
        if let Some(by) = covered_by(granted, name) {
            let how = if by == name { String::new() } else { format!(", by the broader `{by}`") };
            return Finding::pass(id, self.pointer, format!("the application permission `{name}` is granted{how}"));
        }
        let seen = if granted.is_empty() {
            "a token without any application permission".to_owned()
        } else {
            format!("granted: {}", enumerate(granted, SHOWN))
        };
        let exchange = || if name == "Mail.Send" { self.remedies.ask_exchange(self.from) } else { Vec::new() };
        let expected = format!("application permission {name}");
        let mut ask = self.remedies.request_permission(PermissionKind::Application, name);
        ask.extend(self.remedies.consent_steps(self.redirect));
        match self.requested {
            // Graph does not see what Exchange grants, so the mail may leave without consent.
            Some(requested) if requests(requested, PermissionKind::Application, name) && name == "Mail.Send" => {
                Finding::unknown(
                    FindingId::Consent,
                    self.pointer,
                    "`Mail.Send` is requested, and no administrator has consented: not granted in Entra; Exchange may grant it",
                )
                .seen(seen)
                .expected(expected)
                .remedy(self.remedies.consent_steps(self.redirect))
                .remedy(exchange())
                .remedy(self.remedies.leave_to_exchange())
            }
            Some(requested) if requests(requested, PermissionKind::Application, name) => Finding::fail(
                FindingId::Consent,
                self.pointer,
                format!("`{name}` is requested, and no administrator has consented"),
            )
            .seen(seen)
            .expected(expected)
            .remedy(self.remedies.consent_steps(self.redirect)),
            Some(requested) if requests(requested, PermissionKind::Delegated, name) => Finding::fail(
                FindingId::PermissionKind,
                self.pointer,
                format!("the registration requests the delegated `{name}`; an application without a user needs the application permission of that name"),
            )
            .seen(format!("requested: {name} (delegated); {seen}"))
            .expected(expected)
            .remedy(ask)
            .remedy(exchange()),
            _ if name == "Mail.Send" => Finding::unknown(
                FindingId::MailSend,
                self.pointer,
                "`Mail.Send` is not granted in Entra; Exchange may grant it (RBAC for Applications), which Graph cannot see",
            )
            .seen(seen)
            .expected(expected)
            .remedy(exchange())
            .remedy(["If Exchange is not to grant it:".to_owned()])
            .remedy(ask),
            _ => Finding::fail(FindingId::Permission, self.pointer, format!("the application permission `{name}` is not granted"))
                .seen(seen)
                .expected(expected)
                .remedy(ask),
        }
    }

    /// Returns the finding about permissions that are not needed: among the granted ones, or else among the requested
    /// ones.
    fn excess(&self) -> Option<Finding> {
        let kind = PermissionKind::Application;
        let asked = names_of_kind(self.requested, kind);
        let has: Vec<&str> = self.granted.unwrap_or(&asked).iter().map(String::as_str).collect();
        let needed = excess::Needed::new(&self.needed(), self.shared);
        excess::finding(self.pointer, kind, self.granted.is_some(), &needed, &needed.unneeded(&has), self.remedies)
    }
}
