//! A repository of many environments, and a real service for each: all in this process, as light as can be, with the same
//! HTTP and the same store as in use; or in processes of their own that serve several each.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use mailwright::{
    api::NewToken,
    client::{Client, ClientOptions, Connections},
    config::Repository,
    delivery::OutboundOptions,
    model::{
        AuditOutcome, ChangeKind, EnvironmentName, Generation, State,
        token::{Role, Scope},
    },
    net::listener::{ConnectionLimits, OpenConnections},
    reconcile::{self, PlanRequest},
    secrets::ServiceIdentity,
    service::{HostedEnvironment, Hosting, Server, SharedResources, new_token},
    store::{AuditEvent, SqliteStore, Tokens as _},
    telemetry::EnvironmentContext,
    time::Clock,
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::{
    host_process::HostProcess,
    repository::{CommandOutput, PROGRAM, TestRepository, clear_environment, run_command},
};

/// Many environments, `c-01`, `c-02`, ..., that extend `base` and have a service each.
pub(crate) struct RolloutFixture {
    pub(crate) repo: TestRepository,
    runtime: tokio::runtime::Runtime,
    services: BTreeMap<String, Running>,
    /// Processes that serve several environments each.
    pub(crate) hosts: Vec<HostProcess>,
    /// Shared by all clients: preparing TLS takes longer than a request.
    connections: Connections,
}

struct Running {
    address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
}

/// The base layer's profile.
const RELAY: &str = "provider:\n  smtp:\n    host: smtp.example.com\n    port: 25\nfrom:\n  address: 'erp@${domain}'\nfunctions: [default]\nappliesTo: system-wide\n";

pub(crate) fn name(number: usize) -> String {
    format!("c-{number:02}")
}

impl RolloutFixture {
    /// Creates `count` environments with running services that have no state yet.
    pub(crate) fn empty(count: usize) -> Self {
        let repo = TestRepository::empty();
        repo.write("environments/base/environment.yaml", "abstract: true\ncompanies: [EDU1]\n");
        repo.write("environments/base/profiles/relay.yaml", RELAY);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut fleet =
            Self { repo, runtime, services: BTreeMap::new(), hosts: Vec::new(), connections: Connections::default() };
        for number in 1..=count {
            let name = name(number);
            fleet.serve(&name, SocketAddr::from(([127, 0, 0, 1], 0)));
            fleet.declare(&name, &fleet.address(&name));
        }
        fleet
    }

    /// Creates `count` environments without state, in processes that serve `each` of them.
    pub(crate) fn hosted(count: usize, each: usize) -> Self {
        let mut fleet = Self::empty(0);
        let names: Vec<String> = (1..=count).map(name).collect();
        for (number, names) in names.chunks(each).enumerate() {
            fleet.hosts.push(HostProcess::new(&fleet.repo, &format!(".data/host-{number}"), names.to_vec()));
        }
        // As many at once as there are cores: what takes time is making the stores.
        for hosts in fleet.hosts.chunks_mut(2) {
            hosts.iter_mut().for_each(HostProcess::spawn);
            hosts.iter_mut().for_each(HostProcess::wait_until_listening);
        }
        for name in fleet.names() {
            fleet.declare(&name, &fleet.address(&name));
        }
        fleet
    }

    /// The process that serves an environment.
    pub(crate) fn host(&self, name: &str) -> &HostProcess {
        self.hosts.iter().find(|host| host.names.iter().any(|own| own == name)).unwrap()
    }

    /// The same, and each holds what the files say.
    pub(crate) fn new(count: usize) -> Self {
        let fleet = Self::empty(count);
        fleet.seed();
        fleet
    }

    /// Writes an environment's file.
    pub(crate) fn declare(&self, name: &str, address: &str) {
        let ring = if name.ends_with('1') { "canary" } else { "rest" };
        self.repo.write(
            &format!("environments/{name}/environment.yaml"),
            format!("extends: base\nlabels: {{ ring: {ring} }}\nvariables: {{ domain: {name}.example.com }}\nservice: {{ address: '{address}' }}\n"),
        );
    }

