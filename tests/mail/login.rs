//! A login that is refused suspends the profile and not the mail: attempts and clocks stand still, one alert goes out, the
//! finding is the one that `verify` gives, and everything leaves once the login works again. The long form:
//! `MAILWRIGHT_TEST_QUEUED=5000 MAILWRIGHT_TEST_REFUSED=3600`.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    mail_service::{MailService, PATIENCE, QUICK, count, scale},
    sink::{Action, Sink},
    support::own::own_sender,
};

fn start_service(sink: &Sink, delivery: &str) -> MailService {
    MailService::guarded(sink.port, delivery, "none", true)
}

#[test]
fn a_refused_login_suspends_the_profile_and_its_messages_wait() {
    let sink = Sink::start();
    sink.users(&[("mailer", "right-password")]);
    sink.on("auth", Action::Reply("535 5.7.8 authentication failed"));
    let service = start_service(&sink, QUICK);
    let messages = scale("MAILWRIGHT_TEST_QUEUED", 300);
    let refused = Duration::from_secs(scale("MAILWRIGHT_TEST_REFUSED", 4));
    let began = Instant::now();
    let ids: Vec<String> = (0..messages).map(|_| service.send(json!({}))).collect();
    let outbox = service
        .wait_outbox("the suspended profile with its finding", |outbox| outbox["suspended"][0]["finding"].is_object());
    let suspended = &outbox["suspended"][0];
    assert_eq!(suspended["profile"], "relay");
    assert_eq!(suspended["finding"]["id"], "SMTP-LOGIN", "{suspended:#}");
    assert!(
        suspended["finding"]["remedy"]
            .as_array()
            .unwrap()
            .iter()
            .any(|step| step.as_str().unwrap().contains("secrets set dev relay/login"))
    );
    // The same as verify gives.
    let verified = service.repo.run(&["verify", "dev", "relay", "--format", "json"]).code(3).json();
    let finding = verified["profiles"][0]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["id"] == "SMTP-LOGIN")
        .unwrap()
        .clone();
    assert_eq!(suspended["finding"]["message"], finding["message"]);
    assert_eq!(suspended["finding"]["remedy"], finding["remedy"]);
    // The outbox shows the suspension.
    let status = service.repo.run(&["status", "dev"]).code(2).stdout;
    assert!(status.contains("suspended    relay: ") && status.contains("SMTP-LOGIN"), "{status}");
    // Among many, it is one line.
    let among = service.repo.run(&["status", "de[v]"]).code(2).stdout;
    assert!(among.contains("SUSPENDED relay (SMTP-LOGIN), ") && among.contains(" queued"), "{among}");
    assert!(service.repo.run(&["outbox", "status", "de[v]"]).code(2).stdout.contains("SUSPENDED relay (SMTP-LOGIN)"));
    assert!(service.repo.http_without_token("GET", "/readyz", &[], b"").body.contains("suspended profiles: 1"));
    let waits = service.message(&ids[0]);
    assert!(
        waits["waiting"]["explanation"].as_str().unwrap().starts_with("the profile `relay` is suspended"),
        "{waits:#}"
    );

    let group = &service.outbox()["waiting"][0];
    assert_eq!((&group["reason"], &group["messages"]), (&json!("suspended"), &json!(messages)), "{group:#}");
    assert_eq!(group["command"], "mailwright secrets set dev relay/login && mailwright apply dev");
    assert!(group["lastReply"].as_str().unwrap().contains("535 5.7.8"), "{group:#}");
    service.repo.run(&["outbox", "status", "dev", "--trouble"]).code(2);
    // Filters decide about the exit code as well, for one environment and for many.
    for environment in ["dev", "de[v]"] {
        for (filters, code) in [
            (&["--profile", "relay"][..], 2),
            (&["--reason", "suspended"], 2),
            (&["--since", "1h"], 2),
            (&["--profile", "documents"], 0),
            (&["--reason", "throttled"], 0),
            (&["--trouble", "--profile", "documents"], 0),
        ] {
            service.repo.run(&[&["outbox", "status", environment], filters].concat()).code(code);
        }
    }

    std::thread::sleep(refused);
    let outbox = service.outbox();
    assert_eq!(count(&outbox, "queued"), messages, "no message has failed: {outbox:#}");
    let tries = sink.seen("auth");
    // Probes are a second apart at first, a quarter of an hour in the end.
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    let allowed = 14 + seconds.checked_ilog2().unwrap_or_default() as usize + seconds / 500;
    assert!(tries <= allowed, "{tries} logins: those under way at first, verify's, and a few probes");
    assert_eq!(service.message(&ids[200])["attempts"], 0);

    sink.on("auth", Action::Usual);
    let outbox = service.wait_empty_for(PATIENCE + refused / 2);
    assert_eq!(count(&outbox, "delivered"), messages, "{outbox:#}\n{}", service.log());
    assert_eq!(outbox["suspended"], json!([]));
    assert_eq!(sink.received().len() as u64, messages);
    let kinds: Vec<String> = events(&service)
        .iter()
        .filter_map(|event| event["type"].as_str().map(str::to_owned))
        .filter(|kind| kind != "delivered")
        .collect();
    assert_eq!(kinds, ["suspended", "resumed"], "one alert, and one all-clear");
}

