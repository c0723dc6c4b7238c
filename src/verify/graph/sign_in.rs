//! Sign-in as an application: the profile's own, one that logs in to a mail server, or one that reads the directory.
//!
//! [`client_authentication`] prepares the credential of any application. [`ApplicationLogin`] requests the token of one that logs
//! in to a mail server or reads the directory, and checks when its certificate or client secret expires; a profile of Graph signs
//! in in `direct`. Failures are findings. A token stays in memory. It is sent to the hosts of its cloud, and one for a mail server
//! to the host that the profile names.

use secrecy::SecretString;

use super::credential;
use crate::{
    credential::CredentialKind,
    entra::{
        Certificate, Endpoints,
        claims::Claims,
        federated,
        graph::Graph,
        sign_in::{ClientAuthentication, SignIn},
    },
    model::{
        Destination, Provider, Severity,
        finding::{Finding, Level},
        finding_id::FindingId,
        provider::{Credential, GraphDirect},
    },
    verify::{
        ReaderApplication, Verifier,
        graph::directory_access::{DirectoryAccess, allow_reading_applications},
        remedy::Remedies,
        secret::{self, SubjectSecret},
    },
};

/// Returns the credential of an application ready for use, or the finding that explains why there is none.
pub(super) fn client_authentication(
    verifier: &Verifier,
    credential: &Credential,
    secret: &SubjectSecret,
    seal_command: &str,
    remedies: &Remedies<'_>,
    destination: &Destination,
) -> Result<(credential::Kind, Option<ClientAuthentication>), Box<Finding>> {
    let kind = credential::Kind::from_credential(credential);
    if let Credential::FederatedTokenFile(path) = credential {
        let token = verifier.federated_token(path, destination).map_err(|why| {
            Box::new(
                Finding::unknown(FindingId::Federation, kind.pointer(), "the federated token could not be read")
                    .seen(why)
                    .expected("a JWT in the file that the profile names")
                    .remedy([format!(
                        "If that is intended, allow it where the check runs, for `mailwright serve` or with `--local`: {}",
                        federated::format_option(path, verifier.environment(), destination)
                    )]),
            )
        })?;
        return Ok((kind, Some(ClientAuthentication::Federated(token))));
    }
    let needed = match kind {
        credential::Kind::Certificate => CredentialKind::Certificate,
        _ => CredentialKind::ClientSecret,
    };
    let value = secret.value_for(needed, kind.pointer(), seal_command).map_err(|finding| {
        // This finding names the registration, where another secret is created.
        if finding.id == FindingId::SecretId {
            Box::new(credential::secret_id_finding(seal_command, remedies))
        } else {
            finding
        }
    })?;
    let Some(secret) = value else { return Ok((kind, None)) };
    if needed == CredentialKind::ClientSecret {
        return Ok((kind, Some(ClientAuthentication::Secret(secret.clone()))));
    }
    let certificate = Certificate::from_pem(secret.clone()).map_err(|error| {
        Box::new(
            Finding::fail(FindingId::Certificate, kind.pointer(), format!("the certificate cannot sign: {error}"))
                .expected("a PEM file with the certificate and its RSA private key")
                .remedy([error.remedy().to_owned(), seal_command.to_owned()]),
        )
    })?;
    Ok((kind, Some(ClientAuthentication::Certificate(certificate))))
}

/// An application that signs in for another purpose than a profile of Graph.
pub(in crate::verify) struct ApplicationLogin<'a> {
    pub(in crate::verify) tenant: &'a str,
    pub(in crate::verify) client: &'a str,
    pub(in crate::verify) credential: &'a Credential,
    pub(in crate::verify) secret: &'a SubjectSecret,
    /// The pointer to the application in the document.
    pub(in crate::verify) pointer: &'a str,
    /// The command that verifies again.
    pub(in crate::verify) verify_command: &'a str,
    /// True if the secret is the staged one of a rotation.
    pub(in crate::verify) is_next: bool,
    /// The destination of the credential.
    pub(in crate::verify) destination: Destination,
}

