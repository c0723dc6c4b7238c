//! Why mail waits: each reason with its profile, times, last reply, count and command; filters; what needs an operator.

use serde_json::{Value, json};

use crate::{
    mail_service::{MailService, QUICK},
    sink::{Action, Sink},
    support::repository::send_arguments,
};

/// Returns the group of a reason.
fn group(outbox: &Value, reason: &str) -> Option<Value> {
    outbox["waiting"].as_array()?.iter().find(|group| group["reason"] == reason).cloned()
}

fn wait_group(service: &MailService, reason: &str, messages: u64) -> Value {
    let has = |outbox: &Value| group(outbox, reason).is_some_and(|group| group["messages"] == messages);
    group(&service.wait_outbox(&format!("{messages} messages that are {reason}"), has), reason).unwrap()
}

fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok())
}

#[test]
fn a_throttled_mailbox_shows_its_reply_and_its_end() {
    let sink = Sink::start();
    sink.on("mail", Action::Reply("432 4.3.2 \u{1b}[31mConcurrent connections limit exceeded"));
    let service = MailService::new(sink.port, QUICK, "limits: { preset: exchange-online-smtp }\n");
    let id = service.send(json!({}));
    let group = wait_group(&service, "throttled", 1);
    assert_eq!((&group["profile"], &group["needsOperator"]), (&json!("relay"), &json!(false)), "{group:#}");
    assert!(["since", "until", "nextAttemptAt", "oldestAt"].iter().all(|key| is_time(&group[*key])), "{group:#}");
    let reply = group["lastReply"].as_str().unwrap();
    assert!(reply.contains("432 4.3.2") && !reply.contains('\u{1b}') && reply.len() < 1000, "{reply:?}");
    assert_eq!(group["command"], format!("mailwright outbox retry dev {id}"));
    let text = service.repo.run(&["outbox", "status", "dev"]).code(0).stdout;
    assert!(text.contains("throttled    relay: 1 message waiting"), "{text}");
    assert!(text.contains("432 4.3.2") && text.contains("until ") && text.contains("oldest "), "{text}");
    // It ends by itself.
    let trouble = service.repo.run(&["outbox", "status", "dev", "--trouble"]).code(0).stdout;
    assert_eq!(trouble, "Nothing needs an operator.\n");
    let shown = service.message(&id);
    assert_eq!((&shown["waiting"]["reason"], &shown["waiting"]["messages"]), (&json!("throttled"), &json!(1)));
}

#[test]
fn a_retry_reports_that_a_limit_still_applies() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "limits: { perMinute: 1 }\n");
    service.send(json!({}));
    sink.wait_received(1);
    let id = service.send(json!({}));
    let group = wait_group(&service, "throttled", 1);
    assert!(is_time(&group["until"]) && group["command"] == Value::Null, "{group:#}");
    let retried = service.repo.run(&["outbox", "retry", "dev", &id]).code(0);
    assert!(retried.stderr.contains("still waits: the profile `relay` is throttled"), "{}", retried.stderr);
    assert!(retried.stderr.contains("until "), "{}", retried.stderr);
}

#[test]
fn a_server_that_is_away_is_named_with_its_reply() {
    let sink = Sink::start();
    sink.on("connect", Action::Reply("421 4.3.2 shutting down"));
    let service = MailService::new(sink.port, QUICK, "");
    service.send(json!({}));
    service.send(json!({ "company": "EDU2" }));
    let group = wait_group(&service, "server-away", 2);
    assert!(group["lastReply"].as_str().unwrap().contains("421 4.3.2"), "{group:#}");
    assert!(is_time(&group["since"]), "{group:#}");
    assert_eq!(group["companies"], json!(["EDU1", "EDU2"]));
    assert_eq!(group["command"], "mailwright verify dev relay");
    sink.on("connect", Action::Usual);
    let outbox = service.wait_empty();
    assert!(outbox.get("waiting").is_none(), "{outbox:#}");
}

