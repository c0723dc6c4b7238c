//! Credentials that expire: reported by webhook, by mail and by a metric, from the results of `verify`, which the watch
//! runs.

use serde_json::json;

use crate::{
    sink::Sink,
    support::{
        fleet::Fleet,
        repository::TestRepository,
        sandbox::{SECRET, Sandbox, direct, good},
    },
    watch::fixture::{WatchFixture, WebhookReceiver, eventually, sending_by},
};

#[test]
fn an_expiring_client_secret_is_reported_by_webhook_mail_and_metric() {
    let (receiver, sink) = (WebhookReceiver::start(), Sink::start());
    let mut scenario = good();
    let ends = mailwright::time::Clock::system().now() + jiff::SignedDuration::from_hours(5 * 24 + 1);
    let application = &mut scenario["tenants"][0]["applications"][0];
    application["granted"] = json!(["Mail.Send", "Application.Read.All"]);
    application["secrets"] = json!([{ "value": SECRET, "name": "mailwright", "expires": ends.to_string() }]);
    let sandbox = Sandbox::start(scenario);

    let mut fixture = WatchFixture { fleet: Fleet::new() };
    fixture.by(sink.port);
    let mut service = TestRepository::for_environment("one");
    service.write("ca.pem", &sandbox.running.authority);
    let ca = service.path("ca.pem");
    service.serve_with(&["--demo", "--outgoing-ca-file", ca.to_str().unwrap()]);
    let mail = "mail: { company: EDU1, function: default, to: [ops@example.com] }";
    let notify = format!("notify: {{ webhooks: [{{ url: '{}' }}], {mail} }}", receiver.url);
    fixture.fleet.environment(
        "one",
        &format!("service: {{ address: {} }}\nwatch: {{ apply: auto, {notify} }}", service.address()),
    );
    let repo = &fixture.fleet.repo;
    repo.write("tokens/one", service.token());
    fixture.fleet.services.push(service);
    let repo = &fixture.fleet.repo;
    for file in ["recipients.txt", "demo-identity.txt"] {
        let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("secrets/dev").join(file);
        repo.write(&format!("secrets/one/{file}"), std::fs::read(example).unwrap());
    }
    let profile = direct().to_string().replace("HERE", &sandbox.running.address);
    repo.write("environments/one/profiles/documents.json", profile);
    repo.write("environments/base/profiles/relay.yaml", sending_by(sink.port));
    repo.pipe(&["secrets", "set", "one", "documents/secret"], SECRET.as_bytes()).code(0);
    fixture.begin();

    // Nothing has been verified yet: the watch runs `verify`, which finds the date.
    fixture.fleet.run(&["apply", "one", "--yes", "--skip-verify"]).code(0);
    let seen = |repo: &TestRepository| repo.http("GET", "/v1/verify", &[], b"").json()["profiles"].clone();
    assert_eq!(seen(&fixture.fleet.services[0]), json!({}));
    let mut watch = fixture.watch("data");
    eventually("the webhook is called", || receiver.count("credential-expiring") == 1);
    let report = receiver.of("credential-expiring")[0].clone();
    let day = ends.strftime("%Y-%m-%d");
    let expected = format!("the client secret `documents/secret` of `documents` expires on {day}, in 5 days");
    assert_eq!(report["message"], expected.as_str());
    assert_eq!(report["remedy"], "Get a new one, then: mailwright secrets rotate one documents/secret");
    eventually("mail is sent", || {
        let subject = "[one] a credential expires soon";
        sink.received().iter().any(|taken| taken.header("Subject").as_deref() == Some(subject))
    });
    let metric = "mailwright_watch_credential_expires_days{environment=\"one\",profile=\"documents\",secret=\"documents/secret\"} 5";
    assert!(watch.get("/metrics").1.contains(metric), "{}", watch.get("/metrics").1);
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(receiver.count("credential-expiring"), 1, "reported once");
    let at = seen(&fixture.fleet.services[0])["documents"]["at"].clone();
    assert!(at.is_string());
    watch.terminate();
    assert_eq!(watch.wait(120), Some(0));
    assert_eq!(seen(&fixture.fleet.services[0])["documents"]["at"], at, "it is not asked for every time");
    // The expiry does not count as a difference between the files and the service.
    let once = fixture.once("data").code(0).stdout;
    assert_eq!(once, format!("one: as the files say\none: {expected}\n"));
}
