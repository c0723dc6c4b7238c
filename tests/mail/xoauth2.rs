//! XOAUTH2 at third-party servers: Postfix asks Dovecot, and Dovecot asks the sandbox whether the token is valid.

use serde_json::{Value, json};

use crate::{
    graph::post_trusting,
    mail_service::QUICK,
    support::{
        postfix::{Introspection, Postfix},
        sandbox::{DIRECT, SECRET, Sandbox, TENANT, good},
    },
};

const MAILBOX: &str = "documents@contoso.example";

fn scenario(granted: &Value) -> Value {
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["granted"] = granted.clone();
    scenario
}

#[test]
fn dovecot_accepts_a_valid_token() {
    let sandbox = Sandbox::start(scenario(&json!(["SMTP.SendAsApp"])));
    let authority = sandbox.running.authority.clone();
    let url = format!("{}/sandbox/introspect", sandbox.running.address);
    let postfix = Postfix::start_with(Some(&Introspection { url, authority: authority.clone() }));
    let profile = json!({
        "provider": { "smtp": {
            "host": "localhost", "port": postfix.strict, "encryption": "starttls", "username": MAILBOX,
            "oauth": {
                "cloud": { "custom": { "signIn": "HERE", "graph": "HERE" } }, "tenant": TENANT, "client": DIRECT,
                "credential": { "clientSecret": { "secret": "documents/secret" } },
            },
        } },
        "from": { "address": MAILBOX }, "functions": ["default"], "appliesTo": "system-wide",
    });
    let trusted = format!("{authority}\n{}", postfix.authority);
    let service = post_trusting(&sandbox, QUICK, &profile, "documents/secret", SECRET, &trusted);
    // This server accepts no mail without a login.
    let id = service.send(json!({ "to": ["mailer@localhost"] }));
    let message = service.wait_until(&id, "an attempt", |message| !message["history"].as_array().unwrap().is_empty());
    assert_eq!(message["status"], "delivered", "{message:#}\n{}", postfix.log());
    let logged_in = format!("sasl_method=XOAUTH2, sasl_username={MAILBOX}");
    assert!(postfix.log().contains(&logged_in), "{}", postfix.log());

    // The role is withdrawn: the next token is not good any more. The profile is suspended, and its mail waits.
    sandbox.put(&scenario(&json!([])));
    let path = "environments/dev/profiles/documents.json";
    let changed = service.repo.read(path).replace("\"system-wide\"", "\"system-wide\",\"description\":\"again\"");
    service.repo.write(path, changed);
    service.apply();
    let waits = service.send(json!({ "to": ["mailer@localhost"] }));
    let outbox = service
        .wait_outbox("the suspended profile with its finding", |outbox| outbox["suspended"][0]["finding"].is_object());
    assert_eq!(outbox["suspended"][0]["finding"]["id"], "SMTP-LOGIN", "{outbox:#}\n{}", postfix.log());
    assert_eq!(service.message(&waits)["attempts"], 0);

    // It is granted again, and what waits leaves.
    sandbox.put(&scenario(&json!(["SMTP.SendAsApp"])));
    assert_eq!(service.wait(&waits, "delivered")["attempts"], 1);
    assert_eq!(service.outbox()["suspended"], json!([]));
}

#[test]
fn the_end_of_the_applications_secret_is_listed() {
    let read = json!(["SMTP.SendAsApp", "Application.Read.All"]);
    for (granted, reader, ends) in [
        (&read, "", json!("2027-11-23T12:00:00Z")),
        (
            &json!(["SMTP.SendAsApp"]),
            "verify: { reader: { tenant: contoso.example, client: 0c0ffee0-0000-4000-8000-0000000000aa, cloud: { custom: { signIn: HERE, graph: HERE } }, credential: { clientSecret: { secret: reader/secret } } } }\n",
            json!("2027-11-23T12:00:00Z"),
        ),
        // The file is unreadable, and mail leaves all the same.
        (&json!(["SMTP.SendAsApp"]), "", Value::Null),
    ] {
        let sandbox = Sandbox::start(scenario(granted));
        let address = sandbox.running.address.clone();
        let profile = json!({
            "provider": { "smtp": {
                "host": "localhost", "port": sandbox.running.smtp.port(), "encryption": "starttls", "username": MAILBOX,
                "oauth": {
                    "cloud": { "custom": { "signIn": "HERE", "graph": "HERE" } }, "tenant": TENANT, "client": DIRECT,
                    "credential": { "clientSecret": { "secret": "documents/secret" } },
                },
            } },
            "from": { "address": MAILBOX }, "functions": ["default"], "appliesTo": "system-wide",
        });
        let authority = sandbox.running.authority.clone();
        let service = post_trusting(&sandbox, QUICK, &profile, "documents/secret", SECRET, &authority);
        let file = "environments/dev/environment.yaml";
        service.repo.write(file, service.repo.read(file) + &reader.replace("HERE", &address));
        if !reader.is_empty() {
            service.repo.pipe(&["secrets", "set", "dev", "reader/secret"], b"reader-secret").code(0);
        }
        let verified = service.repo.run(&["verify", "dev", "--format", "json"]).json();
        let listed = service.repo.run(&["secrets", "expiring", "--format", "json"]).code(0).json();
        let credential = &listed["credentials"][0];
        assert_eq!(credential["ends"], ends, "{verified:#}");
        assert_eq!((&credential["profile"], &credential["kind"]), (&json!("documents"), &json!("client-secret")));
        assert!(credential["verifiedAt"].is_string(), "{listed:#}");
    }
}
