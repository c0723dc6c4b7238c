//! Rights of the access policy on a running service: what each address asks for, and fields, companies and functions on the
//! difference, whichever way a change comes.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use mailwright::{
    model::{Destination, Encryption},
    secrets::{Header, NoCallbacks, Recipients, ValueId, seal_for},
};
use secrecy::SecretSlice;
use serde_json::{Value, json};

use crate::support::repository::{HttpResponse, SMALL_PROFILE, TestRepository, run_command};

const UNKNOWN: &str = "018f3a2e-0000-7000-8000-00000000000a";

/// Every address with the right that it asks for first.
const RIGHTS: &[(&str, &str, &str, &str)] = &[
    ("GET", "/metrics", "service", "see"),
    ("GET", "/v1/address-book", "mail", "look-up"),
    ("GET", "/v1/audit", "audit", "see"),
    ("GET", "/v1/audit/check", "audit", "verify"),
    ("POST", "/v1/changesets", "changes", "plan"),
    ("GET", "/v1/events", "outbox", "see"),
    ("GET", "/v1/generations", "history", "see"),
    ("GET", "/v1/generations/{number}", "history", "see"),
    ("GET", "/v1/holds", "outbox", "see"),
    ("POST", "/v1/holds", "outbox", "hold"),
    ("DELETE", "/v1/holds/{id}", "outbox", "hold"),
    ("GET", "/v1/leases", "rollouts", "see"),
    ("DELETE", "/v1/leases/{name}", "rollouts", "run"),
    ("POST", "/v1/leases/{name}", "rollouts", "run"),
    ("GET", "/v1/messages", "outbox", "see"),
    ("POST", "/v1/messages", "mail", "submit"),
    ("GET", "/v1/messages/{id}", "outbox", "see"),
    ("GET", "/v1/messages/{id}/content", "outbox", "export"),
    ("POST", "/v1/messages/{id}/resolve", "outbox", "resolve"),
    ("POST", "/v1/messages/{id}/{action}", "outbox", "see"),
    ("GET", "/v1/operators", "operators", "see"),
    ("POST", "/v1/operators", "operators", "create"),
    ("DELETE", "/v1/operators/{id}", "operators", "delete"),
    ("POST", "/v1/operators/{id}/confirm", "operators", "confirm"),
    ("POST", "/v1/operators/{id}/link", "operators", "create"),
    ("DELETE", "/v1/operators/{id}/passkeys/{passkey}", "operators", "delete"),
    ("GET", "/v1/outbox", "outbox", "see"),
    ("POST", "/v1/outbox/confirm-restore", "outbox", "confirm"),
    ("DELETE", "/v1/profiles/{name}", "changes", "edit"),
    ("GET", "/v1/profiles/{name}", "profiles", "see"),
    ("PATCH", "/v1/profiles/{name}", "changes", "edit"),
    ("PUT", "/v1/profiles/{name}", "changes", "edit"),
    ("GET", "/v1/proposals", "profiles", "see"),
    ("POST", "/v1/proposals", "changes", "propose"),
    ("GET", "/v1/proposals/{id}", "profiles", "see"),
    ("GET", "/v1/resolve", "profiles", "see"),
    ("POST", "/v1/rollbacks", "changes", "rollback"),
    ("GET", "/v1/service", "service", "see"),
    ("GET", "/v1/state", "profiles", "see"),
    ("GET", "/v1/tokens", "tokens", "see"),
    ("POST", "/v1/tokens", "tokens", "create"),
    ("DELETE", "/v1/tokens/{id}", "tokens", "delete"),
    ("POST", "/v1/tokens/{id}/confirm", "tokens", "confirm"),
    ("GET", "/v1/verify", "profiles", "see"),
    ("POST", "/v1/verify", "profiles", "verify"),
    ("GET", "/v1/verify/{name}", "profiles", "see"),
];

/// Addresses that ask for a person, by an ID token: no token of the service opens them, whatever its rights are.
const OF_PERSONS: &[(&str, &str)] = &[
    ("GET", "/v1/delegate/messages"),
    ("GET", "/v1/delegate/messages/{id}"),
    ("POST", "/v1/delegate/messages/{id}/begin"),
    ("POST", "/v1/delegate/messages/{id}/cancel"),
    ("GET", "/v1/delegate/messages/{id}/content"),
    ("POST", "/v1/delegate/messages/{id}/report"),
];

