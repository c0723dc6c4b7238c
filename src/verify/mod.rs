//! Verifier: pre-flight checks of registrations, permissions, redirect URIs, credentials, mail servers
//! and DNS.
//!
//! [`Verifier::new`] fails if a certificate authority cannot be read or a reader's token is not a JWT. [`Verifier::run`] checks
//! many profiles concurrently and does not fail: a check without the necessary access has the verdict `unknown`, and its remedy
//! names what would decide it; a check that panics is an error of its profile. Results arrive in the order of completion, each with
//! the [`Level`] of access to its profile. Dropping the receiver ends the run.
//!
//! | part | contents |
//! | --- | --- |
//! | [`graph`] | the two providers of Microsoft Graph |
//! | `smtp` | a mail server, up to the point where a mail would follow |
//! | `dns` | SPF, DKIM and DMARC of the sender's domain |
//! | [`render`] | the report for people and for programs |
//!
//! The command line and the service both use it. It reads no store, opens no age file and prints nothing: a
//! [`Subject`] contains its decrypted secret, or the reason why there is none.

mod dns;
pub mod expiry;
pub mod graph;
mod internal_error;
mod needs;
pub mod register;
mod remedy;
pub mod render;
mod secret;
mod smtp;

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
pub use needs::{NeededPermissions, client_id};
pub use render::ReportSet;
use secrecy::SecretString;
pub use secret::SubjectSecret;
use serde_json::Value;
use tokio::sync::{OnceCell, Semaphore, mpsc};

use crate::{
    credential::CredentialKind,
    entra::{
        Endpoints, FederatedFiles, Http,
        claims::Claims,
        cloud::GLOBAL_GRAPH,
        graph::{Application, Graph, ServicePrincipal, quote_odata},
        http,
        permissions::{GRAPH_APP_ID, PermissionKind, PermissionNames},
        sign_in::{Discovery, SignIn, SignInError},
    },
    model::{
        Destination, EnvironmentName, GraphDirect, Profile, ProfileName, Provider,
        finding::{Finding, Level, Verdict, Verified},
        finding_id::FindingId,
    },
    smtp::HelloName,
    sync::Mutex,
    telemetry,
    time::Clock,
};

/// The number of profiles that are checked concurrently. Requests have a narrower limit of their own.
const CONCURRENCY: usize = 64;
/// The difference of clocks, in seconds, above which there is a finding.
const CLOCK_TOLERANCE: i64 = 120;

/// Settings of a run.
#[derive(Debug)]
pub struct VerifyOptions {
    /// The environment; remedies contain its name.
    pub environment: EnvironmentName,
    /// The time that expiry is compared with.
    pub now: Timestamp,
    /// This machine's clock, which is compared with the sign-in host's.
    pub clock: Clock,
    /// Settings of requests to Microsoft's hosts.
    pub http: http::HttpOptions,
    /// A credential that expires within so many days is a warning.
    pub credential_days: u16,
    /// A token of a reader of the directory. It is sent only to the Graph that it was issued for.
    pub reader: Option<SecretString>,
    /// An application that may read the directory of its own tenant. A token takes precedence.
    pub reader_application: Option<ReaderApplication>,
    /// Exported registrations. Profiles of these clients are checked against them, without any network.
    pub manifests: Vec<Value>,
    /// Permissions that at least one profile of the environment needs, by application.
    pub needs: NeededPermissions,
    /// True if a mail is sent to the sender itself.
    pub probe: bool,
    /// The files that may be read as federated tokens, and the destination of each.
    pub federated: FederatedFiles,
    /// The deadline of one step with a mail server.
    pub smtp_timeout: Duration,
    /// The name by which mail servers are greeted.
    pub hello: HelloName,
    /// The name server for DNS records; none means the system's resolver.
    pub dns_server: Option<SocketAddr>,
}

impl VerifyOptions {
    /// Creates the default settings.
    pub fn new(environment: EnvironmentName, now: Timestamp) -> Self {
        Self {
            environment,
            now,
            clock: Clock::system(),
            http: http::HttpOptions::default(),
            credential_days: 30,
            reader: None,
            reader_application: None,
            manifests: Vec::new(),
            needs: NeededPermissions::default(),
            probe: false,
            federated: FederatedFiles::default(),
            smtp_timeout: Duration::from_secs(10),
            hello: HelloName::from_machine(),
            dns_server: None,
        }
    }
}

