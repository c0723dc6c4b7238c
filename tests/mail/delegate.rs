//! Mail that a person sends from their own client: it waits for that person, one client gets it, and without a report its outcome
//! is unknown. Neither another person nor a token of the service reaches it. No token for Microsoft Graph is accepted or kept.

use std::path::Path;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::{
    mail_service::{DEADLINES, MailService, QUICK, environment},
    sink::Sink,
    support::{
        issuer::{Issuer, Key, key, now, sign},
        repository::HttpResponse,
        tools,
    },
};

pub(crate) const TENANT: &str = "0c0ffee0-0000-4000-8000-000000000001";
pub(crate) const OTHER_TENANT: &str = "0c0ffee0-0000-4000-8000-000000000002";
pub(crate) const CLIENT: &str = "0c0ffee0-0000-4000-8000-0000000000e1";
pub(crate) const ANN: &str = "0c0ffee0-0000-4000-8000-0000000000f1";
pub(crate) const BOB: &str = "0c0ffee0-0000-4000-8000-0000000000f2";
pub(crate) const MESSAGES: &str = "/v1/delegate/messages";

/// A change of the claims of a token.
type Change = fn(&mut Value);

/// A service with a delegate profile for desktops, and a relay for all other mail.
pub(crate) struct Setup {
    issuer: Issuer,
    key: Key,
    pub(crate) service: MailService,
    sink: Sink,
}

pub(crate) fn delegate() -> String {
    format!(
        "provider:\n  microsoft-graph-delegate:\n    tenant: {TENANT}\n    client: {CLIENT}\n    platform: native\n    redirect: https://localhost\nfunctions: [user-interface]\nappliesTo: system-wide\n"
    )
}

impl Setup {
    pub(crate) fn new(delivery: &str) -> Self {
        Self::under(&[], delivery)
    }

    pub(crate) fn under(before: &[&str], delivery: &str) -> Self {
        let (issuer, key) = (Issuer::start(), key("one", Algorithm::RS256));
        issuer.publish(&[&key]);
        let address = format!("{}/{TENANT}/v2.0", issuer.address);
        issuer.answers.lock().unwrap().names = Some(address.clone());
        let sink = Sink::start();
        let mut service = MailService::unapplied(sink.port, delivery, "");
        service.repo.write("environments/dev/profiles/desktop.yaml", delegate());
        service.repo.write("oidc.yaml", format!("issuers:\n  - issuer: {address}\n    delegates: true\n"));
        start(&mut service, before);
        service.apply();
        Self { issuer, key, service, sink }
    }

    /// The ID token of a person, with other claims than the usual ones.
    pub(crate) fn token_with(&self, object: &str, change: impl FnOnce(&mut Value)) -> String {
        let name = if object == ANN { "Ann Example" } else { "Bob Example" };
        let mut claims = json!({
            "iss": format!("{}/{TENANT}/v2.0", self.issuer.address), "aud": CLIENT, "tid": TENANT, "oid": object,
            "sub": object, "name": name, "iat": now(), "nbf": now(), "exp": now() + 3600,
        });
        change(&mut claims);
        sign(&self.key, &claims)
    }

    pub(crate) fn token(&self, object: &str) -> String {
        self.token_with(object, |_| {})
    }

    /// A request of a person.
    pub(crate) fn ask(&self, object: &str, method: &str, path: &str, body: &Value) -> HttpResponse {
        self.ask_with(&self.token(object), method, path, body)
    }

    pub(crate) fn ask_with(&self, token: &str, method: &str, path: &str, body: &Value) -> HttpResponse {
        let authorization = format!("Bearer {token}");
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.service.repo.http_without_token(method, path, &headers, body.as_bytes())
    }

    pub(crate) fn submit_with(&self, token: &str, more: Value) -> HttpResponse {
        let mut message = crate::mail_service::message(json!({ "function": "user-interface", "client": "native" }));
        for (key, value) in more.as_object().unwrap() {
            message[key] = value.clone();
        }
        let headers: Vec<(&str, &str)> =
            if token.is_empty() { Vec::new() } else { vec![("Mailwright-Sender-Token", token)] };
        self.service.repo.http("POST", "/v1/messages", &headers, message.to_string().as_bytes())
    }

