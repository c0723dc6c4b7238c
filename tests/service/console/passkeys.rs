//! Operators in the console: enrolment by a link, sign-in with a passkey, step-up, the own passkeys, and what each must refuse.
//! The device is software; `tests/service/browser/operators.rs` has a real browser.

use super::client::Client;
use crate::support::{
    passkey_device::{PasskeyDevice, options},
    repository::TestRepository,
};
use serde_json::{Value, json};

/// A service with a policy that gives roles to operators, and its address under the name that has passkeys.
fn serve() -> (TestRepository, String) {
    let mut repo = TestRepository::small();
    repo.write(
        "environments/dev/access.yaml",
        "\
roles:
  careful:
    grants:
      - { areas: [tokens], activities: [see], stepUp: 5m }
bindings:
  people:
    subjects: [{ operator: Ann }]
    roles: [viewer, careful]
",
    );
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-rights"]).code(0);
    let address = repo.address().replace("127.0.0.1", "localhost");
    (repo, address)
}

fn add(repo: &TestRepository, name: &str, more: &[&str]) -> String {
    let output = repo.run(&[&["operator", "add", "dev", "--name", name], more].concat()).code(0);
    output.stdout.trim().to_owned()
}

/// The code of a link.
fn code(link: &str) -> &str {
    link.split_once('#').unwrap().1
}

fn list(repo: &TestRepository) -> Vec<Value> {
    let list = repo.run(&["operator", "list", "dev", "--format", "json"]).code(0).json();
    list["operators"].as_array().unwrap().clone()
}

fn audit(repo: &TestRepository, action: &str) -> Vec<Value> {
    let entries = repo.http("GET", "/v1/audit?limit=1000", &[], b"").json()["entries"].as_array().unwrap().clone();
    entries.into_iter().filter(|entry| entry["action"] == action).collect()
}

/// Opens a link and registers a device, as a person does; returns the answer to the last form.
fn enrol(client: &mut Client, device: &mut PasskeyDevice, link: &str) -> crate::support::repository::HttpResponse {
    let page = client.post("/console/enroll", &[("code", code(link))]);
    assert_eq!(page.status, 200, "{}", page.body);
    let answer = device.create(&options(&page.body));
    client.post("/console/enroll/passkey", &[("answer", &answer), ("label", "Laptop")])
}

fn sign_in(client: &mut Client, device: &mut PasskeyDevice) -> crate::support::repository::HttpResponse {
    let page = client.page("/console/sign-in");
    let answer = device.get(&options(&page));
    client.post("/console/sign-in/passkey", &[("answer", &answer), ("next", "/console/profiles")])
}

#[test]
fn a_person_enrols_once_and_signs_in_with_the_passkey() {
    let (repo, address) = serve();
    let link = add(&repo, "ann", &[]);
    assert!(link.starts_with(&format!("{address}/console/enroll#mwe_")), "{link}");
    let mut client = Client::at(&address, "");
    let mut device = PasskeyDevice::new(&address);
    client.page("/console/enroll");
    let done = enrol(&mut client, &mut device, &link);
    assert_eq!((done.status, done.header("location")), (303, Some("/console/sign-in?next=/console&why=done")));
    assert!(client.page("/console/profiles").contains("ann"));
    let account = client.page("/console/account");
    assert!(account.contains("Laptop") && account.contains("by a link from first-admin"), "{account}");
    // The link is used, and the page says so without the name of its operator.
    let again = Client::at(&address, "").post("/console/enroll", &[("code", code(&link))]);
    assert_eq!(again.status, 401);
    assert!(again.body.contains("MW0412") && !again.body.contains("ann"), "{}", again.body);

    let mut other = Client::at(&address, "");
    let before = other.cookies.clone();
    let answer = sign_in(&mut other, &mut device);
    assert_eq!(answer.header("location"), Some("/console/sign-in?next=/console/profiles&why=done"), "{}", answer.body);
    assert_ne!(other.cookies, before);
    assert_eq!(other.cookies.keys().collect::<Vec<_>>(), ["__Host-mw"]);
    other.page("/console/profiles");
    let operators = list(&repo);
    assert_eq!((operators.len(), &operators[0]["name"]), (1, &json!("ann")));
    assert!(operators[0]["passkeys"][0]["usedAt"].is_string() && operators[0]["enrolment"].is_null());
    let entries = audit(&repo, "session.create");
    let entry = entries.last().unwrap();
    assert_eq!((&entry["actor"], &entry["detail"]["subject"]["operator"]), (&json!("ann"), &operators[0]["id"]));
    assert_eq!(audit(&repo, "operator.enrol").len(), 1);
    assert!(!repo.service_log().contains(code(&link)));
    // The store's statement covers operators, and the use of a passkey does not change it.
    repo.run(&["audit", "verify", "dev"]).code(0);
}

