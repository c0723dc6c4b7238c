//! The ends of sessions, with a clock that the test sets: idle, in all, and with the token.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use super::client::Client;
use crate::support::passkey_device::{PasskeyDevice, options};
use jiff::Timestamp;
use mailwright::{
    api::NewToken,
    model::{
        AuditOutcome,
        operator::{Enrolment, Operator},
        token::Role,
    },
    net::listener::{ConnectionLimits, OpenConnections},
    secrets::ServiceIdentity,
    service::{HostedEnvironment, Hosting, Server, SharedResources, new_token},
    store::{AuditEvent, Operators as _, SqliteStore, Tokens as _, token_hash},
    telemetry::EnvironmentContext,
    time::Clock,
};
use secrecy::ExposeSecret as _;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const START: i64 = 1_800_000_000;

/// A service in this process, with a clock that is set.
struct Service {
    _folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    store: SqliteStore,
    address: String,
    seconds: Arc<AtomicI64>,
}

impl Service {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let store = SqliteStore::open(&folder.path().join("store.sqlite"), &"dev".parse().unwrap()).unwrap();
        let seconds = Arc::new(AtomicI64::new(START));
        let read = Arc::clone(&seconds);
        let shared = SharedResources {
            demo: true,
            outgoing: mailwright::delivery::OutboundOptions {
                authorities: None,
                federated: mailwright::entra::FederatedFiles::default(),
                dns_server: None,
                smtp_timeout: Duration::from_secs(5),
                hello: mailwright::smtp::HelloName::from_machine(),
                deadlines: mailwright::delivery::SmtpDeadlines::default(),
                probe_after: Duration::from_secs(60),
                pool: mailwright::sync::BlockingPool::default(),
            },
            clock: Clock::from_fn(move || Timestamp::from_second(read.load(Ordering::SeqCst)).unwrap()),
            issuers: None,
            connections: OpenConnections::new(ConnectionLimits::default()),
            console: Some(mailwright::console::routes()),
            public_url: None,
        };
        let hosted = HostedEnvironment {
            store: Arc::new(store.clone()),
            identity: ServiceIdentity::demo().unwrap(),
            context: EnvironmentContext::single(),
        };
        let address = runtime.block_on(async {
            let hosting = Hosting::single(&shared, hosted).await.unwrap();
            let server = Server::bind("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
            let address = server.address();
            tokio::spawn(server.run(hosting, std::future::pending()));
            address
        });
        Self { _folder: folder, runtime, store, address, seconds }
    }

    /// Creates a token that expires after some seconds.
    fn token(&self, name: &str, seconds: Option<i64>) -> String {
        let now = Timestamp::from_second(START).unwrap();
        let wanted = NewToken {
            name: name.to_owned(),
            role: Role::Viewer,
            scope: mailwright::model::token::Scope::default(),
            expires_at: seconds.map(|seconds| Timestamp::from_second(START + seconds).unwrap()),
            replaces: None,
        };
        let random = |buffer: &mut [u8]| getrandom::fill(buffer).map_err(|error| error.to_string());
        let (stored, bearer) = new_token(&wanted, now, random).unwrap();
        let event = AuditEvent {
            at: now,
            actor: "test".to_owned(),
            action: "token.create",
            outcome: AuditOutcome::Accepted,
            detail: serde_json::json!({ "id": stored.token.id }),
        };
        self.runtime.block_on(self.store.create_token(stored, event)).unwrap();
        bearer.expose_secret().to_owned()
    }

    /// Sets the clock to some seconds after the start.
    fn at(&self, seconds: i64) {
        self.seconds.store(START + seconds, Ordering::SeqCst);
    }
}

#[test]
fn a_session_ends_when_it_is_not_used() {
    let service = Service::start();
    let mut client = Client::at(&service.address, "");
    client.sign_in(&service.token("ann", None));
    // Each request counts, whatever it asks for.
    for minute in [29, 57, 85] {
        service.at(minute * MINUTE);
        client.page("/console");
    }
    service.at((85 + 30) * MINUTE);
    let ended = client.get("/console");
    assert_eq!(ended.header("location"), Some("/console/sign-in?next=/console&why=ended"));
}

#[test]
fn a_session_ends_after_twelve_hours_in_use() {
    let service = Service::start();
    let mut client = Client::at(&service.address, "");
    client.sign_in(&service.token("ann", None));
    let mut now = 0;
    while now + 20 * MINUTE < 12 * HOUR {
        now += 20 * MINUTE;
        service.at(now);
        client.page("/console");
    }
    service.at(12 * HOUR - 1);
    client.page("/console");
    service.at(12 * HOUR);
    assert_eq!(client.get("/console").status, 303);
}