    /// Submits a message of Ann's, and returns its id.
    pub(crate) fn submit(&self, more: Value) -> String {
        let answer = self.submit_with(&self.token(ANN), more);
        assert_eq!(answer.status, 202, "{}", answer.body);
        assert_eq!(answer.json()["status"], "awaiting-sender", "{}", answer.body);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn listed(&self, object: &str) -> Vec<Value> {
        let answer = self.ask(object, "GET", MESSAGES, &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["messages"].as_array().unwrap().clone()
    }

    pub(crate) fn begin(&self, object: &str, id: &str) -> HttpResponse {
        self.ask(object, "POST", &format!("{MESSAGES}/{id}/begin"), &Value::Null)
    }

    /// Begins a message of Ann's, and returns the number of the lease.
    pub(crate) fn lease(&self, id: &str) -> u64 {
        let answer = self.begin(ANN, id);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["epoch"].as_u64().unwrap()
    }

    pub(crate) fn content(&self, object: &str, id: &str, epoch: u64, more: &str) -> HttpResponse {
        let path = format!("{MESSAGES}/{id}/content?epoch={epoch}&from=ann@contoso.example{more}");
        self.ask(object, "GET", &path, &Value::Null)
    }

    pub(crate) fn report(&self, id: &str, epoch: u64, outcome: &str) -> HttpResponse {
        let report = json!({
            "epoch": epoch, "outcome": outcome, "requestId": "graph-request-1", "clientRequestId": "own-request-1",
            "reason": "HTTP 202",
        });
        self.ask(ANN, "POST", &format!("{MESSAGES}/{id}/report"), &report)
    }

    pub(crate) fn status(&self, id: &str) -> String {
        self.service.message(id)["status"].as_str().unwrap().to_owned()
    }

    pub(crate) fn audit(&self) -> Vec<Value> {
        let answer = self.service.repo.http("GET", "/v1/audit?limit=1000", &[], b"").json();
        answer["entries"].as_array().unwrap().clone()
    }
}

fn start(service: &mut MailService, before: &[&str]) {
    let path = service.repo.path("oidc.yaml");
    let more = ["--demo", "--oidc", path.to_str().unwrap()];
    service.repo.serve_under(before, &[&more[..], &DEADLINES[..]].concat());
}

/// The status and the code of an answer.
fn code(answer: &HttpResponse) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

pub(crate) fn assert_code(answer: &HttpResponse, status: u16, expected: &str, what: &str) {
    assert_eq!(code(answer), (status, expected.to_owned()), "{what}: {}", answer.body);
}

#[test]
fn a_message_waits_for_its_person_and_leaves_by_no_other_way() {
    let setup = Setup::new(QUICK);
    let id = setup.submit(json!({}));
    let own = setup.listed(ANN);
    assert_eq!(own.len(), 1, "{own:?}");
    assert_eq!(
        (&own[0]["id"], &own[0]["status"], &own[0]["proof"]),
        (&json!(id), &json!("awaiting-sender"), &json!("id-token"))
    );
    assert!(setup.listed(BOB).is_empty());
    // Other mail leaves meanwhile, and this does not.
    let other = setup.service.send(json!({}));
    setup.service.wait(&other, "delivered");
    assert_eq!(setup.sink.received().len(), 1);
    let shown = setup.service.repo.run(&["outbox", "show", "dev", &id]).code(0).stdout;
    assert!(shown.contains("waits      for Ann Example") && shown.contains("mailwright delegate run"), "{shown}");
    let why = setup.service.repo.run(&["why", "dev", "--message", &id]).code(0).stdout;
    assert!(why.contains("Waits:   for Ann Example"), "{why}");
    assert_eq!(setup.service.outbox()["messages"]["awaiting-sender"], 1);
    // A retry cannot replace the person.
    assert_code(&setup.service.act(&id, "retry"), 409, "MW0266", "retry");
    assert_eq!(setup.status(&id), "awaiting-sender");
}

#[test]
fn a_submission_says_who_sends_or_is_refused() {
    let setup = Setup::new(QUICK);
    let ann = setup.token(ANN);
    let person = json!({ "tenant": TENANT, "object": ANN });
    let missing = setup.submit_with("", json!({}));
    assert_code(&missing, 422, "MW0430", "no sender");
    assert!(missing.body.contains("`desktop`") && missing.body.contains("Mailwright-Sender-Token"), "{}", missing.body);
    assert_code(&setup.submit_with("", json!({ "client": null })), 422, "MW0268", "no client");
    // Another person than the token's, and a person of another tenant.
    assert_code(
        &setup.submit_with(&ann, json!({ "sender": { "tenant": TENANT, "object": BOB } })),
        403,
        "MW0433",
        "other",
    );
    let foreign = json!({ "sender": { "tenant": OTHER_TENANT, "object": ANN } });
    assert_code(&setup.submit_with("", foreign), 403, "MW0433", "another tenant");
    // The name and the address are those of the mailbox.
    assert_code(&setup.submit_with(&ann, json!({ "senderName": "The Boss" })), 422, "MW0261", "name");
    let raw = "/v1/messages?company=EDU1&function=user-interface&client=native";
    let headers = [("Content-Type", "message/rfc822"), ("Mailwright-Sender-Token", ann.as_str())];
    let mail = |from: &str| format!("{from}To: a@example.org\r\nSubject: x\r\n\r\nhi\r\n");
    let answer = setup.service.repo.http("POST", raw, &headers, mail("From: boss@contoso.example\r\n").as_bytes());
    assert_code(&answer, 422, "MW0261", "From");
    assert_eq!(setup.service.repo.http("POST", raw, &headers, mail("").as_bytes()).status, 202);
    // Where the service sends, a person cannot be named: the mail would leave from another mailbox.
    let default = json!({ "function": "default", "client": null });
    assert_code(&setup.submit_with(&ann, default), 422, "MW0108", "not a delegate");
    // To name a person without proof is a right of its own.
    let named = json!({ "sender": person });
    let answer = setup.submit_with("", named.clone());
    assert_eq!((answer.status, &answer.json()["sender"]["proof"]), (202, &json!("named")), "{}", answer.body);
    let sender =
        setup.service.repo.run(&["token", "create", "dev", "--name", "shop", "--role", "sender"]).code(0).stdout;
    let mut message = crate::mail_service::message(json!({ "function": "user-interface", "client": "native" }));
    message["sender"] = named["sender"].clone();
    let authorization = format!("Bearer {}", sender.trim());
    let submit = |more: &[(&str, &str)]| {
        let headers = [&[("Authorization", authorization.as_str())], more].concat();
        setup.service.repo.http_without_token("POST", "/v1/messages", &headers, message.to_string().as_bytes())
    };
    let refused = submit(&[]);
    assert_code(&refused, 403, "MW0202", "no right");
    assert!(refused.body.contains("name-sender"), "{}", refused.body);
    assert_eq!(submit(&[("Mailwright-Sender-Token", &ann)]).status, 202);
    assert!(setup.sink.received().is_empty());
}

#[test]
fn only_the_id_token_of_a_member_opens_the_delegate_addresses() {
    let setup = Setup::new(QUICK);
    let id = setup.submit(json!({}));
    let cases: [(Change, &str); 9] = [
        (|claims| claims["aud"] = json!("0c0ffee0-0000-4000-8000-0000000000d1"), "application"),
        (|claims| claims["aud"] = json!([CLIENT, "https://elsewhere.example"]), "application"),
        (|claims| claims["exp"] = json!(now() - 120), "expired"),
        (|claims| claims["exp"] = json!(now() + 3 * 86_400), "for longer"),
        (|claims| claims["iss"] = json!("https://login.example/x"), "issuer"),
        (|claims| claims["tid"] = json!(OTHER_TENANT), "another tenant"),
        (|claims| claims["oid"] = Value::Null, "`oid`"),
        (|claims| claims["idp"] = json!(format!("https://sts.windows.net/{OTHER_TENANT}/")), "guest"),
        (|claims| claims["acct"] = json!(1), "guest"),
    ];
    for (change, words) in cases {
        let token = setup.token_with(ANN, change);
        for (method, path) in [("GET", MESSAGES.to_owned()), ("POST", format!("{MESSAGES}/{id}/begin"))] {
            let answer = setup.ask_with(&token, method, &path, &Value::Null);
            assert_code(&answer, 401, "MW0431", words);
            assert!(answer.body.contains(words), "{words}: {}", answer.body);
        }
        assert_code(&setup.submit_with(&token, json!({})), 401, "MW0431", words);
    }
    // A signature of another key; a token of the service, even that of an administrator; nothing.
    let stranger = key("one", Algorithm::RS256);
    let forged = sign(
        &stranger,
        &json!({ "iss": format!("{}/{TENANT}/v2.0", setup.issuer.address), "aud": CLIENT, "tid": TENANT, "oid": ANN, "iat": now(), "exp": now() + 300 }),
    );
    for token in [forged.as_str(), setup.service.repo.token(), ""] {
        for (method, path) in [("GET", MESSAGES.to_owned()), ("POST", format!("{MESSAGES}/{id}/begin"))] {
            assert_code(&setup.ask_with(token, method, &path, &Value::Null), 401, "MW0431", token);
        }
    }
    // The token opens nothing else.
    for path in ["/v1/messages", "/v1/state", "/v1/service"] {
        assert_eq!(setup.ask(ANN, "GET", path, &Value::Null).status, 401, "{path}");
    }
    // Another account of the tenant learns that it is another one, before it sees anything of the message.
    for action in ["begin", "cancel"] {
        let other = setup.ask(BOB, "POST", &format!("{MESSAGES}/{id}/{action}"), &Value::Null);
        assert_code(&other, 403, "MW0433", action);
        assert!(!other.body.contains("Invoice") && !other.body.contains("Ann"), "{}", other.body);
    }
    assert_code(&setup.content(BOB, &id, 1, ""), 403, "MW0433", "contents");
    assert_eq!(setup.status(&id), "awaiting-sender");
    // A message of the service itself does not exist here.
    let sent = setup.service.send(json!({}));
    assert_eq!(setup.begin(ANN, &sent).status, 404);
}

/// A JWT of these claims, with a signature that is not one.
fn jwt(claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.Y2FuYXJ5LXNpZ25hdHVyZQ", part(&json!({ "alg": "RS256", "typ": "JWT" })), part(claims))
}

fn assert_absent(folder: &Path, canaries: &[String]) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_absent(&path, canaries);
            continue;
        }
        let Ok(bytes) = std::fs::read(&path) else { continue };
        for canary in canaries {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{canary} is in {}", path.display());
        }
    }
}

