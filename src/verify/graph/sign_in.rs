//! Signing in as an application: a profile's own, one that logs in to a mail server, one that reads the directory.

use secrecy::SecretString;

use super::{credential, read_application};
use crate::{
    credential::CredentialKind,
    entra::{
        Certificate, Endpoints,
        claims::Claims,
        federated,
        graph::Graph,
        sign_in::{Proof, SignIn},
    },
    model::{
        Destination, Provider,
        finding::{Finding, Level, Severity},
        finding_id::Id,
        provider::{Credential, GraphDirect},
    },
    verify::{
        ReaderApplication, Verifier,
        graph::directory_access::{Eyes, may_read_others},
        remedy::Remedies,
        secret::{self, Opened},
    },
};

/// What an application proves itself with, ready to be used; or why not.
pub(super) fn proof(
    verifier: &Verifier,
    credential: &Credential,
    secret: &Opened,
    seal: &str,
    remedies: &Remedies<'_>,
    destination: &Destination,
) -> Result<(credential::Kind, Option<Proof>), Box<Finding>> {
    let kind = credential::Kind::of(credential);
    if let Credential::FederatedTokenFile(path) = credential {
        let token = verifier.federated_token(path, destination).map_err(|why| {
            Box::new(
                Finding::unknown(Id::Federation, kind.pointer(), "the federated token could not be read")
                    .seen(why)
                    .expected("a JWT in the file that the profile names")
                    .remedy([format!(
                        "If that is meant, say so where the check runs, for `mailwright serve` or with `--local`: {}",
                        federated::option(path, verifier.environment(), destination)
                    )]),
            )
        })?;
        return Ok((kind, Some(Proof::Federated(token))));
    }
    let needed = match kind {
        credential::Kind::Certificate => CredentialKind::Certificate,
        _ => CredentialKind::ClientSecret,
    };
    let fitting = secret.fitting(needed, kind.pointer(), seal).map_err(|finding| {
        // Only the registration knows where to make another one.
        if finding.id == Id::SecretId { Box::new(credential::is_the_id(seal, remedies)) } else { finding }
    })?;
    let Some(secret) = fitting else { return Ok((kind, None)) };
    if needed == CredentialKind::ClientSecret {
        return Ok((kind, Some(Proof::Secret(secret.clone()))));
    }
    let certificate = Certificate::from_pem(secret.clone()).map_err(|error| {
        Box::new(
            Finding::fail(Id::Certificate, kind.pointer(), format!("the certificate cannot sign: {error}"))
                .expected("a PEM file with the certificate and its RSA private key")
                .remedy([error.remedy().to_owned(), seal.to_owned()]),
        )
    })?;
    Ok((kind, Some(Proof::Certificate(certificate))))
}

/// An application that signs in for something else than a profile of Graph.
pub(in crate::verify) struct Applicant<'a> {
    pub(in crate::verify) tenant: &'a str,
    pub(in crate::verify) client: &'a str,
    pub(in crate::verify) credential: &'a Credential,
    pub(in crate::verify) secret: &'a Opened,
    /// Where in the files it stands.
    pub(in crate::verify) pointer: &'a str,
    /// The command that verifies again.
    pub(in crate::verify) again: &'a str,
    /// Whether the secret is the next one.
    pub(in crate::verify) is_next: bool,
    /// Where what it proves itself with may go.
    pub(in crate::verify) destination: Destination,
}

impl Applicant<'_> {
    /// A token for a scope. What is wrong is said in the words of a profile's credential.
    pub(in crate::verify) async fn token(
        &self,
        verifier: &Verifier,
        endpoints: &Endpoints,
        scope: &str,
    ) -> Result<SecretString, Finding> {
        const BASE: &str = "/provider/microsoft-graph-direct";
        let Self { tenant, client, credential, secret, pointer, again, is_next, .. } = *self;
        let seal = match credential.secret() {
            Some(reference) => secret::seal(verifier.environment(), reference, is_next),
            None => String::new(),
        };
        let remedies = Remedies { again, endpoints, tenant, client };
        let placed = |finding: Finding| Finding { pointer: finding.pointer.replace(BASE, pointer), ..finding };
        let (kind, proof) = proof(verifier, credential, secret, &seal, &remedies, &self.destination)
            .map_err(|finding| placed(*finding))?;
        let Some(proof) = proof else {
            return Err(placed(secret::unavailable("no secret came with it", kind.pointer())));
        };
        let sign_in = SignIn::new(verifier.http().clone(), endpoints.clone());
        match sign_in.application_token(tenant, client, &proof, scope, verifier.clock_now()).await {
            Ok(token) => Ok(token.value),
            Err(error) => {
                let tried = credential::Tried { credential, scope, base: BASE, seal: &seal, remedies: &remedies };
                Err(placed(tried.failed(&error)))
            }
        }
    }

    /// How long its certificate lasts, if that is what it has.
    pub(in crate::verify) fn certificate_end(&self, verifier: &Verifier, endpoints: &Endpoints) -> Option<Finding> {
        let (Credential::Certificate(named), Opened::Value(secret)) = (self.credential, self.secret) else {
            return None;
        };
        let certificate = Certificate::from_pem(secret.clone()).ok()?;
        let remedies = Remedies { again: self.again, endpoints, tenant: self.tenant, client: self.client };
        let seal = secret::seal(verifier.environment(), &named.secret, self.is_next);
        let limit = (verifier.now(), verifier.credential_days());
        let finding = credential::of_itself(&certificate, limit, &seal, &remedies)?;
        Some(Finding { pointer: self.pointer.to_owned(), ..finding })
    }

    /// How long its client secret lasts, if that is what it has and somebody may read the registration: the reader, or
    /// the application itself. Where nobody may there is nothing to say: its mail leaves all the same.
    pub(in crate::verify) async fn secret_end(&self, verifier: &Verifier, endpoints: &Endpoints) -> Option<Finding> {
        let (Credential::ClientSecret(named), Opened::Value(secret)) = (self.credential, self.secret) else {
            return None;
        };
        let proof = Proof::Secret(secret.clone());
        let reader = verifier.reader(endpoints, self.tenant).await;
        let own = if reader.is_ok() { None } else { self.own_eyes(verifier, endpoints, &proof).await };
        let eyes = Eyes { own, reader };
        let (application, level) = read_application(&eyes, self.client).await.ok()?;
        let remedies = Remedies { again: self.again, endpoints, tenant: self.tenant, client: self.client };
        let seal = secret::seal(verifier.environment(), &named.secret, self.is_next);
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
pub(in crate::verify) async fn reader(
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
        destination: Provider::MicrosoftGraphDirect(application.settings.clone()).destination(),
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
