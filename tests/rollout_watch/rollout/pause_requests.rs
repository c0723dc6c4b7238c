//! Requests to pause and abort, whenever they arrive: while the lease is acquired, after the process was killed, and while one process
//! ends and another one begins.

use std::{
    fs::File,
    process::Child,
    time::{Duration, Instant},
};

use mailwright::api::leases::NewLease;

use crate::rollout::{
    fixture::{RolloutFixture, end, is, kill},
    holding_proxy::HoldingProxy,
};

const SOAKS: &str = "gate: false\nparallel: 1\ncoordinator: c-01\nwaves:\n  - { name: one, environments: [c-01], soak: 1h }\n  - { name: two, environments: ['*'] }\n";

/// Two environments; the way to the service of the first one, which keeps the lease, can be held up.
fn fleet() -> (RolloutFixture, HoldingProxy) {
    let fleet = RolloutFixture::new(2);
    let gate = HoldingProxy::before(&fleet.address("c-01"));
    fleet.declare("c-01", &gate.address);
    fleet.rollout("port", &SOAKS.replace(", soak: 1h", ""));
    fleet.change_port(587);
    (fleet, gate)
}

pub(super) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(super) fn has_request(fleet: &RolloutFixture) -> bool {
    fleet.journal("port").with_file_name("request.json").exists()
}

/// Sends a request, and waits until it is there.
fn ask(fleet: &RolloutFixture, arguments: &[&str]) -> Child {
    let asked = fleet.spawn(arguments);
    wait_until("the request is there", || has_request(fleet));
    asked
}

/// A run that was killed while its first wave soaked.
fn killed() -> RolloutFixture {
    let fleet = RolloutFixture::new(2);
    fleet.rollout("port", SOAKS);
    fleet.change_port(587);
    let run = fleet.spawn(&["rollout", "start", "port", "--yes"]);
    fleet.wait_for("port", is("soakStarted"));
    kill(run);
    fleet
}

fn status(fleet: &RolloutFixture) -> serde_json::Value {
    fleet.status("port")["run"]["status"].clone()
}

#[test]
fn a_pause_while_the_lease_is_acquired_is_obeyed() {
    let (fleet, gate) = fleet();
    gate.hold("POST /v1/leases");
    let run = fleet.spawn(&["rollout", "start", "port", "--yes"]);
    gate.wait();
    let asked = ask(&fleet, &["rollout", "pause", "port"]);
    gate.open();
    end(run).code(4);
    end(asked).code(0);
    assert_eq!((fleet.ports(), &status(&fleet)["state"]), (vec![25, 25], &"paused".into()));
    // The same for an abort, and for a run that is resumed.
    gate.hold("POST /v1/leases");
    let run = fleet.spawn(&["rollout", "resume", "port"]);
    gate.wait();
    let asked = ask(&fleet, &["rollout", "abort", "port", "--yes"]);
    gate.open();
    end(run).code(0);
    end(asked).code(0);
    assert_eq!((fleet.ports(), &status(&fleet)["state"]), (vec![25, 25], &"aborted".into()));
}

#[test]
fn a_pause_is_recorded_if_the_lease_cannot_be_acquired() {
    let (fleet, gate) = fleet();
    let wanted = NewLease { holder: "bob".to_owned(), seconds: 600, token: None };
    let bob = fleet.ask(fleet.client("c-01").acquire_lease("rollout:port", &wanted)).unwrap();
    gate.hold("POST /v1/leases");
    let run = fleet.spawn(&["rollout", "start", "port", "--yes"]);
    gate.wait();
    let asked = ask(&fleet, &["rollout", "pause", "port"]);
    gate.open();
    let refused = end(run).code(1);
    assert!(refused.stderr.contains("MW0280"), "{}", refused.stderr);
    end(asked).code(0);
    assert!(status(&fleet)["by"]["operator"].as_str().unwrap().starts_with("ann@"), "{}", status(&fleet));
    fleet.ask(fleet.client("c-01").release_lease("rollout:port", bob.token)).unwrap();
    fleet.run(&["rollout", "resume", "port"]).code(0);
    assert_eq!(fleet.ports(), [587, 587]);
}

