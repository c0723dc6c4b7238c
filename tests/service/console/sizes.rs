//! The size of each page: below 200 KB however much there is, and compressed for browsers that accept that.

use super::{
    client::Client,
    edit::{NEW, plan, send_on, with},
};
use crate::support::{
    passkey_device::{PasskeyDevice, options},
    repository::TestRepository,
};
use serde_json::{Value, json};

/// Maximum size of a page, in bytes.
const LIMIT: usize = 200_000;
/// A text of up to 100 characters, as people write them, some of which are escaped.
const TEXT: &str =
    "Statements & reminders of \"Müller, Söhne <und Töchter> GmbH\" in the branches of the north and west";
/// A name of 80 characters.
const NAME: &str = "statements-and-reminders-of-mueller-soehne-and-toechter-in-the-branches-of-n";

/// Sends a document, which must be accepted, and returns the answer.
fn post(repo: &TestRepository, path: &str, document: &Value) -> Value {
    let answer = repo.http("POST", path, &[], document.to_string().as_bytes());
    assert!(answer.status < 300, "{path}: {}", answer.body);
    answer.json()
}

/// Writes the files of an environment with one profile, for all of its companies and functions.
fn write_files(repo: &TestRepository, companies: &[String]) {
    let functions: Vec<&str> = mailwright::model::Function::all().map(mailwright::model::Function::id).collect();
    let (companies, functions) = (companies.join(", "), functions.join(", "));
    repo.write(
        "environments/dev/environment.yaml",
        format!("companies: [{companies}]\nunserved: [{{ reason: not in use }}]\n"),
    );
    repo.write(
        "environments/dev/profiles/relay.yaml",
        format!(
            "description: '{TEXT}'\nprovider: {{ smtp: {{ host: smtp.example.com }} }}\nfrom: {{ address: erp@example.com, name: '{TEXT}' }}\n\
             functions: [{functions}]\nappliesTo: {{ companies: [{companies}] }}\n"
        ),
    );
}

/// A service with more of everything than a page shows, in long words. Returns the address of a proposal as well.
fn crowded() -> (TestRepository, String) {
    let mut repo = TestRepository::empty();
    repo.quiet = true;
    let companies: Vec<String> = (0..1000).map(|number| format!("C{number:03}")).collect();
    // What needs many changes comes first: a plan reads all cells of companies and functions.
    write_files(&repo, &companies[..1]);
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    for number in 0..60 {
        assert_eq!(repo.patch("relay", &json!({ "description": format!("{number} {}", &TEXT[..80]) })).status, 200);
    }
    let proposal = propose(&repo, 110);
    write_files(&repo, &companies);
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    for number in 0..120 {
        let recipients: Vec<String> = (0..110)
            .map(|own| format!("accounts-payable-{own}@{}.branch-{number}.example.org", "long-name".repeat(4)))
            .collect();
        let recipients = if number == 0 { recipients.as_slice() } else { &recipients[..2] };
        let message = json!({
            "company": "C000", "function": "documents-accounts-receivable", "to": recipients, "subject": TEXT, "text": "t",
            "document": { "type": "statement", "number": format!("2026-{number:0>60}") },
        });
        post(&repo, "/v1/messages", &message);
    }
    for company in companies.iter().take(220) {
        post(&repo, "/v1/holds", &json!({ "company": company, "function": "all-reports", "reason": TEXT }));
    }
    for number in 0..210 {
        post(&repo, "/v1/tokens", &json!({ "name": format!("{}-{number}", &NAME[..50]), "role": "viewer" }));
    }
    add_people(&repo);
    let profile = |number: usize| {
        json!({ "action": "create", "name": format!("{}-{number:03}", &NAME[..76]), "profile": { "profile": {
            "description": TEXT,
            "enabled": false,
            "provider": { "smtp": { "host": format!("mail-{number}.{}.example.com", &NAME[..60]) } },
            "from": { "address": format!("accounts-receivable-{number}@branches.example.com"), "name": TEXT },
            "functions": ["documents-accounts-receivable", "document-inventory-movements", "system-administration", "all-reports"],
            "appliesTo": { "companies": ["C000", "C001", "C002", "C003"] },
        } } })
    };
    let changes: Vec<_> = (0..150).map(profile).collect();
    let base = repo.state()["generation"].clone();
    let changeset = json!({
        "id": "018f3a2e-0000-7000-8000-00000000000a", "environment": "dev", "base": base, "changes": changes,
    });
    post(&repo, "/v1/changesets", &changeset);
    (repo, proposal)
}

