//! Two people and one rollout: on one machine, on two, and when the lease is lost.

use std::time::Duration;

use mailwright::api::leases::NewLease;

use crate::rollout::fixture::{RolloutFixture, end, is, kill};

const SLOW: &str = "gate: false\nparallel: 1\nwaves:\n  - { name: one, environments: [c-01], soak: 1h }\n  - { name: two, environments: ['*'] }\n";

#[test]
fn only_one_is_at_it() {
    let fleet = RolloutFixture::new(3);
    fleet.rollout("port", SLOW);
    fleet.change_port(587);
    let first = fleet.spawn(&["rollout", "start", "port", "--yes"]);
    fleet.wait_for("port", is("soakStarted"));
    let status = fleet.status("port");
    assert_eq!(status["running"], true);
    for arguments in [&["rollout", "start", "port", "--yes"][..], &["rollout", "resume", "port"]] {
        let refused = fleet.run(arguments).code(1);
        assert!(refused.stderr.contains("MW0283"), "{}", refused.stderr);
    }
    // Another machine has another folder, and meets the lease.
    let refused = fleet.run(&["rollout", "start", "port", "--yes", "--state", "elsewhere"]).code(1);
    assert!(refused.stderr.contains("MW0280") && refused.stderr.contains("ann@"), "{}", refused.stderr);
    assert!(refused.stderr.contains("`rollout:port`"), "{}", refused.stderr);
    assert_eq!(fleet.ports(), [587, 25, 25]);

    // Killed, it goes on at once in its own folder; the other one still has to wait.
    kill(first);
    let refused = fleet.run(&["rollout", "start", "port", "--yes", "--state", "elsewhere"]).code(1);
    assert!(refused.stderr.contains("MW0280"), "{}", refused.stderr);
    let again = fleet.spawn(&["rollout", "resume", "port"]);
    fleet.wait_for("port", is("resumed"));
    std::thread::sleep(Duration::from_millis(300));
    let asked = fleet.run(&["rollout", "abort", "port", "--yes"]).code(0);
    assert!(asked.stdout.contains("Aborted by ann@"), "{}", asked.stdout);
    end(again).code(0);
    assert_eq!(fleet.ports(), [587, 25, 25]);
    fleet.run(&["rollout", "start", "port", "--yes", "--state", "elsewhere", "--format", "json"]);
}

#[test]
fn without_the_lease_nothing_new_is_begun() {
    let mut fleet = RolloutFixture::new(3);
    fleet.rollout("port", &SLOW.replace("1h", "15s").replace("gate: false", "gate: false\ncoordinator: c-03"));
    fleet.change_port(587);
    let child = fleet.spawn(&["rollout", "start", "port", "--yes", "--lease-seconds", "3"]);
    fleet.wait_for("port", is("soakStarted"));
    // The lease ends long before the soak does.
    let address = fleet.stop("c-03");
    let output = end(child).code(1);
    assert!(output.stderr.contains("MW0293"), "{}", output.stderr);
    assert_eq!(fleet.port("c-02"), 25);
    // Another client has acquired it in the meantime.
    fleet.start_again("c-03", address);
    std::thread::sleep(Duration::from_secs(3));
    let client = fleet.client("c-03");
    let wanted = NewLease { holder: "bob".to_owned(), seconds: 60, token: None };
    let bob = fleet.ask(client.acquire_lease("rollout:port", &wanted)).unwrap();
    let refused = fleet.run(&["rollout", "resume", "port"]).code(1);
    assert!(refused.stderr.contains("MW0280") && refused.stderr.contains("bob"), "{}", refused.stderr);
    fleet.ask(client.release_lease("rollout:port", bob.token)).unwrap();
    fleet.run(&["rollout", "resume", "port"]).code(0);
    assert_eq!(fleet.ports(), [587; 3]);
}
