//! Requests that arrive late: from a run that was stopped for so long that its lease expired and another client got it;
//! and a pause in the middle of a rollback.

use std::{
    process::{Child, Command},
    time::Duration,
};

use crate::rollout::{
    fixture::{RolloutFixture, end, is},
    holding_proxy::HoldingProxy,
    pause_requests::{has_request, wait_until},
};

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Two environments; the way to the second one's service can be held up, and the first one keeps the lease.
fn fleet() -> (RolloutFixture, HoldingProxy) {
    let fleet = RolloutFixture::new(2);
    let gate = HoldingProxy::before(&fleet.address("c-02"));
    fleet.declare("c-02", &gate.address);
    fleet.rollout(
        "port",
        "gate: false\nparallel: 1\ncoordinator: c-01\nwaves:\n  - { name: all, environments: ['*'] }\n",
    );
    (fleet, gate)
}

#[test]
fn a_late_changeset_is_refused_and_not_planned_again() {
    let (fleet, gate) = fleet();
    fleet.change_port(587);
    gate.hold("POST /v1/changesets");
    let first = fleet.spawn(&["rollout", "start", "port", "--yes", "--lease-seconds", "3"]);
    gate.wait();
    // The first process sleeps past the end of its lease, and another client applies a newer state.
    signal(&first, "-STOP");
    std::thread::sleep(Duration::from_millis(3200));
    fleet.change_port(2525);
    fleet.run(&["rollout", "start", "port", "--yes", "--state", "elsewhere"]).code(0);
    assert_eq!(fleet.ports(), [2525, 2525]);
    // Now what it had sent arrives, and it wakes.
    gate.open();
    let refused = || {
        let audit = fleet.ask(fleet.client("c-02").audit(None, 100)).unwrap();
        audit.entries.into_iter().find(|entry| entry.detail["code"] == "MW0210")
    };
    wait_until("the late changeset is refused", || refused().is_some());
    signal(&first, "-CONT");
    let output = end(first).code(1);
    assert!(output.stderr.contains("MW0293"), "{}", output.stderr);
    assert_eq!(fleet.ports(), [2525, 2525], "the newer state remains");
    assert_eq!(fleet.generations("c-02").len(), 2);
    assert_eq!(refused().unwrap().action, "changeset");
    // Only the service knows the outcome; the next run asks for it and finds the change applied.
    let output = fleet.run(&["rollout", "resume", "port", "--accept-changes"]).code(0);
    assert!(output.stdout.contains("c-02"), "{}", output.stdout);
    assert_eq!(fleet.generations("c-02").len(), 2);
}

#[test]
fn a_run_without_the_lease_sends_nothing() {
    let (fleet, gate) = fleet();
    fleet.change_port(587);
    gate.hold("GET /v1/state");
    let first = fleet.spawn(&["rollout", "start", "port", "--yes", "--lease-seconds", "3"]);
    gate.wait();
    signal(&first, "-STOP");
    std::thread::sleep(Duration::from_millis(3200));
    // The next run plans no change: the generation stays the same.
    fleet.change_port(25);
    fleet.run(&["rollout", "start", "port", "--yes", "--state", "elsewhere"]).code(0);
    assert_eq!((fleet.port("c-02"), fleet.generations("c-02").len()), (25, 1));
    gate.open();
    std::thread::sleep(Duration::from_millis(300));
    signal(&first, "-CONT");
    let output = end(first).code(1);
    assert!(output.stderr.contains("MW0293"), "{}", output.stderr);
    assert_eq!((fleet.port("c-02"), fleet.generations("c-02").len()), (25, 1));
}

