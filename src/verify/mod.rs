//! The verifier: will the mail leave? Checks of registrations, permissions, redirect URIs, credentials, mail servers
//! and DNS, before anything is applied.
//!
//! [`Verifier::run`] checks profiles, many at once, and hands over what came of each as it is done. It reports what it
//! finds and never fails: what could not be seen is a finding with the verdict `unknown`, which says what would
//! decide it. How far it got with a profile is its [`Level`].
//!
//! | part | what it checks |
//! | --- | --- |
//! | [`graph`] | the two providers of Microsoft Graph |
//! | `smtp` | a mail server, up to the point where a mail would follow |
//! | `dns` | SPF, DKIM and DMARC of the sender's domain |
//! | [`waivers`] | what the environment knows and accepts |
//! | [`render`] | the report for people and for programs |
//!
//! The command line and the service both call this. It asks no store, opens no age file and prints nothing: a
//! [`Subject`] comes with its secret open, or with the reason why it is not.

mod dns;
pub mod expiry;
pub mod gate;
pub mod graph;
mod needs;
mod remedy;
pub mod render;
mod secret;
mod smtp;
pub mod waivers;

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
pub use needs::{Needs, client};
pub use render::Joined;
use secrecy::SecretString;
pub use secret::Opened;
use serde_json::Value;
use tokio::sync::{OnceCell, Semaphore, mpsc};

use crate::{
    credential::CredentialKind,
    entra::{
        Endpoints, FederatedFiles, Http,
        claims::Claims,
        cloud::GLOBAL_GRAPH,
        graph::{Application, Graph, ServicePrincipal, quoted},
        http,
        permissions::{GRAPH_APP_ID, Kind, Names},
        sign_in::{Discovery, SignIn, SignInError},
    },
    model::{
        Destination, EnvironmentName, GraphDirect, Profile, ProfileName, Provider,
        finding::{Finding, Level, Verdict, Verified},
        finding_id::Id,
    },
    smtp::HelloName,
    time::Clock,
};

/// How many profiles are checked at once. Requests have a narrower limit of their own.
const AT_ONCE: usize = 64;
/// How far clocks may differ, in seconds, before it is told.
const CLOCK_TOLERANCE: i64 = 120;

/// How a run is made.
#[derive(Debug)]
pub struct Options {
    /// The environment; its name stands in remedies.
    pub environment: EnvironmentName,
    /// What time it is for everything that expires.
    pub now: Timestamp,
    /// This machine's clock, which is compared with the sign-in host's.
    pub clock: Clock,
    /// How requests to Microsoft's hosts are made.
    pub http: http::Options,
    /// A credential that expires within so many days is a warning.
    pub credential_days: u16,
    /// A token of somebody who may read the directory. It is sent to the Graph that it is for and nowhere else.
    pub reader: Option<SecretString>,
    /// An application that may read the directory of its own tenant. A token comes before it.
    pub reader_application: Option<ReaderApplication>,
    /// Exported registrations. Profiles of these clients are checked against them, without any network.
    pub manifests: Vec<Value>,
    /// What all profiles of the environment need of the applications that they share.
    pub needs: Needs,
    /// Whether a mail is sent to the sender itself.
    pub probe: bool,
    /// The files that may be read as federated tokens, and for whom each of them is.
    pub federated: FederatedFiles,
    /// How long one step with a mail server may take.
    pub smtp_timeout: Duration,
    /// The name by which mail servers are greeted.
    pub hello: HelloName,
    /// Whom to ask for DNS records; none means the system's resolver.
    pub dns_server: Option<SocketAddr>,
}

impl Options {
    /// The usual ones.
    pub fn new(environment: EnvironmentName, now: Timestamp) -> Self {
        Self {
            environment,
            now,
            clock: Clock::system(),
            http: http::Options::default(),
            credential_days: 30,
            reader: None,
            reader_application: None,
            manifests: Vec::new(),
            needs: Needs::default(),
            probe: false,
            federated: FederatedFiles::default(),
            smtp_timeout: Duration::from_secs(10),
            hello: HelloName::of_machine(),
            dns_server: None,
        }
    }
}

/// The checks that are about a secret, and so are made of the next one too.
const OF_A_SECRET: &[Id] = &[
    Id::VerifySecret,
    Id::SignIn,
    Id::SecretWrong,
    Id::SecretId,
    Id::CredentialExpired,
    Id::CredentialExpires,
    Id::CredentialExpiry,
    Id::Certificate,
    Id::SmtpLogin,
];

/// The environment's own application for reading the directory, with its secret.
#[derive(Debug)]
pub struct ReaderApplication {
    /// What the environment says of it.
    pub settings: GraphDirect,
    /// Its secret.
    pub secret: Opened,
}

/// A profile to be checked.
#[derive(Debug)]
pub struct Subject {
    /// Its name.
    pub name: ProfileName,
    /// What it says.
    pub profile: Profile,
    /// Its secret.
    pub secret: Opened,
    /// Its next secret, if it is being rotated. Of that only the login is checked, and nothing weighs more than a
    /// warning.
    pub next: Opened,
    /// Why nobody is to be contacted for it, if so. What needs no network is still checked.
    pub refused: Option<String>,
}

