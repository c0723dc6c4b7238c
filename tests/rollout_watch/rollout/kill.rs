//! `kill -9` of the rollout at random points. The long form is `MAILWRIGHT_TEST_KILLS=100`.
//!
//! In each round everything gets another port. The process is killed again and again, and gone on with, until the round
//! is finished. Then every environment has the port, by one changeset that was taken once.

use std::time::{Duration, Instant};

use crate::rollout::fixture::{RolloutFixture, end, kill};

const ENVIRONMENTS: usize = 12;

const ROLLOUT: &str = "gate: false
parallel: 2
waves:
  - { name: canary, selector: ring=canary }
  - { name: middle, environments: ['c-0*'], soak: 1s, checks: { drift: none } }
  - { name: rest, environments: ['*'], parallel: 1 }
";

#[test]
fn nothing_is_applied_twice_and_nothing_is_left_out() {
    let kills: u32 = std::env::var("MAILWRIGHT_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let fleet = RolloutFixture::new(ENVIRONMENTS);
    fleet.rollout("port", ROLLOUT);
    let mut whole = Duration::from_millis(600);
    let (mut killed, mut rounds, mut port) = (0, 0, 1000);
    // The number of kills before the first entry, and between an intent and its outcome.
    let (mut before, mut between) = (0, 0);
    while killed < kills {
        port += 1;
        rounds += 1;
        fleet.change_port(port);
        let begun = Instant::now();
        // So that the entries of this round can be counted.
        drop(std::fs::remove_file(fleet.journal("port")));
        let mut child = fleet.spawn(&["rollout", "start", "port", "--yes"]);
        loop {
            if killed >= kills {
                end(child).code(0);
                break;
            }
            let random = (killed + 1) * 7919 % 1000;
            if killed % 4 == 0 {
                // Any time, the start of the process and the soak among it.
                std::thread::sleep(whole.mul_f64(f64::from(random) / 1000.0));
            } else {
                // Around some step: so many entries on, and a little later.
                let wanted = lines(&fleet) + random as usize % 14;
                let until = Instant::now() + Duration::from_secs(5);
                while lines(&fleet) < wanted && Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
                    std::thread::sleep(Duration::from_micros(200));
                }
                std::thread::sleep(Duration::from_micros(u64::from(random) * 8));
            }
            if let Ok(Some(status)) = child.try_wait() {
                let output = end(child);
                assert!(status.success(), "{}\n{}", output.stdout, output.stderr);
                break;
            }
            kill(child);
            killed += 1;
            let entries = fleet.entries("port");
            let of_this_round = fleet.ports().iter().any(|live| *live == u64::from(port));
            let ended = |name: &serde_json::Value| {
                entries.iter().any(|entry| entry["event"] == "ended" && entry["environment"] == *name)
            };
            let open = entries.iter().any(|entry| entry["event"] == "intended" && !ended(&entry["environment"]));
            between += u32::from(open);
            // Before its first entry nothing has begun, so it is started from the beginning.
            let finished = entries.last().is_none_or(|entry| entry["event"] == "finished");
            before += u32::from(finished && !of_this_round);
            if finished && fleet.ports().iter().all(|live| *live == u64::from(port)) {
                break;
            }
            let word = if finished { "start" } else { "resume" };
            let mut arguments = vec!["rollout", word, "port"];
            if finished {
                arguments.push("--yes");
            }
            child = fleet.spawn(&arguments);
        }
        if killed < 3 {
            whole = whole.mul_f64(0.5) + begun.elapsed().mul_f64(0.5);
        }
        assert_eq!(fleet.ports(), vec![u64::from(port); ENVIRONMENTS], "round {rounds}: {:#?}", fleet.entries("port"));
        for name in fleet.names() {
            assert_eq!(fleet.changesets(&name).len(), 1 + rounds, "{name}: one changeset a round, and the seed's");
        }
    }
    println!(
        "{killed} kills in {rounds} rounds: {before} before anything, {between} between an intent and its outcome"
    );
    assert!(kills < 50 || between > 10, "the kills do not spread: {before}, {between}");
}

/// Returns the number of entries of the journal.
fn lines(fleet: &RolloutFixture) -> usize {
    std::fs::read(fleet.journal("port")).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
}
