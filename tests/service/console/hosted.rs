//! The console of several environments in one process: links, sessions and passkeys of one open nothing of another.

use serde_json::{Value, json};

use super::client::Client;
use crate::support::{
    host_process::HostProcess,
    passkey_device::{PasskeyDevice, options},
    repository::{HttpResponse, TestRepository},
};

struct Hosted {
    _repo: TestRepository,
    host: HostProcess,
    /// The address under the name that has passkeys.
    address: String,
}

impl Hosted {
    fn new() -> Self {
        let repo = TestRepository::empty();
        let mut host = HostProcess::new(&repo, ".data", vec!["acme".to_owned(), "beta".to_owned()]);
        host.start();
        let address = host.root().replace("127.0.0.1", "localhost");
        Self { _repo: repo, host, address }
    }

    fn client(&self, environment: &str) -> Client {
        Client::at(&self.address, &format!("/environments/{environment}"))
    }

    /// Creates an operator, and returns the secret of its link.
    fn add(&self, environment: &str, name: &str) -> String {
        let wanted = json!({ "name": name, "role": "viewer" }).to_string();
        let made = self.host.request(environment, "POST", "/v1/operators", wanted.as_bytes());
        assert_eq!(made.status, 201, "{}", made.body);
        made.json()["secret"].as_str().unwrap().to_owned()
    }
}

fn open(client: &mut Client, secret: &str) -> HttpResponse {
    client.post("/console/enroll", &[("code", secret)])
}

/// Opens a link and registers a device.
fn enrol(client: &mut Client, device: &mut PasskeyDevice, secret: &str) {
    let page = open(client, secret);
    assert_eq!(page.status, 200, "{}", page.body);
    let answer = device.create(&options(&page.body));
    let done = client.post("/console/enroll/passkey", &[("answer", &answer), ("label", "Laptop")]);
    assert_eq!(done.status, 303, "{}", done.body);
}

fn sign_in(client: &mut Client, device: &mut PasskeyDevice) -> HttpResponse {
    let answer = device.get(&options(&client.page("/console/sign-in")));
    client.post("/console/sign-in/passkey", &[("answer", &answer), ("next", "/console/profiles")])
}

/// Returns the paths to which pages and forms of a page lead.
fn targets(page: &str) -> Vec<&str> {
    let parts: Vec<&str> = page.split('"').collect();
    let is_target =
        |name: &str| ["href=", "src=", "action=", "connect="].iter().any(|attribute| name.ends_with(attribute));
    parts.windows(2).filter(|pair| is_target(pair[0]) && pair[1].starts_with('/')).map(|pair| pair[1]).collect()
}

#[test]
fn people_of_one_environment_are_strangers_in_another() {
    let hosted = Hosted::new();
    let (acme_link, beta_link) = (hosted.add("acme", "ann"), hosted.add("beta", "ann"));
    // A link opens in its own environment only.
    let mut acme = hosted.client("acme");
    assert_eq!(open(&mut hosted.client("beta"), &acme_link).status, 401);
    let mut device = PasskeyDevice::new(&hosted.address);
    enrol(&mut acme, &mut device, &acme_link);
    let page = acme.page("/console/profiles");
    assert!(targets(&page).iter().all(|path| path.starts_with("/environments/acme/")), "{:?}", targets(&page));

    // The session, under its own name and under that of the other environment.
    let names: Vec<&String> = acme.cookies.keys().collect();
    assert_eq!(names, ["__Host-mw-acme"]);
    let mut beta = hosted.client("beta");
    beta.cookies = acme.cookies.clone();
    beta.cookies.insert("__Host-mw-beta".to_owned(), acme.cookies["__Host-mw-acme"].clone());
    for path in ["/console", "/console/profiles", "/console/outbox", "/console/account"] {
        let answer = beta.get(path);
        assert_eq!(answer.status, 303, "{path}: {}", answer.body);
        assert!(
            answer.header("location").unwrap().starts_with("/environments/beta/console/sign-in"),
            "{}",
            answer.head
        );
    }
    let forged = beta.post("/console/account/passkeys", &[("answer", "{}"), ("label", "x")]);
    assert!([303, 401, 403].contains(&forged.status), "{}", forged.body);

    // The passkey: unknown in the other environment, also where a person has the same name.
    assert_eq!(sign_in(&mut hosted.client("beta"), &mut device).status, 401);
    let mut other_device = PasskeyDevice::new(&hosted.address);
    let mut beta = hosted.client("beta");
    enrol(&mut beta, &mut other_device, &beta_link);
    assert_eq!(sign_in(&mut hosted.client("beta"), &mut device).status, 401);
    assert_eq!(sign_in(&mut hosted.client("acme"), &mut other_device).status, 401);
    for (environment, device) in [("acme", &mut device), ("beta", &mut other_device)] {
        let answer = sign_in(&mut hosted.client(environment), device);
        let expected = format!("/environments/{environment}/console/sign-in?next=");
        assert!(answer.status == 303 && answer.header("location").unwrap().starts_with(&expected), "{}", answer.head);
    }
    // An answer to the request of one environment, sent to the other one, with the browser's secret of both.
    let (mut here, mut there) = (hosted.client("acme"), hosted.client("beta"));
    let answer = device.get(&options(&here.page("/console/sign-in")));
    there.page("/console/sign-in");
    let secret = here.bindings.values().next().unwrap().clone();
    for value in there.bindings.values_mut() {
        value.clone_from(&secret);
    }
    assert_eq!(there.post("/console/sign-in/passkey", &[("answer", &answer)]).status, 401);
    assert_eq!(here.post("/console/sign-in/passkey", &[("answer", &answer)]).status, 303, "it was not used up there");

    // The list of one has the one person of its own.
    let list = |environment: &str| -> Value {
        hosted.host.request(environment, "GET", "/v1/operators", b"").json()["operators"].clone()
    };
    let (of_acme, of_beta) = (list("acme"), list("beta"));
    assert_eq!((of_acme.as_array().unwrap().len(), of_beta.as_array().unwrap().len()), (1, 1));
    assert_ne!(of_acme[0]["id"], of_beta[0]["id"]);
    // A removal ends the sessions of its own environment.
    let path = format!("/v1/operators/{}", of_acme[0]["id"].as_str().unwrap());
    assert!(hosted.host.request("acme", "DELETE", &path, b"").status < 300);
    assert_eq!(acme.get("/console/profiles").status, 303);
    beta.page("/console/profiles");
}
