//! Delivery by Microsoft Graph: what is sent arrives as it was, each refusal of Graph has its own class, and a message
//! whose 504 came after sending is not sent again without a decision.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Value, json};

use crate::{
    mail_service::{DEADLINES, MailService, PATIENCE, QUICK},
    support::{
        repository::TestRepository,
        sandbox::{SECRET, Sandbox, SigningCertificate, direct, good},
    },
};

/// A service whose one profile sends by Graph of a sandbox.
pub(crate) fn start_service(sandbox: &Sandbox, delivery: &str) -> MailService {
    post_with(sandbox, delivery, &profile(), "documents/secret", SECRET)
}

/// The same, with a certificate and its key as the credential.
pub(crate) fn start_with_certificate(sandbox: &Sandbox, pem: &str) -> MailService {
    let mut profile = profile();
    profile["provider"]["microsoft-graph-direct"]["credential"] =
        json!({ "certificate": { "secret": "documents/key" } });
    post_with(sandbox, QUICK, &profile, "documents/key", pem)
}

/// A profile that sends by Graph for the function `default`.
pub(crate) fn profile() -> Value {
    let mut profile = direct();
    profile["functions"] = json!(["default"]);
    profile
}

pub(crate) fn post_with(sandbox: &Sandbox, delivery: &str, profile: &Value, secret: &str, value: &str) -> MailService {
    post_trusting(sandbox, delivery, profile, secret, value, &sandbox.running.authority)
}

/// `trusted` are the authorities that the service trusts, in PEM form.
pub(crate) fn post_trusting(
    sandbox: &Sandbox,
    delivery: &str,
    profile: &Value,
    secret: &str,
    value: &str,
    trusted: &str,
) -> MailService {
    let repo = TestRepository::without_profiles();
    crate::mail_service::environment(&repo, delivery);
    let text = profile
        .to_string()
        .replace("HERE", &sandbox.running.address)
        .replace("\"SMTP\"", &sandbox.running.smtp.port().to_string());
    repo.write("environments/dev/profiles/documents.json", text);
    repo.write("ca.pem", trusted);
    repo.pipe(&["secrets", "set", "dev", secret], value.as_bytes()).code(0);
    let mut service = MailService { repo };
    start(&mut service);
    service.apply();
    service
}

pub(crate) fn start(service: &mut MailService) {
    let ca = service.repo.path("ca.pem");
    let more = ["--demo", "--outgoing-ca-file", ca.to_str().unwrap()];
    service.repo.serve_with(&[&more, &DEADLINES[..]].concat());
}

fn mails(sandbox: &Sandbox) -> Vec<Value> {
    sandbox.get("mail").as_array().unwrap().clone()
}

fn requests(sandbox: &Sandbox, part: &str) -> usize {
    let requests = sandbox.get("requests");
    requests.as_array().unwrap().iter().filter(|request| request["path"].as_str().unwrap().contains(part)).count()
}

#[test]
fn a_message_arrives_unchanged_and_one_token_serves_many() {
    let sandbox = Sandbox::start(good());
    let service = start_service(&sandbox, QUICK);
    let ids: Vec<String> = (0..20)
        .map(|number| {
            service.send(json!({ "to": [format!("customer-{number}@example.org")], "bcc": ["quiet@example.org"] }))
        })
        .collect();
    for id in &ids {
        let message = service.wait(id, "delivered");
        assert!(
            message["recipients"][0]["reply"].as_str().unwrap().starts_with("HTTP 202: accepted by Exchange"),
            "{message:#}"
        );
    }
    let mails = mails(&sandbox);
    assert_eq!(mails.len(), 20);
    let mime = mails[0]["mail"]["mime"].as_str().unwrap();
    assert!(
        mime.starts_with("From: documents@contoso.example\r\n") && mime.contains("\r\nBcc: quiet@example.org\r\n"),
        "{mime}"
    );
    assert_eq!(requests(&sandbox, "/oauth2/v2.0/token"), 1, "one token for all");
}