/// One message, so that no other one can delay it: a lifetime says how long the message may wait, not how fast the machine is.
#[test]
fn a_suspension_does_not_use_up_the_lifetime() {
    let sink = Sink::start();
    sink.users(&[("mailer", "right-password")]);
    sink.on("auth", Action::Reply("535 5.7.8 authentication failed"));
    let service = start_service(&sink, &format!("{QUICK}  functions: {{ default: {{ lifetime: 10s }} }}\n"));
    let id = service.send(json!({}));
    service.wait_outbox("the suspended profile", |outbox| outbox["suspended"][0]["profile"] == "relay");
    std::thread::sleep(Duration::from_secs(11));
    let message = service.message(&id);
    assert_eq!((&message["status"], &message["attempts"]), (&json!("queued"), &json!(0)), "{message:#}");
    sink.on("auth", Action::Usual);
    service.wait(&id, "delivered");
}

#[test]
fn a_new_password_is_tried_at_once() {
    let sink = Sink::start();
    sink.users(&[("mailer", "new-password")]);
    let service = start_service(&sink, QUICK);
    let id = service.send(json!({}));
    service.wait_outbox("the suspended profile", |outbox| outbox["suspended"][0]["profile"] == "relay");
    service.repo.pipe(&["secrets", "set", "dev", "relay/login"], b"new-password").code(0);
    service.apply();
    let message = service.wait(&id, "delivered");
    // The attempt that suspended the profile is in the history with all details, and does not count against the message.
    assert_eq!(message["attempts"], 1);
    let history = message["history"].as_array().unwrap();
    let shown = |index: usize, key: &str| history[index][key].clone();
    assert_eq!(history.len(), 2, "{message:#}");
    assert_eq!((shown(0, "number"), shown(1, "number")), (json!(1), json!(2)));
    assert_eq!((shown(0, "phase"), shown(0, "class")), (json!("login"), json!("auth")));
    assert_eq!((shown(0, "generation"), shown(1, "generation")), (json!(1), json!(2)));
    assert!(shown(0, "reply").as_str().unwrap().starts_with("535 5.7.8"), "{message:#}");
    assert!(shown(0, "server").as_str().unwrap().contains("127.0.0.1"), "{message:#}");
    let time = |key: &str| shown(0, key).as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time("nextAttemptAt") > time("at"), "when the profile is tried again: {message:#}");
    let text = service.repo.run(&["outbox", "show", "dev", &id]).code(0).stdout;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("login auth 535 5.7.8"), "{text}");
    assert_eq!(service.outbox()["suspended"], json!([]));
}

#[test]
fn nothing_is_sent_without_the_login_that_the_profile_states() {
    let sink = Sink::start();
    let service = start_service(&sink, QUICK);
    let (path, sender) = ("environments/dev/profiles/relay.yaml", own_sender());
    service.repo.write(path, service.repo.read(path).replace("erp@example.com", &sender));
    service.apply();
    service.send(json!({}));
    let outbox = service.wait_outbox("the suspended profile", |outbox| outbox["suspended"][0]["profile"] == "relay");
    assert!(outbox["suspended"][0]["reason"].as_str().unwrap().contains("does not offer AUTH"), "{outbox:#}");
    assert!(sink.received_from(&sender).is_empty());
}

#[test]
fn a_suspended_profile_stays_suspended_after_a_restart() {
    let sink = Sink::start();
    sink.users(&[("mailer", "another")]);
    let mut service = start_service(&sink, QUICK);
    let id = service.send(json!({}));
    service.wait_outbox("the suspended profile", |outbox| outbox["suspended"][0]["profile"] == "relay");
    service.restart();
    assert_eq!(service.outbox()["suspended"][0]["profile"], "relay");
    sink.users(&[("mailer", "right-password")]);
    service.wait(&id, "delivered");
}

/// Returns the events so far, from the stream.
pub(crate) fn events(service: &MailService) -> Vec<serde_json::Value> {
    let store = rusqlite::Connection::open(service.repo.path(".data/store.sqlite")).unwrap();
    let newest = store.query_row("SELECT coalesce(max(number), 0) FROM event", [], |row| row.get(0)).unwrap();
    read_events(service, service.repo.token(), newest, PATIENCE)
}

/// Returns the events so far that another token may see. Nothing says which is the last of them, so it ends with a silence.
pub(crate) fn events_as(service: &MailService, token: &str) -> Vec<serde_json::Value> {
    read_events(service, token, i64::MAX, Duration::from_secs(2))
}

/// Reads events up to one with this number, or until nothing has come for a while.
fn read_events(service: &MailService, token: &str, last: i64, silence: Duration) -> Vec<serde_json::Value> {
    use std::io::{BufRead as _, BufReader, Write as _};
    let mut stream = std::net::TcpStream::connect(service.repo.address().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(silence)).unwrap();
    let request = format!("GET /v1/events?after=0 HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut events: Vec<serde_json::Value> = Vec::new();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    while events.last().map_or(0, |event| event["number"].as_i64().unwrap()) < last
        && let Some(line) = lines.next()
    {
        events.extend(line.strip_prefix("data: ").map(|data| serde_json::from_str::<serde_json::Value>(data).unwrap()));
    }
    events
}

#[test]
fn a_login_that_is_required_at_the_recipient_suspends_as_well() {
    let sink = Sink::start();
    sink.users(&[("mailer", "right-password")]);
    sink.on("rcpt", Action::Reply("530 5.7.0 Authentication required"));
    let service = start_service(&sink, QUICK);
    let ids: Vec<String> = (0..5).map(|_| service.send(json!({}))).collect();
    service.wait_outbox("the suspended profile", |outbox| outbox["suspended"][0]["profile"] == "relay");
    assert_eq!(count(&service.outbox(), "failed"), 0);
    sink.on("rcpt", Action::Usual);
    for id in &ids {
        assert_eq!(service.wait(id, "delivered")["attempts"], 1, "it costs the message nothing");
    }
}
