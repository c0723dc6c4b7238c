//! A mail server that keeps silent, answers byte by byte, or hangs up: each phase has its deadline, and only what happens
//! after the final dot leaves a doubt.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    mail_service::{MailService, QUICK, count},
    sink::{Action, Sink},
};

/// The first attempt's phase and class.
fn first_attempt(verb: &'static str, act: Action) -> (String, String, String, Duration) {
    let sink = Sink::start();
    sink.on(verb, act);
    let service = MailService::with_short_deadlines(sink.port, QUICK, "");
    let began = Instant::now();
    let id = service.send(json!({}));
    let message = service.wait_until(&id, "an attempt", |message| !message["history"].as_array().unwrap().is_empty());
    let attempt = &message["history"][0];
    let text = |key: &str| attempt[key].as_str().unwrap().to_owned();
    (text("phase"), text("class"), text("reply"), began.elapsed())
}

#[test]
fn silence_times_out_at_the_deadline_of_its_phase() {
    let cases = [("connect", "greeting"), ("ehlo", "greeting"), ("mail", "mail"), ("rcpt", "rcpt"), ("data", "data")];
    let threads: Vec<_> = cases
        .into_iter()
        .map(|(verb, phase)| {
            std::thread::spawn(move || {
                let (at, class, reply, took) = first_attempt(verb, Action::Silent);
                assert_eq!((at.as_str(), class.as_str()), (phase, "transient"), "{verb}: {reply}");
                assert!(took >= Duration::from_secs(2), "{verb}: {took:?}");
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn after_silence_after_the_dot_the_outcome_is_unknown() {
    let (phase, class, reply, took) = first_attempt("dot", Action::Silent);
    assert_eq!((phase.as_str(), class.as_str()), ("dot", "unknown"), "{reply}");
    assert!(took >= Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_reply_of_single_bytes_times_out() {
    // 13 bytes at 400 ms each: the deadline is for the whole answer.
    let (phase, class, reply, _) = first_attempt("mail", Action::Slowly(400));
    assert_eq!((phase.as_str(), class.as_str()), ("mail", "transient"), "{reply}");
}

#[test]
fn after_a_connection_cut_within_the_contents_the_outcome_is_known() {
    let sink = Sink::start();
    sink.cut_after(Some(20_000));
    let service = MailService::new(sink.port, QUICK, "");
    let id = service.send(json!({ "text": "0123456789 ".repeat(400_000) }));
    sink.wait_for("content", 1);
    sink.cut_after(None);
    let message = service.wait(&id, "delivered");
    assert_eq!(message["history"][0]["class"], "transient", "{:#}", message["history"]);
    assert_eq!(message["possibleDuplicate"], serde_json::Value::Null);
    assert_eq!(sink.received().len(), 1);
}

#[test]
fn after_a_connection_cut_after_the_dot_the_outcome_is_unknown() {
    let sink = Sink::start();
    sink.on("dot", Action::HangUpTimes(1));
    let retry = "  functions: { default: { unknown: retry } }\n";
    let service = MailService::new(sink.port, &format!("{QUICK}{retry}"), "");
    let id = service.send(json!({}));
    let message = service.wait(&id, "delivered");
    assert_eq!(message["history"][0]["class"], "unknown", "{:#}", message["history"]);
    assert_eq!(message["possibleDuplicate"], true);
    assert_eq!(sink.received().len(), 2, "the server had taken it the first time, too");
}

#[test]
fn a_server_that_cuts_after_the_dot_makes_as_few_outcomes_unknown_as_possible() {
    let sink = Sink::start();
    sink.on("dot", Action::HangUp);
    let service = MailService::new(sink.port, QUICK, "limits: { concurrency: 4 }\n");
    let began = Instant::now();
    let ids: Vec<String> = (0..80).map(|_| service.send(json!({}))).collect();
    service.wait_outbox("the server to be left alone", |outbox| outbox["unreachable"] == json!(["relay"]));
    std::thread::sleep(Duration::from_secs(4));
    let unknown = count(&service.outbox(), "unknown");
    // Those that were under way at once, and one now and then: at most one a second.
    let allowed = 8 + began.elapsed().as_secs();
    assert!((1..=allowed).contains(&unknown), "{unknown} of 80 are in doubt, {allowed} were to be expected");
    sink.on("dot", Action::Usual);
    let outbox = service.wait_empty();
    let unknown = count(&outbox, "unknown");
    assert!(unknown <= allowed + 2 && count(&outbox, "delivered") + unknown == 80, "{outbox:#}");
    assert_eq!(sink.received().len(), ids.len(), "each was taken once");
    assert_eq!(outbox["unreachable"], json!([]));
}

#[test]
fn silence_at_the_login_and_within_tls_times_out() {
    for (verb, phase, encryption) in
        [("auth", "login", "none"), ("starttls", "tls", "starttls"), ("handshake", "tls", "starttls")]
    {
        let sink = Sink::start();
        sink.extensions(&["STARTTLS", "8BITMIME"]);
        sink.users(&[("mailer", "right-password")]);
        sink.on(verb, Action::Silent);
        let mut service = MailService::guarded(sink.port, QUICK, encryption, verb == "auth");
        service.restart_with_short_deadlines();
        let id = service.send(json!({}));
        let message =
            service.wait_until(&id, "an attempt", |message| !message["history"].as_array().unwrap().is_empty());
        let attempt = &message["history"][0];
        assert_eq!((&attempt["phase"], &attempt["class"]), (&json!(phase), &json!("transient")), "{verb}: {attempt:#}");
        assert_eq!(service.outbox()["suspended"], json!([]), "{verb}");
    }
}

#[test]
fn a_reply_of_single_bytes_times_out_at_each_verb() {
    let cases = [("connect", "greeting"), ("ehlo", "greeting"), ("rcpt", "rcpt"), ("data", "data")];
    let threads: Vec<_> = cases
        .into_iter()
        .map(|(verb, phase)| {
            std::thread::spawn(move || {
                // One byte a second, for an answer of more than two bytes.
                let (at, class, reply, _) = first_attempt(verb, Action::Slowly(1000));
                assert_eq!((at.as_str(), class.as_str()), (phase, "transient"), "{verb}: {reply}");
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let (phase, class, reply, _) = first_attempt("dot", Action::Slowly(1000));
    assert_eq!((phase.as_str(), class.as_str()), ("dot", "unknown"), "{reply}");
}