/// Addresses that ask for nothing.
const PUBLIC: [&str; 2] = ["/healthz", "/readyz"];

fn token(repo: &TestRepository, name: &str, role: &str) -> String {
    repo.run(&["token", "create", "dev", "--name", name, "--role", role]).code(0).stdout.trim().to_owned()
}

fn ask(repo: &TestRepository, token: &str, method: &str, path: &str, body: &str) -> HttpResponse {
    let authorization = format!("Bearer {token}");
    repo.http_without_token(method, path, &[("Authorization", &authorization), ("If-Match", "*")], body.as_bytes())
}

/// Runs a command with a token.
fn run_as(repo: &TestRepository, token: &str, arguments: &[&str]) -> crate::support::repository::CommandOutput {
    let mut command = repo.command(arguments);
    command.env("MAILWRIGHT_TOKEN", token);
    run_command(command)
}

/// A service with profiles for EDU1 and EDU2, and this access policy.
fn serve(policy: &str) -> TestRepository {
    let mut repo = TestRepository::small();
    repo.write("environments/dev/environment.yaml", "companies: [EDU1, EDU2]\n");
    for company in ["EDU1", "EDU2"] {
        let profile = SMALL_PROFILE.replace("[default]", "[all-documents]");
        let profile = profile.replace("system-wide", &format!("{{ companies: [{company}] }}"));
        repo.write(&format!("environments/dev/profiles/{}.yaml", company.to_lowercase()), profile);
    }
    repo.write("environments/dev/access.yaml", policy);
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-rights"]).code(0);
    repo
}

const DESK: &str = "\
roles:
  desk:
    grants:
      - { areas: [profiles], activities: [see, change, create], companies: [EDU1], fields: [from.*, description] }
      - { areas: [changes], activities: [edit, apply, rollback] }
  reader:
    grants:
      - { areas: [service, profiles, settings, access, history], activities: [see] }
bindings:
  desk:
    subjects: [{ token: Desk }]
    roles: [desk, reader]
";

#[test]
fn every_address_declares_its_right() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let bound = token(&repo, "unbound", "bound");
    let document: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(path, _)| !PUBLIC.contains(&path.as_str()))
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let of_rights = RIGHTS.iter().map(|(method, path, _, _)| (*method, *path));
    let listed: BTreeSet<(String, String)> = of_rights
        .chain(OF_PERSONS.iter().copied())
        .map(|(method, path)| (method.to_owned(), path.to_owned()))
        .collect();
    assert_eq!(listed, documented);
    for (method, path) in OF_PERSONS {
        for token in [bound.as_str(), repo.token(), ""] {
            let answer = ask(&repo, token, method, &path.replace("{id}", UNKNOWN), "{");
            assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("MW0431")), "{method} {path}");
        }
    }
    for (method, path, area, activity) in RIGHTS {
        let path = path.replace("{number}", "1").replace("{name}", "relay").replace("{action}", "retry");
        let path = if path.contains("/messages/") { path.replace("{id}", UNKNOWN) } else { path.replace("{id}", "x") };
        let path = if path == "/v1/resolve" { format!("{path}?company=EDU1&function=default") } else { path };
        // The body is not JSON: a request without the right is refused before it is read.
        let answer = ask(&repo, &bound, method, &path, "{");
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (403, Some("MW0202")),
            "{method} {path}: {}",
            answer.body
        );
        let text = answer.body.clone();
        assert!(text.contains(&format!("may not `{activity}` in `{area}`")), "{method} {path}: {text}");
        assert!(text.contains(&format!("token:unbound' {area}:{activity}")), "{text}");
    }
}

