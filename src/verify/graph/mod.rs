//! The checks of the two Graph providers: what is asked, in which order, and what is made of it.
//!
//! Asking is here; judging is in the parts, which are pure: `registration`, `permission`, `redirect`,
//! `credential`, `mailbox`. So an exported registration is judged by the same code as one that was read.
//!
//! At most three requests go out for a profile with a credential: the tenant's `OpenID` configuration (once a tenant), a
//! token, and one `$batch` with everything else.

mod credential;
mod mailbox;
mod permission;
mod redirect;
mod registration;

use std::collections::BTreeSet;

pub use registration::from_export;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;

use super::{Finding, Id, Level, ReaderApplication, Severity, Subject, Verifier, secret::Opened};
use crate::{
    microsoft::{
        Certificate, Endpoints, HttpError,
        claims::Claims,
        graph::{
            AppRoleAssignment, Application, Graph, GraphError, OAuth2PermissionGrant, Organization, ServicePrincipal,
            User, UserPurpose, encoded, quoted,
        },
        permissions::{Kind, Names},
        sign_in::{Proof, SignIn},
    },
    model::{
        Cloud,
        provider::{Credential, GraphDelegate, GraphDirect},
    },
    verify::remedy::Remedies,
};

/// No answer to speak of. `id` says what could not be seen because of it.
fn unreachable(error: &HttpError, id: Id) -> Finding {
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
        HttpError::Busy { .. } => (
            Id::Answer,
            "Microsoft's host is throttling, and asks for more patience than there is".to_owned(),
            "Verify again in some minutes, fewer profiles at once.",
        ),
        HttpError::Tls { .. } => (
            Id::Reachable,
            "TLS to Microsoft's host failed: a proxy that looks inside, an old certificate store, or the wrong host"
                .to_owned(),
            "Trust the proxy's certificate authority: `--outgoing-ca-file FILE`.",
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

/// Why nobody reads for a profile beside its own application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blind {
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
struct Eyes {
    own: Option<Graph>,
    reader: Result<Graph, Blind>,
}

impl Eyes {
    /// Reads with whoever may. The answer says at which level it was seen.
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<(T, Level), GraphError> {
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

    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, GraphError> {
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
    fn can_read_others(&self, roles: &BTreeSet<String>) -> bool {
        self.reader.is_ok() || may_read_others(roles)
    }

    /// What everything ends with that nobody is there to read.
    fn nobody(&self) -> GraphError {
        let why = self.reader.as_ref().err().copied().unwrap_or(Blind::Nobody);
        GraphError::Refused { status: 0, code: why.words().to_owned(), message: String::new() }
    }
}

/// Whether an application with these roles may read registrations.
fn may_read_others(roles: &BTreeSet<String>) -> bool {
    ["Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"]
        .iter()
        .any(|role| roles.contains(*role))
}

/// Why something could not be read, in Graph's own code and in none of its texts.
fn reason(error: &GraphError) -> String {
    match error {
        GraphError::Refused { status: 0, code, .. } => code.clone(),
        GraphError::Refused { status, code, .. } => format!("HTTP {status} {code}"),
        other => other.to_string(),
    }
}

fn without_level<T>(result: Result<(T, Level), GraphError>) -> Result<T, GraphError> {
    result.map(|(value, _)| value)
}

fn application_path(client: &str) -> String {
    format!("/applications(appId='{}')?$select={}", quoted(client), Application::SELECT)
}

fn principal_path(client: &str) -> String {
    format!("/servicePrincipals(appId='{}')?$select={}", quoted(client), ServicePrincipal::SELECT)
}

/// What an application proves itself with, ready to be used; or why not.
fn proof(
    verifier: &Verifier,
    credential: &Credential,
    secret: &Opened,
    seal: &str,
    remedies: &Remedies<'_>,
) -> Result<(credential::Kind, Option<Proof>), Box<Finding>> {
    let kind = credential::Kind::of(credential);
    if let Credential::FederatedTokenFile(path) = credential {
        let token = verifier.federated_token(path).map_err(|why| {
            Box::new(
                Finding::unknown(Id::Federation, kind.pointer(), "the federated token could not be read")
                    .seen(why)
                    .expected("a JWT in the file that the profile names")
                    .remedy([format!("Allow it where the check runs: `--federated-token-file {path}`, for `mailwright serve` or with `--local`.")]),
            )
        })?;
        return Ok((kind, Some(Proof::Federated(token))));
    }
    let secret: &SecretString = match secret {
        Opened::Value(secret) => secret,
        Opened::None => return Ok((kind, None)),
        Opened::Unavailable(why) => {
            return Err(Box::new(super::secret::unavailable(why, kind.pointer())));
        }
    };
    if kind == credential::Kind::Certificate {
        let certificate = Certificate::from_pem(secret.clone()).map_err(|error| {
            Box::new(
                Finding::fail(Id::Certificate, kind.pointer(), format!("the certificate cannot sign: {error}"))
                    .expected("a PEM file with the certificate and its RSA private key")
                    .remedy([format!("cat certificate.pem key.pem | {seal}")]),
            )
        })?;
        return Ok((kind, Some(Proof::Certificate(certificate))));
    }
    if credential::is_an_id(secret.expose_secret()) {
        return Err(Box::new(credential::is_the_id(seal, remedies)));
    }
    Ok((kind, Some(Proof::Secret(secret.clone()))))
}

/// An application that signs in for something else than a profile of Graph.
pub(super) struct Applicant<'a> {
    pub(super) tenant: &'a str,
    pub(super) client: &'a str,
    pub(super) credential: &'a Credential,
    pub(super) secret: &'a Opened,
    /// Where in the files it stands.
    pub(super) pointer: &'a str,
    /// The command that verifies again.
    pub(super) again: &'a str,
    /// Whether the secret is the next one.
    pub(super) is_next: bool,
}

impl Applicant<'_> {
    /// A token for a scope. What is wrong is said in the words of a profile's credential.
    pub(super) async fn token(
        &self,
        verifier: &Verifier,
        endpoints: &Endpoints,
        scope: &str,
    ) -> Result<SecretString, Finding> {
        const BASE: &str = "/provider/microsoft-graph-direct";
        let Self { tenant, client, credential, secret, pointer, again, is_next } = *self;
        let seal = match credential.secret() {
            Some(reference) => super::secret::seal(verifier.environment(), reference, is_next),
            None => String::new(),
        };
        let remedies = Remedies { again, endpoints, tenant, client };
        let placed = |finding: Finding| Finding { pointer: finding.pointer.replace(BASE, pointer), ..finding };
        let (kind, proof) =
            proof(verifier, credential, secret, &seal, &remedies).map_err(|finding| placed(*finding))?;
        let Some(proof) = proof else {
            return Err(placed(super::secret::unavailable("no secret came with it", kind.pointer())));
        };
        let sign_in = SignIn::new(verifier.http().clone(), endpoints.clone());
        match sign_in.application_token(tenant, client, &proof, scope, verifier.clock_now()).await {
            Ok(token) => Ok(token.value),
            Err(error) => Err(placed(credential::refused(&error, kind, BASE, &seal, &remedies))),
        }
    }

    /// How long its certificate lasts, if that is what it has.
    pub(super) fn certificate_end(&self, verifier: &Verifier, endpoints: &Endpoints) -> Option<Finding> {
        let (Credential::Certificate(named), Opened::Value(secret)) = (self.credential, self.secret) else {
            return None;
        };
        let certificate = Certificate::from_pem(secret.clone()).ok()?;
        let remedies = Remedies { again: self.again, endpoints, tenant: self.tenant, client: self.client };
        let seal = super::secret::seal(verifier.environment(), &named.secret, self.is_next);
        let limit = (verifier.now(), verifier.credential_days());
        let finding = credential::of_itself(&certificate, limit, &seal, &remedies)?;
        Some(Finding { pointer: self.pointer.to_owned(), ..finding })
    }
}

impl Applicant<'_> {
    /// How long its client secret lasts, if that is what it has and somebody may read the registration: the reader, or
    /// the application itself. Where nobody may there is nothing to say: its mail leaves all the same.
    pub(super) async fn secret_end(&self, verifier: &Verifier, endpoints: &Endpoints) -> Option<Finding> {
        let (Credential::ClientSecret(named), Opened::Value(secret)) = (self.credential, self.secret) else {
            return None;
        };
        let proof = Proof::Secret(secret.clone());
        let reader = verifier.reader(endpoints, self.tenant).await;
        let own = if reader.is_ok() { None } else { self.own_eyes(verifier, endpoints, &proof).await };
        let eyes = Eyes { own, reader };
        let (application, level) = eyes.get::<Application>(&application_path(self.client)).await.ok()?;
        let remedies = Remedies { again: self.again, endpoints, tenant: self.tenant, client: self.client };
        let seal = super::secret::seal(verifier.environment(), &named.secret, self.is_next);
        let limit = (verifier.now(), verifier.credential_days());
        let kind = credential::Kind::Secret;
        let finding = credential::expiry(&application, kind, Some(&proof), limit, &seal, &remedies)?;
        Some(Finding { pointer: self.pointer.to_owned(), level, ..finding })
    }

    /// Graph as the application itself, if it may read registrations.
    async fn own_eyes(&self, verifier: &Verifier, endpoints: &Endpoints, proof: &Proof) -> Option<Graph> {
        let sign_in = SignIn::new(verifier.http().clone(), endpoints.clone());
        let scope = endpoints.graph_scope();
        let token =
            sign_in.application_token(self.tenant, self.client, proof, &scope, verifier.clock_now()).await.ok()?;
        let roles = Claims::read(&token.value)?.roles.iter().cloned().collect();
        may_read_others(&roles).then(|| Graph::new(verifier.http().clone(), endpoints, token.value))
    }
}

/// Signs in as the environment's own application for reading the directory. What is wrong with it weighs as a warning:
/// the mail leaves without it.
pub(super) async fn reader(
    verifier: &Verifier,
    application: &ReaderApplication,
    endpoints: &Endpoints,
) -> Result<Graph, Finding> {
    let GraphDirect { tenant, client, credential, .. } = &application.settings;
    let again = format!("mailwright verify {}", verifier.environment());
    let applicant = Applicant {
        tenant,
        client,
        credential,
        secret: &application.secret,
        pointer: "/verify/reader",
        again: &again,
        is_next: false,
    };
    match applicant.token(verifier, endpoints, &endpoints.graph_scope()).await {
        Ok(token) => Ok(Graph::new(verifier.http().clone(), endpoints, token)),
        Err(finding) => Err(Finding {
            message: format!("the environment's reader: {}", finding.message),
            severity: finding.severity.max(Severity::Warning),
            level: Level::Reader,
            ..finding
        }),
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
                findings.push(match error {
                    crate::microsoft::sign_in::SignInError::Refused(refusal)
                        if refusal.is(&[90_002, 900_023, 90_013]) || refusal.error == "invalid_tenant" =>
                    {
                        credential::tenant_unknown(base, &remedies).seen(
                            refusal
                                .error_codes
                                .iter()
                                .map(|code| format!("AADSTS{code}"))
                                .collect::<Vec<_>>()
                                .join(", "),
                        )
                    }
                    crate::microsoft::sign_in::SignInError::Http(error) => unreachable(error, Id::Tenant),
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
        let (kind, proof) = match proof(self.verifier, &direct.credential, self.secret, &seal, &remedies) {
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
                    let finding = credential::refused(&error, kind, BASE, &seal, &remedies);
                    self.add(Level::Credential, [finding]);
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
        if finding.verdict == super::Verdict::Pass {
            // What nobody could see is decided now.
            let decided = [Id::MailSend, Id::MailboxSeen];
            self.findings
                .retain(|finding| finding.verdict != super::Verdict::Unknown || !decided.contains(&finding.id));
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
        let (application_at, principal_at) = (application_path(&direct.client), principal_path(&direct.client));
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
            eyes.get::<Application>(&application_at),
            eyes.get::<ServicePrincipal>(&principal_at),
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
                findings.push(unseen(error, BASE, remedies));
                if let Some(Proof::Certificate(certificate)) = proof {
                    let limit = (self.verifier.now(), self.verifier.credential_days());
                    findings.extend(credential::of_itself(certificate, limit, &seal, remedies));
                }
            }
        }
        match &principal {
            Ok(_) => {}
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
        findings.extend(
            permission::Direct {
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
            .check(),
        );
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
        findings.extend(direct_check.check_requested());
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
                let (application_at, principal_at) =
                    (application_path(&delegate.client), principal_path(&delegate.client));
                let (grants_at, assigned_at) = (path("/oauth2PermissionGrants"), path("/appRoleAssignedTo?$top=1"));
                let (application, principal, grants, assigned, names) = tokio::join!(
                    eyes.get::<Application>(&application_at),
                    eyes.get::<ServicePrincipal>(&principal_at),
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
            Err(error) => findings.push(unseen(error, BASE, &remedies)),
        }
        let requested = application.as_ref().ok().map(|application| permission::requested(application, &names));
        if requested.is_some() || grants.is_some() {
            let grants = grants.and_then(Result::ok).and_then(|grants| permission::on_graph(grants, &names));
            findings.extend(
                permission::Delegated {
                    pointer: BASE,
                    grants: grants.as_deref(),
                    requested: requested.as_ref(),
                    address_book: delegate.address_book,
                    shared_sender: from.as_deref(),
                    redirect: &delegate.redirect,
                    shared: self.verifier.needs(Kind::Delegated, &delegate.client),
                    remedies: &remedies,
                }
                .check(),
            );
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

/// A probe was asked for, and nothing was sent.
fn no_probe(why: &str, decides: &str) -> Finding {
    let finding = Finding::unknown(Id::GraphProbe, "", format!("no mail was sent as a probe: {why}"));
    // That was asked for, and what it would have told is not known; it keeps no mail from leaving.
    Finding { severity: Severity::Warning, ..finding }.expected("a mail that is taken").remedy([decides])
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

fn unseen(error: &GraphError, base: &str, remedies: &Remedies<'_>) -> Finding {
    let client = format!("{base}/client");
    if error.is_absent() {
        return Finding::fail(Id::Client, &client, "the registration does not exist in this tenant")
            .seen(reason(error))
            .expected(format!("an application {} in tenant {}", remedies.client, remedies.tenant))
            .remedy(["A registration of another tenant is read there; here only its service principal exists."])
            .remedy([format!("az ad app show --id {}", remedies.client)]);
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
            Finding::fail(Id::ServicePrincipal, &client, "the application is not installed in the tenant: the first sign-in must be approved by an administrator")
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

/// The application as the tenant has it could not be read.
fn unseen_principal(error: &GraphError, what: &str, base: &str) -> Finding {
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

/// A mail to the sender itself.
async fn probe(graph: &Graph, from: &str, remedies: &Remedies<'_>) -> Finding {
    let message = serde_json::json!({
        "message": {
            "subject": "Mailwright: a test of this mailbox",
            "body": { "contentType": "Text", "content": "Somebody ran `mailwright verify --probe`. Nothing is to be done." },
            "toRecipients": [{ "emailAddress": { "address": from } }],
        },
        "saveToSentItems": false,
    });
    match graph.post_once(&format!("/users/{}/sendMail", quoted(from)), &message).await {
        Ok(202) => Finding::pass(
            Id::GraphProbe,
            "/from/address",
            format!("a mail from {from} to itself was taken (HTTP 202; delivery follows)"),
        ),
        Ok(status) => Finding::unknown(
            Id::GraphProbe,
            "/from/address",
            "Graph answered something else than that it took the mail",
        )
        .seen(format!("HTTP {status}"))
        .expected("HTTP 202")
        .remedy([format!("Look whether the mail arrived at {from}.")]),
        Err(error @ GraphError::Refused { .. }) => {
            Finding::fail(Id::GraphProbe, "/from/address", format!("Graph does not send as {from}"))
                .seen(reason(&error))
                .expected("HTTP 202")
                .remedy(remedies.ask_exchange(from).into_iter().take(3))
        }
        Err(error) => Finding::unknown(Id::GraphProbe, "/from/address", "whether the mail was taken is not known")
            .seen(reason(&error))
            .expected("HTTP 202")
            .remedy([format!("Look whether the mail arrived at {from}.")]),
    }
}
