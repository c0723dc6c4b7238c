//! The checks of the two Graph providers: what is asked, in which order, and what is made of it.
//!
//! Asking is here, in `sign_in`, `sight` (who reads, and what nobody could see) and `probe`; judging is in the other parts,
//! which are pure: `registration`, `permission`, `redirect`, `credential`, `mailbox`. So an exported registration
//! is judged by the same code as one that was read.
//!
//! At most three requests go out for a profile with a credential: the tenant's `OpenID` configuration (once a tenant), a
//! token, and one `$batch` with everything else.

mod credential;
mod directory_access;
mod mailbox;
mod permission;
mod probe;
mod redirect;
mod registration;
mod sign_in;

use std::collections::BTreeSet;

pub use credential::reported_as;
use directory_access::{Eyes, unreachable, unseen, unseen_principal, without_level};
use probe::{no_probe, probe};
pub use registration::from_export;
use serde::de::DeserializeOwned;
use sign_in::proof;

pub(super) use self::sign_in::{Applicant, reader};
use super::{Subject, Verifier, secret::Opened};
pub(super) use crate::verify::graph::directory_access::Blind;
use crate::{
    entra::{
        Endpoints,
        aadsts::Cause,
        claims::Claims,
        graph::{
            AppRoleAssignment, Application, Graph, GraphError, OAuth2PermissionGrant, Organization, ServicePrincipal,
            User, UserPurpose, encoded, quoted,
        },
        permissions::{Kind, Names},
        sign_in::{Proof, SignIn, SignInError},
    },
    model::{
        Cloud,
        finding::{Finding, Level},
        finding_id::Id,
        provider::{GraphDelegate, GraphDirect},
    },
    verify::remedy::Remedies,
};

/// Properties that Graph of a national cloud may not know yet. It refuses a request that names one.
const RECENT: &str = ",isDisabled";

/// Reads a registration.
async fn read_application(eyes: &Eyes, client: &str) -> Result<(Application, Level), GraphError> {
    read_selected(eyes, &format!("/applications(appId='{}')", quoted(client)), Application::SELECT).await
}

/// Reads a client's service principal.
async fn read_principal(eyes: &Eyes, client: &str) -> Result<(ServicePrincipal, Level), GraphError> {
    read_selected(eyes, &format!("/servicePrincipals(appId='{}')", quoted(client)), ServicePrincipal::SELECT).await
}

async fn read_selected<T: DeserializeOwned>(eyes: &Eyes, path: &str, select: &str) -> Result<(T, Level), GraphError> {
    match eyes.get(&format!("{path}?$select={select}")).await {
        Err(GraphError::Refused { status: 400, .. }) => {
            eyes.get(&format!("{path}?$select={}", select.replace(RECENT, ""))).await
        }
        other => other,
    }
}

/// One profile's checks, as they come in.
pub(super) struct Check<'a> {
    pub(super) verifier: &'a Verifier,
    pub(super) subject: &'a Subject,
    pub(super) secret: &'a Opened,
    /// Whether the secret is the next one: then only the sign-in and its end are of interest.
    pub(super) is_next: bool,
    pub(super) findings: Vec<Finding>,
    pub(super) reached: Level,
}

