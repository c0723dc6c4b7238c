//! Limits of a mailbox hold across workers and restarts, and a flood of one function does not delay the others.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    mail_service::{MailService, QUICK, count},
    sink::{Action, Sink},
    support::functions,
};

#[test]
fn the_limit_of_a_minute_holds_over_restarts() {
    let sink = Sink::start();
    let mut service = MailService::new(sink.port, QUICK, "limits: { perMinute: 8, concurrency: 3 }\n");
    let ids: Vec<String> = (0..30).map(|_| service.send(json!({}))).collect();
    sink.wait_received(8);
    let first = Instant::now();
    service.restart();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(sink.received().len(), 8, "a restart does not begin a new minute");
    // The window slides: the next ones leave a minute after the first ones, and no earlier.
    while sink.received().len() < 16 && first.elapsed() < Duration::from_secs(200) {
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(sink.received().len(), 16, "{:?}", first.elapsed());
    // By the service's own record: a machine that is busy may let a mail arrive later than it was sent.
    let attempts = |id: &String| service.message(id)["history"].as_array().unwrap().clone();
    let mut times: Vec<jiff::Timestamp> =
        ids.iter().flat_map(attempts).map(|attempt| attempt["at"].as_str().unwrap().parse().unwrap()).collect();
    times.sort();
    assert!(times.len() >= 15, "{times:?}");
    for window in times.windows(9) {
        let span = window[8].duration_since(window[0]);
        assert!(span >= jiff::SignedDuration::from_millis(59_500), "nine within {span:?}");
    }
}

#[test]
fn the_limit_of_concurrent_deliveries_holds() {
    let sink = Sink::start();
    sink.on("dot", Action::Slowly(20));
    let service = MailService::new(sink.port, QUICK, "limits: { concurrency: 3 }\n");
    for _ in 0..20 {
        service.send(json!({}));
    }
    service.wait_empty();
    assert_eq!(sink.most_open(), 3);
    let used: std::collections::BTreeSet<usize> = sink.received().iter().map(|received| received.connection).collect();
    assert_eq!(used.len(), sink.connections(), "connections are used again");
    assert!(sink.connections() <= 6, "{}", sink.connections());
}

#[test]
fn recipients_of_a_day_are_counted_over_restarts() {
    let sink = Sink::start();
    let mut service = MailService::new(sink.port, QUICK, "limits: { recipientsPerDay: 5 }\n");
    for _ in 0..4 {
        service.send(json!({ "to": ["a@example.org", "b@example.org"] }));
    }
    sink.wait_received(3);
    service.restart();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(sink.received().len(), 3, "the third filled the day");
    assert_eq!(count(&service.outbox(), "queued"), 1);
}

#[test]
fn an_approval_is_not_delayed_by_a_thousand_statements() {
    let sink = Sink::start();
    // The first two are under way, and what follows is read ahead, until all has been submitted.
    sink.on("dot", Action::Held);
    let mut service = MailService::unapplied(sink.port, QUICK, "limits: { concurrency: 2 }\n");
    service.repo.serve_with(&["--demo", "--delivery-deadlines", "dot=600"]);
    service.apply();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..250).for_each(|_| drop(service.send(json!({ "function": "all-reports" })))));
        }
    });
    let urgent = service.send(json!({ "function": "electronic-signatures" }));
    let other = service.send(json!({ "function": "all-reports", "company": "EDU2" }));
    sink.on("dot", Action::Usual);
    for id in [&urgent, &other] {
        let own = service.wait(id, "delivered")["messageId"].as_str().unwrap().to_owned();
        let place = sink.received().iter().position(|mail| mail.header("message-id").as_ref() == Some(&own)).unwrap();
        assert!(place < 100, "{place} messages of the flood went first");
    }
}

/// Lets so many messages of a company wait for each function, all before the first one leaves.
fn flood(service: &MailService, company: &str, functions: &[&str], each: usize) {
    std::thread::scope(|scope| {
        for function in functions {
            scope.spawn(move || {
                for _ in 0..each {
                    service.send(json!({ "company": company, "function": function, "subject": company }));
                }
            });
        }
    });
}