/// The checks of a secret, which are also run for the next one during a rotation.
const SECRET_CHECKS: &[FindingId] = &[
    FindingId::VerifySecret,
    FindingId::SignIn,
    FindingId::SecretWrong,
    FindingId::SecretId,
    FindingId::CredentialExpired,
    FindingId::CredentialExpires,
    FindingId::CredentialExpiry,
    FindingId::Certificate,
    FindingId::SmtpLogin,
];

/// The environment's own application for reading the directory, with its secret.
#[derive(Debug)]
pub struct ReaderApplication {
    /// The settings of the application.
    pub settings: GraphDirect,
    /// The secret of the application.
    pub secret: SubjectSecret,
}

/// A profile to be checked.
#[derive(Debug)]
pub struct Subject {
    /// The name of the profile.
    pub name: ProfileName,
    /// The settings of the profile.
    pub profile: Profile,
    /// The current secret.
    pub secret: SubjectSecret,
    /// The staged secret of a rotation. Only the login with it is checked, and its findings are at most a
    /// warning.
    pub next: SubjectSecret,
    /// The reason why no host of the profile may be contacted, if there is one. It is then the only finding.
    pub refused: Option<String>,
}

/// The public configuration of a tenant.
#[derive(Debug)]
struct Tenant {
    discovery: Discovery,
    /// The number of seconds by which this machine's clock is ahead, if it is off.
    clock_off: Option<i64>,
}

type Cell<T> = Arc<OnceCell<Arc<T>>>;
type Cache<T> = Mutex<HashMap<(String, String), Cell<T>>>;

/// Checks profiles. Documents that several profiles share are read once.
#[derive(Debug)]
pub struct Verifier {
    options: VerifyOptions,
    http: Http,
    manifests: HashMap<String, Application>,
    reader: Option<(Claims, SecretString)>,
    readers: Mutex<HashMap<String, Graph>>,
    reader_application: OnceCell<Result<Graph, Finding>>,
    tenants: Cache<Result<Tenant, SignInError>>,
    names: Cache<PermissionNames>,
    dns: dns::Resolver,
}

fn cell<T>(cache: &Cache<T>, key: (String, String)) -> Cell<T> {
    let mut cache = cache.lock();
    Arc::clone(cache.entry(key).or_default())
}

impl Verifier {
    /// Creates a verifier. Fails if a certificate authority or the reader's token cannot be read.
    pub fn new(mut options: VerifyOptions) -> Result<Self, String> {
        if let Some(reader) = &options.reader_application {
            options.needs.add_directory_reader(&reader.settings);
        }
        let http = Http::new(&options.http)?;
        let reader = match &options.reader {
            Some(token) => {
                let claims = Claims::read(token).ok_or(
                    "the reader's token is not a JWT, so the Graph that it is for is not known; it is not used",
                )?;
                Some((claims, token.clone()))
            }
            None => None,
        };
        let dns = dns::Resolver::new(options.dns_server);
        Ok(Self {
            http,
            reader,
            dns,
            manifests: HashMap::new(),
            readers: Mutex::default(),
            reader_application: OnceCell::new(),
            tenants: Mutex::default(),
            names: Mutex::default(),
            options,
        })
    }

    /// Adds an exported registration of a client.
    pub fn add_manifest(&mut self, client: &str, application: Application) {
        self.manifests.insert(client.to_ascii_lowercase(), application);
    }

    /// Returns the number of requests to sign-in hosts and Graph.
    pub fn requests(&self) -> u64 {
        self.http.sent()
    }

    /// Checks many profiles concurrently, and returns each result when it is complete.
    pub fn run(self: Arc<Self>, subjects: Vec<Subject>) -> mpsc::Receiver<Verified> {
        let (done, receiver) = mpsc::channel(CONCURRENCY);
        telemetry::spawn(async move {
            let permits = Arc::new(Semaphore::new(CONCURRENCY));
            for subject in subjects {
                if done.is_closed() {
                    break;
                }
                let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
                let (this, done) = (Arc::clone(&self), done.clone());
                telemetry::spawn(async move {
                    let if_it_panics = this.unchecked(&subject, internal_error::finding());
                    // A task of its own: a panic costs the checks of this profile, and not its result.
                    let mut check = telemetry::spawn(async move { this.verify(&subject).await });
                    // When the receiver is dropped, running checks are cancelled.
                    let verified = tokio::select! {
                        ended = &mut check => internal_error::settle(ended, if_it_panics),
                        () = done.closed() => return check.abort(),
                    };
                    // The next check starts only after the result was received.
                    drop(done.send(verified).await);
                    drop(permit);
                });
            }
        });
        receiver
    }