#[test]
fn every_page_of_a_crowded_service_is_small() {
    let (repo, proposal) = crowded();
    let state = repo.state();
    let generation = state["generation"].as_u64().unwrap();
    let newest = repo.http("GET", "/v1/messages?limit=200", &[], b"").json();
    let messages = newest["messages"].as_array().unwrap();
    let largest = messages.iter().max_by_key(|message| message["recipients"].as_array().unwrap().len()).unwrap();
    let message = format!("/console/outbox/{}", largest["id"].as_str().unwrap());
    let mut client = Client::signed_in(&repo);
    let run = verify(&repo, &mut client);
    let one = format!("{}-001", &NAME[..76]);
    let pages = [
        "/console".to_owned(),
        "/console/setup".to_owned(),
        "/console/sessions".to_owned(),
        "/console/profiles".to_owned(),
        "/console/profiles/relay".to_owned(),
        format!("/console/profiles/{one}"),
        "/console/profiles/new?provider=smtp".to_owned(),
        "/console/profiles/new?provider=microsoft-graph-direct".to_owned(),
        format!("/console/profiles/{one}/edit"),
        "/console/outbox".to_owned(),
        "/console/outbox?status=queued".to_owned(),
        message,
        "/console/outbox/bulk?status=queued&action=cancel".to_owned(),
        "/console/holds".to_owned(),
        "/console/coverage".to_owned(),
        "/console/coverage/C000/documents-remittance".to_owned(),
        "/console/history".to_owned(),
        format!("/console/history/diff?from=0&to={generation}"),
        "/console/history/1/rollback".to_owned(),
        "/console/audit".to_owned(),
        "/console/tokens".to_owned(),
        "/console/proposals".to_owned(),
        proposal,
        "/console/tokens?page=2".to_owned(),
        "/console/operators".to_owned(),
        "/console/operators?page=3".to_owned(),
        "/console/access".to_owned(),
        "/console/access?bindings=2&grants=3".to_owned(),
        "/console/access?bindings=999&grants=999".to_owned(),
        format!("/console/access?subject=operator%3A{}", operator_name(7).replace(' ', "+")),
        "/console/access?field=from.name&profile=relay".to_owned(),
        "/console/rollouts".to_owned(),
        "/console/verify".to_owned(),
        run,
    ];
    let mut large = Vec::new();
    // The removal of the profile that sends everything, and a profile for all companies.
    let base = generation.to_string();
    let mut all = with(NEW, &[("base", base.as_str()), ("description", TEXT), ("company", "C000")]);
    let companies = state["settings"]["companies"].as_array().unwrap();
    all.extend(companies[1..].iter().map(|company| ("company", company.as_str().unwrap())));
    for fields in [vec![("action", "delete"), ("original", "relay"), ("base", &base)], all] {
        let page = plan(&mut client, &fields);
        if page.len() >= LIMIT {
            large.push(format!("the plan {:?}: {}", &fields[..2], page.len()));
        }
    }
    for path in &pages {
        let plain = client.page(path);
        // German words are the longer ones.
        let german = client.send("GET", path, &[("Accept-Language", "de")], "");
        let size = plain.len().max(german.body.len());
        if size >= LIMIT {
            large.push(format!("{path}: {size}"));
        }
        let compressed = client.send("GET", path, &[("Accept-Encoding", "gzip")], "");
        assert_eq!(compressed.header("content-encoding"), (size > 1024).then_some("gzip"), "{path}");
    }
    // The page of a person with as many passkeys as there can be.
    let address = repo.address().replace("127.0.0.1", "localhost");
    let mut person = enrol(&repo, &address);
    for path in ["/console/account", "/console/operators"] {
        let german = person.send("GET", path, &[("Accept-Language", "de")], "");
        assert_eq!(german.status, 200, "{path}: {}", german.body);
        if german.body.len() >= LIMIT {
            large.push(format!("{path} of a person: {}", german.body.len()));
        }
    }
    assert!(large.is_empty(), "{large:#?}");
}

