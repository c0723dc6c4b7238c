//! Permissions: needed, requested, granted; and more than needed.

use std::collections::BTreeSet;

use crate::{
    entra::{
        graph::{Application, OAuth2PermissionGrant},
        permissions::{self, GRAPH_APP_ID, Kind, Names},
    },
    model::{
        Cloud,
        finding::{Finding, Verdict},
        finding_id::Id,
    },
    text::{enumerate, shortened},
    verify::{needs, remedy::Remedies},
};

/// Permissions that a finding names. A registration may request hundreds, and the others are counted.
const SHOWN: usize = 10;
/// Permissions that are not needed and have the steps to remove them.
const STEPS_FOR: usize = 5;

/// What a registration requests of Graph, by name.
pub(super) fn requested(application: &Application, names: &Names) -> BTreeSet<(&'static str, String)> {
    let mut found = BTreeSet::new();
    let graph = application.required_resource_access.iter().filter(|part| part.resource_app_id == GRAPH_APP_ID);
    for access in graph.flat_map(|part| &part.resource_access) {
        for kind in [Kind::Application, Kind::Delegated] {
            if access.kind == kind.id() {
                found.insert((kind.id(), names.name(kind, &access.id).to_owned()));
            }
        }
    }
    found
}

/// Ids of permissions are published for the worldwide cloud alone. Where they were read by that table in another cloud, what
/// depends on them is not known.
pub(super) fn by_foreign_table(findings: Vec<Finding>, cloud: &Cloud, names: &Names) -> Vec<Finding> {
    if names.is_of_tenant() || matches!(cloud, Cloud::Global | Cloud::Custom(_)) {
        return findings;
    }
    let by_id = [Id::Permission, Id::PermissionKind, Id::Consent, Id::SharedSender, Id::MailSend, Id::PermissionExcess];
    let doubt = |finding: Finding| {
        if finding.verdict != Verdict::Fail || !by_id.contains(&finding.id) {
            return finding;
        }
        let message = format!("{}, as far as the ids of the worldwide cloud tell", finding.message);
        let remedy = vec![format!(
            "Ids of permissions in the cloud {} are not published: a reader's token (MAILWRIGHT_READER_TOKEN, `--sign-in`) reads the tenant's own.",
            cloud.name()
        )];
        Finding { verdict: Verdict::Unknown, message, ..finding }.remedy(remedy)
    };
    findings.into_iter().map(doubt).collect()
}

/// The grants on Graph among those on everything; none if they cannot be told apart.
pub(super) fn on_graph(grants: Vec<OAuth2PermissionGrant>, names: &Names) -> Option<Vec<OAuth2PermissionGrant>> {
    let mut on_graph = Vec::new();
    for grant in grants {
        if names.is_graph(&grant.resource_id)? {
            on_graph.push(grant);
        }
    }
    Some(on_graph)
}

fn has(set: &BTreeSet<(&'static str, String)>, kind: Kind, name: &str) -> bool {
    set.contains(&(kind.id(), name.to_owned()))
}

/// Which of the granted permissions covers `name`, if any does.
fn covered_by<'a>(granted: &'a BTreeSet<String>, name: &str) -> Option<&'a str> {
    granted
        .get(name)
        .or_else(|| permissions::broader(name).iter().find_map(|broader| granted.get(*broader)))
        .map(String::as_str)
}

