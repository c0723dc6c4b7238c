//! The checks of a profile that sends as an application (`microsoft-graph-direct`).
//!
//! The application signs in, the directory is read in one batch ([`DirectoryReply::read`]), and the pure checks evaluate the
//! replies. With an exported registration only that is evaluated, and nothing is sent. If the tenant is not usable, or neither the
//! application nor a reader can sign in, the checks that follow are left out.

use std::collections::BTreeSet;

use super::{
    GraphCheck, credential,
    directory_access::{DirectoryAccess, principal_not_visible, registration_not_visible, without_level},
    mailbox, permission,
    probe::{no_probe, probe},
    registration,
    sign_in::client_authentication,
};
use crate::{
    entra::{
        claims::Claims,
        graph::{
            AppRoleAssignment, Application, Graph, GraphError, Organization, ServicePrincipal, User, UserPurpose,
            percent_encode, quote_odata,
        },
        permissions::{PermissionKind, PermissionNames},
        sign_in::{ClientAuthentication, SignIn},
    },
    model::{
        finding::{Finding, Level, Verdict},
        finding_id::FindingId,
        provider::GraphDirect,
    },
    verify::{Verifier, remedy::Remedies},
};

const BASE: &str = "/provider/microsoft-graph-direct";

/// The application of a profile after it tried to sign in.
struct SignedIn {
    kind: credential::Kind,
    /// The credential; none if the secret is not available.
    proof: Option<ClientAuthentication>,
    /// Claims of its token; none without a token that can be read.
    claims: Option<Claims>,
    /// Graph as this application; none if it could not sign in.
    graph: Option<Graph>,
}

/// Replies of Graph about a profile's application and mailbox.
struct DirectoryReply {
    application: Result<Application, GraphError>,
    principal: Result<ServicePrincipal, GraphError>,
    user: Result<User, GraphError>,
    /// Users that have the address without being named by it; asked only if the user does not exist.
    by_address: Option<Result<Vec<User>, GraphError>>,
    purpose: Result<UserPurpose, GraphError>,
    organization: Result<Organization, GraphError>,
    names: PermissionNames,
    /// Application permissions that are granted: from the token, else from the directory; none if neither shows them.
    granted: Option<BTreeSet<String>>,
    /// The level at which the application was seen.
    level: Level,
}