impl Check<'_> {
    fn add(&mut self, level: Level, findings: impl IntoIterator<Item = Finding>) {
        self.reached = self.reached.max(level);
        self.findings.extend(findings.into_iter().map(|finding| Finding { level, ..finding }));
    }

    fn again(&self) -> String {
        format!("mailwright verify {} {}", self.verifier.environment(), self.subject.name)
    }

    fn seal(&self) -> String {
        match self.subject.profile.provider.secret() {
            Some((reference, _)) => super::secret::seal(self.verifier.environment(), reference, self.is_next),
            None => String::new(),
        }
    }

    /// What anybody may ask. Returns the hosts if it makes sense to go on.
    async fn tenant(&mut self, cloud: &Cloud, tenant: &str, client: &str, base: &str) -> Option<Endpoints> {
        let endpoints = match Endpoints::of(cloud) {
            Ok(endpoints) => endpoints,
            Err(error) => {
                let finding = Finding::fail(Id::CloudHosts, &format!("{base}/cloud"), error.to_string())
                    .remedy(["Write each as https://host or https://host:port."]);
                self.add(Level::Offline, [finding]);
                return None;
            }
        };
        let again = self.again();
        let remedies = Remedies { again: &again, endpoints: &endpoints, tenant, client };
        let discovered = self.verifier.tenant(&endpoints, tenant).await;
        let mut findings = Vec::new();
        let mut goes_on = true;
        match discovered.as_ref() {
            Ok(found) => {
                findings.push(Finding::pass(
                    Id::Tenant,
                    &format!("{base}/tenant"),
                    format!("the tenant exists in the cloud {}", cloud.name()),
                ));
                let host = endpoints.graph.host_str().unwrap_or_default();
                let theirs = found.discovery.msgraph_host.as_str();
                let same = theirs.is_empty() || theirs.split(':').next() == Some(host);
                findings.push(if same {
                    Finding::pass(Id::Cloud, &format!("{base}/cloud"), "the tenant is in the stated cloud")
                } else {
                    goes_on = false;
                    let remedy = match Endpoints::cloud_of_graph(theirs) {
                        Some(name) => format!("Write `cloud: {name}`."),
                        None => "Correct `cloud`: global, us-government-l4, us-government-l5 or china.".to_owned(),
                    };
                    Finding::fail(
                        Id::Cloud,
                        &format!("{base}/cloud"),
                        "the tenant is in another Microsoft cloud than the profile states",
                    )
                    .seen(format!("Graph at {theirs}"))
                    .expected(format!("Graph at {host}"))
                    .remedy([remedy])
                });
                findings.extend(found.clock_off.map(clock));
            }
            Err(error) => {
                goes_on = false;
                let cause = match error {
                    SignInError::Refused(refusal) => refusal.cause(),
                    _ => Cause::Unknown,
                };
                findings.push(match error {
                    SignInError::Refused(refusal) if cause == Cause::Tenant => credential::tenant_unknown(
                        base, &remedies,
                    )
                    .seen(
                        refusal.error_codes.iter().map(|code| format!("AADSTS{code}")).collect::<Vec<_>>().join(", "),
                    ),
                    SignInError::Http(error) => unreachable(error, Id::Tenant),
                    SignInError::Unknown(500..) => credential::busy(base, error.to_string()),
                    _ if cause == Cause::Service => credential::busy(base, error.to_string()),
                    other => {
                        Finding::unknown(Id::Answer, base, "the sign-in host answered in a form that is not known")
                            .seen(other.to_string())
                            .expected("an OpenID configuration")
                            .remedy(["Check whether a proxy answers in its place; then verify again."])
                    }
                });
            }
        }
        self.add(Level::Anonymous, findings);
        goes_on.then_some(endpoints)
    }

    /// Every check of a direct profile.
    pub(super) async fn direct(&mut self, direct: &GraphDirect) {
        const BASE: &str = "/provider/microsoft-graph-direct";
        let from = self.subject.profile.from_address().unwrap_or_default().to_owned();
        if let Some(manifest) = self.verifier.manifest(&direct.client) {
            self.direct_offline(direct, &from, manifest);
            return;
        }
        let Some(endpoints) = self.tenant(&direct.cloud, &direct.tenant, &direct.client, BASE).await else { return };
        let again = self.again();
        let remedies =
            Remedies { again: &again, endpoints: &endpoints, tenant: &direct.tenant, client: &direct.client };
        let seal = self.seal();
        let (kind, proof) = match proof(
            self.verifier,
            &direct.credential,
            self.secret,
            &seal,
            &remedies,
            &self.subject.profile.provider.destination(),
        ) {
            Ok(found) => found,
            Err(finding) => {
                self.add(Level::Offline, [*finding]);
                (credential::Kind::of(&direct.credential), None)
            }
        };
        let mut claims = None;
        let mut own = None;
        if let Some(proof) = &proof {
            let sign_in = SignIn::new(self.verifier.http().clone(), endpoints.clone());
            let token = sign_in
                .application_token(
                    &direct.tenant,
                    &direct.client,
                    proof,
                    &endpoints.graph_scope(),
                    self.verifier.clock_now(),
                )
                .await;
            match token {
                Ok(token) => {
                    claims = Claims::read(&token.value);
                    let foreign = claims.as_ref().and_then(|claims| foreign(claims, direct));
                    let opaque = claims.is_none().then(|| {
                        Finding::unknown(Id::Token, BASE, "the token is no JWT, so what it carries could not be read")
                            .expected("a JWT with `roles`")
                            .remedy(["A reader's token (MAILWRIGHT_READER_TOKEN, `--sign-in`) shows what is granted."])
                    });
                    own = Some(Graph::new(self.verifier.http().clone(), &endpoints, token.value));
                    self.add(Level::Credential, [credential::accepted(kind)].into_iter().chain(foreign).chain(opaque));
                }
                Err(error) => {
                    let tried = credential::Tried {
                        credential: &direct.credential,
                        scope: &endpoints.graph_scope(),
                        base: BASE,
                        seal: &seal,
                        remedies: &remedies,
                    };
                    self.add(Level::Credential, [tried.failed(&error)]);
                }
            }
        }
        let eyes = Eyes { own, reader: self.verifier.reader(&endpoints, &direct.tenant).await };
        if eyes.own.is_none() && eyes.reader.is_err() {
            return;
        }
        self.directory(direct, &from, &eyes, claims.as_ref(), (kind, proof.as_ref()), &remedies).await;
        if !self.verifier.probes() || self.is_next {
            return;
        }
        let Some(own) = &eyes.own else {
            self.add(
                Level::Anonymous,
                [no_probe("the application could not sign in", "Mend the sign-in first; then verify again.")],
            );
            return;
        };
        let finding = probe(own, &from, &remedies).await;
        if finding.verdict == crate::model::finding::Verdict::Pass {
            // What nobody could see is decided now.
            let decided = [Id::MailSend, Id::MailboxSeen];
            self.findings.retain(|finding| {
                finding.verdict != crate::model::finding::Verdict::Unknown || !decided.contains(&finding.id)
            });
        }
        self.add(Level::Probe, [finding]);
    }

    async fn directory(
        &mut self,
        direct: &GraphDirect,
        from: &str,
        eyes: &Eyes,
        claims: Option<&Claims>,
        (kind, proof): (credential::Kind, Option<&Proof>),
        remedies: &Remedies<'_>,
    ) {
        const BASE: &str = "/provider/microsoft-graph-direct";
        let roles: BTreeSet<String> = claims.map(|claims| claims.roles.iter().cloned().collect()).unwrap_or_default();
        let may_read_others = eyes.can_read_others(&roles);
        let user_at = format!("/users/{}?$select={}", quoted(from), User::SELECT);
        let purpose_at = format!("/users/{}/mailboxSettings/userPurpose", quoted(from));
        let names = async {
            if may_read_others {
                self.verifier.names(eyes.reader.as_ref().ok().or(eyes.own.as_ref()), &direct.tenant).await
            } else {
                Names::built_in()
            }
        };
        let assigned = async {
            // A fresh token tells what is effective; only where there is none, the directory is asked.
            if claims.is_some() || !may_read_others {
                return None;
            }
            let path = format!("/servicePrincipals(appId='{}')/appRoleAssignments", quoted(&direct.client));
            Some(eyes.list::<AppRoleAssignment>(&path).await)
        };
        let (application, principal, user, purpose, organization, names, assigned) = tokio::join!(
            read_application(eyes, &direct.client),
            read_principal(eyes, &direct.client),
            eyes.get::<User>(&user_at),
            eyes.get::<UserPurpose>(&purpose_at),
            eyes.list::<Organization>("/organization?$select=id,verifiedDomains"),
            names,
            assigned,
        );
        let level = [&application.as_ref().map(|(_, level)| *level), &principal.as_ref().map(|(_, level)| *level)]
            .into_iter()
            .filter_map(|level| level.as_ref().ok().copied())
            .max()
            .unwrap_or(if eyes.own.is_some() { Level::Credential } else { Level::Reader });
        let (application, principal) = (without_level(application), without_level(principal));
        // The list of tenants that a token sees has one member.
        let organization = organization.and_then(|tenants| tenants.into_iter().next().ok_or(GraphError::Unknown));
        let seal = self.seal();
        let mut findings = Vec::new();
        match &application {
            Ok(application) => {
                findings.extend(registration::check(application, principal.as_ref().ok(), BASE, remedies));
                let limit = (self.verifier.now(), self.verifier.credential_days());
                findings.extend(credential::expiry(application, kind, proof, limit, &seal, remedies));
            }
            Err(error) => {
                findings.push(unseen(error, Some(&principal), eyes.own.is_some(), BASE, remedies));
                findings.extend(registration::enabled(None, principal.as_ref().ok(), BASE, remedies));
                if let Some(Proof::Certificate(certificate)) = proof {
                    let limit = (self.verifier.now(), self.verifier.credential_days());
                    findings.extend(credential::of_itself(certificate, limit, &seal, remedies));
                }
            }
        }
        match &principal {
            Ok(_) => {}
            // The sign-in worked, so that it is there: Graph does not show it yet.
            Err(error) if error.is_absent() && eyes.own.is_some() => {
                findings.push(unseen_principal(error, "is installed in the tenant and enabled", BASE));
            }
            Err(error) if error.is_absent() => findings.push(
                Finding::fail(
                    Id::ServicePrincipal,
                    &format!("{BASE}/client"),
                    "the application is not installed in the tenant",
                )
                .seen("no service principal")
                .expected("a service principal of the application")
                .remedy(remedies.install()),
            ),
            // What answers in Graph's place was told of the registration.
            Err(GraphError::Http(_)) if application.is_err() => {}
            Err(error) => findings.push(unseen_principal(error, "is installed in the tenant and enabled", BASE)),
        }
        let by_directory = match assigned {
            Some(Ok(assigned)) => Some(granted(&assigned, &names)),
            _ => None,
        };
        let granted = if claims.is_some() { Some(&roles) } else { by_directory.as_ref() };
        let requested = application.as_ref().ok().map(|application| permission::requested(application, &names));
        let redirect = application.as_ref().ok().and_then(|application| {
            let web = application.web.redirect_uris.iter().chain(&application.public_client.redirect_uris);
            web.chain(&application.spa.redirect_uris).next().cloned()
        });
        let permissions = permission::Direct {
            pointer: BASE,
            granted,
            requested: requested.as_ref(),
            from,
            address_book: direct.address_book,
            object_id: principal.as_ref().ok().map(|principal| principal.id.as_str()).filter(|id| !id.is_empty()),
            redirect: redirect.as_deref(),
            shared: self.verifier.needs(Kind::Application, &direct.client),
            remedies,
        }
        .check();
        findings.extend(permission::by_foreign_table(permissions, &direct.cloud, &names));
        let (user, purpose) = (without_level(user), without_level(purpose));
        let by_address = if user.as_ref().is_err_and(GraphError::is_absent) {
            let filter = format!("mail eq '{0}' or proxyAddresses/any(p:p eq 'smtp:{0}')", from.replace('\'', "''"));
            Some(
                eyes.list::<User>(&format!("/users?$filter={}&$select=id,userPrincipalName,mail", encoded(&filter)))
                    .await,
            )
        } else {
            None
        };
        let sender = mailbox::Sender {
            again: remedies.again,
            from,
            user: &user,
            by_address: by_address.as_ref(),
            purpose: &purpose,
            organization: &organization,
        };
        findings.extend(sender.check());
        self.add(level, findings);
    }

    fn direct_offline(&mut self, direct: &GraphDirect, from: &str, manifest: &Application) {
        const BASE: &str = "/provider/microsoft-graph-direct";
        let Ok(endpoints) = Endpoints::of(&direct.cloud) else { return };
        let again = self.again();
        let remedies =
            Remedies { again: &again, endpoints: &endpoints, tenant: &direct.tenant, client: &direct.client };
        let names = Names::built_in();
        let requested = permission::requested(manifest, &names);
        let mut findings = registration::check(manifest, None, BASE, &remedies);
        let direct_check = permission::Direct {
            pointer: BASE,
            granted: None,
            requested: Some(&requested),
            from,
            address_book: direct.address_book,
            object_id: None,
            redirect: None,
            shared: self.verifier.needs(Kind::Application, &direct.client),
            remedies: &remedies,
        };
        findings.extend(permission::by_foreign_table(direct_check.check_requested(), &direct.cloud, &names));
        let limit = (self.verifier.now(), self.verifier.credential_days());
        let kind = credential::Kind::of(&direct.credential);
        findings.extend(credential::expiry(manifest, kind, None, limit, &self.seal(), &remedies));
        self.add(Level::Offline, findings);
    }

    /// Every check of a delegate profile. It has no credential: a reader sees, or a manifest tells.
    pub(super) async fn delegate(&mut self, delegate: &GraphDelegate) {
        const BASE: &str = "/provider/microsoft-graph-delegate";
        let from = self.subject.profile.from_address().map(str::to_owned);
        let seen = if let Some(manifest) = self.verifier.manifest(&delegate.client) {
            let Ok(endpoints) = Endpoints::of(&delegate.cloud) else { return };
            (endpoints, Ok(manifest.clone()), None, None, Names::built_in(), Level::Offline)
        } else {
            let Some(endpoints) = self.tenant(&delegate.cloud, &delegate.tenant, &delegate.client, BASE).await else {
                return;
            };
            let eyes = Eyes { own: None, reader: self.verifier.reader(&endpoints, &delegate.tenant).await };
            let level = if eyes.reader.is_ok() { Level::Reader } else { Level::Anonymous };
            if eyes.reader.is_err() {
                (endpoints, Err(eyes.nobody()), None, None, Names::built_in(), level)
            } else {
                let path = |rest: &str| format!("/servicePrincipals(appId='{}'){rest}", quoted(&delegate.client));
                let (grants_at, assigned_at) = (path("/oauth2PermissionGrants"), path("/appRoleAssignedTo?$top=1"));
                let (application, principal, grants, assigned, names) = tokio::join!(
                    read_application(&eyes, &delegate.client),
                    read_principal(&eyes, &delegate.client),
                    eyes.list::<OAuth2PermissionGrant>(&grants_at),
                    // One is enough to know that there are some.
                    eyes.get::<serde_json::Value>(&assigned_at),
                    self.verifier.names(eyes.reader.as_ref().ok(), &delegate.tenant),
                );
                let assigned =
                    assigned.ok().and_then(|(page, _)| page["value"].as_array().map(|items| !items.is_empty()));
                (
                    endpoints,
                    without_level(application),
                    Some((without_level(principal), assigned)),
                    Some(grants),
                    names,
                    level,
                )
            }
        };
        let (endpoints, application, principal, grants, names, level) = seen;
        let again = self.again();
        let remedies =
            Remedies { again: &again, endpoints: &endpoints, tenant: &delegate.tenant, client: &delegate.client };
        let mut findings = Vec::new();
        if let Some((principal, assigned)) = &principal {
            findings.extend(assignment(principal, *assigned, BASE, &remedies));
        }
        match &application {
            Ok(application) => {
                let principal = principal.as_ref().and_then(|(principal, _)| principal.as_ref().ok());
                findings.extend(registration::check(application, principal, BASE, &remedies));
                findings.extend(registration::check_public(application, delegate.platform, BASE, &remedies));
                findings.extend(redirect::check(application, delegate.platform, &delegate.redirect, &remedies));
            }
            Err(error) => {
                let principal = principal.as_ref().map(|(principal, _)| principal);
                findings.push(unseen(error, principal, false, BASE, &remedies));
                let principal = principal.and_then(|principal| principal.as_ref().ok());
                findings.extend(registration::enabled(None, principal, BASE, &remedies));
            }
        }
        let requested = application.as_ref().ok().map(|application| permission::requested(application, &names));
        if requested.is_some() || grants.is_some() {
            let grants = grants.and_then(Result::ok).and_then(|grants| permission::on_graph(grants, &names));
            let permissions = permission::Delegated {
                pointer: BASE,
                grants: grants.as_deref(),
                requested: requested.as_ref(),
                address_book: delegate.address_book,
                shared_sender: from.as_deref(),
                redirect: &delegate.redirect,
                shared: self.verifier.needs(Kind::Delegated, &delegate.client),
                remedies: &remedies,
            }
            .check();
            findings.extend(permission::by_foreign_table(permissions, &delegate.cloud, &names));
        }
        if self.verifier.probes() {
            findings.push(no_probe(
                "a delegate sends as the user who signs in, and nobody did",
                "Send a mail from the client itself.",
            ));
        }
        self.add(level, findings);
    }
}