#[test]
fn a_token_for_graph_is_refused_and_kept_nowhere() {
    let setup = Setup::new(QUICK);
    let id = setup.submit(json!({}));
    let epoch = setup.lease(&id);
    let ann = format!("Bearer {}", setup.token(ANN));
    let tokens = [
        jwt(&json!({ "aud": "https://graph.microsoft.com", "canary": "graph-by-host" })),
        jwt(&json!({ "aud": "00000003-0000-0000-c000-000000000000", "canary": "graph-by-id" })),
        jwt(&json!({ "aud": "https://dod-graph.microsoft.us/", "canary": "graph-by-national-host" })),
        jwt(&json!({ "aud": "https://outlook.office.com", "scp": "Mail.Send", "canary": "exchange" })),
        format!("0.A{}", "CanaryOfARefreshToken-".repeat(8)),
        format!("1.A{}", "CanaryOfARefreshToken_".repeat(8)),
    ];
    let report = format!("{MESSAGES}/{id}/report");
    for token in &tokens {
        let request = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
            let answer = setup.service.repo.http_without_token(method, path, headers, body.as_bytes());
            assert_code(&answer, 400, "MW0432", token);
            assert!(!answer.body.contains(token), "{}", answer.body);
        };
        let bearer = format!("Bearer {token}");
        request("GET", MESSAGES, &[("Authorization", &bearer)], "");
        request("GET", MESSAGES, &[("Authorization", &ann), ("X-Graph-Token", token)], "");
        request("GET", &format!("{MESSAGES}?before={token}"), &[("Authorization", &ann)], "");
        let json = ("Content-Type", "application/json");
        let body = json!({ "epoch": epoch, "outcome": "sent", "reason": token }).to_string();
        request("POST", &report, &[("Authorization", &ann), json], &body);
        let body = json!({ "epoch": epoch, "outcome": "sent", "accessToken": token }).to_string();
        request("POST", &report, &[("Authorization", &ann), json], &body);
        assert_code(&setup.submit_with(token, json!({})), 400, "MW0432", token);
    }
    assert_eq!(setup.status(&id), "sending", "nothing was recorded");
    let audit = setup.service.repo.http("GET", "/v1/audit?limit=1000", &[], b"").body;
    let log = setup.service.repo.service_log();
    // The part that differs, so that a token that was cut is found, too.
    let canaries: Vec<String> =
        tokens.iter().map(|token| token[token.len() / 2 - 15..token.len() / 2 + 15].to_owned()).collect();
    for canary in &canaries {
        assert!(!audit.contains(canary.as_str()) && !log.contains(canary.as_str()), "{canary}");
    }
    assert_absent(&setup.service.repo.path("."), &canaries);
    // The ID token is not kept, either.
    let id_token = setup.token(ANN);
    let signature = id_token.rsplit('.').next().unwrap().to_owned();
    assert_eq!(setup.ask_with(&id_token, "GET", MESSAGES, &Value::Null).status, 200);
    assert!(!setup.service.repo.service_log().contains(&signature));
    assert_absent(&setup.service.repo.path("."), &[signature]);
}