impl GraphCheck<'_> {
    /// Runs every check of a direct profile.
    pub(in crate::verify) async fn direct(&mut self, direct: &GraphDirect) {
        let from = self.subject.profile.from_address().unwrap_or_default().to_owned();
        if let Some(manifest) = self.verifier.manifest(&direct.client) {
            self.direct_offline(direct, &from, manifest);
            return;
        }
        let Some(endpoints) = self.tenant(&direct.cloud, &direct.tenant, &direct.client, BASE).await else { return };
        let verify_command = self.verify_command();
        let remedies = Remedies {
            verify_command: &verify_command,
            endpoints: &endpoints,
            tenant: &direct.tenant,
            client: &direct.client,
        };
        let mut signed_in = self.sign_in(direct, &remedies).await;
        let access = DirectoryAccess {
            own: signed_in.graph.take(),
            reader: self.verifier.reader(&endpoints, &direct.tenant).await,
        };
        if access.own.is_none() && access.reader.is_err() {
            return;
        }
        let reply = DirectoryReply::read(self.verifier, direct, &from, &access, signed_in.claims.as_ref()).await;
        let findings = self.evaluate(direct, &from, &access, &signed_in, &reply, &remedies);
        self.add(reply.level, findings);
        if self.verifier.probes() && !self.is_next {
            self.probe(access.own.as_ref(), &from, &remedies).await;
        }
    }

    /// Signs in as the application, and records the result.
    async fn sign_in(&mut self, direct: &GraphDirect, remedies: &Remedies<'_>) -> SignedIn {
        let seal_command = self.seal_command();
        let destination = self.subject.profile.provider.destination();
        let proof = client_authentication(
            self.verifier,
            &direct.credential,
            self.secret,
            &seal_command,
            remedies,
            &destination,
        );
        let (kind, proof) = proof.unwrap_or_else(|finding| {
            self.add(Level::Offline, [*finding]);
            (credential::Kind::from_credential(&direct.credential), None)
        });
        let mut signed_in = SignedIn { kind, proof, claims: None, graph: None };
        let Some(proof) = &signed_in.proof else { return signed_in };
        let endpoints = remedies.endpoints;
        let scope = endpoints.graph_scope();
        let host = SignIn::new(self.verifier.http().clone(), endpoints.clone());
        let now = self.verifier.clock_now();
        match host.application_token(&direct.tenant, &direct.client, proof, &scope, now).await {
            Ok(token) => {
                signed_in.claims = Claims::read(&token.value);
                let unusual = match &signed_in.claims {
                    Some(claims) => for_other_application(claims, direct),
                    None => Some(
                        Finding::unknown(
                            FindingId::Token,
                            BASE,
                            "the token is not a JWT, so its permissions could not be read",
                        )
                        .expected("a JWT with `roles`")
                        .remedy(["A reader's token (MAILWRIGHT_READER_TOKEN, `--sign-in`) shows what is granted."]),
                    ),
                };
                signed_in.graph = Some(Graph::new(self.verifier.http().clone(), endpoints, token.value));
                self.add(Level::Credential, [credential::accepted(kind)].into_iter().chain(unusual));
            }
            Err(error) => {
                let attempt = credential::SignInAttempt {
                    credential: &direct.credential,
                    scope: &scope,
                    base: BASE,
                    seal_command: &seal_command,
                    remedies,
                };
                self.add(Level::Credential, [attempt.explain(&error)]);
            }
        }
        signed_in
    }

    /// Evaluates the replies of Graph.
    fn evaluate(
        &self,
        direct: &GraphDirect,
        from: &str,
        access: &DirectoryAccess,
        signed_in: &SignedIn,
        reply: &DirectoryReply,
        remedies: &Remedies<'_>,
    ) -> Vec<Finding> {
        let is_signed_in = access.own.is_some();
        let mut findings = self.registration(signed_in, is_signed_in, reply, remedies);
        findings.extend(principal(reply, is_signed_in, remedies));
        let application = reply.application.as_ref().ok();
        let requested = application.map(|application| permission::requested(application, &reply.names));
        let principal = reply.principal.as_ref().ok();
        let permissions = permission::ApplicationPermissions {
            pointer: BASE,
            granted: reply.granted.as_ref(),
            requested: requested.as_ref(),
            from,
            address_book: direct.address_book,
            object_id: principal.map(|principal| principal.id.as_str()).filter(|id| !id.is_empty()),
            redirect: application.and_then(first_redirect),
            shared: self.verifier.needs(PermissionKind::Application, &direct.client),
            remedies,
        }
        .check();
        findings.extend(permission::weaken_for_other_cloud(permissions, &direct.cloud, &reply.names));
        let sender = mailbox::SenderMailbox {
            verify_command: remedies.verify_command,
            from,
            user: &reply.user,
            by_address: reply.by_address.as_ref(),
            purpose: &reply.purpose,
            organization: &reply.organization,
        };
        findings.extend(sender.check());
        findings
    }

    /// Evaluates the registration and the expiry of its credential.
    fn registration(
        &self,
        signed_in: &SignedIn,
        is_signed_in: bool,
        reply: &DirectoryReply,
        remedies: &Remedies<'_>,
    ) -> Vec<Finding> {
        let principal = reply.principal.as_ref().ok();
        let limit = (self.verifier.now(), self.verifier.credential_days());
        let seal_command = self.seal_command();
        let proof = signed_in.proof.as_ref();
        match &reply.application {
            Ok(application) => {
                let mut findings = registration::check(application, principal, BASE, remedies);
                findings.extend(credential::expiry(application, signed_in.kind, proof, limit, &seal_command, remedies));
                findings
            }
            Err(error) => {
                let mut findings =
                    vec![registration_not_visible(error, Some(&reply.principal), is_signed_in, BASE, remedies)];
                findings.extend(registration::enabled(None, principal, BASE, remedies));
                if let Some(ClientAuthentication::Certificate(certificate)) = proof {
                    findings.extend(credential::certificate_expiry(certificate, limit, &seal_command, remedies));
                }
                findings
            }
        }
    }

    /// Sends a mail from the sender to itself, which decides what could not be seen.
    async fn probe(&mut self, own: Option<&Graph>, from: &str, remedies: &Remedies<'_>) {
        let Some(own) = own else {
            self.add(
                Level::Anonymous,
                [no_probe("the application could not sign in", "Correct the sign-in first; then verify again.")],
            );
            return;
        };
        let finding = probe(own, from, remedies).await;
        if finding.verdict == Verdict::Pass {
            let decided = [FindingId::MailSend, FindingId::MailboxSeen];
            self.findings.retain(|finding| finding.verdict != Verdict::Unknown || !decided.contains(&finding.id));
            // Exchange grants what was requested in Entra and not consented.
            let undecided =
                |finding: &&mut Finding| finding.id == FindingId::Consent && finding.verdict == Verdict::Unknown;
            for finding in self.findings.iter_mut().filter(undecided) {
                let message =
                    format!("the application may send as {from}, without consent in Entra: Exchange grants it");
                let pass = Finding::pass(FindingId::MailSend, &finding.pointer, message);
                *finding = Finding { level: Level::Probe, profile: finding.profile.clone(), ..pass };
            }
        }
        self.add(Level::Probe, [finding]);
    }

    fn direct_offline(&mut self, direct: &GraphDirect, from: &str, manifest: &Application) {
        let Ok(endpoints) = crate::entra::Endpoints::for_cloud(&direct.cloud) else { return };
        let verify_command = self.verify_command();
        let remedies = Remedies {
            verify_command: &verify_command,
            endpoints: &endpoints,
            tenant: &direct.tenant,
            client: &direct.client,
        };
        let names = PermissionNames::built_in();
        let requested = permission::requested(manifest, &names);
        let mut findings = registration::check(manifest, None, BASE, &remedies);
        let permissions = permission::ApplicationPermissions {
            pointer: BASE,
            granted: None,
            requested: Some(&requested),
            from,
            address_book: direct.address_book,
            object_id: None,
            redirect: None,
            shared: self.verifier.needs(PermissionKind::Application, &direct.client),
            remedies: &remedies,
        };
        findings.extend(permission::weaken_for_other_cloud(permissions.check_requested(), &direct.cloud, &names));
        let limit = (self.verifier.now(), self.verifier.credential_days());
        let kind = credential::Kind::from_credential(&direct.credential);
        findings.extend(credential::expiry(manifest, kind, None, limit, &self.seal_command(), &remedies));
        self.add(Level::Offline, findings);
    }
}