    /// Returns the result of a profile without results of checks: the finding that states the reason.
    fn unchecked(&self, subject: &Subject, finding: Finding) -> Verified {
        Verified {
            profile: subject.name.clone(),
            provider: subject.profile.provider.id().to_owned(),
            reached: Level::Offline,
            findings: vec![Finding { profile: Some(subject.name.clone()), ..finding }],
            at: self.options.now,
        }
    }

    /// Checks one profile.
    pub async fn verify(&self, subject: &Subject) -> Verified {
        if let Some(why) = &subject.refused {
            return self.unchecked(subject, secret::refused(why));
        }
        let offline = !self.options.manifests.is_empty();
        let sender = async {
            match &subject.profile.from {
                Some(from) if !offline => {
                    let server = match &subject.profile.provider {
                        Provider::Smtp(smtp) => Some(smtp.host.as_str()),
                        _ => None,
                    };
                    self.dns.check(from, server).await
                }
                _ => Vec::new(),
            }
        };
        let next = async {
            match &subject.next {
                SubjectSecret::None => Vec::new(),
                next => Box::pin(self.provider(subject, next, true)).await.0,
            }
        };
        let ((mut findings, reached), next, sender) =
            tokio::join!(self.provider(subject, &subject.secret, false), next, sender);
        findings.extend(self.unfit_secret(subject, &subject.secret, false, &findings));
        let next = self.unfit_secret(subject, &subject.next, true, &next).into_iter().chain(next);
        findings.extend(next.filter(|finding| SECRET_CHECKS.contains(&finding.id)).map(Finding::for_next_secret));
        findings.extend(sender);
        for finding in &mut findings {
            finding.profile = Some(subject.name.clone());
        }
        findings
            .sort_by(|a, b| (a.verdict, a.severity, a.id, &a.message).cmp(&(b.verdict, b.severity, b.id, &b.message)));
        findings.dedup();
        Verified {
            profile: subject.name.clone(),
            provider: subject.profile.provider.id().to_owned(),
            reached,
            findings,
            at: self.options.now,
        }
    }

    /// Runs the checks of the provider, with one of the profile's secrets.
    async fn provider(&self, subject: &Subject, secret: &SubjectSecret, is_next: bool) -> (Vec<Finding>, Level) {
        let offline = !self.options.manifests.is_empty();
        let mut check = graph::GraphCheck {
            verifier: self,
            subject,
            secret,
            is_next,
            findings: Vec::new(),
            reached: Level::Offline,
        };
        match &subject.profile.provider {
            Provider::Smtp(_) if offline => {}
            Provider::Smtp(smtp) => return smtp::check(self, subject, smtp, (secret, is_next)).await,
            Provider::MicrosoftGraphDelegate(delegate) => check.delegate(delegate).await,
            Provider::MicrosoftGraphDirect(direct) => check.direct(direct).await,
        }
        (check.findings, check.reached)
    }

    fn environment(&self) -> &EnvironmentName {
        &self.options.environment
    }

    fn http(&self) -> &Http {
        &self.http
    }

    fn now(&self) -> Timestamp {
        self.options.now
    }

    /// Returns the time for assertions. It advances during a run, so that assertions of a long run are not expired.
    fn clock_now(&self) -> Timestamp {
        self.options.clock.now()
    }

    fn credential_days(&self) -> u16 {
        self.options.credential_days
    }