#[test]
fn a_pause_of_a_run_that_ends_otherwise_fails() {
    let fleet = RolloutFixture::new(2);
    let gate = HoldingProxy::before(&fleet.address("c-02"));
    fleet.declare("c-02", &gate.address);
    fleet.rollout("port", &SOAKS.replace(", soak: 1h", ""));
    fleet.change_port(587);
    gate.hold("POST /v1/changesets");
    let run = fleet.spawn(&["rollout", "start", "port", "--yes"]);
    gate.wait();
    let aborted = ask(&fleet, &["rollout", "abort", "port", "--yes"]);
    // The process reads requests five times a second; a pause does not replace an abort that it has read.
    std::thread::sleep(Duration::from_secs(2));
    let request = || std::fs::read(fleet.journal("port").with_file_name("request.json")).unwrap_or_default();
    let before = request();
    let paused = fleet.spawn(&["rollout", "pause", "port"]);
    wait_until("the pause is requested, too", || request() != before);
    gate.open();
    end(run).code(0);
    end(aborted).code(0);
    let paused = end(paused).code(1);
    assert!(paused.stderr.contains("MW0285") && paused.stderr.contains("it was aborted by ann@"), "{}", paused.stderr);
    let again = fleet.run(&["rollout", "pause", "port"]).code(1);
    assert!(again.stderr.contains("it was aborted by ann@"), "{}", again.stderr);
}

#[test]
fn a_run_that_no_process_works_on_is_paused() {
    let fleet = killed();
    let paused = fleet.run(&["rollout", "pause", "port"]).code(0);
    assert!(paused.stdout.contains("Paused: requested by ann@"), "{}", paused.stdout);
    assert!(status(&fleet)["by"]["operator"].as_str().unwrap().starts_with("ann@"), "{}", status(&fleet));
    // Once more changes nothing.
    let entries = fleet.entries("port").len();
    fleet.run(&["rollout", "pause", "port"]).code(0);
    assert_eq!(fleet.entries("port").len(), entries);
    assert_eq!(fleet.ports(), [587, 25]);
}

#[test]
fn a_request_that_the_process_did_not_obey_is_carried_out_after_its_end() {
    for (arguments, state) in
        [(&["rollout", "pause", "port"][..], "paused"), (&["rollout", "abort", "port", "--yes"], "aborted")]
    {
        let fleet = killed();
        let lock = File::create(fleet.journal("port").with_file_name("lock")).unwrap();
        lock.lock().unwrap();
        let asked = ask(&fleet, arguments);
        // Another process that begins removes the request; it is sent again.
        std::fs::remove_file(fleet.journal("port").with_file_name("request.json")).unwrap();
        wait_until("the request is there again", || has_request(&fleet));
        drop(lock);
        end(asked).code(0);
        assert_eq!(status(&fleet)["state"], state);
    }
}

#[test]
fn commands_in_messages_name_the_folder_of_the_journal() {
    let fleet = RolloutFixture::new(2);
    fleet.rollout("port", &SOAKS.replace("[c-01]", "[c-01, c-02]").replace(", soak: 1h", ""));
    fleet.declare("c-02", "http://127.0.0.1:1");
    fleet.rollout("port", "gate: false\ndeadline: 1s\nwaves:\n  - { name: all, environments: ['*'] }\n");
    fleet.change_port(587);
    let stopped = fleet.run(&["rollout", "start", "port", "--yes", "--state", "else where"]).code(1);
    for text in [&stopped.stdout, &stopped.stderr] {
        assert!(text.contains("`mailwright rollout resume port --state 'else where'`"), "{text}");
        assert!(text.contains("`mailwright rollout abort port --state 'else where' --take-back`"), "{text}");
    }
    let shown = fleet.run(&["rollout", "status", "port", "--state", "else where"]).code(0).stdout;
    assert!(shown.contains("rollout resume port --state 'else where'"), "{shown}");
}
