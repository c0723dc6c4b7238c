//! Sending by Graph without a secret: a token of another issuer, in a file of the service's machine that another program
//! renews. It is read whenever a token is fetched, so that a renewed one needs no restart and no change.

use std::path::PathBuf;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    mail_service::{DEADLINES, MailService, QUICK, environment},
    support::{
        repository::TestRepository,
        sandbox::{DIRECT, Sandbox, TENANT, good},
    },
};

const ISSUER: &str = "https://issuer.example";

/// A scenario whose application trusts the issuer for a subject.
fn trusting(subject: &str) -> Value {
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["federated"] = json!([{ "issuer": ISSUER, "subject": subject }]);
    scenario
}

/// Puts another token in the file's place, as those do who renew them: whole or not at all.
fn renew(service: &MailService, subject: &str) {
    let part = |document: Value| BASE64_URL_SAFE_NO_PAD.encode(document.to_string());
    let claims =
        json!({ "iss": ISSUER, "sub": subject, "aud": ["api://AzureADTokenExchange"], "exp": 4_000_000_000_u64 });
    let token = format!("{}.{}.c2lnbmF0dXJl", part(json!({ "alg": "RS256", "typ": "JWT" })), part(claims));
    service.repo.write("token.new", token);
    std::fs::rename(service.repo.path("token.new"), file(service)).unwrap();
}

fn file(service: &MailService) -> PathBuf {
    service.repo.path("token")
}

/// A service whose one profile signs in with the file, which is for that profile.
fn start_service(sandbox: &Sandbox) -> MailService {
    let service = start_with_token_file(sandbox, &[], |file| format!("{file}{}", token_binding(sandbox, "")));
    service.apply();
    service
}

/// The value of the option for a file that belongs to the profile of these scenarios.
fn token_binding(sandbox: &Sandbox, more: &str) -> String {
    format!("=dev,tenant={TENANT},client={DIRECT},sign-in={}{more}", sandbox.running.address)
}

/// The same, with the option that `option` makes of the file, and nothing applied. The `others` are trusted as well.
fn start_with_token_file(sandbox: &Sandbox, others: &[&Sandbox], option: impl Fn(&str) -> String) -> MailService {
    let repo = TestRepository::without_profiles();
    environment(&repo, QUICK);
    let mut service = MailService { repo };
    let mut profile = crate::graph::profile();
    profile["provider"]["microsoft-graph-direct"]["credential"] = json!({ "federatedTokenFile": file(&service) });
    let text = profile.to_string().replace("HERE", &sandbox.running.address);
    service.repo.write("environments/dev/profiles/documents.json", text);
    let trusted = others.iter().fold(sandbox.running.authority.clone(), |all, other| all + &other.running.authority);
    service.repo.write("ca.pem", trusted);
    let (ca, token) = (service.repo.path("ca.pem"), option(file(&service).to_str().unwrap()));
    let own = ["--demo", "--outgoing-ca-file", ca.to_str().unwrap(), "--federated-token-file", &token];
    service.repo.serve_with(&[&own[..], &DEADLINES[..]].concat());
    service
}

/// Changes the profile's provider.
fn edit(service: &MailService, change: impl FnOnce(&mut Value)) -> String {
    const PATH: &str = "environments/dev/profiles/documents.json";
    let before = service.repo.read(PATH);
    let mut profile: Value = serde_json::from_str(&before).unwrap();
    change(&mut profile["provider"]);
    service.repo.write(PATH, profile.to_string());
    before
}

/// The provider that has a mail server take the token.
fn smtp_provider(provider: &Value, host: &str) -> Value {
    let mut oauth = provider["microsoft-graph-direct"].clone();
    oauth.as_object_mut().unwrap().remove("addressBook");
    json!({ "smtp": { "host": host, "port": 587, "username": "documents@contoso.example", "oauth": oauth } })
}

/// An apply and a verify that the service refuses to use the token for.
fn assert_refused(service: &MailService, sandbox: &Sandbox, why: &str) {
    let (tokens, generation) = (requests(sandbox, "/oauth2/v2.0/token"), service.repo.state()["generation"].clone());
    let apply = service.repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(1);
    assert!(apply.stderr.contains("MW0385") && apply.stderr.contains(why), "{}", apply.stderr);
    let plan = service.repo.run(&["plan", "dev"]);
    assert!(plan.stderr.contains("MW0385"), "{}", plan.stderr);
    let verify = service.repo.run(&["verify", "dev", "--format", "json"]).json();
    let findings = verify["profiles"][0]["findings"].as_array().unwrap();
    let accepted = findings.iter().any(|finding| finding["id"] == "GRAPH-SIGN-IN" && finding["verdict"] == "pass");
    assert!(!accepted, "{findings:#?}");
    assert_eq!(requests(sandbox, "/oauth2/v2.0/token"), tokens, "no token is asked for");
    assert_eq!(service.repo.state()["generation"], generation);
}