#[test]
fn of_many_clients_one_gets_the_message_and_its_report_counts() {
    let setup = Setup::new(QUICK);
    let id = setup.submit(json!({ "bcc": ["quiet@example.org"], "document": { "type": "invoice", "number": "4711" } }));
    let answers: Vec<(u16, String)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| code(&setup.begin(ANN, &id)))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let won = answers.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(won, 1, "{answers:?}");
    assert!(
        answers.iter().all(|(status, code)| *status == 200 || (*status, code.as_str()) == (409, "MW0280")),
        "{answers:?}"
    );
    assert_eq!(setup.status(&id), "sending");
    let epoch = setup.listed(ANN)[0]["epoch"].as_u64().unwrap();
    assert_eq!(epoch, 1);
    // The contents, for the holder of the lease only.
    assert_code(&setup.content(ANN, &id, epoch + 1, ""), 409, "MW0434", "another lease");
    assert_code(&setup.content(ANN, &id, 0, ""), 409, "MW0434", "no lease");
    let mime = setup.content(ANN, &id, epoch, "");
    assert_eq!(mime.status, 200, "{}", mime.body);
    let message_id = setup.service.message(&id)["messageId"].as_str().unwrap().to_owned();
    for expected in ["From: ann@contoso.example", "Bcc: quiet@example.org", &format!("Message-ID: {message_id}")] {
        assert!(mime.body.contains(expected), "{expected}: {}", mime.body);
    }
    let graph = setup.content(ANN, &id, epoch, "&format=graph").json();
    assert_eq!(graph["message"]["internetMessageId"], message_id.as_str(), "{graph:#}");
    assert_eq!(graph["message"]["bccRecipients"][0]["emailAddress"]["address"], "quiet@example.org");
    // Cancel is too late; the report of another lease is void.
    assert_code(&setup.service.act(&id, "cancel"), 409, "MW0266", "cancel");
    assert_code(&setup.ask(ANN, "POST", &format!("{MESSAGES}/{id}/cancel"), &Value::Null), 409, "MW0266", "cancel");
    assert_code(&setup.report(&id, epoch + 1, "sent"), 409, "MW0434", "another lease");
    let sent = setup.report(&id, epoch, "sent");
    assert_eq!((sent.status, &sent.json()["status"]), (200, &json!("delivered")), "{}", sent.body);
    // A repeated report is the same report; another outcome is not.
    assert_eq!(setup.report(&id, epoch, "sent").status, 200);
    for outcome in ["failed", "released", "unknown"] {
        assert_code(&setup.report(&id, epoch, outcome), 409, "MW0434", outcome);
    }
    assert_code(&setup.begin(ANN, &id), 409, "MW0266", "begin again");
    assert_code(&setup.content(ANN, &id, epoch, ""), 409, "MW0434", "contents afterwards");
    let message = setup.service.message(&id);
    assert_eq!((&message["status"], &message["history"][0]["class"]), (&json!("delivered"), &json!("delivered")));
    assert!(message["history"][0]["reply"].as_str().unwrap().contains("graph-request-1"), "{message:#}");
    // Who sent what, by which client.
    let audit = setup.audit();
    let reported: Vec<&Value> = audit.iter().filter(|entry| entry["action"] == "delegate.report").collect();
    assert_eq!(reported.len(), 1, "{reported:#?}");
    let (actor, detail) = (reported[0]["actor"].as_str().unwrap(), &reported[0]["detail"]);
    assert_eq!(actor, format!("Ann Example (delegate:{ANN})"));
    assert_eq!(detail["sender"], json!({ "tenant": TENANT, "object": ANN }));
    assert_eq!(
        (&detail["message"], &detail["client"], &detail["outcome"]),
        (&json!(id), &json!("native"), &json!("sent"))
    );
    assert_eq!(
        (&detail["requestId"], &detail["clientRequestId"]),
        (&json!("graph-request-1"), &json!("own-request-1"))
    );
    assert!(
        audit.iter().filter(|entry| entry["action"] == "delegate.begin" && entry["outcome"] == "accepted").count() == 1
    );
    // The document was sent.
    let again = setup.submit_with(&setup.token(ANN), json!({ "document": { "type": "invoice", "number": "4711" } }));
    assert_code(&again, 409, "MW0265", "the same document");
}