#[test]
fn refusals_of_graph_have_their_own_classes() {
    let fault = |status: u16, code: &str| json!({ "at": "/sendMail", "status": status, "code": code, "times": 1 });
    // The class of the first attempt, and whether it is delivered afterwards.
    let cases: BTreeMap<&str, (Value, &str)> = [
        ("429 in seconds", (json!({ "at": "/sendMail", "status": 429, "retryAfter": 2, "times": 1 }), "throttled")),
        (
            "429 as a date",
            (json!({ "at": "/sendMail", "status": 429, "retryAfter": 2, "asDate": true, "times": 1 }), "throttled"),
        ),
        ("503", (fault(503, "ResourceUnhealthy"), "throttled")),
        (
            "503 with a time",
            (
                json!({ "at": "/sendMail", "status": 503, "code": "ResourceUnhealthy", "retryAfter": 2, "times": 1 }),
                "throttled",
            ),
        ),
        ("409", (fault(409, "Conflict"), "transient")),
    ]
    .into();
    let threads: Vec<_> = cases
        .into_iter()
        .map(|(name, (fault, class))| {
            std::thread::spawn(move || {
                let sandbox = Sandbox::start(good());
                let service = start_service(&sandbox, QUICK);
                sandbox.fault(&fault);
                let id = service.send(json!({}));
                if class == "throttled" && name == "503" {
                    // Nothing is said about how long: a minute, which this test does not wait for.
                    let message = service
                        .wait_until(&id, "an attempt", |message| !message["history"].as_array().unwrap().is_empty());
                    assert_eq!(message["history"][0]["class"], class, "{name}");
                    return;
                }
                let message = service.wait(&id, "delivered");
                assert_eq!(message["history"][0]["class"], class, "{name}: {:#}", message["history"]);
                if class == "throttled" {
                    let at = |index: usize| {
                        message["history"][index]["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap()
                    };
                    let waited = at(1).duration_since(at(0));
                    assert!(
                        waited >= jiff::SignedDuration::from_millis(1900),
                        "{name}: Retry-After is kept: {waited:?}"
                    );
                }
                assert_eq!(mails(&sandbox).len(), 1, "{name}");
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn permanent_errors_fail_and_errors_of_the_profile_suspend_it() {
    let sandbox = Sandbox::start(good());
    let mut service = start_service(&sandbox, QUICK);
    sandbox.fault(&json!({ "at": "/sendMail", "status": 400, "code": "ErrorInvalidRecipients", "times": 1 }));
    let id = service.send(json!({}));
    service.wait(&id, "failed");
    sandbox.fault(&json!({ "at": "/sendMail", "status": 413, "code": "ErrorMessageSizeExceeded", "times": 1 }));
    let id = service.send(json!({}));
    assert_eq!(service.wait(&id, "failed")["history"][0]["class"], "size");

    // Consent is withdrawn: the profile waits, and the finding is verify's.
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["granted"] = json!([]);
    sandbox.put(&scenario);
    // A token outlives a consent; a fresh one shows the change.
    service.repo.kill();
    start(&mut service);
    let ids: Vec<String> = (0..5).map(|_| service.send(json!({}))).collect();
    let outbox = service
        .wait_outbox("the suspended profile with its finding", |outbox| outbox["suspended"][0]["finding"].is_object());
    assert_eq!(outbox["suspended"][0]["finding"]["id"], "GRAPH-CONSENT", "{outbox:#}");
    sandbox.put(&good());
    for id in &ids {
        let message = service.wait(id, "delivered");
        assert_eq!(message["attempts"], 1, "what was the profile's fault costs the message nothing: {message:#}");
        let history = message["history"].as_array().unwrap();
        let (last, before) = history.split_last().unwrap();
        assert_eq!(last["class"], "delivered", "{message:#}");
        assert!(before.iter().all(|attempt| attempt["class"] == "auth" && attempt["phase"] == "send"), "{message:#}");
    }
    let has_history = |id: &String| service.message(id)["history"].as_array().unwrap().len() > 1;
    assert!(ids.iter().any(has_history), "the attempts without the consent are in the history");
    for id in &ids {
        assert!(service.message(id)["history"].as_array().unwrap().iter().all(|attempt| attempt["at"].is_string()));
    }
    assert_eq!(service.outbox()["suspended"], json!([]));
}

#[test]
fn an_expired_secret_suspends_the_profile_and_a_new_one_resumes_it() {
    let mut expired = good();
    expired["tenants"][0]["applications"][0]["secrets"] =
        json!([{ "value": SECRET, "expires": "2026-01-01T00:00:00Z" }]);
    let sandbox = Sandbox::start(expired);
    let service = start_service(&sandbox, QUICK);
    let id = service.send(json!({}));
    let outbox = service
        .wait_outbox("the suspended profile with its finding", |outbox| outbox["suspended"][0]["finding"].is_object());
    assert_eq!(outbox["suspended"][0]["finding"]["id"], "GRAPH-CREDENTIAL-EXPIRED", "{outbox:#}");
    assert!(outbox["suspended"][0]["reason"].as_str().unwrap().contains("AADSTS7000222"), "{outbox:#}");
    assert!(!outbox.to_string().contains(SECRET));
    let mut renewed = good();
    renewed["tenants"][0]["applications"][0]["secrets"] = json!([{ "value": "a-new-secret-value" }]);
    sandbox.put(&renewed);
    service.repo.pipe(&["secrets", "set", "dev", "documents/secret"], b"a-new-secret-value").code(0);
    service.apply();
    let message = service.wait(&id, "delivered");
    let first = &message["history"][0];
    assert_eq!((&first["phase"], &first["class"]), (&json!("token"), &json!("auth")), "{message:#}");
    assert!(first["reply"].as_str().unwrap().contains("AADSTS7000222"), "{message:#}");
}

#[test]
fn permissions_of_another_profile_are_no_excess_for_a_suspended_one() {
    let mut scenario = good();
    let address_book = ["Mail.Send", "User.Read.All", "Group.Read.All", "OrgContact.Read.All"];
    scenario["tenants"][0]["applications"][0]["granted"] = json!(address_book);
    let sandbox = Sandbox::start(scenario);
    let service = start_service(&sandbox, QUICK);
    let excess = || {
        // Consent is missing for as long as it takes to be suspended.
        sandbox.fault(&json!({ "at": "/sendMail", "status": 403, "code": "ErrorAccessDenied", "times": 1 }));
        let id = service.send(json!({}));
        let since = service.wait(&id, "delivered")["acceptedAt"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            let last = service.repo.http("GET", "/v1/verify", &[], b"").json();
            let at = last["profiles"]["documents"]["at"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
            if at.is_some_and(|at| at >= since) {
                break;
            }
            assert!(std::time::Instant::now() < until, "{last:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
        service.repo.http("GET", "/v1/verify/documents", &[], b"").body.contains("GRAPH-PERMISSION-EXCESS")
    };
    assert!(excess(), "the address book is not read");
    let mut other = direct();
    other["functions"] = json!(["all-reports"]);
    other["provider"]["microsoft-graph-direct"]["addressBook"] = json!(true);
    let text = other.to_string().replace("HERE", &sandbox.running.address);
    service.repo.write("environments/dev/profiles/reports.json", text);
    service.apply();
    assert!(!excess(), "the other profile does");
}

#[test]
fn a_suspended_profile_shows_only_findings_about_its_cause() {
    // More permission than needed, and no SPF record: open, and not why Exchange refuses.
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["granted"] = json!(["Mail.Send", "Mail.ReadWrite"]);
    let sandbox = Sandbox::start(scenario);
    let service = start_service(&sandbox, QUICK);
    sandbox.fault(&json!({ "at": "/sendMail", "status": 403, "code": "ErrorAccessDenied" }));
    service.send(json!({}));
    service.wait_outbox("the suspended profile", |outbox| outbox["suspended"][0]["profile"] == "documents");
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let last = service.repo.http("GET", "/v1/verify", &[], b"").json();
        if last["profiles"]["documents"]["at"].is_string() {
            break;
        }
        assert!(std::time::Instant::now() < until, "{last:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(500));
    let suspended = service.outbox()["suspended"][0].clone();
    assert!(suspended["finding"].is_null(), "{suspended:#}");
    // The reply's own meaning, with the real names.
    let reason = suspended["reason"].as_str().unwrap();
    let sender = direct()["from"]["address"].as_str().unwrap().to_owned();
    assert!(reason.contains(&format!("Test-ApplicationAccessPolicy -Identity '{sender}' -AppId ")), "{reason}");
    assert!(!reason.contains('{'), "{reason}");
}

#[test]
fn after_a_504_sent_items_are_searched_before_anything_is_sent_again() {
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["granted"] = json!(["Mail.Send", "Mail.ReadBasic.All"]);
    let sandbox = Sandbox::start(scenario);
    let look = format!("{QUICK}  functions: {{ default: {{ unknown: search-sent-items }} }}\n");
    let service = start_service(&sandbox, &look);
    // It was sent, and the answer got lost.
    sandbox.fault(&json!({ "at": "/sendMail", "status": 504, "after": true, "times": 1 }));
    let sent = service.send(json!({}));
    let message = service.wait_until(&sent, "an attempt", |message| !message["history"].as_array().unwrap().is_empty());
    assert_eq!(message["history"][0]["class"], "unknown", "{:#}", message["history"]);
    let message = service.wait(&sent, "delivered");
    assert!(message["reason"].as_str().unwrap().starts_with("found in Sent Items"), "{message:#}");
    assert_eq!(mails(&sandbox).len(), 1, "it was sent once");
    // It was not sent, and the answer said nothing either.
    sandbox.fault(&json!({ "at": "/sendMail", "reset": true, "times": 1 }));
    let lost = service.send(json!({}));
    let message = service.wait(&lost, "delivered");
    assert_eq!((&message["attempts"], &message["possibleDuplicate"]), (&json!(2), &json!(true)), "{message:#}");
    assert_eq!(mails(&sandbox).len(), 2);
}

#[test]
fn a_message_that_may_have_been_sent_is_unknown_when_it_is_cancelled() {
    let sandbox = Sandbox::start(good());
    let service =
        start_service(&sandbox, &format!("{QUICK}  functions: {{ default: {{ unknown: search-sent-items }} }}\n"));
    // It was sent, and the answer got lost.
    sandbox.fault(&json!({ "at": "/sendMail", "status": 504, "after": true, "times": 1 }));
    let id = service.send(json!({}));
    service.wait_until(&id, "an attempt", |message| !message["history"].as_array().unwrap().is_empty());
    assert_eq!(service.act(&id, "cancel").status, 200);
    let message = service.message(&id);
    assert_eq!((&message["status"], &message["recipients"][0]["status"]), (&json!("unknown"), &json!("unknown")));
    assert_eq!(message["searchFirst"], Value::Null, "{message:#}");
    // An operator decides, and a replay marks it.
    let resolve = format!("/v1/messages/{id}/resolve");
    assert_eq!(service.repo.http("POST", &resolve, &[], br#"{"outcome":"delivered","reason":"found"}"#).status, 200);
    assert_eq!(service.message(&id)["status"], "delivered");
}

#[test]
fn a_copy_of_an_earlier_sending_in_sent_items_proves_nothing() {
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["granted"] = json!(["Mail.Send", "Mail.ReadBasic.All"]);
    let sandbox = Sandbox::start(scenario);
    let service =
        start_service(&sandbox, &format!("{QUICK}  functions: {{ default: {{ unknown: search-sent-items }} }}\n"));
    let not_sent = json!({ "at": "/sendMail", "status": 504, "times": 1 });
    // Two messages with one Message-ID: the second one was never sent.
    let raw = "From: documents@contoso.example\nSubject: Invoice\nMessage-ID: <4711@erp.example.com>\n\nhello\n";
    let first = service.submit_raw(raw, "&recipients=a@example.org").json()["id"].as_str().unwrap().to_owned();
    service.wait(&first, "delivered");
    sandbox.fault(&not_sent);
    let second = service.submit_raw(raw, "&recipients=b@example.org").json()["id"].as_str().unwrap().to_owned();
    let message = service.wait(&second, "unknown");
    assert!(message["reason"].as_str().unwrap().contains(&first), "{message:#}");
    // One message that was delivered, and is to be sent again to everyone.
    let replayed = service.send(json!({}));
    service.wait(&replayed, "delivered");
    sandbox.fault(&not_sent);
    let again = service.repo.http("POST", &format!("/v1/messages/{replayed}/replay?allRecipients=true"), &[], b"null");
    assert_eq!(again.status, 200, "{}", again.body);
    let message = service.wait(&replayed, "unknown");
    assert!(message["reason"].as_str().unwrap().contains("put back into the queue"), "{message:#}");
    assert_eq!(mails(&sandbox).len(), 2);
}

#[test]
fn a_long_pause_is_bounded_and_shown_and_retry_ends_it() {
    let sandbox = Sandbox::start(good());
    let service = start_service(&sandbox, QUICK);
    sandbox.fault(&json!({ "at": "/sendMail", "status": 429, "retryAfter": u32::MAX, "times": 1 }));
    let throttled = service.send(json!({}));
    service.wait_until(&throttled, "an attempt", |message| message["history"][0]["class"] == "throttled");
    let waiting = service.send(json!({ "to": ["other@example.org"] }));
    let outbox = service.wait_outbox("a pause", |outbox| outbox["paused"][0]["profile"] == "documents");
    let until: jiff::Timestamp = outbox["paused"][0]["until"].as_str().unwrap().parse().unwrap();
    let ahead = until.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((3000..=3605).contains(&ahead), "{ahead} s");
    let shown = service.repo.run(&["outbox", "status", "dev"]).code(0).stdout;
    assert!(shown.contains("throttled") && shown.contains("until "), "{shown}");
    assert_eq!(service.act(&throttled, "retry").status, 200);
    service.wait(&throttled, "delivered");
    service.wait(&waiting, "delivered");
    assert_eq!(service.outbox()["paused"], Value::Null);
}

#[test]
fn without_permission_to_search_a_message_waits_for_an_operator() {
    let sandbox = Sandbox::start(good());
    let service =
        start_service(&sandbox, &format!("{QUICK}  functions: {{ default: {{ unknown: search-sent-items }} }}\n"));
    sandbox.fault(&json!({ "at": "/sendMail", "status": 504, "after": true, "times": 1 }));
    let id = service.send(json!({}));
    let message = service.wait(&id, "unknown");
    assert!(message["reason"].as_str().unwrap().contains("Mail.ReadBasic.All"), "{message:#}");
    assert_eq!(mails(&sandbox).len(), 1);
}

#[test]
fn a_large_message_is_uploaded_in_pieces() {
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["granted"] = json!(["Mail.Send", "Mail.ReadWrite"]);
    let sandbox = Sandbox::start(scenario);
    let service = start_service(&sandbox, QUICK);
    let large: Vec<u8> =
        (0..7_000_000_u32).map(|index| u8::try_from(index.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    let attachments = json!([
        { "name": "large.bin", "content": BASE64_STANDARD.encode(&large) },
        { "name": "small.txt", "mediaType": "text/plain", "content": BASE64_STANDARD.encode("small\nfile\n") },
    ]);
    // The first piece is lost on the way: a draft can be made again.
    sandbox.fault(&json!({ "at": "/upload/", "reset": true, "times": 1 }));
    let id = service.send(json!({ "attachments": attachments, "bcc": ["quiet@example.org"], "text": "see there", "html": "<p>see there</p>" }));
    let message = service.wait(&id, "delivered");
    assert_eq!(message["history"][0]["class"], "transient", "{:#}", message["history"]);
    let mails = mails(&sandbox);
    assert_eq!(mails.len(), 1);
    let mail = &mails[0]["mail"];
    assert_eq!(mail["internetMessageId"], message["messageId"]);
    assert_eq!(mail["bccRecipients"][0]["emailAddress"]["address"], "quiet@example.org");
    assert_eq!((&mail["body"]["contentType"], &mail["body"]["content"]), (&json!("html"), &json!("<p>see there</p>")));
    let files = mail["attachments"].as_array().unwrap();
    let file = |name: &str| {
        let file = files.iter().find(|file| file["name"] == name).unwrap_or_else(|| panic!("no {name}"));
        BASE64_STANDARD.decode(file["contentBytes"].as_str().unwrap()).unwrap()
    };
    assert!(file("large.bin") == large && file("small.txt") == b"small\nfile\n", "not a byte is changed");
}

#[test]
fn an_upload_session_that_graph_refuses_for_the_size_is_about_the_size() {
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["granted"] = json!(["Mail.Send", "Mail.ReadWrite"]);
    let sandbox = Sandbox::start(scenario);
    let service = start_service(&sandbox, QUICK);
    // Graph's limit of 3 MB has two readings: what is too small for a session goes in one request.
    let small = "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize";
    sandbox.fault(&json!({ "at": "/createUploadSession", "status": 400, "code": small, "times": 1 }));
    let file = |size: usize| json!([{ "name": "file.bin", "content": BASE64_STANDARD.encode(vec![7; size]) }]);
    let id = service.send(json!({ "attachments": file(3_000_000) }));
    let message = service.wait(&id, "delivered");
    assert_eq!(message["history"].as_array().unwrap().len(), 1, "{message:#}");
    assert_eq!(mails(&sandbox)[0]["mail"]["attachments"][0]["name"], "file.bin");
    // What is too large fails alone.
    sandbox.fault(&json!({ "at": "/createUploadSession", "status": 413, "code": "RequestEntityTooLarge", "times": 1 }));
    let id = service.send(json!({ "attachments": file(4_000_000) }));
    assert_eq!(service.wait(&id, "failed")["history"][0]["class"], "size");
    let id = service.send(json!({}));
    service.wait(&id, "delivered");
    assert_eq!(service.outbox()["suspended"], json!([]));
}

#[test]
fn without_the_permission_for_drafts_a_large_message_fails_and_says_why() {
    let sandbox = Sandbox::start(good());
    let service = start_service(&sandbox, QUICK);
    let id = service.send(
        json!({ "attachments": [{ "name": "large.bin", "content": BASE64_STANDARD.encode(vec![7; 4_000_000]) }] }),
    );
    // The mailbox is fine; this message needs Mail.ReadWrite, and says so. Others are not held up by it.
    let message = service.wait(&id, "failed");
    assert!(message["reason"].as_str().unwrap().contains("Mail.ReadWrite"), "{message:#}");
    let other = service.send(json!({}));
    service.wait(&other, "delivered");
    assert_eq!(service.outbox()["suspended"], json!([]));
}

#[test]
fn a_token_logs_in_to_a_mail_server() {
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["granted"] = json!(["SMTP.SendAsApp"]);
    scenario["smtp"]["requiresLogin"] = json!(true);
    let sandbox = Sandbox::start(scenario);
    let profile = json!({
        "provider": { "smtp": {
            "host": "localhost", "port": "SMTP", "encryption": "starttls", "username": "documents@contoso.example",
            "oauth": {
                "cloud": { "custom": { "signIn": "HERE", "graph": "HERE" } },
                "tenant": crate::support::sandbox::TENANT, "client": crate::support::sandbox::DIRECT,
                "credential": { "clientSecret": { "secret": "documents/secret" } },
            },
        } },
        "from": { "address": "documents@contoso.example" }, "functions": ["default"], "appliesTo": "system-wide",
    });
    let service = post_with(&sandbox, QUICK, &profile, "documents/secret", SECRET);
    let id = service.send(json!({}));
    service.wait(&id, "delivered");
    assert_eq!(mails(&sandbox)[0]["mail"]["user"], "documents@contoso.example");
    let ca = service.repo.path("ca.pem");
    let verified = service
        .repo
        .run(&[
            "verify",
            "dev",
            "--local",
            "-i",
            "secrets/dev/demo-identity.txt",
            "--outgoing-ca-file",
            ca.to_str().unwrap(),
            "--dns-server",
            &sandbox.running.dns.to_string(),
        ])
        .code(0);
    assert!(verified.stdout.contains(" 2 credential "), "{}", verified.stdout);
    // The role is withdrawn: suspended, with what verify says.
    let mut without = good();
    without["tenants"][0]["applications"][0]["granted"] = json!([]);
    // Another account may still log in by token, so the server offers it.
    without["tenants"][0]["applications"][3]["granted"] = json!(["SMTP.SendAsApp"]);
    without["smtp"]["requiresLogin"] = json!(true);
    sandbox.put(&without);
    let profile = service
        .repo
        .read("environments/dev/profiles/documents.json")
        .replace("\"system-wide\"", "\"system-wide\",\"description\":\"again\"");
    service.repo.write("environments/dev/profiles/documents.json", profile);
    service.apply();
    service.send(json!({}));
    let outbox = service
        .wait_outbox("the suspended profile with its finding", |outbox| outbox["suspended"][0]["finding"].is_object());
    assert_eq!(outbox["suspended"][0]["finding"]["id"], "SMTP-LOGIN", "{outbox:#}");
}

#[test]
fn a_rejected_token_is_fetched_again_within_the_attempt() {
    let sandbox = Sandbox::start(good());
    let service = start_service(&sandbox, QUICK);
    sandbox.fault(&json!({ "at": "/sendMail", "status": 401, "code": "InvalidAuthenticationToken", "times": 1 }));
    let id = service.send(json!({}));
    let message = service.wait(&id, "delivered");
    assert_eq!(message["attempts"], 1, "{message:#}");
    assert_eq!((requests(&sandbox, "/oauth2/v2.0/token"), mails(&sandbox).len()), (2, 1));
}

#[test]
fn a_mailbox_that_does_not_exist_or_may_not_be_used_suspends_the_profile() {
    for (status, code) in [(404, "ErrorInvalidUser"), (403, "ErrorAccessDenied")] {
        let sandbox = Sandbox::start(good());
        let service = start_service(&sandbox, QUICK);
        sandbox.fault(&json!({ "at": "/sendMail", "status": status, "code": code, "times": 2 }));
        let id = service.send(json!({}));
        let outbox =
            service.wait_outbox("the suspended profile", |outbox| outbox["suspended"][0]["profile"] == "documents");
        assert!(outbox["suspended"][0]["reason"].as_str().unwrap().contains(code), "{outbox:#}");
        // It is tried again by itself, and then the message leaves as if nothing had been.
        let message = service.wait(&id, "delivered");
        assert_eq!((&message["attempts"], mails(&sandbox).len()), (&json!(1), 1), "{message:#}");
        assert_eq!(service.outbox()["suspended"], json!([]));
    }
}

#[test]
fn a_search_of_sent_items_that_fails_is_tried_again() {
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["granted"] = json!(["Mail.Send", "Mail.ReadBasic.All"]);
    let sandbox = Sandbox::start(scenario);
    let service =
        start_service(&sandbox, &format!("{QUICK}  functions: {{ default: {{ unknown: search-sent-items }} }}\n"));
    sandbox.fault(&json!({ "at": "/sendMail", "status": 504, "after": true, "times": 1 }));
    sandbox.fault(&json!({ "at": "/mailFolders/", "reset": true, "times": 1 }));
    let id = service.send(json!({}));
    let message = service.wait_until(&id, "a look", |message| message["history"][1].is_object());
    assert_eq!(
        (&message["history"][1]["phase"], &message["history"][1]["class"]),
        (&json!("sent-items"), &json!("transient")),
        "{message:#}"
    );
    let message = service.wait(&id, "delivered");
    assert!(message["reason"].as_str().unwrap().starts_with("found in Sent Items"), "{message:#}");
    assert_eq!(message["possibleDuplicate"], Value::Null, "it was sent once, and that is known");
    assert_eq!(mails(&sandbox).len(), 1);
}

#[test]
fn a_draft_that_was_not_sent_is_removed_and_a_later_piece_may_be_lost() {
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["granted"] = json!(["Mail.Send", "Mail.ReadWrite"]);
    let sandbox = Sandbox::start(scenario);
    let service = start_service(&sandbox, QUICK);
    let removed = || {
        let requests = sandbox.get("requests");
        requests.as_array().unwrap().iter().filter(|request| request["method"] == "DELETE").count()
    };
    let file = BASE64_STANDARD.encode(vec![7; 7_000_000]);
    let large = || json!({ "attachments": [{ "name": "large.bin", "content": file }] });
    // The first piece arrives, the second does not.
    sandbox.fault(&json!({ "at": "/upload/", "delay": 1, "times": 1 }));
    sandbox.fault(&json!({ "at": "/upload/", "reset": true, "times": 1 }));
    let id = service.send(large());
    let message = service.wait(&id, "delivered");
    assert_eq!(message["history"][0]["phase"], "upload", "{:#}", message["history"]);
    assert_eq!((mails(&sandbox).len(), removed()), (1, 1));
    // All of it arrives, and sending is refused for now.
    sandbox.fault(&json!({ "at": "/send", "status": 429, "retryAfter": 2, "times": 1 }));
    let id = service.send(large());
    let message = service.wait(&id, "delivered");
    assert_eq!(message["history"][0]["phase"], "send", "{:#}", message["history"]);
    assert_eq!((mails(&sandbox).len(), removed()), (2, 2));
}

#[test]
fn a_certificate_sends_as_well_as_a_secret() {
    let signing = SigningCertificate::new();
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["certificates"] = json!([{ "pem": signing.certificate }]);
    let sandbox = Sandbox::start(scenario);
    let service = start_with_certificate(&sandbox, &signing.pem());
    let id = service.send(json!({}));
    service.wait(&id, "delivered");
    assert_eq!(mails(&sandbox).len(), 1);
}

#[test]
fn after_a_success_other_than_202_the_outcome_is_unknown() {
    let sandbox = Sandbox::start(good());
    let service = start_service(&sandbox, QUICK);
    for status in [200, 201, 204] {
        sandbox.fault(&json!({ "at": "/sendMail", "status": status, "json": {}, "times": 1 }));
        let id = service.send(json!({}));
        let message = service.wait(&id, "unknown");
        assert_eq!(message["history"][0]["class"], "unknown", "{status}: {message:#}");
    }
    assert_eq!(mails(&sandbox).len(), 0, "nothing is sent again by itself");
    assert_eq!(service.outbox()["suspended"], json!([]));
}

/// A sign-in host and a Graph in one, over TLS. It repeats the token in its reply to the first request to send, and breaks TLS
/// after the second.
struct Hostile {
    address: String,
    certificate: String,
    sent: Arc<AtomicUsize>,
}

const TOKEN: &str = "header.claims.signature";

impl Hostile {
    fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let (config, sent) = (Arc::new(config), Arc::new(AtomicUsize::new(0)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let count = Arc::clone(&sent);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, count) = (Arc::clone(&config), Arc::clone(&count));
                std::thread::spawn(move || drop(Self::talk(stream, config, &count)));
            }
        });
        Self { address, certificate: made.cert.pem(), sent }
    }

    fn talk(stream: TcpStream, config: Arc<ServerConfig>, sent: &AtomicUsize) -> std::io::Result<()> {
        let mut reader = BufReader::new(StreamOwned::new(ServerConnection::new(config).unwrap(), stream));
        loop {
            let (mut path, mut length) = (String::new(), 0_usize);
            reader.read_line(&mut path)?;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                if line.trim().is_empty() {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            reader.read_exact(&mut vec![0; length])?;
            let (status, body) = if path.contains("/token") {
                (200, json!({ "access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600 }))
            } else if !path.contains("/sendMail") {
                (404, json!({}))
            } else if sent.fetch_add(1, Ordering::SeqCst) == 0 {
                let message = format!("not `{TOKEN}`");
                (400, json!({ "error": { "code": format!("No{TOKEN}"), "message": message } }))
            } else {
                // A record of application data that cannot be decrypted.
                let broken = [&[0x17_u8, 3, 3, 0, 32][..], &[0; 32]].concat();
                return reader.get_mut().sock.write_all(&broken);
            };
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nrequest-id: {TOKEN}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            reader.get_mut().write_all((head + &body).as_bytes())?;
        }
    }
}

#[test]
fn a_hostile_graph_gets_no_message_twice_and_discloses_no_token() {
    let (sandbox, graph) = (Sandbox::start(good()), Hostile::start());
    let mut profile = profile();
    let cloud = json!({ "custom": { "signIn": graph.address, "graph": graph.address } });
    profile["provider"]["microsoft-graph-direct"]["cloud"] = cloud;
    let service = post_trusting(&sandbox, QUICK, &profile, "documents/secret", SECRET, &graph.certificate);
    // The reply repeats the token.
    let id = service.send(json!({}));
    let message = service.wait(&id, "failed");
    let reply = message["history"][0]["reply"].as_str().unwrap();
    assert!(reply.contains("No…") && !message.to_string().contains(TOKEN), "{message:#}");
    // TLS breaks after the request: it may have been sent.
    let id = service.send(json!({}));
    let message = service.wait(&id, "unknown");
    assert_eq!(message["history"][0]["class"], "unknown", "{message:#}");
    assert_eq!(graph.sent.load(Ordering::SeqCst), 2, "it is not sent again by itself");
    assert_eq!(service.outbox()["suspended"], json!([]));
}

#[test]
fn a_code_of_any_length_is_kept_shortened() {
    let sandbox = Sandbox::start(good());
    let service = start_service(&sandbox, QUICK);
    let long = "x".repeat(5000);
    sandbox.fault(
        &json!({ "at": "/sendMail", "status": 400, "json": { "error": { "code": long, "message": "m" } }, "times": 1 }),
    );
    let id = service.send(json!({}));
    let message = service.wait(&id, "failed");
    assert!(message["history"][0]["reply"].as_str().unwrap().len() < 400, "{message:#}");
}

#[test]
fn a_gateways_page_about_the_connection_behind_it_leaves_open_whether_it_was_sent() {
    let sandbox = Sandbox::start(good());
    let service = start_service(&sandbox, QUICK);
    for status in [408, 503] {
        sandbox.fault(&json!({ "at": "/sendMail", "status": status, "body": "html", "times": 1 }));
        let id = service.send(json!({}));
        service.wait(&id, "unknown");
    }
    assert_eq!(mails(&sandbox).len(), 0, "nothing is sent again by itself");
}

#[test]
fn a_gateways_page_about_the_size_is_about_the_size() {
    let sandbox = Sandbox::start(good());
    let service = start_service(&sandbox, QUICK);
    sandbox.fault(&json!({ "at": "/sendMail", "status": 413, "body": "html", "times": 1 }));
    let id = service.send(json!({}));
    assert_eq!(service.wait(&id, "failed")["history"][0]["class"], "size");
    // The next message is none the worse for it.
    let id = service.send(json!({}));
    service.wait(&id, "delivered");
    assert_eq!(service.outbox()["suspended"], json!([]));
}

#[test]
fn a_draft_that_disappears_is_created_again() {
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["granted"] = json!(["Mail.Send", "Mail.ReadWrite"]);
    let sandbox = Sandbox::start(scenario);
    let service = start_service(&sandbox, QUICK);
    let file = BASE64_STANDARD.encode(vec![7; 7_000_000]);
    // Before its session, under a piece, and when it is sent; with Graph's code, and with none that is known.
    for (at, code) in [
        ("/createUploadSession", "ErrorItemNotFound"),
        ("/upload/", "itemNotFound"),
        ("/send", "ErrorItemNotFound"),
        ("/send", "SomethingNew"),
    ] {
        sandbox.fault(&json!({ "at": at, "status": 404, "code": code, "times": 1 }));
        let id = service.send(json!({ "attachments": [{ "name": "large.bin", "content": file }] }));
        let message = service.wait(&id, "delivered");
        assert_eq!(message["history"][0]["class"], "transient", "{at} {code}: {:#}", message["history"]);
        assert_eq!(service.outbox()["suspended"], json!([]), "{at} {code}");
    }
    assert_eq!(mails(&sandbox).len(), 4);
}

#[test]
fn with_the_permission_for_drafts_a_refusal_is_about_the_mailbox() {
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["granted"] = json!(["Mail.Send", "Mail.ReadWrite"]);
    let sandbox = Sandbox::start(scenario);
    let service = start_service(&sandbox, QUICK);
    sandbox.fault(&json!({ "at": "/messages", "status": 403, "code": "ErrorAccessDenied", "times": 1 }));
    let id = service.send(
        json!({ "attachments": [{ "name": "large.bin", "content": BASE64_STANDARD.encode(vec![7; 4_000_000]) }] }),
    );
    let message = service.wait(&id, "delivered");
    assert_eq!((&message["history"][0]["class"], &message["attempts"]), (&json!("auth"), &json!(1)), "{message:#}");
}

#[test]
fn replies_about_the_sender_never_fail_a_message() {
    let sandbox = Sandbox::start(good());
    let service = start_service(&sandbox, QUICK);
    for (status, code) in [
        (400, "MailboxNotHostedInExchangeOnline"),
        (400, "ErrorSendAsDenied"),
        (400, "ErrorQuotaExceeded"),
        (507, "SomethingNew"),
        (400, "ErrorMessageSubmissionBlocked"),
    ] {
        sandbox.fault(&json!({ "at": "/sendMail", "status": status, "code": code, "times": 1 }));
        let id = service.send(json!({}));
        let message = service.wait(&id, "delivered");
        assert_eq!(
            (&message["history"][0]["class"], &message["attempts"]),
            (&json!("auth"), &json!(1)),
            "{status} {code}: {message:#}"
        );
    }
}

#[test]
fn a_sign_in_host_that_does_not_decide_suspends_no_profile() {
    for body in [
        json!({ "error": "server_error", "error_description": "AADSTS90036: An unexpected error.", "error_codes": [90036] }),
        json!({ "error": "invalid_grant", "error_description": "AADSTS50196: The server terminated an operation because it encountered a client request loop.", "error_codes": [50196] }),
        json!({ "error": "temporarily_unavailable", "error_description": "AADSTS987654: Later.", "error_codes": [987_654] }),
    ] {
        let sandbox = Sandbox::start(good());
        let service = start_service(&sandbox, QUICK);
        sandbox.fault(&json!({ "at": "/oauth2/v2.0/token", "status": 400, "json": body, "times": 1 }));
        let id = service.send(json!({}));
        let message = service.wait(&id, "delivered");
        assert_eq!(message["history"][0]["class"], "transient", "{message:#}");
        assert_eq!(service.outbox()["suspended"], json!([]));
    }
}

/// The addresses in To, Cc and Bcc of what Graph got as MIME, as a parser reads them that is not ours.
fn recipients_of(sandbox: &Sandbox) -> Vec<String> {
    let mails = mails(sandbox);
    let mime = mails.last().unwrap()["mail"]["mime"].as_str().unwrap();
    let message = mail_parser::MessageParser::default().parse_headers(mime.as_bytes()).unwrap();
    let lists = [message.to(), message.cc(), message.bcc()];
    let all = lists.into_iter().flatten().flat_map(|list| list.clone().into_list());
    all.map(|one| one.address.unwrap_or_default().into_owned()).collect()
}

#[test]
fn graph_gets_exactly_the_recipients() {
    let sandbox = Sandbox::start(good());
    let service = start_service(&sandbox, &format!("{QUICK}  recipients: {{ allow: [\"*@test.example\"] }}\n"));
    // An address that is part of another one's.
    let id = service.send(json!({ "to": ["jim.bob@test.example"], "bcc": ["bob@test.example"] }));
    service.wait(&id, "delivered");
    assert_eq!(recipients_of(&sandbox), ["jim.bob@test.example", "bob@test.example"]);
    // The header names a customer, the envelope does not.
    let raw = "To: Customer <customer@real.example>\nCc: \"Probe, the\" <PROBE@test.example>\nSubject: x\n\nhi\n";
    assert_eq!(service.submit_raw(raw, "").json()["code"], "MW0263");
    let answer = service.submit_raw(raw, "&recipients=probe@test.example,second@test.example");
    let message = service.wait(answer.json()["id"].as_str().unwrap(), "delivered");
    assert_eq!(recipients_of(&sandbox), ["PROBE@test.example", "second@test.example"]);
    assert!(message["reason"].as_str().unwrap().contains("named only the recipients"), "{message:#}");
    assert!(!mails(&sandbox)[1].to_string().contains("customer@"), "{:#}", mails(&sandbox)[1]);
}

#[test]
fn a_guard_that_is_added_later_applies_to_graph_as_well() {
    let sandbox = Sandbox::start(good());
    let service = start_service(&sandbox, QUICK);
    let hold = service.repo.run(&["outbox", "hold", "dev", "--company", "EDU1", "--reason", "x", "--format", "json"]);
    let id = service.send(json!({ "to": ["customer@real.example", "tester@test.example"] }));
    let instead = service.send(json!({ "to": ["customer@real.example"], "cc": ["other@real.example"] }));
    crate::mail_service::environment(
        &service.repo,
        &format!("{QUICK}  recipients: {{ allow: [\"*@test.example\"] }}\n"),
    );
    service.apply();
    service.repo.run(&["outbox", "release", "dev", hold.code(0).json()["id"].as_str().unwrap()]).code(0);
    let message = service.wait(&id, "failed");
    assert_eq!(message["recipients"][0]["reply"], "the environment may not write to it");
    assert_eq!(message["recipients"][1]["status"], "delivered");
    assert_eq!(recipients_of(&sandbox), ["tester@test.example"]);
    service.wait(&instead, "failed");
    assert_eq!(mails(&sandbox).len(), 1);
    crate::mail_service::environment(
        &service.repo,
        &format!("{QUICK}  recipients: {{ rewriteTo: tester@test.example }}\n"),
    );
    service.apply();
    let id = service.send(json!({ "to": ["customer@real.example"], "cc": ["other@real.example"] }));
    service.wait(&id, "delivered");
    assert_eq!(recipients_of(&sandbox), ["tester@test.example"]);
}

#[test]
fn a_recipient_that_smtp_served_is_not_served_again_by_graph() {
    let sandbox = Sandbox::start(good());
    let service = start_service(&sandbox, QUICK);
    let path = service.repo.path("environments/dev/profiles/documents.json");
    let by_graph = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let sink = crate::sink::Sink::start();
    let from = "from: { address: documents@contoso.example }\nfunctions: [default]\nappliesTo: system-wide\n";
    crate::mail_service::relay(&service.repo, "documents", sink.port, "", from);
    service.apply();
    let id = service.send(json!({ "to": ["first@example.org", "450=second@example.org"] }));
    service.wait_until(&id, "an attempt", |message| message["recipients"][0]["status"] == "delivered");
    std::fs::remove_file(service.repo.path("environments/dev/profiles/documents.yaml")).unwrap();
    std::fs::write(&path, by_graph).unwrap();
    service.apply();
    service.wait(&id, "delivered");
    assert_eq!(recipients_of(&sandbox), ["450=second@example.org"]);
    assert_eq!(sink.received()[0].to, ["first@example.org"]);
}

#[test]
fn a_draft_names_the_recipients_and_loses_nothing() {
    let mut scenario = good();
    scenario["tenants"][0]["applications"][0]["granted"] = json!(["Mail.Send", "Mail.ReadWrite"]);
    let sandbox = Sandbox::start(scenario);
    let service = start_service(&sandbox, QUICK);
    let mut lines = String::new();
    for _ in 0..42_000 {
        lines.push_str(&BASE64_STANDARD.encode([7; 54]));
        lines.push('\n');
    }
    let message = |kind: &str, more: &str| {
        format!(
            "To: Customer <customer@example.org>, joann@example.org\nSubject: large\n{more}MIME-Version: 1.0\nContent-Type: {kind}; boundary=b\n\n--b\nContent-Type: text/plain\n\nhello\n--b\nContent-Type: application/pdf; name=large.pdf\nContent-Disposition: attachment; filename=large.pdf\nContent-Transfer-Encoding: base64\n\n{lines}\n--b--\n"
        )
    };
    let more = "Importance: high\nIn-Reply-To: <1@x>\nX-Run: 1\n";
    let answer = service.submit_raw(message("multipart/mixed", more), "&recipients=ann@example.org,joann@example.org");
    service.wait(answer.json()["id"].as_str().unwrap(), "delivered");
    let mail = &mails(&sandbox)[0]["mail"];
    let addresses = |key: &str| {
        mail[key].as_array().unwrap().iter().map(|one| one["emailAddress"]["address"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(addresses("toRecipients"), ["joann@example.org"]);
    assert_eq!(addresses("bccRecipients"), ["ann@example.org"]);
    assert_eq!((&mail["importance"], addresses("ccRecipients").len()), (&json!("high"), 0));
    assert_eq!(mail["singleValueExtendedProperties"][0]["value"], "<1@x>");
    // What a draft has no place for is refused before anything is asked of Graph.
    let drafts = requests(&sandbox, "/messages");
    for (kind, more, reason) in
        [("multipart/signed", "", "signed"), ("multipart/mixed", "Auto-Submitted: auto-generated\n", "Auto-Submitted")]
    {
        let answer = service.submit_raw(message(kind, more), "");
        let message = service.wait(answer.json()["id"].as_str().unwrap(), "failed");
        assert!(message["reason"].as_str().unwrap().contains(reason), "{message:#}");
        assert_eq!(message["history"][0]["class"], "size");
    }
    assert_eq!(requests(&sandbox, "/messages"), drafts);
}