fn clock(off: i64) -> Finding {
    let (minutes, way) = (off.abs() / 60, if off > 0 { "ahead" } else { "behind" });
    Finding::fail(
        Id::Clock,
        "",
        format!("this machine's clock is {minutes} minutes {way}; assertions and tokens will be refused"),
    )
    .seen(format!("{off} s against the sign-in host's"))
    .expected("less than two minutes")
    .remedy(["timedatectl set-ntp true"])
}

/// A token of another tenant, application or resource than was asked for.
fn foreign(claims: &Claims, direct: &GraphDirect) -> Option<Finding> {
    let wrong = !claims.application().is_empty() && !claims.application().eq_ignore_ascii_case(&direct.client);
    wrong.then(|| {
        Finding::unknown(
            Id::Token,
            "/provider/microsoft-graph-direct",
            "the token is for another application than was asked for",
        )
        .seen(claims.application().chars().take(60).collect::<String>())
        .expected(direct.client.clone())
        .remedy(["Check what answers in the sign-in host's place."])
    })
}

fn granted(assigned: &[AppRoleAssignment], names: &Names) -> BTreeSet<String> {
    let on_graph = assigned.iter().filter(|role| {
        let by_id = role.resource_id.as_deref().and_then(|id| names.is_graph(id));
        by_id.unwrap_or_else(|| role.resource_display_name.as_deref() == Some("Microsoft Graph"))
    });
    on_graph.map(|role| names.name(Kind::Application, &role.app_role_id).to_owned()).collect()
}