#[test]
fn an_answer_serves_one_browser_and_one_sign_in() {
    let (repo, address) = serve();
    let link = add(&repo, "ann", &[]);
    let mut device = PasskeyDevice::new(&address);
    assert_eq!(enrol(&mut Client::at(&address, ""), &mut device, &link).status, 303);
    let mut attacker = Client::at(&address, "");
    let page = attacker.page("/console/sign-in");
    let answer = device.get(&options(&page));
    // The answer of another browser, planted in this one, which has a request of its own.
    let mut victim = Client::at(&address, "");
    victim.page("/console/sign-in");
    let planted = victim.post("/console/sign-in/passkey", &[("answer", &answer)]);
    assert_eq!(planted.status, 401, "{}", planted.body);
    assert!(planted.body.contains("MW0414") && !victim.cookies.contains_key("__Host-mw"));
    // That was its only use.
    assert_eq!(attacker.post("/console/sign-in/passkey", &[("answer", &answer)]).status, 401);
    // Used twice by its own browser.
    let page = attacker.page("/console/sign-in");
    let answer = device.get(&options(&page));
    assert_eq!(attacker.post("/console/sign-in/passkey", &[("answer", &answer)]).status, 303);
    assert_eq!(attacker.post("/console/sign-in/passkey", &[("answer", &answer)]).status, 401);
    // From another site, and without the cookie.
    let page = victim.page("/console/sign-in");
    let answer = device.get(&options(&page));
    let other_site = [("Sec-Fetch-Site", "cross-site")];
    assert_eq!(victim.post_with("/console/sign-in/passkey", &[("answer", &answer)], &other_site).status, 403);
    victim.bindings.clear();
    assert_eq!(victim.post("/console/sign-in/passkey", &[("answer", &answer)]).status, 401);
    for wrong in ["", "{}", "x", &"x".repeat(40_000)] {
        assert_eq!(victim.post("/console/sign-in/passkey", &[("answer", wrong)]).status, 401);
    }
    assert!(audit(&repo, "session.create").iter().any(|entry| entry["outcome"] == "refused"));
}

#[test]
fn a_device_whose_count_does_not_rise_is_refused_and_reported() {
    let (repo, address) = serve();
    let link = add(&repo, "ann", &[]);
    let mut device = PasskeyDevice::new(&address);
    let mut client = Client::at(&address, "");
    assert_eq!(enrol(&mut client, &mut device, &link).status, 303);
    assert_eq!(sign_in(&mut Client::at(&address, ""), &mut device).status, 303);
    device.counter = 0;
    let refused = sign_in(&mut Client::at(&address, ""), &mut device);
    assert_eq!(refused.status, 401);
    assert!(refused.body.contains("may have been copied"), "{}", refused.body);
    let entries = audit(&repo, "operator.passkey-copied");
    assert_eq!((entries.len(), &entries[0]["actor"], &entries[0]["outcome"]), (1, &json!("ann"), &json!("refused")));
    assert!(repo.run(&["audit", "list", "dev"]).code(0).stdout.contains("passkey-copied"));
}