    fn needs(&self, kind: PermissionKind, client: &str) -> Option<&BTreeSet<&'static str>> {
        self.options.needs.for_client(kind, client)
    }

    fn probes(&self) -> bool {
        self.options.probe
    }

    fn manifest(&self, client: &str) -> Option<&Application> {
        self.manifests.get(&client.to_ascii_lowercase())
    }

    /// Reads the public configuration of a tenant, once per run.
    async fn tenant(&self, endpoints: &Endpoints, tenant: &str) -> Arc<Result<Tenant, SignInError>> {
        let cell = cell(&self.tenants, (endpoints.sign_in.to_string(), tenant.to_ascii_lowercase()));
        let ask = || async {
            let sign_in = SignIn::new(self.http.clone(), endpoints.clone());
            Arc::new(sign_in.discover(tenant).await.map(|(discovery, date)| {
                // The clock is read now, because time has passed since the run began.
                let off = date.map(|date| self.options.clock.now().as_second() - date.as_second());
                Tenant { discovery, clock_off: off.filter(|off| off.abs() > CLOCK_TOLERANCE) }
            }))
        };
        Arc::clone(cell.get_or_init(ask).await)
    }

    /// Reads the tenant's own names of Graph's permissions, once per run; the built-in table without access.
    async fn names(&self, graph: Option<&Graph>, tenant: &str) -> PermissionNames {
        let Some(graph) = graph else { return PermissionNames::built_in() };
        let cell = cell(&self.names, (String::new(), tenant.to_ascii_lowercase()));
        let ask = || async {
            let path = format!(
                "/servicePrincipals(appId='{}')?$select={}",
                quote_odata(GRAPH_APP_ID),
                ServicePrincipal::SELECT_PERMISSIONS
            );
            let principal = graph.get::<ServicePrincipal>(path).await;
            Arc::new(principal.map_or_else(
                |_| PermissionNames::built_in(),
                |principal| PermissionNames::from_service_principal(&principal),
            ))
        };
        cell.get_or_init(ask).await.as_ref().clone()
    }

    /// Returns access as a reader. The token is used only for the Graph that it was issued for: a profile names hosts,
    /// and must not decide where the token of another person is sent.
    async fn reader(&self, endpoints: &Endpoints, tenant: &str) -> Result<Graph, graph::NoAccess> {
        match self.reader_by_token(endpoints, tenant).await {
            Ok(graph) => Ok(graph),
            Err(why) => self.reader_by_application(endpoints, tenant).await.ok_or(why),
        }
    }

    /// Returns access as the environment's own application, if the profile is in that application's tenant.
    async fn reader_by_application(&self, endpoints: &Endpoints, tenant: &str) -> Option<Graph> {
        let application = self.options.reader_application.as_ref()?;
        let settings = &application.settings;
        let own = Endpoints::for_cloud(&settings.cloud).ok()?;
        if own.sign_in != endpoints.sign_in || own.graph != endpoints.graph {
            return None;
        }
        // A tenant has an id and several names; its issuer has the id.
        if !settings.tenant.eq_ignore_ascii_case(tenant) {
            let (mine, theirs) = (self.tenant(&own, &settings.tenant).await, self.tenant(endpoints, tenant).await);
            match (mine.as_ref(), theirs.as_ref()) {
                (Ok(mine), Ok(theirs)) if mine.discovery.issuer == theirs.discovery.issuer => {}
                _ => return None,
            }
        }
        let signed_in = self.reader_application.get_or_init(|| graph::sign_in_reader(self, application, &own)).await;
        signed_in.as_ref().ok().cloned()
    }

    /// Returns the finding about the environment's own application for reading, if it was needed and failed.
    pub fn reader_finding(&self) -> Option<Finding> {
        self.reader_application.get()?.as_ref().err().cloned()
    }

    /// Returns access by the reader's token, for its own tenant only: of another one, Graph would reply that objects do
    /// not exist.
    async fn reader_by_token(&self, endpoints: &Endpoints, tenant: &str) -> Result<Graph, graph::NoAccess> {
        let (claims, token) = self.reader.as_ref().ok_or(graph::NoAccess::NoToken)?;
        let audience = claims.aud.trim_end_matches('/');
        let graph = endpoints.graph.as_str().trim_end_matches('/');
        let is_for_it = audience.eq_ignore_ascii_case(graph) || (audience == GRAPH_APP_ID && graph == GLOBAL_GRAPH);
        if !is_for_it {
            return Err(graph::NoAccess::NoToken);
        }
        let theirs = self.tenant(endpoints, tenant).await;
        let theirs = theirs.as_ref().as_ref().ok().and_then(|tenant| tenant.discovery.tenant_id());
        if theirs.is_none() || claims.tid.parse().ok() != theirs {
            return Err(graph::NoAccess::OtherTenant);
        }
        let mut readers = self.readers.lock();
        let new = || Graph::new(self.http.clone(), endpoints, token.clone());
        Ok(readers.entry(graph.to_owned()).or_insert_with(new).clone())
    }

    /// Returns the finding for a secret that was decrypted and cannot work, if no check has used it.
    fn unfit_secret(
        &self,
        subject: &Subject,
        opened: &SubjectSecret,
        is_next: bool,
        known: &[Finding],
    ) -> Option<Finding> {
        let provider = &subject.profile.provider;
        let (kind, (reference, pointer)) = CredentialKind::from_provider(provider).zip(provider.secret())?;
        let seal_command = secret::seal_command(self.environment(), reference, is_next);
        let finding = opened.value_for(kind, &format!("/provider{pointer}"), &seal_command).err()?;
        let is_known = known.iter().any(|other| other.id == finding.id && other.verdict == finding.verdict);
        (finding.verdict == Verdict::Fail && !is_known).then_some(*finding)
    }

    /// Reads a federated token for a destination.
    fn federated_token(&self, path: &str, destination: &Destination) -> Result<SecretString, String> {
        self.options.federated.read(path, &self.options.environment, destination)
    }
}