/// What anybody may know of a tenant.
#[derive(Debug)]
struct Tenant {
    discovery: Discovery,
    /// How many seconds this machine's clock is ahead, if it is off.
    clock_off: Option<i64>,
}

type Cell<T> = Arc<OnceCell<Arc<T>>>;
type Cache<T> = Mutex<HashMap<(String, String), Cell<T>>>;

/// Checks profiles. What several of them share is asked for once.
#[derive(Debug)]
pub struct Verifier {
    options: Options,
    http: Http,
    manifests: HashMap<String, Application>,
    reader: Option<(Claims, SecretString)>,
    readers: Mutex<HashMap<String, Graph>>,
    reader_application: OnceCell<Result<Graph, Finding>>,
    tenants: Cache<Result<Tenant, SignInError>>,
    names: Cache<Names>,
    dns: dns::Resolver,
}

fn cell<T>(cache: &Cache<T>, key: (String, String)) -> Cell<T> {
    let mut cache = cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    Arc::clone(cache.entry(key).or_default())
}

impl Verifier {
    /// Fails if the options make no sense: certificate authorities that are none, a reader's token that is no JWT.
    pub fn new(mut options: Options) -> Result<Self, String> {
        if let Some(reader) = &options.reader_application {
            options.needs.add_reader(&reader.settings);
        }
        let http = Http::new(&options.http)?;
        let reader = match &options.reader {
            Some(token) => {
                let claims = Claims::read(token).ok_or(
                    "the reader's token is no JWT, so it cannot be told which Graph it is for; it is not used",
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

    /// Takes an exported registration for a client.
    pub fn add_manifest(&mut self, client: &str, application: Application) {
        self.manifests.insert(client.to_ascii_lowercase(), application);
    }

    /// How many requests went to sign-in hosts and Graph so far.
    pub fn requests(&self) -> u64 {
        self.http.sent()
    }

    /// Checks profiles, many at once, and hands over each as it is done.
    pub fn run(self: Arc<Self>, subjects: Vec<Subject>) -> mpsc::Receiver<Verified> {
        let (done, receiver) = mpsc::channel(AT_ONCE);
        tokio::spawn(async move {
            let turns = Arc::new(Semaphore::new(AT_ONCE));
            for subject in subjects {
                if done.is_closed() {
                    break;
                }
                let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { break };
                let (this, done) = (Arc::clone(&self), done.clone());
                tokio::spawn(async move {
                    // Once the results are not wanted any more, what is under way is given up.
                    let verified = tokio::select! {
                        verified = this.verify(&subject) => verified,
                        () = done.closed() => return,
                    };
                    // Until somebody takes it, the next one does not begin.
                    drop(done.send(verified).await);
                    drop(turn);
                });
            }
        });
        receiver
    }

    /// Checks one profile.
    pub async fn verify(&self, subject: &Subject) -> Verified {
        if let Some(why) = &subject.refused {
            let mut finding = secret::refused(why);
            finding.profile = Some(subject.name.clone());
            return Verified {
                profile: subject.name.clone(),
                provider: subject.profile.provider.id().to_owned(),
                reached: Level::Offline,
                findings: vec![finding],
                at: self.options.now,
            };
        }
        let offline = !self.options.manifests.is_empty();
        let sender = async {
            match &subject.profile.from {
                Some(from) if !offline => self.dns.check(from).await,
                _ => Vec::new(),
            }
        };
        let next = async {
            match &subject.next {
                Opened::None => Vec::new(),
                next => Box::pin(self.provider(subject, next, true)).await.0,
            }
        };
        let ((mut findings, reached), next, sender) =
            tokio::join!(self.provider(subject, &subject.secret, false), next, sender);
        findings.extend(self.unfit(subject, &subject.secret, false, &findings));
        let next = self.unfit(subject, &subject.next, true, &next).into_iter().chain(next);
        findings.extend(next.filter(|finding| OF_A_SECRET.contains(&finding.id)).map(Finding::of_next));
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

    /// The checks of the provider, with one of the profile's secrets.
    async fn provider(&self, subject: &Subject, secret: &Opened, is_next: bool) -> (Vec<Finding>, Level) {
        let offline = !self.options.manifests.is_empty();
        let mut check =
            graph::Check { verifier: self, subject, secret, is_next, findings: Vec::new(), reached: Level::Offline };
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

    /// What an assertion is dated with: a long run is not to outlive it.
    fn clock_now(&self) -> Timestamp {
        self.options.clock.now()
    }

    fn credential_days(&self) -> u16 {
        self.options.credential_days
    }

    fn needs(&self, kind: Kind, client: &str) -> Option<&BTreeSet<&'static str>> {
        self.options.needs.of_client(kind, client)
    }

    fn probes(&self) -> bool {
        self.options.probe
    }

    fn manifest(&self, client: &str) -> Option<&Application> {
        self.manifests.get(&client.to_ascii_lowercase())
    }

    /// What a tenant says of itself; asked once.
    async fn tenant(&self, endpoints: &Endpoints, tenant: &str) -> Arc<Result<Tenant, SignInError>> {
        let cell = cell(&self.tenants, (endpoints.sign_in.to_string(), tenant.to_ascii_lowercase()));
        let ask = || async {
            let sign_in = SignIn::new(self.http.clone(), endpoints.clone());
            Arc::new(sign_in.discover(tenant).await.map(|(discovery, date)| {
                // The clock is read now and not when the run began; what passed meanwhile is not its fault.
                let off = date.map(|date| self.options.clock.now().as_second() - date.as_second());
                Tenant { discovery, clock_off: off.filter(|off| off.abs() > CLOCK_TOLERANCE) }
            }))
        };
        Arc::clone(cell.get_or_init(ask).await)
    }

    /// The tenant's own names of Graph's permissions; asked once a tenant, the built-in table where nobody tells.
    async fn names(&self, graph: Option<&Graph>, tenant: &str) -> Names {
        let Some(graph) = graph else { return Names::built_in() };
        let cell = cell(&self.names, (String::new(), tenant.to_ascii_lowercase()));
        let ask = || async {
            let path = format!(
                "/servicePrincipals(appId='{}')?$select={}",
                quoted(GRAPH_APP_ID),
                ServicePrincipal::SELECT_PERMISSIONS
            );
            let principal = graph.get::<ServicePrincipal>(path).await;
            Arc::new(principal.map_or_else(|_| Names::built_in(), |principal| Names::of(&principal)))
        };
        cell.get_or_init(ask).await.as_ref().clone()
    }

    /// Reads as the holder of the reader's token, if the token is for this Graph: a profile names hosts, and must not
    /// decide where somebody else's token goes.
    async fn reader(&self, endpoints: &Endpoints, tenant: &str) -> Result<Graph, graph::Blind> {
        match self.reader_by_token(endpoints, tenant).await {
            Ok(graph) => Ok(graph),
            Err(why) => self.reader_by_application(endpoints, tenant).await.ok_or(why),
        }
    }

    /// Reads as the environment's own application, if the profile is in that application's tenant.
    async fn reader_by_application(&self, endpoints: &Endpoints, tenant: &str) -> Option<Graph> {
        let application = self.options.reader_application.as_ref()?;
        let settings = &application.settings;
        let own = Endpoints::of(&settings.cloud).ok()?;
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
        let signed_in = self.reader_application.get_or_init(|| graph::reader(self, application, &own)).await;
        signed_in.as_ref().ok().cloned()
    }

    /// What is wrong with the environment's own application for reading, once it was needed.
    pub fn reader_finding(&self) -> Option<Finding> {
        self.reader_application.get()?.as_ref().err().cloned()
    }

    /// The token is of one tenant, and in another one Graph would answer that nothing is there.
    async fn reader_by_token(&self, endpoints: &Endpoints, tenant: &str) -> Result<Graph, graph::Blind> {
        let (claims, token) = self.reader.as_ref().ok_or(graph::Blind::Nobody)?;
        let audience = claims.aud.trim_end_matches('/');
        let graph = endpoints.graph.as_str().trim_end_matches('/');
        let is_for_it = audience.eq_ignore_ascii_case(graph) || (audience == GRAPH_APP_ID && graph == GLOBAL_GRAPH);
        if !is_for_it {
            return Err(graph::Blind::Nobody);
        }
        let theirs = self.tenant(endpoints, tenant).await;
        let theirs = theirs.as_ref().as_ref().ok().and_then(|tenant| tenant.discovery.tenant_id());
        if theirs.is_none() || claims.tid.parse().ok() != theirs {
            return Err(graph::Blind::OtherTenant);
        }
        let mut readers = self.readers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let new = || Graph::new(self.http.clone(), endpoints, token.clone());
        Ok(readers.entry(graph.to_owned()).or_insert_with(new).clone())
    }

    /// That a secret was opened and cannot work, where nobody got as far as using it.
    fn unfit(&self, subject: &Subject, opened: &Opened, is_next: bool, known: &[Finding]) -> Option<Finding> {
        let provider = &subject.profile.provider;
        let (kind, (reference, pointer)) = CredentialKind::from_provider(provider).zip(provider.secret())?;
        let seal = secret::seal(self.environment(), reference, is_next);
        let finding = opened.fitting(kind, &format!("/provider{pointer}"), &seal).err()?;
        let is_known = known.iter().any(|other| other.id == finding.id && other.verdict == finding.verdict);
        (finding.verdict == Verdict::Fail && !is_known).then_some(*finding)
    }

    /// Reads a federated token for a destination that it is for.
    fn federated_token(&self, path: &str, destination: &Destination) -> Result<SecretString, String> {
        self.options.federated.read(path, &self.options.environment, destination)
    }
}