#[test]
fn a_link_ends_when_another_is_made_and_when_the_operator_is_removed() {
    let (repo, address) = serve();
    let first = add(&repo, "ann", &[]);
    let second = repo.run(&["operator", "link", "dev", "ann"]).code(0).stdout.trim().to_owned();
    let mut client = Client::at(&address, "");
    let open = |client: &mut Client, link: &str| client.post("/console/enroll", &[("code", code(link))]).status;
    assert_eq!((open(&mut client, &first), open(&mut client, &second)), (401, 200));
    // Two people who opened one link: the first device wins.
    let (mut one, mut other) = (Client::at(&address, ""), Client::at(&address, ""));
    let pages = [&mut one, &mut other].map(|client| client.post("/console/enroll", &[("code", code(&second))]).body);
    let answers = pages.map(|page| PasskeyDevice::new(&address).create(&options(&page)));
    let finish = |client: &mut Client, answer: &str| {
        client.post("/console/enroll/passkey", &[("answer", answer), ("label", "x")]).status
    };
    assert_eq!((finish(&mut one, &answers[0]), finish(&mut other, &answers[1])), (303, 401));
    assert_eq!(list(&repo)[0]["passkeys"].as_array().unwrap().len(), 1);

    let third = add(&repo, "bob", &["--role", "viewer"]);
    let page = client.post("/console/enroll", &[("code", code(&third))]).body;
    let answer = PasskeyDevice::new(&address).create(&options(&page));
    repo.run(&["operator", "remove", "dev", "bob", "--yes"]).code(0);
    assert_eq!(finish(&mut client, &answer), 401, "removed between two requests");
    assert_eq!(open(&mut client, &third), 401);
    // Neither the name nor a link is given again.
    let taken = repo.run(&["operator", "add", "dev", "--name", "BOB"]).code(1);
    assert!(taken.stderr.contains("MW0410"), "{}", taken.stderr);
    let removed = repo.run(&["operator", "link", "dev", "bob"]).code(1);
    assert!(removed.stderr.contains("MW0411"), "{}", removed.stderr);
    for wrong in ["", "mwe_", "x", &"x".repeat(100), repo.token()] {
        assert_eq!(client.post("/console/enroll", &[("code", wrong)]).status, 401, "{wrong}");
    }
    let other_site = [("Sec-Fetch-Site", "cross-site")];
    assert_eq!(client.post_with("/console/enroll", &[("code", code(&first))], &other_site).status, 403);
}