#[test]
fn a_field_a_company_and_a_function_are_checked_on_the_difference() {
    let repo = serve(DESK);
    let desk = token(&repo, "desk", "bound");
    let patch = |profile: &str, patch: Value| {
        ask(&repo, &desk, "PATCH", &format!("/v1/profiles/{profile}"), &patch.to_string())
    };
    assert_eq!(patch("edu1", json!({ "from": { "name": "EDU1" } })).status, 200);
    let refused = |answer: HttpResponse, words: &[&str]| {
        assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("MW0400")), "{}", answer.body);
        for word in words {
            assert!(answer.body.contains(word), "{word}: {}", answer.body);
        }
    };
    // Another field, next to one that is allowed.
    let both = json!({ "from": { "name": "x" }, "provider": { "smtp": { "host": "mx.example.com" } } });
    refused(
        patch("edu1", both),
        &["`desk` may not", "provider.smtp.host", "profile `edu1`", "only for fields", "role `admin`"],
    );
    // Another company, and a profile of all companies.
    refused(patch("edu2", json!({ "from": { "name": "x" } })), &["EDU2", "companies EDU1"]);
    refused(patch("relay", json!({ "from": { "name": "x" } })), &["all companies"]);
    // To take a profile of another company over, or to give one away.
    refused(patch("edu1", json!({ "appliesTo": { "companies": ["EDU1", "EDU2"] } })), &["appliesTo"]);
    refused(patch("edu1", json!({ "enabled": false })), &["`enable` the field `enabled`"]);
    refused(ask(&repo, &desk, "DELETE", "/v1/profiles/edu1", ""), &["`delete`"]);
    let profile = repo.state()["profiles"]["edu1"]["live"]["profile"].clone();
    let authorization = format!("Bearer {desk}");
    let headers = [("Authorization", authorization.as_str()), ("If-None-Match", "*")];
    let put =
        |profile: &Value| repo.http_without_token("PUT", "/v1/profiles/new", &headers, profile.to_string().as_bytes());
    refused(put(&profile), &["`create` the field"]);
    assert!(repo.state()["profiles"]["new"].is_null());

    // A changeset with the same changes, from the files.
    let from_files = |path: &str, from: &str, to: &str| {
        let before = repo.read(path);
        assert!(before.contains(from));
        repo.write(path, before.replace(from, to));
        let output = run_as(&repo, &desk, &["apply", "dev", "--yes", "--skip-verify"]);
        repo.write(path, before);
        output
    };
    let path = "environments/dev/profiles/edu1.yaml";
    let output = from_files(path, "smtp.example.com", "mx.example.com").code(1);
    assert!(output.stderr.contains("MW0400") && output.stderr.contains("provider.smtp.host"), "{}", output.stderr);
    let output = from_files("environments/dev/environment.yaml", "EDU2]", "EDU2, EDU3]").code(1);
    assert!(output.stderr.contains("MW0400") && output.stderr.contains("`companies`"), "{}", output.stderr);
    from_files(path, "erp@example.com", "mail@example.com").code(0);

    // A rollback that returns a field of another one's.
    let admin_patch = repo.patch("edu1", &json!({ "limits": { "perMinute": 7 } }));
    assert_eq!(admin_patch.status, 200, "{}", admin_patch.body);
    let generation = repo.state()["generation"].as_u64().unwrap();
    let rollback = json!({ "to": generation - 1, "base": generation }).to_string();
    refused(ask(&repo, &desk, "POST", "/v1/rollbacks", &rollback), &["limits.perMinute"]);
    assert_eq!(repo.state()["generation"], generation);
    let audit = repo.run(&["audit", "list", "dev"]).code(0).stdout;
    assert!(audit.contains("MW0400"), "{audit}");
}

#[test]
fn one_profile_and_one_cell_are_seen_by_who_may_see_its_company() {
    let repo = serve(DESK.replace("roles: [desk, reader]", "roles: [desk]").as_str());
    let desk = token(&repo, "desk", "bound");
    let status = |path: &str| ask(&repo, &desk, "GET", path, "").status;
    assert_eq!(
        (status("/v1/profiles/edu1"), status("/v1/profiles/edu2"), status("/v1/profiles/relay")),
        (200, 403, 403)
    );
    let resolve = |company: &str| status(&format!("/v1/resolve?company={company}&function=all-documents"));
    assert_eq!((resolve("EDU1"), resolve("EDU2")), (200, 403));
    assert_eq!((status("/v1/state"), status("/v1/generations"), status("/v1/messages")), (403, 403, 403));
}