#[test]
fn a_file_in_use_goes_nowhere_else_that_a_merge_names() {
    type Change = Box<dyn FnOnce(&mut Value)>;
    let (sandbox, other) = (Sandbox::start(trusting("one")), Sandbox::start(trusting("one")));
    let service = start_with_token_file(&sandbox, &[&other], |file| format!("{file}{}", token_binding(&sandbox, "")));
    service.apply();
    renew(&service, "one");
    let id = service.send(json!({}));
    service.wait(&id, "delivered");
    let (own, address) = (sandbox.running.address.clone(), other.running.address.clone());
    let direct = |key: &'static str, value: Value| -> Change {
        Box::new(move |provider| provider["microsoft-graph-direct"][key] = value)
    };
    let cloud = |sign_in: &str, graph: &str| json!({ "custom": { "signIn": sign_in, "graph": graph } });
    let elsewhere = cloud(&address, &address);
    for change in [
        direct("cloud", elsewhere.clone()),
        direct("cloud", cloud(&own, &address)),
        direct("cloud", cloud(&own, "https://graph.microsoft.com")),
        direct("cloud", cloud(&address, &own)),
        direct("tenant", json!("evil.example")),
        direct("client", json!("0c0ffee0-0000-4000-8000-0000000000ff")),
        // The same application, whose token a mail server would get: at its own sign-in host and at another one.
        Box::new(|provider: &mut Value| *provider = smtp_provider(provider, "localhost")),
        Box::new(|provider: &mut Value| {
            *provider = smtp_provider(provider, "localhost");
            provider["smtp"]["oauth"]["cloud"] = elsewhere;
        }),
    ] {
        let before = edit(&service, change);
        assert_refused(&service, &sandbox, "the file is for client");
        service.repo.write("environments/dev/profiles/documents.json", before);
    }
    // Nor does another profile.
    let profile = service.repo.read("environments/dev/profiles/documents.json");
    let profile = profile.replace("\"default\"", "\"all-reports\"").replace(TENANT, "evil.example");
    service.repo.write("environments/dev/profiles/other.json", profile);
    let apply = service.repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(1);
    assert!(apply.stderr.contains("MW0385") && apply.stderr.contains("profile `other`"), "{}", apply.stderr);
    assert_eq!((requests(&other, "/token"), requests(&other, "/v1.0")), (0, 0), "the other host gets no token");
}

#[test]
fn a_reader_uses_a_file_only_where_the_option_says_so() {
    let (sandbox, other) = (Sandbox::start(trusting("one")), Sandbox::start(trusting("one")));
    let service = start_with_token_file(&sandbox, &[&other], |file| format!("{file}{}", token_binding(&sandbox, "")));
    service.apply();
    renew(&service, "one");
    let (own, address) = (sandbox.running.address.clone(), other.running.address.clone());
    let file = file(&service).display().to_string();
    let unnamed = service.repo.path("another").display().to_string();
    let reader = |sign_in: &str, graph: &str, tenant: &str, file: &str| {
        let reader = json!({
            "cloud": { "custom": { "signIn": sign_in, "graph": graph } }, "tenant": tenant, "client": DIRECT,
            "credential": { "federatedTokenFile": file },
        });
        environment(&service.repo, &format!("{QUICK}verify:\n  reader: {reader}\n"));
    };
    for (sign_in, graph, tenant, file) in [
        (&address, &address, TENANT, &file),
        (&own, &address, TENANT, &file),
        (&own, &own, "evil.example", &file),
        (&own, &own, TENANT, &unnamed),
    ] {
        reader(sign_in, graph, tenant, file);
        let before = service.repo.state()["generation"].clone();
        for command in [&["apply", "dev", "--yes", "--skip-verify"][..], &["plan", "dev"]] {
            let said = service.repo.run(command).stderr;
            assert!(said.contains("MW0385") && said.contains("`verify.reader`"), "{said}");
        }
        service.repo.run(&["verify", "dev"]);
        assert_eq!(service.repo.state()["generation"], before);
    }
    assert_eq!((requests(&other, "/token"), requests(&other, "/v1.0")), (0, 0), "the other host gets no token");
    let before = service.repo.state()["generation"].clone();
    reader(&own, &own, TENANT, &file);
    service.repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    assert_ne!(service.repo.state()["generation"], before, "the reader is live");
    let tokens = requests(&sandbox, "/oauth2/v2.0/token");
    let verified = service.repo.run(&["verify", "dev", "--format", "json"]).stdout;
    assert!(!verified.contains("could not be read"), "{verified}");
    assert!(requests(&sandbox, "/oauth2/v2.0/token") >= tokens + 2, "the profile and the reader sign in");
}

