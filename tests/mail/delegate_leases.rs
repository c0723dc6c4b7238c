//! Leases of messages that a person sends from their own client: their number and their end, the list of the person, and the
//! audit entries of refused requests.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    delegate::{ANN, BOB, CLIENT, MESSAGES, Setup, TENANT, assert_code, delegate},
    mail_service::{QUICK, environment},
};

/// The largest number of leases of one message.
const LEASES: u64 = 100;

/// Begins and releases a message until it has no lease left. Returns the status after the last one.
fn use_up(setup: &Setup, id: &str) -> String {
    let mut status = String::new();
    for number in 1..=LEASES {
        let released = setup.report(id, setup.lease(id), "released");
        assert_eq!(released.status, 200, "{}", released.body);
        released.json()["status"].as_str().unwrap().clone_into(&mut status);
        assert_eq!(status == "awaiting-sender", number < LEASES, "lease {number}: {status}");
    }
    status
}

#[test]
fn a_message_without_leases_ends_with_the_reason_and_a_replay_gives_new_ones() {
    let setup = Setup::new(QUICK);
    let id = setup.submit(json!({}));
    assert_eq!(use_up(&setup, &id), "failed");
    let message = setup.service.message(&id);
    let reason = message["reason"].as_str().unwrap();
    assert!(reason.contains("began it 100 times") && reason.contains("HTTP 202"), "{message:#}");
    assert_eq!(message["recipients"][0]["status"], "failed", "{message:#}");
    assert!(setup.listed(ANN).is_empty());
    // The answer to the last report can be lost.
    assert_eq!(setup.report(&id, LEASES, "released").status, 200);
    let refused = setup.begin(ANN, &id);
    assert_code(&refused, 409, "MW0439", "no lease is left");
    assert!(refused.body.contains(&format!("outbox replay dev {id}")), "{}", refused.body);
    // The number of a lease is never used again.
    assert_eq!(setup.service.act(&id, "replay").status, 200);
    assert_eq!(setup.lease(&id), LEASES + 1);
    assert_eq!(setup.report(&id, LEASES + 1, "unknown").json()["status"], "unknown");
    // One that an earlier attempt may have sent has not failed.
    assert_eq!(setup.service.act(&id, "replay").status, 200);
    assert_eq!(use_up(&setup, &id), "unknown");
    assert!(setup.service.message(&id)["reason"].as_str().unwrap().contains("began it 100 times"));
}

#[test]
fn a_recipient_that_is_not_allowed_uses_up_no_lease() {
    let setup = Setup::new(QUICK);
    let (id, leased) = (setup.submit(json!({})), setup.submit(json!({})));
    let epoch = setup.lease(&leased);
    environment(&setup.service.repo, &format!("{QUICK}  recipients: {{ allow: [\"*@example.com\"] }}\n"));
    setup.service.apply();
    let refused = setup.begin(ANN, &id);
    assert_code(&refused, 422, "MW0263", "begin");
    assert!(refused.body.contains("delivery.recipients") && !refused.body.contains("customer@"), "{}", refused.body);
    let message = setup.service.message(&id);
    assert_eq!(
        (&message["status"], &message["sender"]["epoch"]),
        (&json!("awaiting-sender"), &json!(0)),
        "{message:#}"
    );
    assert_code(&setup.content(ANN, &leased, epoch, ""), 422, "MW0263", "contents");
    environment(&setup.service.repo, QUICK);
    setup.service.apply();
    assert_eq!(setup.lease(&id), 1);
    assert_eq!(setup.content(ANN, &leased, epoch, "").status, 200);
}

#[test]
fn a_page_is_full_of_messages_of_the_own_application() {
    let setup = Setup::new(QUICK);
    let web = CLIENT.replace("e1", "e2");
    let profile = delegate().replace(CLIENT, &web).replace("native", "spa").replace("localhost", "erp.example/web");
    setup.service.repo.write("environments/dev/profiles/web.yaml", profile);
    setup.service.apply();
    let own: Vec<String> = (0..3).map(|_| setup.submit(json!({}))).collect();
    let page_token = setup.token_with(ANN, |claims| claims["aud"] = json!(web));
    for _ in 0..5 {
        let answer = setup.submit_with(&page_token, json!({ "client": "spa" }));
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    let page = |token: &str| {
        let answer = setup.ask_with(token, "GET", &format!("{MESSAGES}?limit=3"), &Value::Null).json();
        let ids = answer["messages"].as_array().unwrap().iter();
        (ids.map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), answer["nextBefore"].clone())
    };
    let (listed, _) = page(&setup.token(ANN));
    assert_eq!(listed, own.into_iter().rev().collect::<Vec<_>>());
    let (listed, next) = page(&page_token);
    assert!(listed.len() == 3 && next.is_u64(), "{listed:?} {next}");
}