    /// Starts (or starts again) a service. The token's file is next to its data.
    fn serve(&mut self, name: &str, address: SocketAddr) {
        let data = self.repo.path(&format!(".data/{name}"));
        let token_file = self.repo.path(&format!("tokens/{name}"));
        std::fs::create_dir_all(&data).unwrap();
        std::fs::create_dir_all(token_file.parent().unwrap()).unwrap();
        let environment: EnvironmentName = name.parse().unwrap();
        let running = self.runtime.block_on(async {
            let store = SqliteStore::open(&data.join("store.sqlite"), &environment).unwrap();
            if !token_file.exists() {
                let bearer = first_token(&store).await;
                std::fs::write(&token_file, bearer).unwrap();
            }
            let outgoing = OutboundOptions {
                authorities: None,
                federated: mailwright::entra::FederatedFiles::default(),
                dns_server: None,
                smtp_timeout: Duration::from_secs(20),
                hello: mailwright::smtp::HelloName::from_machine(),
                deadlines: mailwright::delivery::SmtpDeadlines::default(),
                probe_after: Duration::from_secs(60),
                pool: mailwright::sync::BlockingPool::default(),
            };
            let identity = ServiceIdentity::demo().unwrap();
            let connections = OpenConnections::new(ConnectionLimits::default());
            let shared = SharedResources {
                demo: true,
                outgoing,
                clock: Clock::system(),
                issuers: None,
                connections,
                console: None,
                public_url: None,
            };
            let environment =
                HostedEnvironment { store: Arc::new(store), identity, context: EnvironmentContext::single() };
            let hosting = Hosting::single(&shared, environment).await.unwrap();
            let server = Server::bind(address, None).await.unwrap();
            let address = server.address().trim_start_matches("http://").parse().unwrap();
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let served = tokio::spawn(async move {
                server.run(hosting, async move { drop(stopped.await) }).await.unwrap();
            });
            Running { address, stop: Some(stop), served }
        });
        self.services.insert(name.to_owned(), running);
    }

    /// Stops a service.
    pub(crate) fn stop(&mut self, name: &str) -> SocketAddr {
        let mut running = self.services.remove(name).unwrap();
        running.stop.take().unwrap().send(()).unwrap();
        self.runtime.block_on(async { running.served.await.unwrap() });
        running.address
    }