impl DirectoryReply {
    /// Reads everything about a profile at once; the client of Graph makes one batch of it.
    async fn read(
        verifier: &Verifier,
        direct: &GraphDirect,
        from: &str,
        access: &DirectoryAccess,
        claims: Option<&Claims>,
    ) -> Self {
        let roles: BTreeSet<String> = claims.map(|claims| claims.roles.iter().cloned().collect()).unwrap_or_default();
        let reads_all = access.reads_all_applications(&roles);
        let user_path = format!("/users/{}?$select={}", percent_encode(from), User::SELECT);
        let purpose_path = format!("/users/{}/mailboxSettings/userPurpose", percent_encode(from));
        let names = async {
            if reads_all {
                verifier.names(access.reader.as_ref().ok().or(access.own.as_ref()), &direct.tenant).await
            } else {
                PermissionNames::built_in()
            }
        };
        let assigned = async {
            // A token that was just issued shows what is effective. Only without one the directory is asked.
            if claims.is_some() || !reads_all {
                return None;
            }
            let path = format!("/servicePrincipals(appId='{}')/appRoleAssignments", quote_odata(&direct.client));
            Some(access.list::<AppRoleAssignment>(&path).await)
        };
        let (application, principal, user, purpose, organization, names, assigned) = tokio::join!(
            access.application(&direct.client),
            access.principal(&direct.client),
            access.get::<User>(&user_path),
            access.get::<UserPurpose>(&purpose_path),
            access.list::<Organization>("/organization?$select=id,verifiedDomains"),
            names,
            assigned,
        );
        let levels = [application.as_ref().ok().map(|found| found.1), principal.as_ref().ok().map(|found| found.1)];
        let usual = if access.own.is_some() { Level::Credential } else { Level::Reader };
        let level = levels.into_iter().flatten().max().unwrap_or(usual);
        let user = without_level(user);
        let by_address = if user.as_ref().is_err_and(GraphError::is_absent) {
            let filter = format!("mail eq '{0}' or proxyAddresses/any(p:p eq 'smtp:{0}')", from.replace('\'', "''"));
            let path = format!("/users?$filter={}&$select=id,userPrincipalName,mail", percent_encode(&filter));
            Some(access.list::<User>(&path).await)
        } else {
            None
        };
        let granted = match (claims, assigned) {
            (Some(_), _) => Some(roles),
            (None, Some(Ok(assigned))) => Some(granted(&assigned, &names)),
            (None, _) => None,
        };
        Self {
            application: without_level(application),
            principal: without_level(principal),
            user,
            by_address,
            purpose: without_level(purpose),
            // The list of tenants that a token sees has one member.
            organization: organization.and_then(|tenants| tenants.into_iter().next().ok_or(GraphError::Unknown)),
            names,
            granted,
            level,
        }
    }
}