#[test]
fn mail_of_other_companies_is_neither_seen_nor_changed() {
    let policy = "\
roles:
  desk:
    grants:
      - { areas: [outbox], activities: [see, cancel, hold], companies: [EDU1] }
bindings:
  desk: { subjects: [{ token: desk }], roles: [desk] }
";
    let repo = serve(policy);
    let desk = token(&repo, "desk", "bound");
    let admin = repo.token().to_owned();
    // Nothing is sent while everything is held.
    repo.run(&["outbox", "hold", "dev", "--function", "all-documents", "--reason", "test"]).code(0);
    let send = |company: &str| {
        let mail = json!({ "company": company, "function": "all-documents", "to": ["a@example.org"], "subject": "s", "text": "t" });
        let sent = ask(&repo, &admin, "POST", "/v1/messages", &mail.to_string());
        assert_eq!(sent.status, 202, "{}", sent.body);
        sent.json()["id"].as_str().unwrap().to_owned()
    };
    let (own, other) = (send("EDU1"), send("EDU2"));
    let list = ask(&repo, &desk, "GET", "/v1/messages", "").json();
    let ids: Vec<&str> = list["messages"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [own.as_str()]);
    let status = |method: &str, path: String, body: &str| ask(&repo, &desk, method, &path, body).status;
    assert_eq!(status("GET", format!("/v1/messages/{other}"), ""), 404);
    assert_eq!(status("POST", format!("/v1/messages/{other}/cancel"), ""), 404);
    assert_eq!(status("POST", format!("/v1/messages/{own}/retry"), ""), 403, "an activity that it lacks");
    assert_eq!(status("GET", "/v1/outbox".to_owned(), ""), 403, "the counts are those of all companies");
    let hold = |company: Option<&str>| {
        let mut hold = json!({ "reason": "r" });
        if let Some(company) = company {
            hold["company"] = json!(company);
        } else {
            hold["function"] = json!("default");
        }
        status("POST", "/v1/holds".to_owned(), &hold.to_string())
    };
    assert_eq!((hold(Some("EDU1")), hold(Some("EDU2")), hold(None)), (201, 403, 403));
    assert_eq!(status("POST", format!("/v1/messages/{own}/cancel"), ""), 200);
}

const DELEGATED: &str = "\
roles:
  keeper:
    grants:
      - { areas: [access], activities: [change] }
      - { areas: [changes], activities: [apply, plan] }
      - { areas: [service, profiles, settings, access], activities: [see] }
  reader:
    grants: [{ areas: [service, profiles], activities: [see] }]
bindings:
  keeper: { subjects: [{ token: keeper }], roles: [keeper] }
";

#[test]
fn a_caller_gives_no_rights_that_it_does_not_have() {
    let repo = serve(DELEGATED);
    let keeper = token(&repo, "keeper", "bound");
    let deployer = token(&repo, "ci", "deployer");
    let apply = |token: &str, policy: &str, more: &[&str]| {
        repo.write("environments/dev/access.yaml", policy);
        run_as(&repo, token, &[&["apply", "dev", "--yes", "--skip-verify"][..], more].concat())
    };
    // A right that is added is shown, and needs an allowance for this plan.
    let other = format!("{DELEGATED}  auditor: {{ subjects: [{{ operator: ann }}], roles: [reader] }}\n");
    repo.write("environments/dev/access.yaml", &other);
    let plan = run_as(&repo, &keeper, &["plan", "dev"]).code(0).stdout;
    assert!(plan.contains("settings  environments/dev/access.yaml:"), "{plan}");
    assert!(plan.contains("`operator:ann` may see in `service`; see in `profiles`"), "{plan}");
    assert!(plan.contains("--allow-rights"), "{plan}");
    let output = apply(&keeper, &other, &[]).code(1);
    assert!(output.stderr.contains("MW0402") && output.stderr.contains("--allow-rights"), "{}", output.stderr);
    // A deployer carries files out; it does not change rights.
    let output = apply(&deployer, &other, &["--allow-rights"]).code(1);
    assert!(output.stderr.contains("MW0400") && output.stderr.contains("access policy"), "{}", output.stderr);
    apply(&keeper, &other, &["--allow-rights"]).code(0);

    // More than it has: for itself, for another one, by a larger role of someone who is bound already.
    for more in [
        "  more: { subjects: [{ token: KEEPER }], roles: [deployer] }\n",
        "  more: { subjects: [{ token: spare }], roles: [viewer] }\n",
        "  more: { subjects: [{ group: Staff, issuer: https://login.example.com }], roles: [admin] }\n",
    ] {
        let output = apply(&keeper, &format!("{DELEGATED}{more}"), &["--allow-rights"]).code(1);
        assert!(output.stderr.contains("MW0401") && output.stderr.contains("does not have"), "{}", output.stderr);
    }
    let larger =
        DELEGATED.replace("areas: [service, profiles], activities: [see]", "areas: [history], activities: [see]");
    let larger = format!("{larger}  auditor: {{ subjects: [{{ operator: ann }}], roles: [reader] }}\n");
    assert!(apply(&keeper, &larger, &["--allow-rights"]).code(1).stderr.contains("MW0401"));
    // To take rights away needs no allowance.
    apply(&keeper, DELEGATED, &[]).code(0);
    // An administrator may; the token's rights change at once.
    assert_eq!(ask(&repo, &keeper, "GET", "/v1/generations", "").status, 403);
    let own = format!("{DELEGATED}  more: {{ subjects: [{{ token: KEEPER }}], roles: [deployer] }}\n");
    repo.write("environments/dev/access.yaml", &own);
    repo.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-rights"]).code(0);
    assert_eq!(ask(&repo, &keeper, "GET", "/v1/generations", "").status, 200);
    let audit = repo.http("GET", "/v1/audit?limit=500", &[], b"").body;
    assert!(audit.contains("rightsAdded") && audit.contains("token:KEEPER"), "{audit}");
}