#[test]
fn what_is_released_waits_again_and_what_failed_is_replayed_to_the_person() {
    let setup = Setup::new(QUICK);
    let id = setup.submit(json!({}));
    let first = setup.lease(&id);
    assert_eq!(setup.report(&id, first, "released").status, 200);
    assert_eq!(setup.status(&id), "awaiting-sender");
    let second = setup.lease(&id);
    assert_eq!(second, first + 1);
    assert_code(&setup.report(&id, first, "sent"), 409, "MW0434", "a report of the first lease");
    assert_eq!(setup.report(&id, second, "failed").status, 200);
    assert_eq!(setup.status(&id), "failed");
    // A replay waits for the person again: the relay never sends it.
    assert_eq!(setup.service.act(&id, "replay").status, 200);
    assert_eq!(setup.status(&id), "awaiting-sender");
    let third = setup.lease(&id);
    assert_eq!(setup.report(&id, third, "unknown").status, 200);
    assert_eq!(setup.status(&id), "unknown");
    assert_eq!(setup.service.act(&id, "replay").status, 200);
    let message = setup.service.message(&id);
    assert_eq!((&message["status"], &message["possibleDuplicate"]), (&json!("awaiting-sender"), &json!(true)));
    assert_eq!(setup.report(&id, setup.lease(&id), "sent").status, 200);
    assert!(setup.sink.received().is_empty());
}