/// Evaluates the service principal of an application.
fn principal(reply: &DirectoryReply, is_signed_in: bool, remedies: &Remedies<'_>) -> Option<Finding> {
    const WHAT: &str = "is installed in the tenant and enabled";
    match &reply.principal {
        Ok(_) => None,
        // The sign-in worked, so it exists: Graph does not show it yet.
        Err(error) if error.is_absent() && is_signed_in => Some(principal_not_visible(error, WHAT, BASE)),
        Err(error) if error.is_absent() => Some(
            Finding::fail(
                FindingId::ServicePrincipal,
                &format!("{BASE}/client"),
                "the application is not installed in the tenant",
            )
            .seen("no service principal")
            .expected("a service principal of the application")
            .remedy(remedies.install()),
        ),
        // The finding about the registration already reports the failure of the host.
        Err(GraphError::Http(_)) if reply.application.is_err() => None,
        Err(error) => Some(principal_not_visible(error, WHAT, BASE)),
    }
}

/// Returns a redirect URI to which Entra can return after consent.
fn first_redirect(application: &Application) -> Option<&str> {
    let web = application.web.redirect_uris.iter().chain(&application.public_client.redirect_uris);
    web.chain(&application.spa.redirect_uris).next().map(String::as_str)
}

/// Returns the finding for a token that was issued for another application.
fn for_other_application(claims: &Claims, direct: &GraphDirect) -> Option<Finding> {
    let is_other = !claims.application().is_empty() && !claims.application().eq_ignore_ascii_case(&direct.client);
    is_other.then(|| {
        Finding::unknown(FindingId::Token, BASE, "the token is for another application than was asked for")
            .seen(claims.application().chars().take(60).collect::<String>())
            .expected(direct.client.clone())
            .remedy(["Check whether a proxy answers in place of the sign-in host."])
    })
}

/// Returns the names of the permissions on Graph that are assigned.
fn granted(assigned: &[AppRoleAssignment], names: &PermissionNames) -> BTreeSet<String> {
    let on_graph = assigned.iter().filter(|role| {
        let by_id = role.resource_id.as_deref().and_then(|id| names.is_graph(id));
        by_id.unwrap_or_else(|| role.resource_display_name.as_deref() == Some("Microsoft Graph"))
    });
    on_graph.map(|role| names.name(PermissionKind::Application, &role.app_role_id).to_owned()).collect()
}
