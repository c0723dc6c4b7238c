//! A branch is followed, whatever happens to its history, its services, and the watch itself.

use serde_json::json;

use crate::{
    support::repository::run_command,
    watch::fixture::{WatchFixture, WebhookReceiver, eventually},
};

#[test]
fn a_push_is_applied_with_auto_and_a_broken_or_rewritten_history_harms_nothing() {
    let receiver = WebhookReceiver::start();
    let fixture = WatchFixture::new(&format!("watch: {{ apply: auto, {} }}", receiver.notify()));
    let watch = fixture.watch("data-a");
    eventually("the first apply", || fixture.sender() == "erp@example.com");
    fixture.from("new@example.com");
    fixture.push("another sender");
    eventually("the push", || fixture.sender() == "new@example.com");
    eventually("both applies are reported", || receiver.count("apply-done") == 2);
    let generation = fixture.state()["generation"].clone();
    fixture.fleet.repo.write("environments/base/profiles/relay.yaml", "nonsense: 1\n");
    fixture.push("broken");
    eventually("the broken commit is reported", || receiver.count("apply-refused") == 1);
    assert_eq!(receiver.of("apply-refused")[0]["code"], "MW0371");
    eventually("it is shown", || watch.one()["problem"]["code"] == "MW0371");
    assert_eq!(fixture.state()["generation"], generation);
    fixture.git(&["reset", "--quiet", "--hard", "HEAD~2"]);
    fixture.from("third@example.com");
    fixture.push("rewritten");
    eventually("the rewritten history is followed", || fixture.sender() == "third@example.com");
    let status = watch.status();
    assert!(status["files"]["rewrittenAt"].is_string());
    // The generation bears the name of the commit that its files are of.
    let history = fixture.fleet.services[0].http("GET", "/v1/generations?limit=1", &[], b"").json();
    assert_eq!(history["generations"][0]["provenance"]["commit"], status["files"]["commit"], "{history:#}");
    eventually("three applies are counted", || {
        watch.get("/metrics").1.contains("mailwright_watch_applies_total{environment=\"one\"} 3")
    });
    assert_eq!(watch.get("/healthz").0, 200);
}

#[test]
fn drift_is_reported_once_and_reverted_only_on_request() {
    let receiver = WebhookReceiver::start();
    let fixture = WatchFixture::new(&format!("watch: {{ {} }}", receiver.notify()));
    let service = &fixture.fleet.services[0];
    let waits = fixture.once("data-b").code(2);
    assert_eq!(waits.stdout, "one: waits for an operator to apply it: 1 to add, 1 to change, 0 to destroy\n");
    assert_eq!(service.state()["generation"], 0);
    assert_eq!(receiver.of("apply-waiting")[0]["code"], "MW0374");
    fixture.fleet.run(&["apply", "one", "--yes", "--skip-verify"]).code(0);
    assert_eq!(fixture.once("data-b").code(0).stdout, "one: as the files say\n");
    assert_eq!(service.patch("relay", &json!({ "from": { "address": "by-hand@example.com" } })).status, 200);
    let watch = fixture.watch("data-b");
    eventually("the drift is reported", || receiver.count("drift-found") == 1);
    let report = receiver.of("drift-found")[0].clone();
    assert_eq!(report["message"], "`relay` was changed outside Git by `first-admin` (generation 2)");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(receiver.count("drift-found"), 1, "reported once");
    assert_eq!(fixture.sender(), "by-hand@example.com");
    assert_eq!(watch.one()["drift"], json!(["relay"]));
    assert!(watch.get("/metrics").1.contains("mailwright_watch_drift{environment=\"one\"} 1"));
    fixture.edit("watch: {", "watch: { drift: revert,");
    fixture.push("undo it");
    eventually("it is undone", || fixture.sender() == "erp@example.com");
    eventually("its end is reported", || receiver.count("drift-gone") == 1);
}

#[test]
fn one_of_two_acts_and_the_other_takes_over() {
    let fixture = WatchFixture::new("watch: { apply: auto }");
    let mut first = fixture.watch("data-c");
    eventually("the first acts", || first.one()["role"] == "acting");
    let second = fixture.watch("data-d");
    eventually("the second is on standby", || second.one()["role"] == "standby");
    let looked = fixture.once("data-e").code(0).stdout;
    assert!(looked.contains("one: another watch is active here; this one made no changes"), "{looked}");
    first.child.kill().unwrap();
    fixture.from("after@example.com");
    fixture.push("after the end of the first");
    eventually("the second takes over", || second.one()["role"] == "acting");
    eventually("and acts", || fixture.sender() == "after@example.com");
}

#[test]
fn an_outage_and_its_end_are_reported_and_two_watches_cannot_share_a_folder() {
    let receiver = WebhookReceiver::start();
    let notify = receiver.notify();
    let mut fixture = WatchFixture::new(&format!("watch: {{ {notify} }}"));
    let watch = fixture.watch("data-e");
    eventually("ready", || watch.get("/readyz").0 == 200);
    let refused = run_command(fixture.command("data-e")).code(1);
    assert!(refused.stderr.contains("MW0370"), "{}", refused.stderr);
    fixture.fleet.services[0].kill();
    eventually("not ready", || watch.get("/readyz").0 == 503);
    eventually("the outage is reported", || receiver.count("environment-unreachable") == 1);
    let address = fixture.fleet.services[0].serve().address.clone();
    let rest =
        format!("service: {{ address: {address} }}\nunserved: [{{ reason: not in use }}]\nwatch: {{ {notify} }}");
    fixture.fleet.environment("one", &rest);
    fixture.push("the service's new place");
    eventually("back", || receiver.count("environment-back") == 1);
    eventually("ready again", || watch.get("/readyz").0 == 200);
}

#[test]
fn a_token_that_may_not_take_the_lease_is_a_failure_and_not_another_watch() {
    let fixture = WatchFixture::new("watch: { apply: auto }");
    let token = fixture.token("planner");
    fixture.fleet.repo.write("tokens/one", token);
    let refused = fixture.once("data-f").code(1).stdout;
    assert!(refused.starts_with("one: failed: [MW0202]"), "{refused}");
    assert_eq!(fixture.generation(), 0);
}