#[test]
fn a_rollback_returns_no_rights() {
    let repo = serve(DELEGATED);
    let keeper = token(&repo, "keeper", "bound");
    repo.write("environments/dev/access.yaml", "bindings: {}\n");
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    assert_eq!(ask(&repo, &keeper, "GET", "/v1/service", "").status, 403);
    assert_eq!(repo.patch("relay", &json!({ "description": "x" })).status, 200);
    repo.run(&["rollback", "dev", "--to", "1", "--yes"]).code(0);
    assert!(repo.state()["settings"]["access"].is_null());
    assert_eq!(ask(&repo, &keeper, "GET", "/v1/service", "").status, 403);
    let first = repo.http("GET", "/v1/generations/1", &[], b"").json();
    assert!(first["settings"]["access"]["roles"]["keeper"].is_object(), "the history keeps it: {first}");
}

#[test]
fn a_token_is_not_created_with_more_rights_than_its_creator_has() {
    let policy = "\
roles:
  clerk:
    grants:
      - { areas: [tokens], activities: [see, create] }
      - { areas: [mail], activities: [submit, look-up], companies: [EDU1] }
      - { areas: [own-mail], activities: [see, cancel], companies: [EDU1] }
bindings:
  clerk: { subjects: [{ token: clerk }], roles: [clerk] }
  boss: { subjects: [{ token: boss }], roles: [admin] }
";
    let repo = serve(policy);
    let clerk = token(&repo, "clerk", "bound");
    let create = |wanted: Value| ask(&repo, &clerk, "POST", "/v1/tokens", &wanted.to_string());
    let refused = |answer: HttpResponse| {
        assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("MW0401")), "{}", answer.body);
    };
    refused(create(json!({ "name": "x", "role": "admin" })));
    refused(create(json!({ "name": "x", "role": "viewer" })));
    refused(create(json!({ "name": "Boss", "role": "bound" })));
    refused(create(json!({ "name": "x", "role": "sender" })));
    let scope = json!({ "companies": ["EDU1"] });
    let created = create(json!({ "name": "x", "role": "sender", "scope": scope }));
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(create(json!({ "name": "y", "role": "bound" })).status, 201);
}

#[test]
fn the_last_administrator_stays() {
    // The first token expires; from then on only the binding gives the role `admin`.
    let policy = "bindings:\n  chief: { subjects: [{ token: chief }], roles: [admin] }\n";
    let repo = serve(policy);
    let chief = token(&repo, "chief", "bound");
    // While a token has the role, the binding may go.
    repo.write("environments/dev/access.yaml", "bindings: {}\n");
    let dry = run_as(&repo, &chief, &["plan", "dev"]);
    assert_eq!(dry.code, 0, "{}{}", dry.stdout, dry.stderr);
    let own_id = repo.token().split('_').nth(1).unwrap().to_owned();
    let answer = ask(&repo, &chief, "DELETE", &format!("/v1/tokens/{own_id}"), "");
    assert_eq!((answer.status, answer.json()["code"].as_str()), (409, Some("MW0333")), "{}", answer.body);
    run_as(&repo, &chief, &["apply", "dev", "--yes", "--skip-verify"]).code(0);
    assert_eq!(ask(&repo, &chief, "GET", "/v1/service", "").status, 403);
}