#[test]
fn a_session_never_outlives_its_token() {
    let service = Service::start();
    let (mut short, mut long) = (Client::at(&service.address, ""), Client::at(&service.address, ""));
    short.sign_in(&service.token("short", Some(10 * MINUTE)));
    long.sign_in(&service.token("long", Some(24 * HOUR)));
    service.at(10 * MINUTE - 1);
    short.page("/console");
    service.at(10 * MINUTE);
    assert_eq!((short.get("/console").status, long.get("/console").status), (303, 200));
    assert!(!long.page("/console/sessions").contains("short"));
}

impl Service {
    /// Adds an operator who may see everything, with a link that ends after some seconds. Returns the code of the link.
    fn operator(&self, name: &str, seconds: i64) -> String {
        let now = Timestamp::from_second(START).unwrap();
        let code = format!("mwe_{}", "A".repeat(43));
        let enrolment = Enrolment {
            by: "test".to_owned(),
            created_at: now,
            ends_at: Timestamp::from_second(START + seconds).unwrap(),
        };
        let operator = Operator {
            id: "00112233aabb".to_owned(),
            name: name.to_owned(),
            role: Role::Viewer,
            scope: mailwright::model::token::Scope::default(),
            created_at: now,
            removed_at: None,
            suspended_at: None,
            enrolment: Some(enrolment),
            passkeys: Vec::new(),
        };
        let event = AuditEvent {
            at: now,
            actor: "test".to_owned(),
            action: "operator.create",
            outcome: AuditOutcome::Accepted,
            detail: serde_json::json!({}),
        };
        let hash = token_hash(&code.clone().into());
        self.runtime.block_on(self.store.create_operator(operator, hash, event)).unwrap();
        code
    }

    /// The address under the name that has passkeys.
    fn local_address(&self) -> String {
        self.address.replace("127.0.0.1", "localhost")
    }
}

#[test]
fn a_link_and_each_request_for_a_passkey_end_in_time() {
    let service = Service::start();
    let code = service.operator("ann", HOUR);
    let address = service.local_address();
    let (mut client, mut device) = (Client::at(&address, ""), PasskeyDevice::new(&address));
    let page = client.post("/console/enroll", &[("code", &code)]);
    assert_eq!(page.status, 200, "{}", page.body);
    let finish = |client: &mut Client, answer: &str| {
        client.post("/console/enroll/passkey", &[("answer", answer), ("label", "x")]).status
    };
    let answer = device.create(&options(&page.body));
    service.at(5 * MINUTE + 1);
    assert_eq!(finish(&mut client, &answer), 401, "the request is older than five minutes");
    // The link ends between the two requests.
    service.at(HOUR - 1);
    let page = client.post("/console/enroll", &[("code", &code)]);
    let answer = device.create(&options(&page.body));
    service.at(HOUR);
    assert_eq!(finish(&mut client, &answer), 401);
    assert_eq!(client.post("/console/enroll", &[("code", &code)]).status, 401);
}

#[test]
fn passkeys_are_changed_within_ten_minutes_of_a_confirmation() {
    let service = Service::start();
    let code = service.operator("ann", HOUR);
    let address = service.local_address();
    let (mut client, mut device) = (Client::at(&address, ""), PasskeyDevice::new(&address));
    let page = client.post("/console/enroll", &[("code", &code)]).body;
    let answer = device.create(&options(&page));
    assert_eq!(client.post("/console/enroll/passkey", &[("answer", &answer), ("label", "x")]).status, 303);
    service.at(10 * MINUTE);
    let page = client.page("/console/account");
    let answer = PasskeyDevice::new(&address).create(&options(&page));
    let add = |client: &mut Client| client.post("/console/account/passkeys", &[("answer", &answer), ("label", "y")]);
    service.at(10 * MINUTE + 1);
    let late = add(&mut client);
    assert_eq!(late.status, 403);
    assert!(
        late.body.contains("MW0403") && late.body.contains("/console/confirm?next=/console/account"),
        "{}",
        late.body
    );
    assert!(!client.page("/console/account").contains("data-passkey-options"));
    let page = client.page("/console/confirm?next=/console/account");
    let confirmed = device.get(&options(&page));
    let done = client.post("/console/confirm", &[("answer", &confirmed), ("next", "/console/account")]);
    assert_eq!((done.status, done.header("location")), (303, Some("/console/account")), "{}", done.body);
    assert_eq!(add(&mut client).status, 303);
    // Idle and total end are those of every session.
    service.at(41 * MINUTE);
    assert_eq!(client.get("/console/account").status, 303);
}