/// What differs by the permission's name alone is one finding about all of them: a person mends them in one go.
fn together(findings: impl IntoIterator<Item = (&'static str, Finding)>) -> Vec<Finding> {
    let mut kept: Vec<(Vec<&'static str>, Finding)> = Vec::new();
    for (name, finding) in findings {
        let shape = finding.message.replace(&format!("`{name}`"), "``");
        let same = kept.iter_mut().find(|(names, first)| {
            let first_shape = first.message.replace(&listed(names), "``");
            (first.id, first.verdict, &first.seen) == (finding.id, finding.verdict, &finding.seen)
                && first_shape == shape
        });
        match same {
            None => kept.push((vec![name], finding)),
            Some((names, first)) => {
                let before = listed(names);
                names.push(name);
                first.message = first.message.replace(&before, &listed(names));
                if first.expected != finding.expected {
                    first.expected = format!("{}, {name}", first.expected);
                }
                let new: Vec<String> = finding.remedy.into_iter().filter(|step| !first.remedy.contains(step)).collect();
                // What is asked for stands before the one consent to all of it.
                let at =
                    first.remedy.iter().position(|step| step.contains("consents at")).unwrap_or(first.remedy.len());
                first.remedy.splice(at..at, new);
            }
        }
    }
    kept.into_iter().map(|(_, finding)| finding).collect()
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What is known of an application's permissions.
pub(super) struct Direct<'a> {
    pub(super) pointer: &'a str,
    /// What a fresh token carries, or what the directory says was granted; none if neither could be seen.
    pub(super) granted: Option<&'a BTreeSet<String>>,
    /// What the registration requests; none if it could not be seen.
    pub(super) requested: Option<&'a BTreeSet<(&'static str, String)>>,
    pub(super) from: &'a str,
    pub(super) address_book: bool,
    /// The object id of the service principal, for Exchange.
    pub(super) object_id: Option<&'a str>,
    /// An address to come back to after consent.
    pub(super) redirect: Option<&'a str>,
    /// What all profiles of the application need.
    pub(super) shared: Option<&'a BTreeSet<&'static str>>,
    pub(super) remedies: &'a Remedies<'a>,
}

impl Direct<'_> {
    fn needed(&self) -> Vec<&'static str> {
        needs::of_direct(self.address_book)
    }

    /// Every check of application permissions.
    pub(super) fn check(&self) -> Vec<Finding> {
        let mut findings = together(self.needed().into_iter().map(|name| (name, self.one(name))));
        findings.extend(self.excess());
        if self.granted.is_some_and(|granted| granted.contains("Mail.Send")) {
            findings.push(
                Finding::fail(
                    Id::MailSendUnscoped,
                    self.pointer,
                    "`Mail.Send` is granted in Entra, for the whole tenant: unless an application access policy limits it, the application may send as everybody",
                )
                .seen("Mail.Send among the permissions that are granted")
                .expected(format!("the right to send as {} alone", self.from))
                .remedy(self.remedies.scope_in_exchange(self.from, self.object_id.unwrap_or("OBJECT-ID-OF-THE-ENTERPRISE-APPLICATION"))),
            );
        }
        findings
    }

    /// What an exported registration tells: what is requested, and not what was granted.
    pub(super) fn check_requested(&self) -> Vec<Finding> {
        let mut findings = together(self.needed().into_iter().map(|name| (name, self.one_requested(name))));
        findings.extend(self.excess());
        findings
    }

    fn one_requested(&self, name: &str) -> Finding {
        let id = if name == "Mail.Send" { Id::MailSend } else { Id::Permission };
        let requested = self.requested.cloned().unwrap_or_default();
        let asked: Vec<String> = requested.iter().map(|(kind, name)| format!("{name} ({kind})")).collect();
        let seen = if asked.is_empty() {
            "no permission on Microsoft Graph".to_owned()
        } else {
            format!("requested: {}", enumerate(&asked, SHOWN))
        };
        let expected = format!("application permission {name}");
        let roles = named(self.requested, Kind::Application);
        if covered_by(&roles, name).is_some() {
            return Finding::unknown(
                id,
                self.pointer,
                format!(
                    "`{name}` is requested; whether an administrator has consented stands in no exported registration"
                ),
            )
            .seen(seen)
            .expected(expected)
            .remedy([
                "`mailwright verify ENV PROFILE` without `--manifest` decides it: a token tells what is granted.",
            ]);
        }
        let ask = self.remedies.request_permission(Kind::Application, name);
        if has(&requested, Kind::Delegated, name) {
            return Finding::fail(
                Id::PermissionKind,
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
                .remedy(["If it is not meant to come from Exchange:".to_owned()])
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

    fn one(&self, name: &str) -> Finding {
        let id = if name == "Mail.Send" { Id::MailSend } else { Id::Permission };
        let Some(granted) = self.granted else {
            return Finding::unknown(id, self.pointer, format!("whether `{name}` is granted could not be seen"))
                .remedy([
                    "A token that is a JWT, or a reader's token (MAILWRIGHT_READER_TOKEN, `--sign-in`), decides it.",
                ]);
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
        let mut ask = self.remedies.request_permission(Kind::Application, name);
        ask.extend(self.remedies.consent_steps(self.redirect));
        match self.requested {
            Some(requested) if has(requested, Kind::Application, name) => Finding::fail(
                Id::Consent,
                self.pointer,
                if name == "Mail.Send" {
                    "`Mail.Send` is requested, and no administrator has consented: not granted in Entra; Exchange may grant it".to_owned()
                } else {
                    format!("`{name}` is requested, and no administrator has consented")
                },
            )
            .seen(seen)
            .expected(expected)
            .remedy(self.remedies.consent_steps(self.redirect))
            .remedy(exchange()),
            Some(requested) if has(requested, Kind::Delegated, name) => Finding::fail(
                Id::PermissionKind,
                self.pointer,
                format!("the registration requests the delegated `{name}`; an application without a user needs the application permission of that name"),
            )
            .seen(format!("requested: {name} (delegated); {seen}"))
            .expected(expected)
            .remedy(ask)
            .remedy(exchange()),
            _ if name == "Mail.Send" => Finding::unknown(
                Id::MailSend,
                self.pointer,
                "`Mail.Send` is not granted in Entra; Exchange may grant it (RBAC for Applications), which Graph cannot see",
            )
            .seen(seen)
            .expected(expected)
            .remedy(exchange())
            .remedy(["If it is not meant to come from Exchange:".to_owned()])
            .remedy(ask),
            _ => Finding::fail(Id::Permission, self.pointer, format!("the application permission `{name}` is not granted"))
                .seen(seen)
                .expected(expected)
                .remedy(ask),
        }
    }

    /// Of what was granted; where that could not be seen, of what is requested.
    fn excess(&self) -> Option<Finding> {
        let kind = Kind::Application;
        let asked = named(self.requested, kind);
        let has: Vec<&str> = self.granted.unwrap_or(&asked).iter().map(String::as_str).collect();
        let needed = Needed::of(&self.needed(), self.shared);
        excess(self.pointer, kind, self.granted.is_some(), &needed, &needed.not(&has), self.remedies)
    }
}

/// What is needed of an application, by this profile and by those that share it.
struct Needed {
    names: BTreeSet<&'static str>,
    is_shared: bool,
}

impl Needed {
    fn of(own: &[&'static str], shared: Option<&BTreeSet<&'static str>>) -> Self {
        let own: BTreeSet<&'static str> = own.iter().copied().collect();
        let names = shared.map_or_else(|| own.clone(), |shared| &own | shared);
        Self { is_shared: names != own, names }
    }

    /// What is neither needed nor stands in for something that is needed and not granted by its own name.
    fn not<'a>(&self, granted: &[&'a str]) -> Vec<&'a str> {
        let stands_in = |name: &&str| {
            self.names.iter().any(|needed| !granted.contains(needed) && permissions::broader(needed).contains(name))
        };
        granted.iter().copied().filter(|name| !self.names.contains(name) && !stands_in(name)).collect()
    }
}

fn excess(
    pointer: &str,
    kind: Kind,
    is_granted: bool,
    needed: &Needed,
    extra: &[&str],
    remedies: &Remedies<'_>,
) -> Option<Finding> {
    if extra.is_empty() {
        return None;
    }
    // A name that is not in the table comes from the registration, and may have any length.
    let reason = |name: &&str| format!("{}: {}", shortened(name, 100), permissions::reach(name));
    let reasons: Vec<String> = extra.iter().take(SHOWN).map(reason).collect();
    let mut seen = reasons.join("; ");
    if extra.len() > SHOWN {
        seen.push_str(&format!("; and {} more", extra.len() - SHOWN));
    }
    let mut steps: Vec<String> =
        extra.iter().take(STEPS_FOR).flat_map(|name| remedies.remove_permission(kind, &shortened(name, 100))).collect();
    if extra.len() > STEPS_FOR {
        steps.push(format!(
            "{} more in the same way: verify again once these are removed, and it names the next ones.",
            extra.len() - STEPS_FOR
        ));
    }
    Some(
        Finding::fail(
            Id::PermissionExcess,
            pointer,
            format!(
                "the application {} more {} permission than {}",
                if is_granted { "has" } else { "requests" },
                kind.word(),
                if needed.is_shared { "the profiles that share it need" } else { "this profile needs" },
            ),
        )
        .seen(seen)
        .expected(if needed.is_shared {
            "what these profiles need and nothing more"
        } else {
            "what the profile needs and nothing more"
        })
        .remedy(steps),
    )
}

/// What is known of the delegated permissions of an application.
pub(super) struct Delegated<'a> {
    pub(super) pointer: &'a str,
    /// The grants on Graph; none if they could not be seen.
    pub(super) grants: Option<&'a [OAuth2PermissionGrant]>,
    pub(super) requested: Option<&'a BTreeSet<(&'static str, String)>>,
    pub(super) address_book: bool,
    /// Whether the profile states a From, so that users send as somebody else.
    pub(super) shared_sender: Option<&'a str>,
    pub(super) redirect: &'a str,
    /// What all profiles of the application need.
    pub(super) shared: Option<&'a BTreeSet<&'static str>>,
    pub(super) remedies: &'a Remedies<'a>,
}