#[test]
fn a_company_with_many_functions_gets_no_larger_share() {
    let many: Vec<&str> = functions().collect();
    assert_eq!(many.len(), 12);
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "limits: { concurrency: 2 }\n");
    let hold =
        service.repo.http("POST", "/v1/holds", &[], br#"{ "profile": "relay", "reason": "until all is there" }"#);
    assert_eq!(hold.status, 201, "{}", hold.body);
    flood(&service, "EDU1", &many, 20);
    flood(&service, "EDU2", &["default"], 60);
    let id = hold.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(service.repo.http("DELETE", &format!("/v1/holds/{id}"), &[], b"").status, 204);
    // While both have something to send, they take turns; and so do the functions of one.
    let first: Vec<String> =
        sink.wait_received(100).iter().take(100).map(|received| received.header("subject").unwrap()).collect();
    let of_one = first.iter().filter(|company| *company == "EDU2").count();
    assert!((40..=60).contains(&of_one), "{of_one} of 100 for the company with one function");
    let outbox = service.wait_empty();
    assert_eq!(count(&outbox, "delivered"), 300, "{outbox:#}");
}

#[test]
fn a_throttling_reply_pauses_the_mailbox() {
    let sink = Sink::start();
    sink.on(
        "mail",
        Action::ReplyTimes(
            1,
            "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending",
        ),
    );
    let service = MailService::new(sink.port, QUICK, "limits: { preset: exchange-online-smtp }\n");
    let ids: Vec<String> = (0..5).map(|_| service.send(json!({}))).collect();
    let message =
        service.wait_until(&ids[0], "an attempt", |message| !message["history"].as_array().unwrap().is_empty());
    let throttled = ids.iter().any(|id| service.message(id)["history"][0]["class"] == "throttled");
    assert!(throttled, "{message:#}");
    std::thread::sleep(Duration::from_secs(2));
    // Those that were under way may have passed; nothing else is begun for a minute.
    assert!(sink.received().len() <= 3, "{}", sink.received().len());
    assert_eq!(service.outbox()["suspended"], json!([]), "it is not the profile's fault");
}

#[test]
fn waiting_for_a_mailbox_does_not_use_up_the_lifetime() {
    let sink = Sink::start();
    let lifetime = "  functions: { default: { lifetime: 10s } }\n";
    let service = MailService::new(sink.port, &format!("{QUICK}{lifetime}"), "limits: { perMinute: 2 }\n");
    let ids: Vec<String> = (0..5).map(|_| service.send(json!({}))).collect();
    sink.wait_received(2);
    std::thread::sleep(Duration::from_secs(11));
    let outbox = service.outbox();
    assert_eq!((count(&outbox, "failed"), count(&outbox, "queued")), (0, 3), "{outbox:#}");
    let waits = service.message(ids.last().unwrap());
    assert!(waits["waiting"]["explanation"].as_str().unwrap().contains("2 messages a minute"), "{waits:#}");
    // With more room they leave, older than they may become.
    crate::mail_service::relay(&service.repo, "relay", sink.port, "", "limits: { perMinute: 100 }\n");
    service.apply();
    let outbox = service.wait_empty();
    assert_eq!(count(&outbox, "delivered"), 5, "{outbox:#}");
}

#[test]
fn a_quota_reply_to_a_recipient_counts_for_the_mailbox() {
    let sink = Sink::start();
    sink.on("rcpt", Action::Reply("550 5.4.5 Daily sending quota exceeded"));
    let service = MailService::new(sink.port, QUICK, "limits: { concurrency: 2 }\n");
    let ids: Vec<String> = (0..20).map(|_| service.send(json!({ "to": ["a@example.org", "b@example.org"] }))).collect();
    let asked = ids.iter().find_map(|id| {
        service.wait_until(&ids[0], "an attempt", |message| !message["history"].as_array().unwrap().is_empty());
        Some(service.message(id)["history"][0].clone()).filter(serde_json::Value::is_object)
    });
    let asked = asked.unwrap();
    assert_eq!(asked["class"], "throttled", "{asked:#}");
    let time = |key: &str| asked[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time("nextAttemptAt").duration_since(time("at")).as_secs() >= 1700, "half an hour, as the table says");
    std::thread::sleep(Duration::from_secs(3));
    assert!(sink.seen("rcpt") <= 4, "{} recipients were asked for", sink.seen("rcpt"));
    assert_eq!(count(&service.outbox(), "queued"), 20, "no message is refused for it");
}