#[test]
fn held_mail_needs_an_operator_and_can_be_listed() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let hold = service
        .repo
        .run(&["outbox", "hold", "dev", "--company", "EDU1", "--reason", "wrong price list", "--format", "json"])
        .code(0)
        .json();
    let id = service.send(json!({ "document": { "type": "invoice", "number": "4711" } }));
    let delivered = service.send(json!({ "company": "EDU2" }));
    service.wait(&delivered, "delivered");
    let group = wait_group(&service, "held", 1);
    let release = format!("mailwright outbox release dev {}", hold["id"].as_str().unwrap());
    assert_eq!((&group["command"], &group["hold"]), (&json!(release), &hold["id"]), "{group:#}");
    let trouble = service.repo.run(&["outbox", "status", "dev", "--trouble"]).code(2).stdout;
    assert!(trouble.contains("held         relay: 1 message waiting") && trouble.contains(&release), "{trouble}");
    // A reason that is not asked for is not shown.
    service.repo.run(&["outbox", "status", "dev", "--trouble", "--reason", "suspended"]).code(0);

    let list = |arguments: &[&str]| -> Vec<String> {
        let page =
            service.repo.run(&[&["outbox", "list", "dev", "--format", "json"], arguments].concat()).code(0).json();
        let messages = page["messages"].as_array().unwrap().clone();
        messages.iter().map(|message| message["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(list(&["--reason", "held"]), std::slice::from_ref(&id));
    assert!(list(&["--reason", "suspended"]).is_empty());
    assert_eq!(list(&["--profile", "relay", "--since", "1h"]), [delivered.clone(), id.clone()]);
    assert!(list(&["--profile", "other"]).is_empty());
    assert!(list(&["--since", "2199-01-01"]).is_empty());
    let refused = service.repo.http("GET", "/v1/messages?reason=held&status=failed", &[], b"");
    assert_eq!(refused.status, 400, "{}", refused.body);

    let sent = service.repo.run(&send_arguments("dev", "a@example.org", &["--wait", "--timeout", "1"]));
    let sent = sent.code(4);
    assert!(
        sent.stderr.contains("is still queued after 1 s: held by first-admin: wrong price list"),
        "{}",
        sent.stderr
    );
    assert!(sent.stderr.contains(&release), "{}", sent.stderr);

    // The command works as printed.
    let words: Vec<&str> = release.split(' ').skip(1).collect();
    service.repo.run(&words).code(0);
    service.wait(&id, "delivered");
}

#[test]
fn a_scheduled_attempt_has_its_time_and_the_reply_before_it() {
    let sink = Sink::start();
    sink.on("rcpt", Action::Reply("451 4.7.1 greylisted"));
    let service = MailService::new(sink.port, "  retry: { first: 1h, longest: 1h }\n", "");
    let id = service.send(json!({}));
    service.wait_until(&id, "an attempt", |message| message["attempts"] == 1);
    let group = wait_group(&service, "scheduled", 1);
    assert!(group["lastReply"].as_str().unwrap().contains("451 4.7.1 greylisted"), "{group:#}");
    assert!(is_time(&group["nextAttemptAt"]), "{group:#}");
}

#[test]
fn the_live_view_prints_changes_and_ends_with_the_command() {
    use std::{io::BufRead as _, process::Stdio};
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    service.repo.run(&["outbox", "hold", "dev", "--company", "EDU1", "--reason", "a moment"]).code(0);
    let mut command = service.repo.command(&["outbox", "status", "dev", "--follow", "--format", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert!(group(&first, "held").is_none(), "{first:#}");
    service.send(json!({}));
    let seen = lines.by_ref().take(30).map_while(Result::ok).find(|line| {
        let outbox: Value = serde_json::from_str(line).unwrap();
        group(&outbox, "held").is_some_and(|group| group["messages"] == 1)
    });
    assert!(seen.is_some(), "the message is seen");
    child.kill().unwrap();
    child.wait().unwrap();
}