    /// Starts a stopped service again where it was.
    pub(crate) fn start_again(&mut self, name: &str, address: SocketAddr) {
        self.serve(name, address);
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let hosted = self.hosts.iter().flat_map(|host| &host.names);
        self.services.keys().chain(hosted).cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(crate) fn address(&self, name: &str) -> String {
        match self.services.get(name) {
            Some(running) => format!("http://{}", running.address),
            None => self.host(name).address(name),
        }
    }

    pub(crate) fn client(&self, name: &str) -> Client {
        let token = self.repo.read(&format!("tokens/{name}"));
        let options = ClientOptions { connections: Some(&self.connections), ..ClientOptions::default() };
        Client::new(&self.address(name), token.trim().to_owned().into(), &options).unwrap()
    }

    /// Asks a service.
    pub(crate) fn ask<T>(&self, question: impl Future<Output = T>) -> T {
        self.runtime.block_on(question)
    }

    /// Brings every service to what the files say, without a rollout.
    pub(crate) fn seed(&self) {
        let repository = Repository::open(self.repo.folder.path()).unwrap();
        self.ask(async {
            for name in self.names() {
                let (client, environment) = (self.client(&name), name.parse().unwrap());
                let desired = repository.load(&environment).unwrap();
                let state = client.state().await.unwrap();
                let planned = reconcile::plan(&PlanRequest::new(&desired, &state, client.address())).unwrap();
                client.apply(&planned.changeset, false).await.unwrap();
            }
        });
    }

    /// The change that is rolled out: the relay's port.
    pub(crate) fn change_port(&self, port: u16) {
        self.repo.write("environments/base/profiles/relay.yaml", RELAY.replace("port: 25", &format!("port: {port}")));
    }

    pub(crate) fn state(&self, name: &str) -> State {
        self.ask(self.client(name).state()).unwrap()
    }

    /// The live port of the relay.
    pub(crate) fn port(&self, name: &str) -> u64 {
        let state = serde_json::to_value(self.state(name)).unwrap();
        state["profiles"]["relay"]["live"]["profile"]["provider"]["smtp"]["port"].as_u64().unwrap_or_default()
    }

    /// The live ports of all.
    pub(crate) fn ports(&self) -> Vec<u64> {
        self.names().iter().map(|name| self.port(name)).collect()
    }

    /// The generations, the oldest first.
    pub(crate) fn generations(&self, name: &str) -> Vec<Generation> {
        let mut page = self.ask(self.client(name).generations(None, 1000)).unwrap().generations;
        page.reverse();
        page
    }

    /// Changes a profile by hand, outside of the rollout.
    pub(crate) fn meddle(&self, name: &str, description: &str) {
        let token = self.repo.read(&format!("tokens/{name}"));
        let status = self.ask(async {
            let http = reqwest::Client::builder().build().unwrap();
            let request = http
                .patch(format!("{}/v1/profiles/relay", self.address(name)))
                .bearer_auth(token.trim())
                .header("if-match", "*")
                .json(&json!({ "description": description }));
            request.send().await.unwrap().status()
        });
        assert!(status.is_success(), "{status}");
    }

    /// Returns the changesets that an environment accepted; fails if one of them was accepted twice.
    pub(crate) fn changesets(&self, name: &str) -> Vec<uuid::Uuid> {
        let all = self.generations(name);
        let applied = all.iter().filter(|generation| generation.kind == ChangeKind::Apply);
        let ids: Vec<_> = applied.filter_map(|generation| generation.changeset).collect();
        let mut once = ids.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), ids.len(), "{name}: a changeset was taken twice");
        ids
    }

    /// Writes a rollout.
    pub(crate) fn rollout(&self, name: &str, text: &str) {
        self.repo.write(&format!("rollouts/{name}.yaml"), text);
    }

    /// The program, ready to run with every service's own token.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        clear_environment(&mut command);
        command
            .args(arguments)
            .current_dir(self.repo.folder.path())
            .stdin(Stdio::null())
            .env("MAILWRIGHT_TOKEN_FILE", self.repo.path("tokens/{environment}"))
            .env("USER", "ann");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> CommandOutput {
        run_command(self.command(arguments))
    }

    /// Starts the program, and leaves it at work.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Returns the run as `status` reports it.
    pub(crate) fn status(&self, rollout: &str) -> Value {
        self.run(&["rollout", "status", rollout, "--format", "json"]).code(0).json()
    }

    pub(crate) fn journal(&self, rollout: &str) -> PathBuf {
        self.repo.path(&format!(".mailwright/rollouts/{rollout}/journal.jsonl"))
    }

    /// The journal's entries.
    pub(crate) fn entries(&self, rollout: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.journal(rollout)).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .map(|line| line["entry"].clone())
            .collect()
    }

    /// Waits until the journal has an entry that is wanted.
    pub(crate) fn wait_for(&self, rollout: &str, wanted: impl Fn(&Value) -> bool) {
        let until = Instant::now() + Duration::from_secs(120);
        while !self.entries(rollout).iter().any(&wanted) {
            assert!(Instant::now() < until, "it never came: {:#?}", self.entries(rollout));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

async fn first_token(store: &SqliteStore) -> String {
    let now = Clock::system().now();
    let wanted = NewToken {
        name: "admin".to_owned(),
        role: Role::Admin,
        scope: Scope::default(),
        expires_at: None,
        replaces: None,
    };
    let (stored, bearer) =
        new_token(&wanted, now, |buffer| getrandom::fill(buffer).map_err(|error| error.to_string())).unwrap();
    let event = AuditEvent {
        at: now,
        actor: "test".to_owned(),
        action: "token.create",
        outcome: AuditOutcome::Accepted,
        detail: json!({}),
    };
    store.create_token(stored, event).await.unwrap();
    bearer.expose_secret().to_owned()
}

/// Returns a predicate for entries of this kind.
pub(crate) fn is(event: &'static str) -> impl Fn(&Value) -> bool {
    move |entry| entry["event"] == event
}

/// Ends a child by force, as `kill -9` does.
pub(crate) fn kill(mut child: Child) {
    drop(child.kill());
    drop(child.wait());
}

/// Waits for a child, and gives what it said.
pub(crate) fn end(child: Child) -> CommandOutput {
    child.wait_with_output().unwrap().into()
}
