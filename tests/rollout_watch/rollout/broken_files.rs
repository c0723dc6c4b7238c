//! Files that break rules after the start of a run: they concern their environment alone.

use crate::rollout::fixture::{RolloutFixture, end, is};

const WAVES: &str = "gate: false\ncoordinator: c-04\nwaves:\n  - { name: one, environments: [c-01] }\n  - { name: two, environments: [c-02], soak: SOAK }\n  - { name: three, selector: '!frozen' }\n";

/// A run of four environments that was paused while the second wave soaked.
fn paused(soak: &str) -> RolloutFixture {
    let fleet = RolloutFixture::new(4);
    fleet.rollout("port", &WAVES.replace("SOAK", soak));
    fleet.change_port(587);
    let run = fleet.spawn(&["rollout", "start", "port", "--yes"]);
    fleet.wait_for("port", is("soakStarted"));
    fleet.run(&["rollout", "pause", "port"]).code(0);
    end(run).code(4);
    assert_eq!(fleet.ports(), [587, 587, 25, 25]);
    fleet
}

/// Adds an unknown key to the file of an environment.
fn break_file(fleet: &RolloutFixture, name: &str) {
    let path = format!("environments/{name}/environment.yaml");
    fleet.repo.write(&path, format!("{}unknown: true\n", fleet.repo.read(&path)));
}

#[test]
fn a_rollback_needs_the_addresses_alone() {
    let fleet = paused("1h");
    break_file(&fleet, "c-01");
    fleet.repo.write("environments/c-02/profiles/relay.yaml", "provider: [\n");
    // An environment that the run has not reached, and whose labels cannot be read any more.
    fleet.repo.write("environments/c-03/environment.yaml", "a: [\n");
    fleet.repo.remove("rollouts/port.yaml");
    let aborted = fleet.run(&["rollout", "abort", "port", "--take-back", "--yes"]).code(0);
    assert_eq!(aborted.stdout.matches("1 rolled back").count(), 2, "{}{}", aborted.stdout, aborted.stderr);
    assert_eq!(fleet.ports(), [25; 4]);

    // Without an address, the rollback of this environment alone fails.
    let fleet = paused("1h");
    fleet.repo.write("environments/c-01/environment.yaml", "a: [\n");
    let aborted = fleet.run(&["rollout", "abort", "port", "--take-back", "--yes"]).code(1);
    assert!(aborted.stdout.contains("c-01 is not rolled back"), "{}{}", aborted.stdout, aborted.stderr);
    assert!(aborted.stdout.contains("MW0207") && aborted.stdout.contains("1 rolled back"), "{}", aborted.stdout);
    assert_eq!(fleet.ports(), [587, 25, 25, 25]);
}

#[test]
fn a_run_is_resumed_without_the_files_of_a_wave_that_is_done() {
    let fleet = paused("8s");
    break_file(&fleet, "c-01");
    fleet.run(&["rollout", "resume", "port"]).code(0);
    assert_eq!(fleet.ports(), [587; 4]);
}

#[test]
fn an_invalid_environment_fails_in_its_wave() {
    let fleet = paused("8s");
    break_file(&fleet, "c-03");
    let refused = fleet.run(&["rollout", "resume", "port"]).code(1);
    assert!(refused.stderr.contains("MW0286") && refused.stderr.contains("the files of `c-03`"), "{}", refused.stderr);
    assert!(refused.stderr.contains("c-03: the files break the rules: environments/c-03/"), "{}", refused.stderr);
    let failed = fleet.run(&["rollout", "resume", "port", "--accept-changes"]).code(1);
    assert!(failed.stdout.contains("c-03") && failed.stdout.contains("MW0371"), "{}", failed.stdout);
    assert_eq!((fleet.port("c-02"), fleet.port("c-03")), (587, 25));
}