#[test]
fn an_option_names_the_profile_that_a_file_belongs_to() {
    let sandbox = Sandbox::start(trusting("one"));
    let service = start_with_token_file(&sandbox, &[], |file| format!("{file}{}", token_binding(&sandbox, "")));
    renew(&service, "one");
    let before = edit(&service, |provider| provider["microsoft-graph-direct"]["tenant"] = json!("evil.example"));
    assert_refused(&service, &sandbox, "the file is for client");
    service.repo.write("environments/dev/profiles/documents.json", before);
    // The token of an application for Graph is not one that a mail server gets.
    let before = edit(&service, |provider| *provider = smtp_provider(provider, "evil.example"));
    assert_refused(&service, &sandbox, "the file is for client");
    service.repo.write("environments/dev/profiles/documents.json", before);
    service.apply();
    let id = service.send(json!({}));
    service.wait(&id, "delivered");
    assert_eq!(requests(&sandbox, "/oauth2/v2.0/token"), 1);
}

#[test]
fn a_mail_server_gets_the_token_only_where_the_option_names_it() {
    let sandbox = Sandbox::start(trusting("one"));
    let service =
        start_with_token_file(&sandbox, &[], |file| format!("{file}{}", token_binding(&sandbox, ",server=localhost")));
    renew(&service, "one");
    assert_refused(&service, &sandbox, "the file is for client");
    let before = edit(&service, |provider| *provider = smtp_provider(provider, "mail.evil.example"));
    assert_refused(&service, &sandbox, "for the mail server localhost");
    service.repo.write("environments/dev/profiles/documents.json", before);
    edit(&service, |provider| *provider = smtp_provider(provider, "localhost"));
    service.apply();
}

fn requests(sandbox: &Sandbox, part: &str) -> usize {
    let requests = sandbox.get("requests");
    requests.as_array().unwrap().iter().filter(|request| request["path"].as_str().unwrap().contains(part)).count()
}

#[test]
fn a_federated_token_sends_and_a_renewed_one_is_read_when_the_next_is_needed() {
    let sandbox = Sandbox::start(trusting("one"));
    let service = start_service(&sandbox);
    renew(&service, "one");
    let id = service.send(json!({}));
    service.wait(&id, "delivered");
    assert_eq!(sandbox.get("mail").as_array().unwrap().len(), 1);
    // Another subject is trusted from now on, and the file holds its token; what was fetched is good for as long as it
    // is.
    sandbox.put(&trusting("two"));
    renew(&service, "two");
    let id = service.send(json!({}));
    assert_eq!(service.wait(&id, "delivered")["history"].as_array().unwrap().len(), 1);
    assert_eq!(requests(&sandbox, "/oauth2/v2.0/token"), 1, "the token in use has not ended");
    // It is withdrawn: the next one is fetched with what the file holds now.
    sandbox.fault(&json!({ "at": "/sendMail", "status": 401, "code": "InvalidAuthenticationToken", "times": 1 }));
    let id = service.send(json!({}));
    let message = service.wait(&id, "delivered");
    assert_eq!(message["history"].as_array().unwrap().len(), 1, "within one attempt: {message:#}");
    assert_eq!(requests(&sandbox, "/oauth2/v2.0/token"), 2);
    assert_eq!(service.outbox()["suspended"], json!([]));
}

#[test]
fn a_token_that_is_missing_or_not_trusted_parks_until_the_file_is_right() {
    let sandbox = Sandbox::start(trusting("one"));
    let service = start_service(&sandbox);
    let id = service.send(json!({}));
    let outbox =
        service.wait_outbox("the suspended profile", |outbox| outbox["suspended"][0]["profile"] == "documents");
    assert!(
        outbox["suspended"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("cannot use the federated token: cannot read the file"),
        "{outbox:#}"
    );
    renew(&service, "another subject");
    let outbox = service.wait_outbox("the finding", |outbox| outbox["suspended"][0]["finding"].is_object());
    assert!(outbox["suspended"][0]["finding"]["id"].as_str().unwrap().starts_with("GRAPH-"), "{outbox:#}");
    renew(&service, "one");
    let message = service.wait(&id, "delivered");
    assert_eq!(message["attempts"], 1, "{message:#}");
    let first = &message["history"][0];
    assert_eq!((&first["phase"], &first["class"]), (&json!("token"), &json!("auth")), "{message:#}");
    let path = file(&service).display().to_string();
    assert!(
        !message.to_string().contains("c2lnbmF0dXJl") && !service.log().contains("c2lnbmF0dXJl"),
        "{path} stays there"
    );
}
