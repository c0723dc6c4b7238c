//! The end of a watch, and of its lease, at the worst moment.

use serde_json::json;

use crate::{
    sink::{Action, Sink},
    watch::fixture::{HoldingProxy, WatchFixture, WatchProcess, WebhookReceiver, eventually, program, silent},
};

#[test]
fn a_sent_changeset_is_brought_to_its_end() {
    let receiver = WebhookReceiver::start();
    let fixture = WatchFixture::new(&format!("watch: {{ apply: auto, {} }}", receiver.notify()));
    let address = fixture.fleet.services[0].address().to_owned();
    let between = HoldingProxy::start(&address);
    fixture.edit(&address, &format!("http://127.0.0.1:{}", between.port));
    fixture.push("through a proxy that holds the apply");
    between.hold(true);
    let mut watch = fixture.watch("data");
    eventually("the changeset is on its way", || between.sent() == 1);
    watch.terminate();
    assert_eq!(watch.wait(2), None, "its answer is waited for");
    between.hold(false);
    assert_eq!(watch.wait(120), Some(0), "{}", watch.log());
    assert_eq!(fixture.generation(), 1);
    assert_eq!(receiver.count("apply-done"), 1, "the apply is reported before the end");
    assert!(fixture.leases().is_empty(), "the lease is given back: {:?}", fixture.leases());
    assert_eq!(between.sent(), 1);
}

#[test]
fn an_unsent_changeset_is_left() {
    let sink = Sink::start();
    sink.on("connect", Action::Held);
    let fixture = WatchFixture::sending(sink.port, "watch: { apply: auto }");
    let mut watch = fixture.watch("data");
    sink.wait_for("connect", 1);
    assert_eq!(fixture.leases().len(), 1);
    watch.terminate();
    assert_eq!(watch.wait(60), Some(0), "{}", watch.log());
    sink.on("connect", Action::Usual);
    assert_eq!(fixture.generation(), 0);
    assert!(fixture.leases().is_empty(), "{:?}", fixture.leases());
    fixture.once("data").code(0);
    assert_eq!(fixture.generation(), 1);
}

#[test]
fn a_lease_that_is_lost_before_anything_is_sent_stops_it() {
    let sink = Sink::start();
    sink.on("connect", Action::Held);
    let fixture = WatchFixture::sending(sink.port, "watch: { apply: auto }");
    let watch = fixture.watch("data");
    sink.wait_for("connect", 1);
    // The lease is revoked, and another client acquires it.
    let service = &fixture.fleet.services[0];
    let token = &fixture.leases()[0]["token"];
    assert_eq!(service.http("DELETE", &format!("/v1/leases/watch?token={token}"), &[], b"").status, 204);
    let other = json!({ "holder": "another watch", "seconds": 600 });
    assert_eq!(service.http("POST", "/v1/leases/watch", &[], other.to_string().as_bytes()).status, 200);
    eventually("it is said", || watch.one()["refused"]["code"] == "MW0293");
    sink.on("connect", Action::Usual);
    eventually("it is on standby", || watch.one()["role"] == "standby" && watch.one()["refused"].is_null());
    assert_eq!(fixture.generation(), 0);
    assert!(watch.log().contains("lease lost; switching to standby"), "{}", watch.log());
}

#[test]
fn a_remote_that_keeps_silent_does_not_keep_the_watch() {
    let remote = format!("http://127.0.0.1:{}/mail.git", silent());
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let arguments = ["watch", "--listen", "127.0.0.1:0", "--repository", &remote, "--data", data.to_str().unwrap()];
    let mut command = program(&arguments);
    command.env("NO_PROXY", "127.0.0.1").current_dir(folder.path());
    let mut watch = WatchProcess::start(command);
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(watch.get("/readyz").0, 503, "the files have not been read");
    watch.terminate();
    assert_eq!(watch.wait(8), Some(0), "{}", watch.log());
}
