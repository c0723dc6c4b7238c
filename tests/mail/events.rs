//! The stream of events: a sender follows what its own token submitted, within its companies and functions, and gets
//! no other events; a token that may read gets all of them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    login::{events, events_as},
    mail_service::{MailService, QUICK, message},
    sink::{Action, Sink},
};

fn submit(service: &MailService, token: &str, more: Value) -> String {
    let authorization = format!("Bearer {token}");
    let body = message(more).to_string();
    let answer =
        service.repo.http_without_token("POST", "/v1/messages", &[("Authorization", &authorization)], body.as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// The messages that events are about; `profile` marks an event without a message.
fn about(events: &[Value]) -> Vec<String> {
    let id = |event: &Value| event["message"]["id"].as_str().unwrap_or("profile").to_owned();
    events.iter().map(id).collect()
}

#[test]
fn a_sender_follows_its_own_messages_and_nothing_else() {
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let token = |name: &str, more: &[&str]| {
        let arguments = [&["token", "create", "dev", "--name", name, "--role", "sender"], more].concat();
        service.repo.run(&arguments).code(0).stdout.trim().to_owned()
    };
    let (shop, other) = (token("shop", &[]), token("other", &[]));
    // For less than the others.
    let narrow = token("narrow", &["--companies", "EDU1", "--functions", "default"]);
    let first = submit(&service, &shop, json!({}));
    let second = submit(&service, &shop, json!({ "company": "EDU2" }));
    let third = submit(&service, &shop, json!({ "function": "all-reports" }));
    let theirs = submit(&service, &other, json!({}));
    let limited = submit(&service, &narrow, json!({}));
    for id in [&first, &second, &third, &theirs, &limited] {
        service.wait(id, "delivered");
    }
    // The profile is suspended and resumes: those are events of a profile, for tokens that may read.
    sink.on("mail", Action::Reply("530 5.7.0 Authentication required"));
    let fourth = submit(&service, &shop, json!({}));
    service.wait_outbox("the suspended profile", |outbox| outbox["suspended"][0]["profile"] == "relay");
    sink.on("mail", Action::Usual);
    service.wait(&fourth, "delivered");

    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    let own = |ids: &[&String]| sorted(ids.iter().map(|id| (*id).clone()).collect());
    assert_eq!(sorted(about(&events_as(&service, &shop))), own(&[&first, &second, &third, &fourth]));
    assert_eq!(sorted(about(&events_as(&service, &narrow))), own(&[&limited]));
    assert_eq!(about(&events_as(&service, &other)), std::slice::from_ref(&theirs));
    let all = events(&service);
    assert_eq!(about(&all).iter().filter(|about| *about == "profile").count(), 2, "suspended and resumed: {all:#?}");
    assert_eq!(all.len(), 8, "{all:#?}");
    assert_eq!(all.iter().find(|event| event["message"]["id"] == json!(theirs)).unwrap()["message"]["by"], "other");
}

#[test]
fn missed_events_arrive_without_a_new_event() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    // More than one page.
    let ids: Vec<String> = (0..230).map(|_| service.send(json!({}))).collect();
    for id in &ids {
        service.wait(id, "delivered");
    }
    let mut stream = std::net::TcpStream::connect(service.repo.address().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let token = service.repo.token();
    let request = format!("GET /v1/events?after=0 HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let delivered = lines.filter(|line| line.starts_with("event: delivered")).take(230).count();
    assert_eq!(delivered, 230);
}

#[test]
fn a_sender_gets_events_as_they_happen() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let sink = Sink::start();
    let service = MailService::new(sink.port, QUICK, "");
    let create = ["token", "create", "dev", "--name", "shop", "--role", "sender"];
    let shop = service.repo.run(&create).code(0).stdout.trim().to_owned();
    let mut stream = std::net::TcpStream::connect(service.repo.address().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let request = format!("GET /v1/events HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {shop}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "HTTP/1.1 200 OK");
    // Another sender's message comes first, and has no event here.
    let other = service.send(json!({}));
    service.wait(&other, "delivered");
    let own = submit(&service, &shop, json!({}));
    let data = lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned)).unwrap();
    let event: Value = serde_json::from_str(&data).unwrap();
    assert_eq!((&event["type"], &event["message"]["id"]), (&json!("delivered"), &json!(own)), "{event:#}");
}