fn operator_name(number: usize) -> String {
    format!("{:0>3} {}", number, &NAME[..76])
}

/// Creates operators, leases, and a policy with many roles and bindings.
fn add_people(repo: &TestRepository) {
    for number in 0..60 {
        post(repo, "/v1/operators", &json!({ "name": operator_name(number), "role": "viewer" }));
    }
    for number in 0..70 {
        let holder = format!("{} on {}", &TEXT[..90], "pipeline-runner".repeat(6));
        let path = format!("/v1/leases/rollout:{}-{number}", &NAME[..70]);
        post(repo, &path, &json!({ "holder": holder, "seconds": 600 }));
    }
    let companies: Vec<String> = (0..30).map(|number| format!("C{number:03}")).collect();
    let companies = companies.join(", ");
    let mut policy = "roles:\n".to_owned();
    for number in 0..90 {
        let grant = format!(
            "      - {{ areas: [profiles], activities: [create, change], fields: [from.name, description], companies: [{companies}], functions: [all-reports, system-administration] }}\n"
        );
        policy += &format!(
            "  role-{number:03}-of-the-branches-of-the-north:\n    description: '{TEXT}'\n    grants:\n{}",
            grant.repeat(3)
        );
    }
    policy += "bindings:\n";
    for number in 0..120 {
        let subjects: Vec<String> =
            (0..14).map(|own| format!("{{ operator: '{own} {}' }}", operator_name(number))).collect();
        let roles: Vec<String> = (0..20).map(|own| format!("role-{own:03}-of-the-branches-of-the-north")).collect();
        policy += &format!(
            "  binding-{number:03}-of-the-branches-of-the-north: {{ subjects: [{}, {{ operator: '{}' }}], roles: [{}] }}\n",
            subjects.join(", "),
            operator_name(number),
            roles.join(", ")
        );
    }
    repo.write("environments/dev/access.yaml", policy);
    repo.run(&["apply", "--skip-verify", "dev", "--yes", "--allow-rights"]).code(0);
}

/// Starts runs of the verifier, and returns the address of the last one when it is complete.
fn verify(repo: &TestRepository, client: &mut Client) -> String {
    let mut last = String::new();
    for _ in 0..5 {
        let started = client.post("/console/verify", &[("profile", "relay")]);
        assert_eq!(started.status, 303, "{}", started.body);
        started.header("location").unwrap().clone_into(&mut last);
        let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
        while client.page(&last).contains("hx-trigger=\"load delay:1s\"") {
            assert!(std::time::Instant::now() < until, "{}", repo.service_log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    last
}

/// Signs a person in who has ten passkeys with long names.
fn enrol(repo: &TestRepository, address: &str) -> Client {
    let link = post(repo, "/v1/operators", &json!({ "name": &NAME[..70], "role": "admin" }));
    let mut client = Client::at(address, "");
    let page = client.post("/console/enroll", &[("code", link["secret"].as_str().unwrap())]);
    let label = |number: usize| format!("{number} {}", TEXT.chars().take(57).collect::<String>());
    let answer = PasskeyDevice::new(address).create(&options(&page.body));
    assert_eq!(client.post("/console/enroll/passkey", &[("answer", &answer), ("label", &label(0))]).status, 303);
    for number in 1..10 {
        let answer = PasskeyDevice::new(address).create(&options(&client.page("/console/account")));
        let added = client.post("/console/account/passkeys", &[("answer", &answer), ("label", &label(number))]);
        assert_eq!(added.status, 303, "{}", added.body);
    }
    client
}

/// Proposes a profile some times, and returns the address of the last proposal.
fn propose(repo: &TestRepository, times: usize) -> String {
    let mut client = Client::signed_in(repo);
    let base = repo.state()["generation"].to_string();
    let page = plan(&mut client, &with(NEW, &[("base", &base), ("description", TEXT), ("company", "C000")]));
    let mut last = String::new();
    for _ in 0..times {
        let answer = send_on(&mut client, "/console/plan/propose", &page, &[("reason", TEXT)]);
        assert_eq!(answer.status, 303, "{}", answer.body);
        answer.header("location").unwrap().clone_into(&mut last);
    }
    last
}