#[test]
fn a_pause_in_the_middle_of_taking_back() {
    let fleet = RolloutFixture::new(4);
    let gate = HoldingProxy::before(&fleet.address("c-01"));
    fleet.declare("c-01", &gate.address);
    // The third one cannot be reached, so the wave is taken back.
    fleet.declare("c-03", "http://127.0.0.1:1");
    fleet.rollout(
        "port",
        "gate: false\nparallel: 1\ndeadline: 10s\ncoordinator: c-04\nfailures: { tolerate: 0, then: take-back }\nwaves:\n  - { name: all, environments: ['c-0[123]'] }\n",
    );
    fleet.change_port(587);
    gate.hold("POST /v1/rollbacks");
    let child = fleet.spawn(&["rollout", "start", "port", "--yes"]);
    gate.wait();
    let asked = fleet.command(&["rollout", "pause", "port"]).spawn().unwrap();
    wait_until("the request is there", || has_request(&fleet));
    // The process reads requests five times a second.
    std::thread::sleep(Duration::from_secs(2));
    gate.open();
    // Steps that have started are finished, and nothing else is started.
    let output = end(child).code(4);
    end(asked).code(0);
    assert!(output.stdout.contains("c-01 is rolled back"), "{}", output.stdout);
    assert_eq!((fleet.port("c-01"), fleet.port("c-02")), (25, 587));
    let status = fleet.status("port");
    assert_eq!(status["run"]["rollback"]["wave"], "all", "{status:#}");
    // Going on goes on taking back, and repeats nothing.
    let output = fleet.run(&["rollout", "resume", "port"]).code(1);
    assert!(output.stderr.contains("MW0289"), "{}", output.stderr);
    assert_eq!((fleet.port("c-01"), fleet.port("c-02")), (25, 25));
    assert_eq!((fleet.generations("c-01").len(), fleet.generations("c-02").len()), (3, 3));
    assert_eq!(fleet.entries("port").iter().filter(|entry| is("rollbackEnded")(entry)).count(), 2);
}

#[test]
fn back_to_nothing_only_where_that_is_said() {
    let fleet = RolloutFixture::empty(3);
    fleet.rollout("port", "gate: false\nwaves:\n  - { name: all, environments: ['*'] }\n");
    fleet.run(&["rollout", "start", "port", "--yes"]).code(0);
    assert_eq!(fleet.ports(), [25; 3]);
    // Without the confirmation the state remains, and the message names the option.
    let other = fleet.run(&["rollback", "c-01", "--to", "0", "--yes"]).code(1);
    assert!(other.stderr.contains("MW0218") && other.stderr.contains("--allow-deletes"), "{}", other.stderr);
    let output = fleet.run(&["rollout", "abort", "port", "--take-back", "--to-nothing", "--yes"]).code(0);
    assert!(output.stdout.contains("3 rolled back"), "{}", output.stdout);
    for name in fleet.names() {
        let state = fleet.state(&name);
        assert_eq!((state.generation, state.live_stored().count()), (2, 0), "{name}");
        assert!(state.settings.companies.is_empty());
    }
    // And forward again.
    fleet.run(&["rollout", "start", "port", "--yes"]).code(0);
    assert_eq!(fleet.ports(), [25; 3]);

    // The other way round: first without, then by hand.
    let fleet = RolloutFixture::empty(2);
    fleet.rollout("port", "gate: false\nwaves:\n  - { name: all, environments: ['*'] }\n");
    fleet.run(&["rollout", "start", "port", "--yes"]).code(0);
    let output = fleet.run(&["rollout", "abort", "port", "--take-back", "--yes"]).code(1);
    assert!(output.stdout.contains("MW0294") && output.stdout.contains("rollback c-01 --to 0"), "{}", output.stdout);
    assert_eq!(fleet.ports(), [25; 2]);
    let back = fleet.run(&["rollback", "c-01", "--to", "0", "--allow-deletes", "relay", "--yes"]).code(0);
    assert!(back.stdout.contains("Rolled back to generation 0"), "{}", back.stdout);
    assert_eq!(fleet.state("c-01").live_stored().count(), 0);
    assert_eq!(fleet.run(&["rollout", "abort", "port", "--to-nothing", "--yes"]).code, 1, "it goes with --take-back");
}