/// What a user may always be asked for besides.
const SIGN_IN_SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

impl Delegated<'_> {
    fn needed(&self) -> Vec<&'static str> {
        needs::of_delegate(self.address_book, self.shared_sender.is_some())
    }

    /// Every check of delegated permissions.
    pub(super) fn check(&self) -> Vec<Finding> {
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
        let mut findings = together(needed.iter().map(|name| (*name, self.one(name, &for_all, &for_some))));
        let kind = Kind::Delegated;
        let has = if self.grants.is_some() { &for_all | &for_some } else { named(self.requested, kind) };
        let needed = Needed::of(&needed, self.shared);
        let mut extra = needed.not(&has.iter().map(String::as_str).collect::<Vec<_>>());
        extra.retain(|name| !SIGN_IN_SCOPES.contains(name));
        findings.extend(excess(self.pointer, kind, self.grants.is_some(), &needed, &extra, self.remedies));
        findings
    }

    fn one(&self, name: &str, for_all: &BTreeSet<String>, for_some: &BTreeSet<String>) -> Finding {
        let is_shared = name == "Mail.Send.Shared";
        let expected = format!("delegated permission {name}");
        let ask = || {
            let mut steps = self.remedies.request_permission(Kind::Delegated, name);
            steps.extend(self.remedies.consent_steps(Some(self.redirect)));
            steps
        };
        if covered_by(for_all, name).is_some() {
            let id = if is_shared { Id::SharedSender } else { Id::Permission };
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
                let of_the_other_kind = has(requested, Kind::Application, name);
                let (id, message) = if of_the_other_kind {
                    (
                        Id::PermissionKind,
                        format!(
                            "the registration requests the application permission `{name}`; signed-in users need the delegated permission of that name"
                        ),
                    )
                } else if is_shared {
                    (
                        Id::SharedSender,
                        format!(
                            "the profile sends as {} and not as the signed-in user, which needs the delegated permission `Mail.Send.Shared`",
                            self.shared_sender.unwrap_or_default()
                        ),
                    )
                } else {
                    (Id::Permission, format!("the registration does not request the delegated permission `{name}`"))
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
                Id::ConsentFirst,
                self.pointer,
                format!("whether anybody consented to `{name}` could not be seen"),
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
                    grant.scope.as_deref().unwrap_or_default().split_whitespace().any(|scope| scope == name)
                })
                .filter_map(|grant| grant.principal_id.as_deref())
                .collect();
            return Finding::fail(
                Id::ConsentSome,
                self.pointer,
                format!("only some users have consented to `{name}`; everybody else is asked at the first sign-in, or an administrator is"),
            )
            .seen(format!("consent of {} user{}", users.len(), if users.len() == 1 { "" } else { "s" }))
            .expected("consent for the whole tenant")
            .remedy(self.remedies.consent_steps(Some(self.redirect)));
        }
        let finding = if permissions::may_users_consent(name) {
            Finding::unknown(
                Id::ConsentFirst,
                self.pointer,
                format!(
                    "nobody has consented to `{name}` yet; whether users may do so themselves is the tenant's policy, which was not read"
                ),
            )
        } else {
            Finding::fail(
                Id::ConsentFirst,
                self.pointer,
                format!("nobody has consented to `{name}` yet: the first sign-in must be approved by an administrator"),
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

fn delegated(requested: &BTreeSet<(&'static str, String)>) -> BTreeSet<String> {
    named(Some(requested), Kind::Delegated)
}

/// The names of what is requested of one kind.
fn named(requested: Option<&BTreeSet<(&'static str, String)>>, wanted: Kind) -> BTreeSet<String> {
    let all = requested.into_iter().flatten();
    all.filter(|(kind, _)| *kind == wanted.id()).map(|(_, name)| name.clone()).collect()
}

fn joined(a: &BTreeSet<String>, b: &BTreeSet<String>) -> String {
    enumerate(a.union(b), SHOWN)
}
