//! From the plan to the end, and again: what is so already is skipped.

use crate::rollout::fixture::{RolloutFixture, is};

/// Three waves over six environments.
pub(crate) const THREE: &str = "description: The relay moves to another port
gate: false
parallel: 2
checks: { drift: none }
waves:
  - { name: canary, selector: ring=canary, soak: 1s }
  - { name: first, environments: ['c-0[23]'] }
  - { name: rest, environments: ['*'], parallel: 3 }
";

#[test]
fn three_waves_with_a_soak() {
    let fleet = RolloutFixture::new(6);
    fleet.rollout("port", THREE);
    fleet.change_port(587);
    let plan = fleet.run(&["rollout", "plan", "port"]).code(0);
    assert!(plan.stdout.contains("1 change, in 6 environments"), "{}", plan.stdout);
    let refused = fleet.run(&["rollout", "start", "port"]).code(1);
    assert!(refused.stderr.contains("MW0233") && refused.stderr.contains("25 -> 587"), "{}", refused.stderr);
    assert_eq!(fleet.ports(), [25; 6]);

    let output = fleet.run(&["rollout", "start", "port", "--yes"]).code(0);
    assert_eq!(fleet.ports(), [587; 6], "{}", output.stdout);
    for name in fleet.names() {
        assert_eq!(fleet.changesets(&name).len(), 2, "the seed, and the rollout's");
    }
    let entries = fleet.entries("port");
    let position = |wanted: &dyn Fn(&serde_json::Value) -> bool| entries.iter().position(wanted).unwrap();
    let soaked = position(&is("soakEnded"));
    let second = position(&|e| e["event"] == "intended" && e["environment"] == "c-02");
    assert!(position(&|e| e["event"] == "ended" && e["environment"] == "c-01") < soaked && soaked < second);
    let at = |index: usize| entries[index]["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(at(soaked).as_millisecond() - at(position(&is("soakStarted"))).as_millisecond() >= 1000);
    assert_eq!(entries.iter().filter(|e| is("checked")(e)).count(), 6);
    assert_eq!(entries.last().unwrap()["event"], "finished");
    for text in ["Wave canary: 1 environment", "(3 of 3)", "1 changed", "Finished.", "rest: done; 3 applied"] {
        assert!(output.stdout.contains(text), "{text}:\n{}", output.stdout);
    }
    let status = fleet.status("port");
    assert_eq!((&status["running"], &status["run"]["status"]["state"]), (&false.into(), &"finished".into()));
    assert!(fleet.ask(fleet.client("c-01").leases()).unwrap().leases.is_empty(), "the lease is given back");

    // Once more: nothing is sent, and the last run's journal is kept.
    fleet.run(&["rollout", "resume", "port"]).code(1);
    let output = fleet.run(&["rollout", "start", "port", "--yes", "--format", "json"]).code(0);
    let lines: Vec<serde_json::Value> = output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter(|line| line["outcome"]["state"] == "unchanged").count(), 6, "{}", output.stdout);
    assert!(!lines.iter().any(is("intended")) && !lines.iter().any(is("soakStarted")));
    assert_eq!(fleet.changesets("c-01").len(), 2);
    let folder = fleet.journal("port").parent().unwrap().to_owned();
    let kept = std::fs::read_dir(folder)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("journal-"));
    assert_eq!(kept.count(), 1);
    assert!(fleet.repo.read(".mailwright/.gitignore").starts_with('*'));
}
