//! The checks of the sender's mailbox: it exists, it has a licence, and its domain is verified.
//!
//! [`SenderMailbox::check`] evaluates the replies of Graph, each of which may be an error; one that is denied or unreadable makes
//! its finding `unknown`. It sends no request and no mail.

use crate::{
    entra::{
        graph::{GraphError, Organization, User, UserPurpose},
        plans::{self, Mailbox},
    },
    model::{finding::Finding, finding_id::FindingId},
    text::shell::quote_powershell,
    verify::graph::directory_access::error_code,
};

const POINTER: &str = "/from/address";

/// Replies of Graph about a sender.
pub(super) struct SenderMailbox<'a> {
    /// The command that verifies again.
    pub(super) verify_command: &'a str,
    pub(super) from: &'a str,
    /// The user by that name.
    pub(super) user: &'a Result<User, GraphError>,
    /// Users that have the address without being named by it; asked only if the user does not exist.
    pub(super) by_address: Option<&'a Result<Vec<User>, GraphError>>,
    pub(super) purpose: &'a Result<UserPurpose, GraphError>,
    pub(super) organization: &'a Result<Organization, GraphError>,
}

impl SenderMailbox<'_> {
    /// Runs every check of the sender.
    pub(super) fn check(&self) -> Vec<Finding> {
        let mut findings = vec![self.mailbox()];
        findings.extend(self.licence());
        findings.push(self.domain());
        findings
    }

    fn mailbox(&self) -> Finding {
        let expected = format!("a user {} with a mailbox", self.from);
        match self.user {
            Ok(user) => self.evaluate_user(user),
            Err(error) if error.is_absent() => match self.by_address {
                Some(Ok(users)) => match users.as_slice() {
                    [] => Finding::fail(FindingId::Mailbox, POINTER, format!("no user of the tenant has the address {}", self.from))
                        .seen(error_code(error))
                        .expected(expected)
                        .remedy([
                            format!("az ad user list --filter \"mail eq '{}'\" --query \"[].userPrincipalName\"", self.from),
                            "Correct `from.address`, or create the (shared) mailbox in the Exchange admin center.".to_owned(),
                        ]),
                    [user, ..] => self.evaluate_alias(user),
                },
                _ => Finding::fail(FindingId::Mailbox, POINTER, format!("no user of the tenant is called {}", self.from))
                    .seen(error_code(error))
                    .expected(expected)
                    .remedy(["If the address is an alias, write the user principal name; sending needs the user's own name."]),
            },
            Err(error) if error.is_denied() => Finding::unknown(FindingId::MailboxSeen, POINTER, format!("it is not known whether {} exists", self.from))
                .seen(error_code(error))
                .expected(expected)
                .remedy([
                    "The application permission User.ReadBasic.All, or a reader's token (MAILWRIGHT_READER_TOKEN, `--sign-in`), decides it.".to_owned(),
                    format!("Or a mail to the sender itself: {} --probe", self.verify_command),
                ]),
            Err(error) => Finding::unknown(FindingId::MailboxSeen, POINTER, format!("it is not known whether {} exists", self.from))
                .seen(error_code(error))
                .expected(expected)
                .remedy(["Verify again."]),
        }
    }

    fn evaluate_user(&self, user: &User) -> Finding {
        // Exchange sends as the primary address of the mailbox, whatever the user is called.
        if let Some(mail) =
            user.mail.as_deref().filter(|mail| !mail.is_empty() && !mail.eq_ignore_ascii_case(self.from))
        {
            return Finding::unknown(
                FindingId::MailboxSeen,
                POINTER,
                format!("{} exists, and its primary address is another one, from which mail may be sent", self.from),
            )
            .seen(format!("mail: {mail}"))
            .expected(format!("mail: {}", self.from))
            .remedy([
                format!(
                    "Write `address: {mail}` if that is the user's name, or make {} the primary address.",
                    self.from
                ),
                format!("Or check a mail to the sender itself: {} --probe", self.verify_command),
            ]);
        }
        if user.account_enabled != Some(false) {
            return Finding::pass(FindingId::Mailbox, POINTER, format!("{} exists", self.from));
        }
        // Shared mailboxes, rooms and equipment have disabled accounts and can still send. They need no licence; a disabled
        // account that has one may belong to a person who left.
        if let Some(kind) = self.unattended() {
            return Finding::pass(
                FindingId::Mailbox,
                POINTER,
                format!("{} exists; its account is disabled, as that of {kind}", self.from),
            );
        }
        let may_be_licensed = user
            .assigned_plans
            .as_deref()
            .is_some_and(|found| matches!(plans::mailbox(found), Mailbox::Licensed | Mailbox::Unknown(_)));
        if self.purpose.is_err() && !may_be_licensed {
            return Finding::pass(
                FindingId::Mailbox,
                POINTER,
                format!("{} exists; its account is disabled, as that of a shared mailbox", self.from),
            );
        }
        Finding::unknown(
            FindingId::MailboxSeen,
            POINTER,
            format!(
                "{} exists, and its account is disabled: a shared mailbox can still send, and a user who left may not",
                self.from
            ),
        )
        .seen("accountEnabled: false")
        .expected("an account that is enabled, or a shared mailbox")
        .remedy([
            format!("Get-Mailbox {} | Select-Object RecipientTypeDetails", quote_powershell(self.from)),
            "The permission MailboxSettings.Read decides it as well.".to_owned(),
            format!("Or a mail to the sender itself: {} --probe", self.verify_command),
        ])
    }

    fn evaluate_alias(&self, user: &User) -> Finding {
        let name = user.user_principal_name.as_deref().unwrap_or(&user.id);
        Finding::fail(
            FindingId::Mailbox,
            POINTER,
            format!("{} is an address of {name}, and Graph sends only for a user by its own name", self.from),
        )
        .seen(format!("user {name}"))
        .expected(format!("a user whose principal name is {}", self.from))
        .remedy([format!("Write `address: {name}`, or make {} the user principal name.", self.from)])
    }

    /// Returns the purpose of the mailbox, if it is one without sign-ins.
    fn unattended(&self) -> Option<&'static str> {
        let Ok(purpose) = self.purpose else { return None };
        match purpose.value.as_deref() {
            Some("shared") => Some("a shared mailbox"),
            Some("room") => Some("a room"),
            Some("equipment") => Some("equipment"),
            _ => None,
        }
    }

    fn licence(&self) -> Option<Finding> {
        let expected = "a mailbox in Exchange Online".to_owned();
        let missing = |seen: String| {
            Finding::fail(FindingId::MailboxLicence, POINTER, format!("{} has no mailbox in Exchange Online", self.from))
                .seen(seen)
                .expected(expected.clone())
                .remedy([
                    "Give the user a licence with Exchange Online, or convert the mailbox to a shared one in the Exchange admin center.",
                    "Graph cannot send from a guest's mailbox or from one on premises.",
                ])
        };
        match self.purpose {
            Ok(purpose) => {
                let purpose = purpose.value.as_deref().unwrap_or("user").to_owned();
                return Some(Finding::pass(
                    FindingId::MailboxLicence,
                    POINTER,
                    format!("{} is a mailbox ({purpose})", self.from),
                ));
            }
            Err(error)
                if matches!(
                    error.code(),
                    "MailboxNotEnabledForRESTAPI"
                        | "MailboxNotSupportedForRESTAPI"
                        | "MailboxNotHostedInExchangeOnline"
                ) =>
            {
                return Some(missing(error_code(error)));
            }
            Err(_) => {}
        }
        let user = self.user.as_ref().ok()?;
        let Some(plans) = &user.assigned_plans else {
            return Some(
                Finding::unknown(
                    FindingId::MailboxSeen,
                    POINTER,
                    format!("it is not known whether {} has a mailbox", self.from),
                )
                .expected(expected)
                .remedy(["The permission User.Read.All or MailboxSettings.Read, or a reader's token, decides it."]),
            );
        };
        let found = plans::mailbox(plans);
        match &found {
            Mailbox::Licensed => {
                return Some(Finding::pass(
                    FindingId::MailboxLicence,
                    POINTER,
                    format!("{} is licensed for Exchange Online", self.from),
                ));
            }
            Mailbox::Unknown(ids) => {
                let shown: Vec<&str> = ids.iter().take(5).map(String::as_str).collect();
                return Some(
                    Finding::unknown(
                        FindingId::MailboxSeen,
                        POINTER,
                        format!(
                            "{} has a licence of Exchange that is not known here: it may hold a mailbox or not",
                            self.from
                        ),
                    )
                    .seen(format!("service plans: {}", shown.join(", ")))
                    .expected(expected)
                    .remedy([
                        format!("Get-Mailbox {} | Select-Object RecipientTypeDetails", quote_powershell(self.from)),
                        "The permission MailboxSettings.Read decides it as well.".to_owned(),
                    ]),
                );
            }
            Mailbox::Suspended | Mailbox::None => {}
        }
        // A shared mailbox needs no plan, and its account may be enabled: only the kind of the mailbox distinguishes it from a
        // user whose licence was removed. One whose plan is suspended had a licence.
        let is_disabled = user.account_enabled == Some(false);
        if user.mail.is_some() && (is_disabled || found == Mailbox::None) {
            let account = if is_disabled { "disabled" } else { "enabled" };
            return Some(
                Finding::unknown(
                    FindingId::MailboxSeen,
                    POINTER,
                    format!("{} has no licence of its own; as a shared mailbox it needs none", self.from),
                )
                .seen(format!("no plan of Exchange Online, account {account}"))
                .expected(expected)
                .remedy([
                    format!("Get-Mailbox {} | Select-Object RecipientTypeDetails", quote_powershell(self.from)),
                    "The permission MailboxSettings.Read decides it as well. A user who is not a shared mailbox needs a licence with Exchange Online.".to_owned(),
                    format!("Or a mail to the sender itself: {} --probe", self.verify_command),
                ]),
            );
        }
        Some(missing(
            if found == Mailbox::Suspended {
                "a plan of Exchange Online that is suspended"
            } else {
                "no plan of Exchange Online"
            }
            .to_owned(),
        ))
    }

    fn domain(&self) -> Finding {
        let domain = self.from.rsplit_once('@').map_or(self.from, |(_, domain)| domain);
        match self.organization {
            Ok(organization) => {
                let verified: Vec<&str> =
                    organization.verified_domains.iter().filter_map(|domain| domain.name.as_deref()).collect();
                if verified.iter().any(|name| name.eq_ignore_ascii_case(domain)) {
                    return Finding::pass(
                        FindingId::Domain,
                        POINTER,
                        format!("the domain {domain} is verified in the tenant"),
                    );
                }
                let more =
                    if verified.len() > 10 { format!(" and {} more", verified.len() - 10) } else { String::new() };
                Finding::fail(FindingId::Domain, POINTER, format!("the domain {domain} is not verified in the tenant"))
                    .seen(format!(
                        "verified: {}{more}",
                        verified.iter().take(10).copied().collect::<Vec<_>>().join(", ")
                    ))
                    .expected(domain)
                    .remedy([
                        format!("Portal: Settings > Domain names > Add custom domain: {domain}"),
                        "Or correct `from.address`, or `tenant`.".to_owned(),
                    ])
            }
            Err(error) => Finding::unknown(
                FindingId::MailboxSeen,
                POINTER,
                format!("it is not known whether the domain {domain} is verified in the tenant"),
            )
            .seen(error_code(error))
            .expected(domain)
            .remedy(["The application permission Organization.Read.All, or a reader's token, decides it."]),
        }
    }
}