#[test]
fn a_mail_in_sent_items_counts_from_the_acceptance_or_from_a_replay_to_all_recipients() {
    let setup = Setup::new(QUICK);
    let id = setup.submit(json!({}));
    let accepted_at = setup.service.message(&id)["acceptedAt"].clone();
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    // Before it is begun, no mail can be the message.
    let listed = &setup.listed(ANN)[0];
    assert!(listed["sentItemsSince"].is_null() && listed["begunAt"].is_null(), "{listed:#}");
    let begun = setup.begin(ANN, &id).json();
    let epoch = begun["epoch"].as_u64().unwrap();
    assert!(time(&begun["message"]["sentItemsSince"]) < time(&accepted_at), "{begun:#}");
    assert!(time(&begun["message"]["begunAt"]) >= time(&accepted_at), "{begun:#}");
    // Unknown and replayed: the mail of the first attempt is the message.
    setup.report(&id, epoch, "unknown");
    assert_eq!(setup.service.act(&id, "replay").status, 200);
    let listed = &setup.listed(ANN)[0];
    assert_eq!(listed["possibleDuplicate"], true);
    assert!(time(&listed["sentItemsSince"]) < time(&accepted_at), "{listed:#}");
    // Delivered and sent again: it is not.
    setup.report(&id, setup.lease(&id), "sent");
    let all = json!({ "allRecipients": true }).to_string();
    let again = setup.service.repo.http("POST", &format!("/v1/messages/{id}/replay"), &[], all.as_bytes());
    assert_eq!(again.status, 200, "{}", again.body);
    assert_eq!(setup.listed(ANN)[0]["sentItemsSince"], again.json()["requeuedAt"]);
}

#[test]
fn a_refused_request_of_another_account_is_recorded_under_its_own_name() {
    let setup = Setup::new(QUICK);
    let id = setup.submit(json!({}));
    let epoch = setup.lease(&id);
    let path = format!("{MESSAGES}/{id}");
    assert_code(&setup.begin(BOB, &id), 403, "MW0433", "begin");
    assert_code(&setup.content(BOB, &id, epoch, ""), 403, "MW0433", "contents");
    let report = json!({ "epoch": epoch, "outcome": "sent" });
    assert_code(&setup.ask(BOB, "POST", &format!("{path}/report"), &report), 403, "MW0433", "report");
    assert_code(&setup.ask(BOB, "POST", &format!("{path}/cancel"), &Value::Null), 403, "MW0433", "cancel");
    let mut actions: Vec<String> = setup
        .audit()
        .iter()
        .filter(|entry| entry["outcome"] == "refused")
        .inspect(|entry| {
            assert_eq!(entry["detail"]["sender"], json!({ "tenant": TENANT, "object": BOB }), "{entry:#}");
        })
        .map(|entry| entry["action"].as_str().unwrap().to_owned())
        .collect();
    actions.sort();
    assert_eq!(actions, ["delegate.begin", "delegate.content", "delegate.report", "message.cancel"]);
}

#[test]
fn tokens_of_applications_and_escaped_tokens_are_refused() {
    let setup = Setup::new(QUICK);
    let id = setup.submit(json!({}));
    let epoch = setup.lease(&id);
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let jwt = |typ: &str, claims: &Value| {
        format!("{}.{}.Y2FuYXJ5", part(&json!({ "alg": "RS256", "typ": typ })), part(claims))
    };
    let app = json!({ "aud": "api://mail", "azp": CLIENT, "azpacr": "1", "roles": ["Mail.Send"], "ver": "2.0" });
    for token in [jwt("JWT", &app), jwt("at+jwt", &json!({ "aud": "api://mail", "sub": "x" }))] {
        let answer = setup.ask_with(&token, "GET", MESSAGES, &Value::Null);
        assert_code(&answer, 400, "MW0432", &token);
        assert_code(&setup.submit_with(&token, json!({})), 400, "MW0432", &token);
    }
    let graph = jwt("JWT", &json!({ "aud": "https://graph.microsoft.com" }));
    let refresh = format!("1.A{}", "CanaryOfARefreshToken_".repeat(8));
    let authorization = format!("Bearer {}", setup.token(ANN));
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    for token in [
        graph.replace('.', "\\u002e"),
        refresh.replace('.', "\\u002E"),
        graph.replace('J', "\\u004a"),
        format!("\\/{refresh}"),
    ] {
        for body in [
            format!("{{\"epoch\":{epoch},\"outcome\":\"sent\",\"reason\":\"{token}\"}}"),
            format!("{{\"epoch\":{epoch},\"outcome\":\"sent\",\"{token}\":1}}"),
        ] {
            let path = format!("{MESSAGES}/{id}/report");
            let answer = setup.service.repo.http_without_token("POST", &path, &headers, body.as_bytes());
            assert_code(&answer, 400, "MW0432", &body);
        }
    }
    assert_eq!(setup.status(&id), "sending", "nothing was recorded");
    assert_eq!(setup.report(&id, epoch, "sent").status, 200);
}
