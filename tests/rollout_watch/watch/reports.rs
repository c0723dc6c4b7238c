//! Reports: by mail through the service itself, with reminders while a state lasts, with retries until the receiver
//! accepts, in order, and over TLS.

use std::{sync::mpsc, time::Duration};

use serde_json::{Value, json};

use crate::{
    sink::Sink,
    watch::fixture::{WatchFixture, WebhookReceiver, eventually},
};

const MAIL: &str = "notify: { mail: { company: EDU1, function: system-administration, to: [ops@example.com] } }";

fn drift(fixture: &WatchFixture, address: &str) {
    let answer = fixture.fleet.services[0].patch("relay", &json!({ "from": { "address": address } }));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn drift_is_reported_by_mail_through_the_service_itself() {
    let sink = Sink::start();
    let fixture = WatchFixture::sending(sink.port, &format!("watch: {{ apply: auto, {MAIL} }}"));
    let (deployer, sender) = (fixture.token("deployer"), fixture.token("sender"));
    // Each token may do its own part and no more.
    fixture.fleet.repo.write("tokens/one", deployer);
    fixture.fleet.repo.write("tokens/mail-one", sender);
    let mut watch = fixture.watch_with("data", &["--mail-token-file", "tokens/mail-{environment}"]);
    let applied = sink.wait_received(1);
    assert_eq!(applied[0].header("Subject").as_deref(), Some("[one] applied"));
    drift(&fixture, "by-hand@example.com");
    let taken = sink.wait_received(2);
    assert_eq!(taken[1].to, ["ops@example.com"]);
    assert_eq!(taken[1].header("Subject").as_deref(), Some("[one] changed outside Git"));
    let text = taken[1].content.replace("=\r\n", "");
    assert!(text.contains("`relay` was changed outside Git by `first-admin` (generation 2)"), "{text}");
    assert!(text.contains("What to do: `mailwright drift one` shows the change."), "{text}");
    assert!(watch.log().contains("\"event\":\"drift-found\""), "{}", watch.log());
    watch.terminate();
    assert_eq!(watch.wait(120), Some(0));
    // A restart does not repeat the report.
    let watch = fixture.watch_with("data", &["--mail-token-file", "tokens/mail-{environment}"]);
    eventually("it has looked", || watch.one()["drift"] == json!(["relay"]));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(sink.received().len(), 2);
}

#[test]
fn mail_without_a_token_that_may_send_says_what_to_give() {
    let sink = Sink::start();
    let fixture = WatchFixture::sending(sink.port, &format!("watch: {{ apply: auto, {MAIL} }}"));
    let token = fixture.token("deployer");
    fixture.fleet.repo.write("tokens/one", token);
    let watch = fixture.watch("data");
    eventually("it is said", || watch.log().contains("`--mail-token-file` names a token that may send"));
    assert!(watch.get("/metrics").1.contains("mailwright_watch_reports_waiting 1"));
}

#[test]
fn a_lasting_state_is_reported_at_intervals() {
    let receiver = WebhookReceiver::start();
    let fixture = WatchFixture::new(&format!("watch: {{ {} }}", receiver.notify()));
    fixture.fleet.run(&["apply", "one", "--yes", "--skip-verify"]).code(0);
    drift(&fixture, "by-hand@example.com");
    let _watch = fixture.watch_with("data", &["--remind", "4s"]);
    eventually("a reminder is sent", || receiver.count("drift-found") >= 2);
    let reports = receiver.of("drift-found");
    let time = |report: &Value| report["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let gap = time(&reports[1]).duration_since(time(&reports[0]));
    assert!(gap >= jiff::SignedDuration::from_secs(3), "{gap:?}");
    assert_eq!((&reports[0]["reminder"], &reports[1]["reminder"]), (&json!(false), &json!(true)));
    assert_ne!(reports[0]["id"], reports[1]["id"], "a reminder is a report of its own");
    // Another change is news, whenever it comes.
    drift(&fixture, "again@example.com");
    eventually("the other change is reported", || {
        receiver.of("drift-found").iter().any(|report| report["message"].as_str().unwrap().contains("generation 3"))
    });
}

#[test]
fn a_change_that_waits_is_reported_by_default() {
    let receiver = WebhookReceiver::start();
    let fixture = WatchFixture::new(&format!("watch: {{ {} }}", receiver.notify()));
    let document = fixture.once_with("data", &["--format", "json"]).code(2).json();
    assert_eq!(document["environments"]["one"]["waiting"]["code"], "MW0374");
    let watch = fixture.watch("data");
    eventually("it is reported", || receiver.count("apply-waiting") == 1);
    eventually("it is shown", || watch.get("/metrics").1.contains("mailwright_watch_waiting{environment=\"one\"} 1"));
    let report = receiver.of("apply-waiting")[0].clone();
    let message = "changes of the files are not applied: 1 to add, 1 to change, 0 to destroy";
    assert_eq!((&report["message"], &report["reminder"]), (&json!(message), &json!(false)));
    assert!(report["remedy"].as_str().unwrap().contains("`mailwright apply one` applies them"), "{report:#}");
    // Another commit is another change.
    fixture.from("second@example.com");
    fixture.push("another sender");
    eventually("the other change is reported", || receiver.count("apply-waiting") == 2);
    fixture.fleet.run(&["apply", "one", "--yes", "--skip-verify"]).code(0);
    eventually("nothing waits", || watch.one()["waiting"].is_null());
    // Drift does not come from the files.
    drift(&fixture, "by-hand@example.com");
    eventually("drift is reported", || receiver.count("drift-found") == 1);
    assert_eq!((watch.one()["waiting"].is_null(), receiver.count("apply-waiting")), (true, 2));
}

#[test]
fn a_receiver_that_is_added_while_a_condition_lasts_gets_its_report() {
    let (first, second) = (WebhookReceiver::start(), WebhookReceiver::start());
    let fixture = WatchFixture::new("watch: { apply: auto }");
    fixture.once("data").code(0);
    drift(&fixture, "by-hand@example.com");
    // Without a receiver it is found, and no report is sent.
    fixture.once("data").code(2);
    fixture.edit("apply: auto", &format!("apply: auto, {}", first.notify()));
    fixture.push("a first receiver");
    fixture.once("data").code(2);
    assert_eq!(first.count("drift-found"), 1);
    let both = format!("notify: {{ webhooks: [{{ url: '{}' }}, {{ url: '{}' }}] }}", first.url, second.url);
    fixture.edit(&first.notify(), &both);
    fixture.push("a second receiver");
    fixture.once("data").code(2);
    fixture.once("data").code(2);
    assert_eq!((first.count("drift-found"), second.count("drift-found")), (1, 1));
    assert_eq!(second.of("drift-found")[0]["reminder"], false);
}

#[test]
fn rejected_reports_are_retried_with_back_off_in_order_and_given_up() {
    let (deaf, hears) = (WebhookReceiver::start(), WebhookReceiver::start());
    deaf.answer("503 Service Unavailable");
    let notify = format!("notify: {{ webhooks: [{{ url: '{}' }}, {{ url: '{}' }}] }}", deaf.url, hears.url);
    let fixture = WatchFixture::new(&format!("watch: {{ apply: auto, drift: revert, {notify} }}"));
    let watch = fixture.watch_with("data", &["--report-tries", "4"]);
    eventually("a reachable receiver gets it at once", || hears.count("apply-done") == 1);
    // Something else happens while the first report waits.
    fixture.from("second@example.com");
    fixture.push("another sender");
    eventually("who listens hears that too", || hears.count("apply-done") == 2);
    eventually("four tries", || deaf.heard().len() >= 4);
    let heard = deaf.heard();
    let ids: Vec<_> = heard[..4].iter().map(|(_, report)| report["id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "the second report waits behind the first: {ids:?}");
    let gap = |index: usize| heard[index].0.duration_since(heard[index - 1].0).as_millis();
    assert!(gap(1) >= 500 && gap(2) >= 1500 && gap(3) >= 3500, "{} {} {}", gap(1), gap(2), gap(3));
    eventually("it is given up", || watch.get("/metrics").1.contains("mailwright_watch_reports_given_up_total 1"));
    assert!(watch.log().contains("report given up"), "{}", watch.log());
    deaf.answer("204 No Content");
    eventually("the next one is taken", || deaf.heard().last().is_some_and(|(_, report)| report["id"] != ids[0]));
    eventually("nothing waits", || watch.get("/metrics").1.contains("mailwright_watch_reports_waiting 0"));
    assert_eq!(hears.count("apply-done"), 2, "an accepted report is not repeated");
}

#[test]
fn mail_of_a_service_that_was_away_reports_only_its_return() {
    let sink = Sink::start();
    let mut fixture = WatchFixture::sending(sink.port, &format!("watch: {{ {MAIL} }}"));
    fixture.fleet.run(&["apply", "one", "--yes"]).code(0);
    let watch = fixture.watch("data");
    eventually("it is looked at", || watch.one()["role"] == "acting");
    fixture.fleet.services[0].kill();
    eventually("it is away", || watch.one()["problem"]["code"] == "MW0200");
    eventually("a mail waits", || watch.get("/metrics").1.contains("mailwright_watch_reports_waiting 1"));
    let before = fixture.fleet.services[0].serve().address.clone();
    fixture.fleet.environment("one", &format!("service: {{ address: {before} }}\nwatch: {{ {MAIL} }}"));
    fixture.push("the service's new place");
    let taken = sink.wait_received(1);
    assert_eq!(taken[0].header("Subject").as_deref(), Some("[one] the service answers again"));
    assert!(taken[0].content.replace("=\r\n", "").contains("it did not since "), "{}", taken[0].content);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(sink.received().len(), 1);
}

#[test]
fn a_webhook_of_an_authority_of_ones_own_needs_its_certificate() {
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (port, heard) = over_tls(key.cert.pem(), key.signing_key.serialize_pem());
    let url = format!("https://localhost:{port}/hook");
    let fixture = WatchFixture::new(&format!("watch: {{ apply: auto, notify: {{ webhooks: [{{ url: '{url}' }}] }} }}"));
    fixture.fleet.repo.write("authority.pem", key.cert.pem());
    let mut watch = fixture.watch("data");
    eventually("it is not trusted", || watch.log().contains("report not accepted"));
    assert!(
        watch.log().contains("certificate is signed by itself") && !watch.log().contains("/hook"),
        "{}",
        watch.log()
    );
    watch.terminate();
    assert_eq!(watch.wait(120), Some(0));
    let _trusting = fixture.watch_with("data", &["--outgoing-ca-file", "authority.pem"]);
    // A report that was not accepted before the end is sent after the next start.
    assert_eq!(heard.recv_timeout(Duration::from_secs(40)).unwrap(), "apply-done");

    fixture.fleet.repo.write("nothing.pem", "nothing");
    let refused = fixture.once_with("data-2", &["--outgoing-ca-file", "nothing.pem"]).code(1);
    assert!(refused.stderr.contains("the file of certificate authorities holds no certificate"), "{}", refused.stderr);
    let refused = fixture.once_with("data-2", &["--outgoing-ca-file", "absent.pem"]).code(1);
    assert!(refused.stderr.contains("`absent.pem`"), "{}", refused.stderr);
}

/// A receiver behind TLS, which gives the events that it hears.
fn over_tls(certificate: String, key: String) -> (u16, mpsc::Receiver<String>) {
    use axum::{Json, Router, http::StatusCode, routing::post};
    let (events, heard) = mpsc::channel();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
            let config = axum_server::tls_rustls::RustlsConfig::from_pem(certificate.into(), key.into()).await.unwrap();
            let hear = move |Json(report): Json<serde_json::Value>| {
                drop(events.send(report["event"].as_str().unwrap_or_default().to_owned()));
                std::future::ready(StatusCode::NO_CONTENT)
            };
            let router: Router = Router::new().route("/hook", post(hear));
            let server = axum_server::from_tcp_rustls(listener, config).unwrap();
            server.serve(router.into_make_service()).await.unwrap();
        });
    });
    (port, heard)
}