#[test]
fn a_removed_operator_or_passkey_ends_its_sessions_at_once() {
    let (repo, address) = serve();
    let link = add(&repo, "ann", &[]);
    let (mut client, mut device) = (Client::at(&address, ""), PasskeyDevice::new(&address));
    assert_eq!(enrol(&mut client, &mut device, &link).status, 303);
    client.page("/console/profiles");
    let mut admin = Client::at(&address, "");
    admin.sign_in(repo.token());
    let page = admin.page("/console/operators");
    let path = page.split("action=\"").find(|part| part.contains("/passkeys/")).unwrap();
    let path = path.split('"').next().unwrap();
    assert_eq!(admin.post(path, &[]).status, 303);
    assert_eq!(client.get("/console/profiles").status, 303);
    assert_eq!(sign_in(&mut client, &mut device).status, 401);
    // Another link for the same person, and then the person is removed.
    let link = repo.run(&["operator", "link", "dev", "ann"]).code(0).stdout;
    let mut device = PasskeyDevice::new(&address);
    assert_eq!(enrol(&mut client, &mut device, link.trim()).status, 303);
    client.page("/console/profiles");
    let id = list(&repo)[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(admin.post(&format!("/console/operators/{id}/remove"), &[]).status, 303);
    assert_eq!(client.get("/console/profiles").status, 303);
    assert_eq!(sign_in(&mut client, &mut device).status, 401);
    repo.run(&["audit", "verify", "dev"]).code(0);
}

#[test]
fn a_step_up_needs_the_passkey_and_gives_the_session_another_secret() {
    let (repo, address) = serve();
    let link = add(&repo, "ann", &[]);
    let (mut client, mut device) = (Client::at(&address, ""), PasskeyDevice::new(&address));
    assert_eq!(enrol(&mut client, &mut device, &link).status, 303);
    client.page("/console/tokens");
    let page = client.page("/console/confirm?next=/console/tokens");
    let before = client.cookies.clone();
    let answer = device.get(&options(&page));
    // The answer of one session is none for another one of the same person.
    let mut other = Client::at(&address, "");
    assert_eq!(sign_in(&mut other, &mut device).status, 303);
    assert_eq!(other.post("/console/confirm", &[("answer", &answer), ("next", "/console/tokens")]).status, 401);
    let page = client.page("/console/confirm?next=/console/tokens");
    let answer = device.get(&options(&page));
    let done = client.post("/console/confirm", &[("answer", &answer), ("next", "https://evil.example")]);
    assert_eq!((done.status, done.header("location")), (303, Some("/console")), "{}", done.body);
    assert_ne!(client.cookies["__Host-mw"], before["__Host-mw"]);
    client.page("/console/tokens");
    client.cookies = before;
    assert_eq!(client.get("/console/tokens").status, 303, "the secret from before the confirmation");
    let outcomes: Vec<Value> = audit(&repo, "session.confirm").iter().map(|entry| entry["outcome"].clone()).collect();
    assert_eq!(outcomes, [json!("refused"), json!("accepted")]);
    // A token is not a person.
    let mut admin = Client::at(&address, "");
    admin.sign_in(repo.token());
    assert!(admin.page("/console/confirm").contains("not a person"));
    assert_eq!(admin.post("/console/confirm", &[("answer", "{}")]).status, 404);
}

#[test]
fn a_person_adds_a_passkey_and_keeps_the_last() {
    let (repo, address) = serve();
    let link = add(&repo, "ann", &[]);
    let (mut client, mut device) = (Client::at(&address, ""), PasskeyDevice::new(&address));
    assert_eq!(enrol(&mut client, &mut device, &link).status, 303);
    let first = list(&repo)[0]["passkeys"][0]["id"].as_str().unwrap().to_owned();
    let remove = |client: &mut Client, id: &str| client.post(&format!("/console/account/passkeys/{id}/remove"), &[]);
    let last = remove(&mut client, &first);
    assert_eq!(last.status, 409);
    assert!(last.body.contains("MW0416"), "{}", last.body);
    let page = client.page("/console/account");
    let mut second = PasskeyDevice::new(&address);
    let answer = second.create(&options(&page));
    let add = |client: &mut Client, answer: &str, label: &str| {
        client.post("/console/account/passkeys", &[("answer", answer), ("label", label)]).status
    };
    assert_eq!(add(&mut client, &answer, ""), 400);
    assert_eq!(add(&mut client, &answer, "Phone"), 303);
    assert_eq!(add(&mut client, &answer, "Phone"), 401, "the answer was used");
    let outcomes: Vec<Value> =
        audit(&repo, "operator.add-passkey").iter().map(|entry| entry["outcome"].clone()).collect();
    assert_eq!(outcomes, ["refused", "accepted", "refused"], "each refusal is recorded");
    let refused = &audit(&repo, "operator.add-passkey")[2];
    assert_eq!((&refused["actor"], &refused["detail"]["code"]), (&json!("ann"), &json!("MW0414")), "{refused}");
    assert_eq!(sign_in(&mut Client::at(&address, ""), &mut second).status, 303);
    let passkeys = list(&repo)[0]["passkeys"].clone();
    // It was added with a passkey of a link that is not a week old, so it comes from that link.
    assert_eq!((passkeys.as_array().unwrap().len(), &passkeys[1]["enrolledBy"]), (2, &"first-admin".into()));
    // A passkey that the person does not have is not found.
    assert_eq!(remove(&mut client, "000000000000000000000000").status, 404);
    assert_eq!(remove(&mut client, passkeys[1]["id"].as_str().unwrap()).status, 303);
    assert_eq!(sign_in(&mut Client::at(&address, ""), &mut second).status, 401);
    client.page("/console/account");
}

#[test]
fn a_passkey_that_a_restored_store_has_again_is_removed_with_its_operator_named() {
    let (mut repo, address) = serve();
    let link = add(&repo, "ann", &["--role", "viewer"]);
    let (mut client, mut device) = (Client::at(&address, ""), PasskeyDevice::new(&address));
    assert_eq!(enrol(&mut client, &mut device, &link).status, 303);
    let (store, copy) = (repo.path(".data/store.sqlite"), repo.path("copy.sqlite"));
    rusqlite::Connection::open(&store).unwrap().execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    let operator = list(&repo)[0].clone();
    let (id, passkey) = (operator["id"].as_str().unwrap(), operator["passkeys"][0]["id"].as_str().unwrap());
    assert!(repo.http("DELETE", &format!("/v1/operators/{id}/passkeys/{passkey}"), &[], b"").status < 300);
    repo.run(&["operator", "remove", "dev", "ann", "--yes"]).code(0);
    let process = repo.service.as_mut().unwrap();
    let number = process.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &number]).status().unwrap().success());
    process.child.wait().unwrap();
    repo.service = None;
    std::fs::copy(&copy, &store).unwrap();
    repo.serve();
    let found = list(&repo)[0].clone();
    assert!(found["removedAt"].is_string() && found["passkeys"].as_array().is_none_or(Vec::is_empty), "{found}");
    for (action, passkey) in [("operator.remove-passkey", json!(passkey)), ("operator.remove", Value::Null)] {
        let entries = audit(&repo, action);
        let entry = entries.iter().find(|entry| entry["actor"] == "(service)").unwrap_or_else(|| panic!("{entries:?}"));
        let detail = &entry["detail"];
        assert_eq!(
            (&detail["id"], &detail["name"], &detail["passkey"]),
            (&json!(id), &json!("ann"), &passkey),
            "{entry}"
        );
        assert!(detail["why"].as_str().unwrap().contains("put back"), "{entry}");
    }
}

