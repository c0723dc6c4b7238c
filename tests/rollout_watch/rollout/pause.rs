//! Pause, resume, abort; by Ctrl-C and from another terminal; and a soak that a restart does not prolong.

use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::rollout::fixture::{RolloutFixture, end, is};

const SOAKS: &str = "gate: false\nparallel: 1\nwaves:\n  - { name: one, environments: [c-01], soak: 6s }\n  - { name: two, environments: ['*'] }\n";

#[test]
fn paused_it_waits_and_the_soak_goes_on() {
    let fleet = RolloutFixture::new(3);
    // Longer than it takes to pause the run, on a machine that is busy.
    fleet.rollout("port", &SOAKS.replace("6s", "15s"));
    fleet.change_port(587);
    assert!(fleet.run(&["rollout", "pause", "port"]).code(1).stderr.contains("MW0285"));
    let child = fleet.spawn(&["rollout", "start", "port", "--yes"]);
    fleet.wait_for("port", is("soakStarted"));
    let paused = fleet.run(&["rollout", "pause", "port"]).code(0);
    assert!(
        paused.stdout.contains("Paused: requested by ann@") && paused.stdout.contains("resume port"),
        "{}",
        paused.stdout
    );
    let output = end(child).code(4);
    assert!(output.stdout.contains("Paused: requested by ann@"), "{}", output.stdout);
    assert_eq!(fleet.ports(), [587, 25, 25]);
    fleet.run(&["rollout", "resume", "port"]).code(0);
    // By the journal's own times: the second wave begins when the soak of the first one is over.
    let time = |entry: &serde_json::Value| entry["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let entries = fleet.entries("port");
    let soak = entries.iter().find(|entry| is("soakStarted")(entry)).unwrap();
    let second = entries.iter().find(|entry| entry["environment"] == "c-02" && is("intended")(entry)).unwrap();
    let took = time(second).duration_since(time(soak));
    assert!(took >= jiff::SignedDuration::from_secs(15), "{took:?}");
    assert_eq!(fleet.ports(), [587; 3]);
    assert_eq!(fleet.entries("port").iter().filter(|e| is("soakStarted")(e)).count(), 1);
}

#[test]
fn interrupted_it_pauses_and_gives_the_lease_back() {
    let fleet = RolloutFixture::new(2);
    fleet.rollout("port", SOAKS);
    fleet.change_port(587);
    let child = fleet.spawn(&["rollout", "start", "port", "--yes"]);
    fleet.wait_for("port", is("soakStarted"));
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = end(child).code(4);
    assert!(
        output.stderr.contains("Pausing") && output.stdout.contains("Paused: Ctrl-C"),
        "{}\n{}",
        output.stdout,
        output.stderr
    );
    assert!(fleet.ask(fleet.client("c-01").leases()).unwrap().leases.is_empty());
    // Aborted while no run is active; applied changes remain.
    let refused = fleet.run(&["rollout", "abort", "port"]).code(1);
    assert!(refused.stderr.contains("MW0233"), "{}", refused.stderr);
    fleet.run(&["rollout", "abort", "port", "--yes"]).code(0);
    assert_eq!(fleet.ports(), [587, 25]);
    assert!(fleet.run(&["rollout", "resume", "port"]).code(1).stderr.contains("MW0285"));
    let status = fleet.run(&["rollout", "status"]).code(0).stdout;
    assert!(status.contains("Aborted by ann@") && !status.contains(" left;"), "{status}");
}

#[test]
fn aborted_from_another_terminal_it_takes_everything_back() {
    let fleet = RolloutFixture::new(3);
    fleet.rollout("port", &SOAKS.replace("6s", "1h").replace("[c-01]", "[c-01, c-02]"));
    fleet.change_port(587);
    let child = fleet.spawn(&["rollout", "start", "port", "--yes"]);
    fleet.wait_for("port", is("soakStarted"));
    assert_eq!(fleet.ports(), [587, 587, 25]);
    let asked = fleet.run(&["rollout", "abort", "port", "--take-back", "--yes"]).code(0);
    assert!(asked.stdout.contains("2 rolled back"), "{}", asked.stdout);
    end(child).code(0);
    assert_eq!(fleet.ports(), [25; 3]);
    assert_eq!(fleet.generations("c-03").len(), 1, "what was not begun is not touched");
}

/// A question can wait for hours, and the run that it is about can end meanwhile.
#[test]
fn an_abort_is_about_the_run_that_its_question_named() {
    let fleet = RolloutFixture::new(2);
    fleet.rollout("port", &SOAKS.replace("6s", "1h"));
    let begin = |port: u16, before: Option<&Value>| {
        fleet.change_port(port);
        let child = fleet.spawn(&["rollout", "start", "port", "--yes"]);
        // Until then, the journal is that of the run before.
        let until = Instant::now() + Duration::from_secs(60);
        while before.is_some_and(|before| fleet.status("port")["run"]["id"] == *before) {
            assert!(Instant::now() < until, "no other run begins");
            std::thread::sleep(Duration::from_millis(20));
        }
        fleet.wait_for("port", is("soakStarted"));
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        end(child).code(4);
        fleet.status("port")["run"]["id"].clone()
    };
    let first = begin(587, None);
    // On a terminal, as the question is asked nowhere else.
    let program = fleet.command(&["rollout", "abort", "port"]);
    let mut terminal = Command::new("python3");
    terminal.args(["-c", "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"]);
    terminal.arg(program.get_program()).args(program.get_args()).current_dir(fleet.repo.folder.path());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    let mut asking = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut shown = Vec::new();
    let mut output = asking.stdout.take().unwrap();
    while !String::from_utf8_lossy(&shown).contains("to continue:") {
        let mut byte = [0];
        assert_eq!(output.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&shown));
        shown.push(byte[0]);
    }
    fleet.run(&["rollout", "abort", "port", "--yes"]).code(0);
    let second = begin(588, Some(&first));
    assert_ne!(first, second);
    asking.stdin.take().unwrap().write_all(b"yes\n").unwrap();
    output.read_to_end(&mut shown).unwrap();
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert_eq!(asking.wait().unwrap().code(), Some(1), "{shown}");
    assert!(shown.contains("the run ended, and another one began"), "{shown}");
    let status = fleet.status("port")["run"].clone();
    assert_eq!((&status["id"], &status["status"]["state"]), (&second, &json!("paused")), "{status:#}");
}
