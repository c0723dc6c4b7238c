//! Environments whose services are dead or silent delay no other.

use crate::watch::fixture::{WatchFixture, WebhookReceiver, eventually, silent};

#[test]
fn a_dead_and_a_silent_service_delay_no_other() {
    let receiver = WebhookReceiver::start();
    let fixture = WatchFixture::new(&format!("watch: {{ apply: auto, {} }}", receiver.notify()));
    let port = silent();
    let unserved = "unserved: [{ reason: not in use }]";
    fixture.fleet.dead("dead", &format!("{unserved}\nwatch: {{ {} }}", receiver.notify()));
    for name in ["a-silent", "b-silent"] {
        fixture.fleet.environment(name, &format!("service: {{ address: 'http://127.0.0.1:{port}' }}\n{unserved}"));
        fixture.fleet.repo.write(&format!("tokens/{name}"), "mw_000000000000_x");
    }
    fixture.push("three more");
    // There is one place, and the silent ones are first: they give it up.
    let watch = fixture.watch_with("data", &["--parallel", "1"]);
    eventually("the one that answers is applied", || fixture.generation() == 1);
    assert!(watch.of("a-silent")["problem"].is_null(), "the silent ones are still waited for");
    fixture.from("second@example.com");
    fixture.push("another sender");
    eventually("and goes on", || fixture.sender() == "second@example.com");
    eventually("the dead one is reported", || receiver.count("environment-unreachable") == 1);
    eventually("again, and later and later", || watch.of("dead")["errors"].as_u64() >= Some(2));
}