fn assignment(
    principal: &Result<ServicePrincipal, GraphError>,
    assigned: Option<bool>,
    base: &str,
    remedies: &Remedies<'_>,
) -> Vec<Finding> {
    let client = format!("{base}/client");
    match principal {
        Ok(principal) if principal.app_role_assignment_required == Some(true) => vec![match assigned {
            Some(true) => Finding::pass(Id::Assignment, &client, "assignment is required, and users are assigned"),
            Some(false) => Finding::fail(Id::Assignment, &client, "assignment is required, and nobody is assigned: every sign-in would end with AADSTS50105")
                .seen("appRoleAssignmentRequired: true, nobody assigned")
                .expected("users or groups assigned, or no assignment required")
                .remedy(remedies.assign()),
            None => Finding::unknown(Id::Assignment, &client, "assignment is required, and whether anybody is assigned could not be seen")
                .remedy(["A reader's token with Application.Read.All decides it."])
                .remedy(remedies.assign()),
        }],
        Ok(_) => vec![Finding::pass(Id::Assignment, &client, "every user of the tenant may sign in; no assignment is required")],
        Err(error) if error.is_absent() => vec![
            Finding::fail(Id::ServicePrincipal, &client, "the application is not installed in the tenant: that comes with the first consent, of a user or of an administrator")
                .seen("no service principal")
                .expected("a service principal of the application")
                .remedy(remedies.install()),
        ],
        Err(error) => vec![unseen_principal(
            error,
            "is enabled in the tenant and takes users who are not assigned to it",
            base,
        )],
    }
}