/// The words before a service whose clock is as a file says.
pub(crate) fn under_clock(offset: &Path) -> Vec<String> {
    let library = std::fs::read_dir(tools::folder().join("usr/lib"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path().join("faketime/libfaketime.so.1"))
        .find(|path| path.is_file())
        .unwrap();
    std::fs::write(offset, "+0").unwrap();
    [
        "env".to_owned(),
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", offset.display()),
    ]
    .into_iter()
    .chain(["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1"].map(str::to_owned))
    .collect()
}

#[test]
fn a_lease_without_a_report_is_unknown_and_a_late_report_resolves_it() {
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    let words = under_clock(&offset);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut setup = Setup::under(&words, QUICK);
    let ids: Vec<String> = (0..3).map(|_| setup.submit(json!({}))).collect();
    let epochs: Vec<u64> = ids.iter().map(|id| setup.lease(id)).collect();
    // A lease outlives the service: its client still sends.
    setup.service.repo.kill();
    start(&mut setup.service, &words);
    assert!(ids.iter().all(|id| setup.status(id) == "sending"));
    std::fs::write(&offset, "+301").unwrap();
    // The clock is followed a little later; a look at the list ends what is due.
    let until = std::time::Instant::now() + crate::mail_service::PATIENCE;
    while ids.iter().any(|id| setup.status(id) != "unknown") {
        assert!(std::time::Instant::now() < until, "{}", setup.service.log());
        drop(setup.listed(ANN));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let message = setup.service.message(&ids[0]);
    assert!(message["reason"].as_str().unwrap().contains("did not report"), "{message:#}");
    // Nothing sends it again by itself, and it cannot wait again: it may have been sent.
    assert_code(&setup.begin(ANN, &ids[0]), 409, "MW0266", "begin");
    assert_code(&setup.report(&ids[0], epochs[0], "released"), 409, "MW0434", "released");
    assert_eq!(setup.listed(ANN).len(), 3, "the client sees them, to look into Sent Items");
    assert_eq!(setup.report(&ids[0], epochs[0], "sent").json()["status"], "delivered");
    assert_eq!(setup.report(&ids[1], epochs[1], "failed").json()["status"], "failed");
    // An operator decided about the third one first.
    let resolved = json!({ "outcome": "failed", "reason": "not in Sent Items" }).to_string();
    let path = format!("/v1/messages/{}/resolve", ids[2]);
    assert_eq!(setup.service.repo.http("POST", &path, &[], resolved.as_bytes()).status, 200);
    assert_code(&setup.report(&ids[2], epochs[2], "sent"), 409, "MW0434", "after a decision");
    assert!(setup.sink.received().is_empty());
    let ended = setup.audit().iter().filter(|entry| entry["action"] == "delegate.end").count();
    assert_eq!(ended, 3);
}

#[test]
fn a_message_that_is_not_sent_in_its_lifetime_expires() {
    let setup = Setup::new(&format!("{QUICK}  senderLifetime: 1s\n"));
    let id = setup.submit(json!({}));
    let message = setup.service.wait(&id, "failed");
    assert!(
        message["reason"].as_str().unwrap().contains("Ann Example")
            && message["reason"].as_str().unwrap().contains("in time"),
        "{message:#}"
    );
    assert_code(&setup.begin(ANN, &id), 409, "MW0266", "begin");
    assert!(setup.listed(ANN).is_empty() && setup.sink.received().is_empty());
}

#[test]
fn a_message_is_cancelled_by_its_owner_its_person_or_an_operator_only() {
    let setup = Setup::new(QUICK);
    let repo = &setup.service.repo;
    let create = |name: &str| {
        let created = repo.run(&["token", "create", "dev", "--name", name, "--role", "sender"]).code(0);
        format!("Bearer {}", created.stdout.trim())
    };
    let (owner, other) = (create("erp"), create("shop"));
    let ann = setup.token(ANN);
    let submit = || {
        let message = crate::mail_service::message(json!({ "function": "user-interface", "client": "native" }));
        let headers = [("Authorization", owner.as_str()), ("Mailwright-Sender-Token", ann.as_str())];
        let answer = repo.http_without_token("POST", "/v1/messages", &headers, message.to_string().as_bytes());
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    let cancel = |by: &str, id: &str| {
        repo.http_without_token("POST", &format!("/v1/messages/{id}/cancel"), &[("Authorization", by)], b"")
    };
    let (one, two, three) = (submit(), submit(), submit());
    assert_eq!(cancel(&other, &one).status, 404);
    assert_eq!(setup.status(&one), "awaiting-sender");
    assert_eq!(cancel(&owner, &one).json()["status"], "cancelled");
    let by_bob = setup.ask(BOB, "POST", &format!("{MESSAGES}/{two}/cancel"), &Value::Null);
    assert_code(&by_bob, 403, "MW0433", "another person");
    let by_ann = setup.ask(ANN, "POST", &format!("{MESSAGES}/{two}/cancel"), &Value::Null);
    assert_eq!(by_ann.json()["status"], "cancelled", "{}", by_ann.body);
    repo.run(&["outbox", "cancel", "dev", &three]).code(0);
    assert_code(&setup.begin(ANN, &one), 409, "MW0266", "a cancelled message");
}

#[test]
fn a_hold_a_changed_profile_and_the_allowed_recipients_apply_when_it_leaves() {
    let setup =
        Setup::new(&format!("{QUICK}  recipients: {{ rewriteTo: test@contoso.example, subjectTag: '[TEST]' }}\n"));
    let repo = &setup.service.repo;
    let id = setup.submit(json!({ "bcc": ["quiet@example.org"] }));
    let hold = json!({ "function": "user-interface", "reason": "audit" }).to_string();
    let held = repo.http("POST", "/v1/holds", &[], hold.as_bytes());
    assert_eq!(held.status, 201, "{}", held.body);
    assert_code(&setup.begin(ANN, &id), 409, "MW0435", "held");
    let path = format!("/v1/holds/{}", held.json()["id"].as_str().unwrap());
    assert!(repo.http("DELETE", &path, &[], b"").status < 300);
    let epoch = setup.lease(&id);
    let mime = setup.content(ANN, &id, epoch, "").body;
    assert!(mime.contains("To: test@contoso.example") && mime.contains("Subject: [TEST] Invoice"), "{mime}");
    assert!(!mime.contains("Bcc:") && mime.contains("X-Mailwright-Recipient: quiet@example.org"), "{mime}");
    assert_eq!(setup.report(&id, epoch, "released").status, 200);
    // Another application, and then none.
    let path = "environments/dev/profiles/desktop.yaml";
    repo.write(path, delegate().replace(CLIENT, "0c0ffee0-0000-4000-8000-0000000000e9"));
    setup.service.apply();
    assert_code(&setup.begin(ANN, &id), 401, "MW0431", "the token is for an application that no profile has");
    repo.write(
        path,
        delegate().replace("platform: native", "platform: spa").replace("https://localhost", "https://erp.example/web"),
    );
    setup.service.apply();
    assert_code(&setup.begin(ANN, &id), 409, "MW0436", "another client");
    assert_eq!(setup.status(&id), "awaiting-sender");
    repo.write(path, delegate());
    environment(repo, QUICK);
    setup.service.apply();
    assert_eq!(setup.report(&id, setup.lease(&id), "sent").status, 200);
}

#[test]
fn the_same_submission_of_another_person_is_another_one() {
    let setup = Setup::new(QUICK);
    let message = crate::mail_service::message(json!({ "function": "user-interface", "client": "native" })).to_string();
    let submit = |object: &str| {
        let token = setup.token(object);
        let headers = [("Mailwright-Sender-Token", token.as_str()), ("Idempotency-Key", "key-1")];
        setup.service.repo.http("POST", "/v1/messages", &headers, message.as_bytes())
    };
    let (first, second) = (submit(ANN), submit(ANN));
    assert_eq!(first.json()["id"], second.json()["id"]);
    assert_code(&submit(BOB), 422, "MW0264", "the key of another submission");
}

#[test]
fn a_list_has_pages() {
    let setup = Setup::new(QUICK);
    let ids: std::collections::BTreeSet<String> = (0..7).map(|_| setup.submit(json!({}))).collect();
    let (mut found, mut before) = (std::collections::BTreeSet::new(), String::new());
    for _ in 0..4 {
        let page = setup.ask(ANN, "GET", &format!("{MESSAGES}?limit=3{before}"), &Value::Null).json();
        found.extend(page["messages"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        match page["nextBefore"].as_u64() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    assert_eq!(found, ids);
}

#[test]
fn after_a_restore_a_message_that_waited_is_unknown_and_cannot_be_begun() {
    let mut setup = Setup::new(QUICK);
    let (waits, leased) = (setup.submit(json!({})), setup.submit(json!({})));
    let epoch = setup.lease(&leased);
    setup.service.repo.kill();
    let path = setup.service.repo.path("oidc.yaml");
    let more = ["--demo", "--restored", "--oidc", path.to_str().unwrap()];
    setup.service.repo.serve_with(&[&more[..], &DEADLINES[..]].concat());
    assert_eq!((setup.status(&waits), setup.status(&leased)), ("unknown".to_owned(), "unknown".to_owned()));
    assert_ne!(setup.begin(ANN, &waits).status, 200);
    // The client of the lease still knows what it did.
    assert_eq!(setup.report(&leased, epoch, "sent").json()["status"], "delivered");
    // Without a lease there is nothing to report.
    assert_code(&setup.report(&waits, 0, "sent"), 409, "MW0434", "no lease");
}