#[test]
fn an_address_without_passkeys_says_what_to_do() {
    let (repo, address) = serve();
    let mut client = Client::new(&repo);
    let host = repo.address().trim_start_matches("http://");
    let page = client.send("GET", "/console/sign-in", &[("Host", host)], "").body;
    assert!(page.contains(&format!("{address}/console/sign-in")) && !page.contains("data-passkey-options"), "{page}");
    assert!(client.page("/console/sign-in").contains("--public-url"));
    let page = client.page("/console/enroll");
    assert!(page.contains("MW0415") && page.contains("--public-url"), "{page}");
    assert_eq!(client.post("/console/enroll", &[("code", "x")]).status, 409);
    // A host name that a client made up is neither used nor shown.
    let answer = client.send("GET", "/console/enroll", &[("Host", "evil.example")], "");
    assert!(answer.body.contains("MW0415") && !answer.body.contains("evil.example"), "{}", answer.body);
}

#[test]
fn the_configured_address_is_the_site_of_passkeys() {
    let mut repo = TestRepository::small();
    repo.serve_with(&["--demo", "--public-url", "https://mail.example.com"]);
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let link = add(&repo, "ann", &["--role", "viewer"]);
    assert!(link.starts_with("https://mail.example.com/console/enroll#mwe_"), "{link}");
    let mut client = Client::new(&repo);
    let mut device = PasskeyDevice::new("https://mail.example.com");
    assert_eq!(enrol(&mut client, &mut device, &link).status, 303);
    // A page of another origin, of the same host.
    device.origin = "https://mail.example.com:8443".to_owned();
    let refused = sign_in(&mut Client::new(&repo), &mut device);
    assert!(refused.status == 401 && refused.body.contains("another site"), "{}", refused.body);
    let wrong =
        repo.command(&["serve", "--environment", "dev", "--data", "x", "--public-url", "http://mail.example.com"]);
    let wrong = crate::support::repository::run_command(wrong);
    assert!(wrong.code(1).stderr.contains("https://"), "an address without TLS");
}
