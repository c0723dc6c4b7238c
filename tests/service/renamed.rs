//! Names that were replaced are read as the current ones, or their refusal has the current one.

use std::fmt::Debug;

use mailwright::{
    api::{
        VerifyRequest,
        messages::{ActionOptions, OutboxStatus, Submission},
    },
    config::read_document,
    model::{
        Message,
        delivery::Delivery,
        renamed::{NamePlace, RENAMED, Renamed},
        rotation::Rotation,
    },
    service::OidcSettings,
    store::outbox::Event,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::support::repository::TestRepository;

#[test]
fn every_replaced_name_is_read_or_its_refusal_has_the_current_one() {
    let mut repo = TestRepository::small();
    repo.serve();
    for renamed in RENAMED {
        match renamed.place {
            NamePlace::File(schema) => is_refused_with_the_current_name(&repo, schema, renamed),
            NamePlace::Document(document) => is_read(&repo, document, renamed),
            NamePlace::Query(path) => is_accepted_in_a_query(&repo, path, renamed),
            NamePlace::Command(command) => is_accepted_as_an_option(&repo, command, renamed),
        }
    }
}

fn is_refused_with_the_current_name(repo: &TestRepository, schema: &str, renamed: &Renamed) {
    let delivery = |value: &str| match (schema, renamed.old) {
        ("environment", "look") => format!("functions: {{ default: {{ unknown: {value} }} }}"),
        ("environment", "parked") => format!("webhooks: [{{ url: 'https://hook.example/', events: [{value}] }}]"),
        other => panic!("no sample of {other:?}"),
    };
    let file = "environments/dev/environment.yaml";
    let before = repo.read(file);
    let with = |value: &str| format!("{before}delivery: {{ {} }}\n", delivery(value));
    repo.write(file, with(renamed.old));
    let output = repo.run(&["validate"]).code(1);
    let all = format!("{}{}", output.stdout, output.stderr);
    assert!(all.contains(&format!("Did you mean `{}`?", renamed.new)), "{all}");
    repo.write(file, with(renamed.new));
    repo.run(&["validate"]).code(0);
    repo.write(file, before);
}

/// A document with the old name is the same as one with the current name.
fn is_read(repo: &TestRepository, document: &str, renamed: &Renamed) {
    let message = || {
        let cell = json!({ "company": "EDU1", "function": "default" });
        json!({
            "id": uuid::Uuid::from_u128(1), "status": "queued", "company": "EDU1", "function": "default",
            "messageId": "<1@example.com>", "subject": "s", "size": 4, "recipients": [], "by": "sender",
            "acceptedAt": "2026-01-01T00:00:00Z", "generation": 1, "profile": "relay",
            "resolution": { "cell": cell, "profile": "relay", "steps": [] }, "attempts": 0, "searchFirst": true,
        })
    };
    match document {
        "Delivery" => {
            let webhook = json!({ "url": "https://hook.example/", "events": ["suspended"] });
            let functions = json!({ "default": { "unknown": "search-sent-items" } });
            same::<Delivery>(renamed, json!({ "functions": functions, "webhooks": [webhook] }));
        }
        "Event" => {
            same::<Event>(renamed, json!({ "number": 1, "type": "suspended", "at": "2026-01-01T00:00:00Z" }));
        }
        "Message" => same::<Message>(renamed, message()),
        "OutboxStatus" => same::<OutboxStatus>(
            renamed,
            json!({
                "messages": {}, "finished": { "delivered": 1 }, "suspended": [], "unreachable": ["relay"], "holds": [],
                "storeWritable": true,
            }),
        ),
        "Rotation" => same::<Rotation>(
            renamed,
            json!({
                "profile": "relay", "secret": "relay/password", "next": format!("sha256:{:064}", 1),
                "of": format!("sha256:{:064}", 2), "standing": "refused", "since": "2026-01-01T00:00:00Z",
                "reason": "r", "alerted": true, "refusals": 1,
            }),
        ),
        "Submission" => same::<Submission>(
            renamed,
            json!({ "company": "EDU1", "function": "default", "to": ["a@example.org"], "allowDuplicate": true }),
        ),
        "ActionOptions" => same::<ActionOptions>(renamed, json!({ "allRecipients": true })),
        "VerifyRequest" => {
            let profile = json!({
                "provider": { "smtp": { "host": "mail.example.com", "username": "u", "password": { "secret": "a/b" } } },
                "from": { "address": "mail@example.com" }, "functions": ["default"], "appliesTo": "system-wide",
            });
            same::<VerifyRequest>(renamed, json!({ "environment": "dev", "profiles": {}, "siblings": [profile] }));
        }
        "OidcSettings" => {
            let read = |key: &str| {
                let rule = "{ name: ci, role: viewer, claims: { sub: x } }";
                let issuer = format!("{{ issuer: 'https://a.example', audience: a, rules: [{rule}], {key}: 7 }}");
                repo.write("oidc.yaml", format!("issuers: [{issuer}]\n"));
                read_document::<OidcSettings>(&repo.path("oidc.yaml"), "").map(|settings| format!("{settings:?}"))
            };
            assert_eq!(read(renamed.old).unwrap(), read(renamed.new).unwrap());
            assert!(read("nonsense").is_err(), "other keys are refused");
        }
        other => panic!("no sample of {other}"),
    }
}

fn same<T: DeserializeOwned + Serialize + Debug>(renamed: &Renamed, current: Value) {
    let written = current.to_string();
    let old = written.replace(&format!("\"{}\"", renamed.new), &format!("\"{}\"", renamed.old));
    assert_ne!(old, written, "the sample of {renamed:?} does not have the name");
    let [old, current] = [old, written].map(|text| {
        let read: T = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{renamed:?}: {error}"));
        serde_json::to_value(&read).unwrap()
    });
    assert_eq!(old, current, "{renamed:?}");
    assert!(current.to_string().contains(&format!("\"{}\"", renamed.new)), "{renamed:?} is written: {current}");
}

fn is_accepted_in_a_query(repo: &TestRepository, path: &str, renamed: &Renamed) {
    let ask = |name: &str| match path {
        "/v1/outbox" => repo.http("GET", &format!("{path}?{name}=60"), &[], b""),
        "/v1/messages" => {
            let path = format!("{path}?company=EDU1&function=default&{name}=true");
            repo.http("POST", &path, &[("Content-Type", "message/rfc822")], b"Subject: s\r\n\r\nbody\r\n")
        }
        other => panic!("no request to {other}"),
    };
    let code = |answer: crate::support::repository::HttpResponse| (answer.status, answer.json()["code"].clone());
    let current = code(ask(renamed.new));
    assert_eq!(code(ask(renamed.old)), current, "{renamed:?}");
    assert_ne!(code(ask("nonsense")), current, "other parameters of {path} are refused");
}

fn is_accepted_as_an_option(repo: &TestRepository, command: &str, renamed: &Renamed) {
    let run = |option: &str| {
        let (command, arguments): (_, &[&str]) = match command {
            "send" => ("send", &["dev", "--company", "EDU1", "--function", "default"]),
            "outbox replay" => ("outbox", &["replay", "dev", "00000000-0000-0000-0000-000000000001"]),
            other => panic!("no arguments for {other}"),
        };
        let mut all = vec![command];
        all.extend(arguments);
        all.push(option);
        repo.run(&all).stderr
    };
    let unexpected = "unexpected argument";
    assert!(!run(renamed.old).contains(unexpected) && !run(renamed.new).contains(unexpected), "{renamed:?}");
    assert!(run("--nonsense").contains(unexpected), "other options are refused");
}
