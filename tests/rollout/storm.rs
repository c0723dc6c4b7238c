//! Everything at once: services that are dead, that are being started again, that somebody changes in between, and a
//! process that is killed. The long form is `MAILWRIGHT_TEST_ENVIRONMENTS=200`.

use std::time::Duration;

use crate::fleet::{Fleet, is, kill, name};

#[test]
fn in_the_end_everything_is_so_and_nothing_was_done_twice() {
    let count = std::env::var("MAILWRIGHT_TEST_ENVIRONMENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(24);
    let mut fleet = Fleet::new(count);
    fleet.rollout(
        "port",
        "gate: false\nparallel: 4\ndeadline: 3s\nfailures: { tolerate: 2 }\nwaves:\n  - { name: canary, selector: ring=canary }\n  - { name: rest, environments: ['*'] }\n",
    );
    fleet.change_port(587);
    // Two are dead, and stay so for a while.
    let dead: Vec<_> = [3, 5].into_iter().map(|number| (name(number), fleet.stop(&name(number)))).collect();
    let mut word = "start";
    for round in 0..4 {
        let arguments = ["rollout", word, "port", "--yes"];
        let child = fleet.spawn(&arguments[..if word == "start" { 4 } else { 3 }]);
        fleet.wait_for("port", |entry| entry["event"] == "intended" || is("finished")(entry));
        // One is started again while the rollout is at it, and another one is changed by hand.
        let restarted = name(count - round);
        let address = fleet.stop(&restarted);
        fleet.meddle(&name(7 + round), &format!("by hand {round}"));
        std::thread::sleep(Duration::from_millis(50));
        kill(child);
        fleet.start_again(&restarted, address);
        word = "resume";
        if fleet.entries("port").last().is_some_and(is("finished")) {
            break;
        }
    }
    let ran = fleet.run(&["rollout", "resume", "port"]);
    assert!([1, 2].contains(&ran.code), "{}\n{}", ran.stdout, ran.stderr);
    let status = fleet.status("port");
    assert_eq!(status["run"]["standing"]["is"], "finished", "two dead ones are tolerated: {status:#}");
    for (name, address) in dead {
        assert_eq!(status["run"]["environments"][&name]["problem"]["code"], "MW0200");
        fleet.start_again(&name, address);
    }
    // Once they are up again, another run does what is left. What was changed by hand afterwards is drift, and goes.
    fleet.run(&["rollout", "start", "port", "--yes"]).code(0);
    assert_eq!(fleet.ports(), vec![587; count]);
    for name in fleet.names() {
        let changesets = fleet.changesets(&name).len();
        let by_hand = fleet.generations(&name).len() - changesets;
        assert!(changesets >= 2 && changesets <= 2 + by_hand, "{name}: {changesets}, {by_hand}");
    }
    assert!(fleet.run(&["rollout", "plan", "port"]).code(0).stdout.contains("No changes"));
}