#[test]
fn a_token_cannot_step_up_and_is_told() {
    let policy = "\
roles:
  desk:
    grants:
      - { areas: [profiles], activities: [change], stepUp: 10m }
      - { areas: [changes], activities: [edit] }
bindings:
  desk: { subjects: [{ token: desk }], roles: [desk] }
";
    let repo = serve(policy);
    let desk = token(&repo, "desk", "bound");
    let answer = ask(&repo, &desk, "PATCH", "/v1/profiles/relay", r#"{"description":"x"}"#);
    assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("MW0403")), "{}", answer.body);
    assert!(answer.body.contains("a token cannot do that") && answer.body.contains("console"), "{}", answer.body);
    let explained = repo.run(&["access", "explain", "dev", "desk", "profiles:change", "--live"]).code(2).stdout;
    assert!(explained.contains("may not") && explained.contains("a token cannot do that"), "{explained}");
    // The role of a token is the service's to know.
    token(&repo, "ci", "deployer");
    let explained = repo.run(&["access", "explain", "dev", "token:CI", "profiles:change", "--live"]).code(0).stdout;
    assert!(explained.contains("grant") && explained.contains("role `deployer`"), "{explained}");
    repo.run(&["access", "explain", "dev", "token:ci", "profiles:change"]).code(2);
}

#[test]
fn who_may_not_give_rights_names_no_signer_who_could() {
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKpWRTVvPMBFMvVdX6mbkcfFc5oT5MNjGa0bNcSyNUFP";
    let repo = serve("bindings: {}\n");
    let deployer = token(&repo, "alice", "deployer");
    let keeper = token(&repo, "keeper", "bound");
    let approvals = |more: &str| {
        let signer = format!("policy: {{ approvals: {{ signers: [{{ name: alice, key: '{KEY}' }}]{more} }} }}\n");
        repo.write("environments/dev/environment.yaml", format!("companies: [EDU1, EDU2]\n{signer}"));
    };
    // Without rules no approval is needed, so a signer would be named alone, and approve any right from then on.
    approvals(", rules: [{ count: 1, actions: [rename] }]");
    let output = run_as(&repo, &deployer, &["apply", "dev", "--yes", "--skip-verify"]).code(1);
    assert!(output.stderr.contains("MW0400") && output.stderr.contains("signers and rules"), "{}", output.stderr);
    assert!(repo.state()["settings"]["policy"]["approvals"].is_null());
    // The right to change the policy is not enough: a signer can approve more than the caller has.
    repo.write("environments/dev/environment.yaml", "companies: [EDU1, EDU2]\n");
    repo.write(
        "environments/dev/access.yaml",
        DELEGATED.replace("[apply, plan] }", "[apply, plan] }\n      - { areas: [settings], activities: [change] }"),
    );
    repo.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-rights"]).code(0);
    approvals("");
    let output = run_as(&repo, &keeper, &["apply", "dev", "--yes", "--skip-verify"]).code(1);
    assert!(output.stderr.contains("MW0400") && output.stderr.contains("signers and rules"), "{}", output.stderr);
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    assert_eq!(repo.state()["settings"]["policy"]["approvals"]["signers"][0]["name"], "alice");
}

/// Seals a value for the mail server of the profiles. Two files of a company have the same value.
fn seal(recipient: &str, company: &str) -> String {
    let recipients = Recipients::parse(recipient, &NoCallbacks).unwrap();
    let host = "smtp.example.com".to_owned();
    let destination = Destination::Smtp { host, port: 587, encryption: Encryption::Starttls };
    let destination = destination.digest(&"dev".parse().unwrap());
    let id = ValueId::from_random([company.as_bytes()[3]; 16]);
    let value = SecretSlice::from(format!("value-of-{company}").into_bytes());
    String::from_utf8(seal_for(&value, &recipients, &id, &destination).unwrap()).unwrap()
}

