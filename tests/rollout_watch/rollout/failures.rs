//! Failures: tolerated, too many, and what then.

use crate::rollout::fixture::RolloutFixture;

/// An environment whose plan runs into a guard: its only profile goes.
fn breaks(fleet: &RolloutFixture, name: &str) {
    fleet.repo.write(&format!("environments/{name}/profiles/relay.yaml"), "null\n");
    let file = format!("environments/{name}/environment.yaml");
    let text = fleet.repo.read(&file);
    fleet.repo.write(&file, format!("{text}unserved: [{{ reason: not in use }}]\n"));
}

fn repair(fleet: &RolloutFixture, name: &str) {
    fleet.repo.remove(&format!("environments/{name}/profiles/relay.yaml"));
    fleet.declare(name, &fleet.address(name));
}

fn rollout(failures: &str) -> String {
    format!(
        "gate: false\nparallel: 1\nfailures: {failures}\nwaves:\n  - {{ name: one, environments: ['c-0[123]'] }}\n  - {{ name: two, environments: ['*'] }}\n"
    )
}

#[test]
fn a_tolerated_failure_is_reported_and_does_not_stop_the_rollout() {
    let fleet = RolloutFixture::new(5);
    fleet.rollout("port", &rollout("{ tolerate: 1 }"));
    fleet.change_port(587);
    breaks(&fleet, "c-02");
    let plan = fleet.run(&["rollout", "plan", "port"]).code(0).stdout;
    assert!(plan.contains("2 different changes, in 5 environments") && plan.contains("would be refused"), "{plan}");
    let output = fleet.run(&["rollout", "start", "port", "--yes"]).code(2);
    assert!(output.stdout.contains("c-02") && output.stdout.contains("MW0218"), "{}", output.stdout);
    assert_eq!(fleet.ports(), [587, 25, 587, 587, 587]);
}

#[test]
fn one_too_many_stops_it_and_going_on_tries_again() {
    let fleet = RolloutFixture::new(5);
    fleet.rollout("port", &rollout("{ tolerate: 0 }"));
    fleet.change_port(587);
    breaks(&fleet, "c-02");
    let output = fleet.run(&["rollout", "start", "port", "--yes"]).code(1);
    assert!(output.stderr.contains("MW0289") && output.stderr.contains("c-02"), "{}", output.stderr);
    assert_eq!(fleet.ports(), [587, 25, 25, 25, 25], "nothing is begun after it");
    let refused = fleet.run(&["rollout", "start", "port", "--yes"]).code(1);
    assert!(refused.stderr.contains("MW0284"), "{}", refused.stderr);

    // Mending it changes its files, which has to be accepted.
    repair(&fleet, "c-02");
    let refused = fleet.run(&["rollout", "resume", "port"]).code(1);
    assert!(refused.stderr.contains("MW0286") && refused.stderr.contains("`c-02`"), "{}", refused.stderr);
    fleet.run(&["rollout", "resume", "port", "--accept-changes"]).code(0);
    assert_eq!(fleet.ports(), [587; 5]);
    assert_eq!(fleet.changesets("c-01").len(), 2, "what was done is not done again");
}

#[test]
fn one_too_many_takes_the_wave_back() {
    let fleet = RolloutFixture::new(5);
    fleet.rollout("port", &rollout("{ then: take-back }"));
    fleet.change_port(587);
    breaks(&fleet, "c-03");
    let output = fleet.run(&["rollout", "start", "port", "--yes"]).code(1);
    assert!(
        output.stdout.contains("Rolling back wave one") && output.stdout.contains("c-01 is rolled back"),
        "{}",
        output.stdout
    );
    assert_eq!(fleet.ports(), [25; 5]);
    let last = fleet.generations("c-01").pop().unwrap();
    assert_eq!((last.number, last.rolled_back_to), (3, Some(1)));

    // Once fixed, the wave is done from its beginning.
    repair(&fleet, "c-03");
    fleet.run(&["rollout", "resume", "port", "--accept-changes"]).code(0);
    assert_eq!(fleet.ports(), [587; 5]);
    // And all of it can be taken back afterwards.
    let output = fleet.run(&["rollout", "abort", "port", "--take-back", "--yes"]).code(0);
    assert_eq!(fleet.ports(), [25; 5], "{}", output.stdout);
    assert!(fleet.run(&["rollout", "resume", "port"]).code(1).stderr.contains("MW0285"));
}

#[test]
fn a_profile_that_the_rollout_made_goes_again() {
    let fleet = RolloutFixture::new(2);
    fleet.rollout("port", "gate: false\nwaves:\n  - { name: all, environments: ['*'] }\n");
    fleet.repo.write(
        "environments/base/profiles/reports.yaml",
        crate::support::repository::SMALL_PROFILE.replace("[default]", "[all-reports]"),
    );
    fleet.run(&["rollout", "start", "port", "--yes"]).code(0);
    assert_eq!(fleet.state("c-01").live().count(), 2);
    fleet.run(&["rollout", "abort", "port", "--take-back", "--yes"]).code(0);
    assert_eq!(fleet.state("c-01").live().count(), 1);
}

const SIGNER: &str = include_str!("../../fixtures/ssh/ed25519.pub");

/// A rollout carries no approvals and comes from one branch: an environment that wants more fails before anything is sent.
#[test]
fn an_environment_that_needs_approvals_or_another_source_is_refused_before_anything_is_sent() {
    let fleet = RolloutFixture::empty(3);
    let add = |name: &str, policy: &str| {
        let file = format!("environments/{name}/environment.yaml");
        let text = fleet.repo.read(&file);
        fleet.repo.write(&file, format!("{text}policy: {policy}\n"));
    };
    let signers = format!("signers: [{{ name: alice, key: '{}' }}]", SIGNER.trim());
    add("c-01", &format!("{{ approvals: {{ {signers}, rules: [{{ count: 1 }}] }} }}"));
    fleet.seed();
    // The service has accepted the first state from anywhere; from now on it accepts one branch alone.
    add("c-02", "{ source: { branches: [release] } }");
    fleet.rollout("port", "gate: false\nfailures: { tolerate: 3 }\nwaves:\n  - { name: all, environments: ['*'] }\n");
    fleet.change_port(587);
    let plan = fleet.run(&["rollout", "plan", "port"]).code(0).stdout;
    assert!(plan.contains("it needs 1 approval") && plan.contains("release"), "{plan}");
    let ran = fleet.run(&["rollout", "start", "port", "--yes"]).code(2);
    assert_eq!(fleet.ports(), [25, 25, 587], "{}", ran.stdout);
    for (name, code, remedy) in [("c-01", "MW0310", "mailwright approve c-01.plan"), ("c-02", "MW0305", "")] {
        let entries = fleet.entries("port");
        let of_it = |event: &str| -> Vec<_> {
            entries.iter().filter(|entry| entry["event"] == event && entry["environment"] == name).cloned().collect()
        };
        assert_eq!(of_it("intended").len(), 0, "{name}: nothing was about to be sent");
        let ended = of_it("ended");
        let problem = &ended[0]["outcome"]["problem"];
        assert_eq!(problem["code"], code, "{problem}");
        assert!(problem["remedy"].as_str().unwrap().contains(remedy), "{problem}");
    }
}
