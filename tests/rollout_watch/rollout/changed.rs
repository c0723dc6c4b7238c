//! An environment is changed by hand before, during and after a rollout.

use crate::rollout::fixture::{RolloutFixture, end, is, kill};

const ONE: &str = "gate: false\nparallel: 1\nfailures: { tolerate: 9 }\nwaves:\n  - { name: one, environments: ['c-0[12]'], soak: 3s, checks: { drift: none }, failures: { then: take-back } }\n  - { name: two, environments: ['*'] }\n";

#[test]
fn a_later_change_is_not_rolled_back() {
    let fleet = RolloutFixture::new(3);
    fleet.rollout("port", ONE);
    fleet.change_port(587);
    let child = fleet.spawn(&["rollout", "start", "port", "--yes"]);
    fleet.wait_for("port", is("soakStarted"));
    fleet.meddle("c-02", "by hand");
    let output = end(child).code(1);
    assert!(
        output.stdout.contains("c-02: a check failed: drift: `relay` was changed outside Git by `admin`"),
        "{}",
        output.stdout
    );
    assert!(output.stdout.contains("MW0290") && output.stdout.contains("c-02 is not rolled back"), "{}", output.stdout);
    assert!(
        output.stdout.contains("`admin` changed the environment since (generation 3, manual)"),
        "{}",
        output.stdout
    );
    assert_eq!(fleet.ports(), [25, 587, 25]);
    let live = serde_json::to_value(fleet.state("c-02")).unwrap();
    assert_eq!(live["profiles"]["relay"]["live"]["profile"]["description"], "by hand", "the change is kept");
}

#[test]
fn a_change_while_the_process_is_dead_is_seen() {
    let fleet = RolloutFixture::new(3);
    fleet.rollout("port", ONE);
    fleet.change_port(587);
    let child = fleet.spawn(&["rollout", "start", "port", "--yes"]);
    fleet.wait_for("port", is("soakStarted"));
    kill(child);
    // In one that is done and in one that is not; neither hinders what the files say.
    fleet.meddle("c-03", "by hand");
    let status = fleet.run(&["rollout", "status", "port"]).code(0).stdout;
    assert!(status.contains("No process of this machine works on it") && status.contains("resume port"), "{status}");
    assert!(status.contains("s left; 2 applied"), "{status}");
    let plan = fleet.run(&["rollout", "plan", "port"]).code(0).stdout;
    assert!(plan.contains("(Git and drift)") && plan.contains("2 environments unchanged: c-01, c-02"), "{plan}");
    fleet.run(&["rollout", "resume", "port"]).code(0);
    assert_eq!(fleet.ports(), [587; 3]);
    assert_eq!(fleet.generations("c-03").len(), 3, "the seed, the change by hand, the rollout's");
}