#[test]
fn a_login_of_another_company_is_not_taken() {
    let policy = "\
roles:
  desk:
    grants:
      - { areas: [profiles], activities: [see] }
      - { areas: [profiles], activities: [create, change, rotate, verify], companies: [EDU1] }
      - { areas: [changes], activities: [edit, apply] }
bindings:
  desk: { subjects: [{ token: desk }], roles: [desk] }
";
    let repo = serve(policy);
    let desk = token(&repo, "desk", "bound");
    let service = repo.http("GET", "/v1/service", &[], b"").json();
    let recipient = service["recipient"].as_str().unwrap();
    repo.write("secrets/dev/recipients.txt", format!("{recipient}\n"));
    // A login of EDU2, and one that profiles of EDU1 share.
    for (name, company, secret) in [("edu2", "EDU2", "edu2/password"), ("edu1", "EDU1", "edu1/password")] {
        let login =
            format!("encryption: starttls\n    username: {company}\n    password: {{ secret: {secret} }}\nfrom:");
        let profile =
            SMALL_PROFILE.replace("[default]", "[all-documents]").replacen("from:", &format!("    {login}"), 1);
        let profile = profile.replace("system-wide", &format!("{{ companies: [{company}] }}"));
        repo.write(&format!("environments/dev/profiles/{name}.yaml"), profile);
        repo.write(&format!("secrets/dev/{secret}.age"), seal(recipient, company));
    }
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let live = repo.state()["profiles"]["edu1"]["live"]["profile"].clone();
    let with_secret = |secret: &str| {
        let mut profile = live.clone();
        profile["provider"]["smtp"]["password"]["secret"] = json!(secret);
        profile["functions"] = json!(["document-quality"]);
        profile
    };
    let authorization = format!("Bearer {desk}");
    let create = |profile: &Value| {
        let headers = [("Authorization", authorization.as_str()), ("If-None-Match", "*")];
        repo.http_without_token("PUT", "/v1/profiles/other", &headers, profile.to_string().as_bytes())
    };
    let refused = |answer: HttpResponse, activity: &str| {
        assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("MW0400")), "{}", answer.body);
        let words = [activity, "provider.smtp.password", "EDU2", "other profiles use this credential"];
        assert!(words.iter().all(|word| answer.body.contains(word)), "{}", answer.body);
    };
    refused(create(&with_secret("edu2/password")), "`create`");
    let patch = json!({ "provider": { "smtp": { "password": { "secret": "edu2/password" } } } }).to_string();
    refused(ask(&repo, &desk, "PATCH", "/v1/profiles/edu1", &patch), "`change`");
    // Under the name of its own secret, in a changeset: only the digest says whose value it is.
    let state = repo.state();
    let mut stored = state["profiles"]["edu1"]["live"].clone();
    stored["secrets"]["edu1/password"] = state["profiles"]["edu2"]["live"]["secrets"]["edu2/password"].clone();
    let changeset = json!({
        "id": UNKNOWN, "environment": "dev", "base": state["generation"],
        "changes": [{ "action": "update", "name": "edu1", "profile": stored.clone() }],
    });
    refused(ask(&repo, &desk, "POST", "/v1/changesets", &changeset.to_string()), "`rotate`");
    // In another file of the same value, as Git has one from before the recipients changed.
    let other = seal(recipient, "EDU2");
    let digest = Header::read(other.as_bytes()).unwrap().digest;
    let mut changeset = changeset;
    changeset["changes"][0]["profile"]["secrets"]["edu1/password"] = json!(digest);
    changeset["secrets"] = json!({ digest.as_str(): BASE64_STANDARD.encode(&other) });
    refused(ask(&repo, &desk, "POST", "/v1/changesets", &changeset.to_string()), "`rotate`");
    // A verification signs in, too.
    let verify = |profile: &Value, secrets: Value| {
        let request = json!({ "environment": "dev", "profiles": { "edu1": profile }, "secrets": secrets });
        let answer = ask(&repo, &desk, "POST", "/v1/verify", &request.to_string());
        assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("MW0202")), "{}", answer.body);
    };
    verify(&stored, json!({}));
    verify(&changeset["changes"][0]["profile"], changeset["secrets"].clone());
    assert!(repo.state()["profiles"]["other"].is_null());
    // A login of its own company is shared freely, and kept by a profile that has it.
    let created = create(&with_secret("edu1/password"));
    assert!(created.status < 300, "{}", created.body);
    assert_eq!(ask(&repo, &desk, "PATCH", "/v1/profiles/edu1", r#"{"description":"x"}"#).status, 200);
    // A file that the service has and no profile uses, with the header of another file under its digest.
    repo.write("secrets/dev/edu2/password.age", seal(recipient, "EDU2"));
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let unused = stored["secrets"]["edu1/password"].as_str().unwrap();
    verify(&stored, json!({ unused: BASE64_STANDARD.encode(seal(recipient, "EDU1")) }));
}

#[test]
fn who_may_change_settings_takes_no_credential_of_a_profile_for_the_reader() {
    let policy = "\
roles:
  settings:
    grants:
      - { areas: [settings], activities: [see, change] }
      - { areas: [profiles], activities: [see] }
      - { areas: [profiles], activities: [change], fields: [provider.microsoft-graph-direct.credential.clientSecret], companies: [EDU1] }
      - { areas: [changes], activities: [plan, apply] }
bindings:
  desk: { subjects: [{ token: desk }], roles: [settings] }
";
    let repo = serve(policy);
    let desk = token(&repo, "desk", "bound");
    let service = repo.http("GET", "/v1/service", &[], b"").json();
    let recipient = service["recipient"].as_str().unwrap();
    repo.write("secrets/dev/recipients.txt", format!("{recipient}\n"));
    let direct = json!({
        "tenant": "contoso.example", "client": "0c0ffee0-0000-4000-8000-0000000000d1",
        "credential": { "clientSecret": { "secret": "graph/secret" } },
    });
    let write = |companies: &str| {
        repo.write(
            "environments/dev/profiles/graph.yaml",
            format!(
                "provider: {{ microsoft-graph-direct: {direct} }}\nfrom: {{ address: documents@contoso.example }}\nfunctions: [document-quality]\nappliesTo: {{ companies: [{companies}] }}\n"
            ),
        );
        repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    };
    let recipients = Recipients::parse(recipient, &NoCallbacks).unwrap();
    let application: mailwright::model::GraphDirect = serde_json::from_value(direct.clone()).unwrap();
    let destination = application.destination().digest(&"dev".parse().unwrap());
    let seal = |id: u8, value: &str| {
        let value = SecretSlice::from(value.as_bytes().to_vec());
        String::from_utf8(seal_for(&value, &recipients, &ValueId::from_random([id; 16]), &destination).unwrap())
            .unwrap()
    };
    let file = seal(1, "the-secret-of-the-profile");
    repo.write("secrets/dev/graph/secret.age", &file);
    write("EDU1, EDU2");
    let number = std::cell::Cell::new(0x10_u8);
    let apply = |file: &str| {
        number.set(number.get() + 1);
        let digest = Header::read(file.as_bytes()).unwrap().digest;
        let state = repo.state();
        let mut settings = state["settings"].clone();
        settings["reader"] = json!({ "application": direct, "secret": digest });
        let changeset = json!({
            "id": format!("018f3a2e-0000-7000-8000-0000000000{:02x}", number.get()), "environment": "dev", "base": state["generation"],
            "changes": [], "settings": settings, "secrets": { digest.as_str(): BASE64_STANDARD.encode(file) },
        });
        ask(&repo, &desk, "POST", "/v1/changesets", &changeset.to_string())
    };
    // The file itself, and another file of the same value.
    for file in [&file, &seal(1, "the-secret-of-the-profile")] {
        let refused = apply(file);
        assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("MW0400")), "{}", refused.body);
        for word in ["EDU2", "`graph`", "clientSecret", "other profiles use this credential"] {
            assert!(refused.body.contains(word), "{word}: {}", refused.body);
        }
    }
    assert!(repo.state()["settings"]["reader"].is_null());
    // A credential of its own is given freely, and one of profiles by who may change it in all of them.
    let own = apply(&seal(2, "a-secret-of-the-reader"));
    assert!(own.status < 300, "{}", own.body);
    write("EDU1");
    let allowed = apply(&file);
    assert!(allowed.status < 300, "{}", allowed.body);
}