impl ApplicationLogin<'_> {
    /// Requests a token for a scope. Findings are those of a profile's credential.
    pub(in crate::verify) async fn token(
        &self,
        verifier: &Verifier,
        endpoints: &Endpoints,
        scope: &str,
    ) -> Result<SecretString, Finding> {
        const BASE: &str = "/provider/microsoft-graph-direct";
        let Self { tenant, client, credential, secret, pointer, verify_command, is_next, .. } = *self;
        let seal_command = match credential.secret() {
            Some(reference) => secret::seal_command(verifier.environment(), reference, is_next),
            None => String::new(),
        };
        let remedies = Remedies { verify_command, endpoints, tenant, client };
        let placed = |finding: Finding| Finding { pointer: finding.pointer.replace(BASE, pointer), ..finding };
        let (kind, proof) =
            client_authentication(verifier, credential, secret, &seal_command, &remedies, &self.destination)
                .map_err(|finding| placed(*finding))?;
        let Some(proof) = proof else {
            return Err(placed(secret::unavailable("no secret came with it", kind.pointer())));
        };
        let sign_in = SignIn::new(verifier.http().clone(), endpoints.clone());
        match sign_in.application_token(tenant, client, &proof, scope, verifier.clock_now()).await {
            Ok(token) => Ok(token.value),
            Err(error) => {
                let attempt = credential::SignInAttempt {
                    credential,
                    scope,
                    base: BASE,
                    seal_command: &seal_command,
                    remedies: &remedies,
                };
                Err(placed(attempt.explain(&error)))
            }
        }
    }

    /// Returns the finding about the expiry of the certificate, if the application has one.
    pub(in crate::verify) fn certificate_expiry(&self, verifier: &Verifier, endpoints: &Endpoints) -> Option<Finding> {
        let (Credential::Certificate(named), SubjectSecret::Value(secret)) = (self.credential, self.secret) else {
            return None;
        };
        let certificate = Certificate::from_pem(secret.clone()).ok()?;
        let remedies =
            Remedies { verify_command: self.verify_command, endpoints, tenant: self.tenant, client: self.client };
        let seal_command = secret::seal_command(verifier.environment(), &named.secret, self.is_next);
        let limit = (verifier.now(), verifier.credential_days());
        let finding = credential::certificate_expiry(&certificate, limit, &seal_command, &remedies)?;
        Some(Finding { pointer: self.pointer.to_owned(), ..finding })
    }

    /// Returns the finding about the expiry of the client secret, if the application has one and the registration is visible to
    /// the reader or to the application itself. Otherwise there is none, because mail leaves without it.
    pub(in crate::verify) async fn secret_expiry(&self, verifier: &Verifier, endpoints: &Endpoints) -> Option<Finding> {
        let (Credential::ClientSecret(named), SubjectSecret::Value(secret)) = (self.credential, self.secret) else {
            return None;
        };
        let proof = ClientAuthentication::Secret(secret.clone());
        let reader = verifier.reader(endpoints, self.tenant).await;
        let own = if reader.is_ok() { None } else { self.own_graph(verifier, endpoints, &proof).await };
        let access = DirectoryAccess { own, reader };
        let (application, level) = access.application(self.client).await.ok()?;
        let remedies =
            Remedies { verify_command: self.verify_command, endpoints, tenant: self.tenant, client: self.client };
        let seal_command = secret::seal_command(verifier.environment(), &named.secret, self.is_next);
        let limit = (verifier.now(), verifier.credential_days());
        let kind = credential::Kind::Secret;
        let finding = credential::expiry(&application, kind, Some(&proof), limit, &seal_command, &remedies)?;
        Some(Finding { pointer: self.pointer.to_owned(), level, ..finding })
    }

    /// Returns Graph as the application itself, if it may read registrations.
    async fn own_graph(
        &self,
        verifier: &Verifier,
        endpoints: &Endpoints,
        proof: &ClientAuthentication,
    ) -> Option<Graph> {
        let sign_in = SignIn::new(verifier.http().clone(), endpoints.clone());
        let scope = endpoints.graph_scope();
        let token =
            sign_in.application_token(self.tenant, self.client, proof, &scope, verifier.clock_now()).await.ok()?;
        let roles = Claims::read(&token.value)?.roles.iter().cloned().collect();
        allow_reading_applications(&roles).then(|| Graph::new(verifier.http().clone(), endpoints, token.value))
    }
}

/// Signs in as the environment's own application for reading the directory. A failure is a warning:
/// mail leaves without it.
pub(in crate::verify) async fn sign_in_reader(
    verifier: &Verifier,
    application: &ReaderApplication,
    endpoints: &Endpoints,
) -> Result<Graph, Finding> {
    let GraphDirect { tenant, client, credential, .. } = &application.settings;
    let verify_command = format!("mailwright verify {}", verifier.environment());
    let login = ApplicationLogin {
        tenant,
        client,
        credential,
        secret: &application.secret,
        pointer: "/verify/reader",
        verify_command: &verify_command,
        is_next: false,
        destination: Provider::MicrosoftGraphDirect(application.settings.clone()).destination(),
    };
    match login.token(verifier, endpoints, &endpoints.graph_scope()).await {
        Ok(token) => Ok(Graph::new(verifier.http().clone(), endpoints, token)),
        Err(finding) => Err(Finding {
            message: format!("the environment's reader: {}", finding.message),
            severity: finding.severity.max(Severity::Warning),
            level: Level::Reader,
            ..finding
        }),
    }
}