#[test]
fn profiles_of_another_company_are_not_verified() {
    let policy = "\
roles:
  desk:
    grants:
      - { areas: [profiles], activities: [see] }
      - { areas: [profiles], activities: [verify], companies: [EDU1] }
      - { areas: [changes], activities: [plan] }
bindings:
  desk: { subjects: [{ token: desk }], roles: [desk] }
";
    let repo = serve(policy);
    let desk = token(&repo, "desk", "bound");
    let state = repo.state();
    let verify = |profiles: Value| {
        let request = json!({ "environment": "dev", "profiles": profiles });
        ask(&repo, &desk, "POST", "/v1/verify", &request.to_string())
    };
    let live = |name: &str| state["profiles"][name]["live"].clone();
    let (own, other) = (live("edu1"), live("edu2"));
    let answer = verify(json!({ "edu1": own }));
    assert_eq!(answer.status, 200, "{}", answer.body);
    // Its own next to another one's, a profile of all companies, and one that it says is its own.
    for profiles in
        [json!({ "edu1": own, "edu2": other }), json!({ "relay": live("relay") }), json!({ "edu2": own.clone() })]
    {
        let answer = verify(profiles);
        assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("MW0202")), "{}", answer.body);
        assert!(answer.body.contains("`verify` in `profiles`"), "{}", answer.body);
    }
}
