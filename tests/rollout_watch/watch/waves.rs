//! A watch that applies in the waves of a rollout.

use serde_json::json;

use crate::{
    support::{fleet::Fleet, repository::run_command},
    watch::fixture::{WatchFixture, WatchProcess, WebhookReceiver, eventually},
};

pub(super) const WAVES: &str =
    "waves:\n  - { name: canary, environments: [one], soak: 1s }\n  - { name: rest, environments: ['*'] }\n";

/// Environments `one` and `two`, and `by-hand`, which is in a wave and does not name the rollout.
pub(super) fn fixture(receiver: &WebhookReceiver) -> WatchFixture {
    let mut fixture = WatchFixture { fleet: Fleet::new() };
    let watch = format!("watch: {{ apply: rollout steady, {} }}", receiver.notify());
    for name in ["one", "two"] {
        fixture.fleet.served(name, &format!("unserved: [{{ reason: not in use }}]\n{watch}"));
    }
    fixture.fleet.served("by-hand", "unserved: [{ reason: not in use }]");
    fixture.fleet.repo.write("rollouts/steady.yaml", WAVES);
    fixture.from("erp@example.com");
    fixture.begin();
    fixture
}

#[test]
fn changes_are_applied_wave_by_wave_and_a_failure_stops_the_rest() {
    let receiver = WebhookReceiver::start();
    let fixture = fixture(&receiver);
    let watch = fixture.watch("data");
    eventually("both waves are applied", || (fixture.fleet.generation(0), fixture.fleet.generation(1)) == (1, 1));
    eventually("both are reported", || receiver.count("apply-done") == 2);
    let reports = receiver.of("apply-done");
    assert_eq!((&reports[0]["environment"], &reports[1]["environment"]), (&json!("one"), &json!("two")));
    assert!(reports[0]["message"].as_str().unwrap().ends_with("(generation 1), rollout `steady`"), "{reports:?}");
    // An environment that does not name the rollout waits for an operator.
    assert_eq!(fixture.fleet.generation(2), 0);
    eventually("it waits", || watch.of("by-hand")["waiting"]["code"] == "MW0374");
    eventually("the run has finished", || {
        let status = fixture.fleet.run(&["rollout", "status", "steady", "--state", "data", "--format", "json"]);
        status.code == 0 && status.json()["run"]["status"]["state"] == "finished"
    });
    let journal = fixture.fleet.repo.read("data/rollouts/steady/journal.jsonl");
    let at = |text: &str| journal.find(text).unwrap_or_else(|| panic!("{text}:\n{journal}"));
    assert!(at("\"event\":\"soakEnded\"") < at("\"event\":\"intended\",\"environment\":\"two\""), "{journal}");
    // In the canary, a guard stops the next change: it would delete the only profile.
    fixture.fleet.repo.write("environments/one/profiles/relay.yaml", "null\n");
    fixture.from("second@example.com");
    fixture.push("a change that must not go on");
    eventually("the run stops", || watch.of("two")["waiting"]["code"] == "MW0289");
    assert_eq!((fixture.fleet.generation(0), fixture.fleet.generation(1)), (1, 1));
    eventually("it is reported", || {
        receiver.of("apply-waiting").iter().any(|report| report["environment"] == "two" && report["code"] == "MW0289")
    });
    // Another commit begins again with the first wave.
    fixture.fleet.repo.remove("environments/one/profiles/relay.yaml");
    fixture.push("corrected");
    eventually("both are applied", || (fixture.fleet.generation(0), fixture.fleet.generation(1)) == (2, 2));
    eventually("nothing waits", || watch.of("two")["waiting"].is_null() && watch.of("two")["changes"] == 0);
    assert_eq!(fixture.fleet.generation(2), 0);
}

#[test]
fn a_rollout_that_does_not_exist_waits_and_one_pass_applies_nothing() {
    let receiver = WebhookReceiver::start();
    let fixture = fixture(&receiver);
    let once = fixture.once("data").code(2).stdout;
    assert!(once.contains("one: waits for an operator to apply it: 1 to add"), "{once}");
    assert_eq!(fixture.fleet.generation(0), 0);
    fixture.fleet.repo.remove("rollouts/steady.yaml");
    fixture.push("without the rollout");
    let watch = fixture.watch("data");
    eventually("it waits", || watch.of("one")["waiting"]["code"] == "MW0281");
    assert_eq!(fixture.fleet.generation(0), 0);
    fixture.edit("rollout steady", "rollout ../x");
    let refused = fixture.fleet.run(&["validate", "one"]).code(1);
    assert!(refused.stdout.contains("environments/one/environment.yaml"), "{}{}", refused.stdout, refused.stderr);
}

/// Writes the profile of one environment, from this address.
fn own_profile(fixture: &WatchFixture, name: &str, address: &str) {
    let text = format!("enabled: false\nfrom: {{ address: {address} }}\n");
    fixture.fleet.repo.write(&format!("environments/{name}/profiles/relay.yaml"), text);
}

pub(super) fn sender(fixture: &WatchFixture, index: usize) -> String {
    let state = fixture.fleet.services[index].state();
    state["profiles"]["relay"]["live"]["profile"]["from"]["address"].as_str().unwrap_or_default().to_owned()
}

/// The state of the run, as `rollout status` shows it.
pub(super) fn run(fixture: &WatchFixture) -> serde_json::Value {
    let status = fixture.fleet.run(&["rollout", "status", "steady", "--state", "data", "--format", "json"]);
    if status.code == 0 { status.json()["run"].clone() } else { json!(null) }
}

#[test]
fn waves_keep_changes_made_outside_git_unless_they_are_reverted() {
    let receiver = WebhookReceiver::start();
    let fixture = fixture(&receiver);
    let watch = fixture.watch("data");
    let generations = || (fixture.fleet.generation(0), fixture.fleet.generation(1));
    eventually("the first run has finished", || run(&fixture)["status"]["state"] == "finished");
    assert_eq!(generations(), (1, 1));
    let by_hand = json!({ "from": { "address": "emergency@example.com" } });
    assert_eq!(fixture.fleet.services[0].patch("relay", &by_hand).status, 200);
    eventually("the drift is reported", || watch.of("one")["drift"] == json!(["relay"]));
    // A commit that changes another environment keeps it.
    own_profile(&fixture, "two", "second@example.com");
    fixture.push("a change of two only");
    eventually("it is applied in `two`", || sender(&fixture, 1) == "second@example.com");
    eventually("the second run has finished", || run(&fixture)["status"]["state"] == "finished");
    assert_eq!(run(&fixture)["environments"]["one"]["outcome"], json!({ "state": "unchanged", "generation": 2 }));
    assert_eq!((generations(), sender(&fixture, 0).as_str()), ((2, 2), "emergency@example.com"));
    // A commit that changes the same profile stops the run.
    own_profile(&fixture, "one", "git@example.com");
    fixture.push("a change of the same profile");
    eventually("the run stops", || watch.of("one")["waiting"]["code"] == "MW0289");
    assert_eq!(run(&fixture)["environments"]["one"]["problem"]["code"], "MW0372");
    assert_eq!((generations(), sender(&fixture, 0).as_str()), ((2, 2), "emergency@example.com"));
    // An operator who resumes the run gets the same decision.
    let resumed = fixture.fleet.run(&["rollout", "resume", "steady", "--state", "data"]);
    assert!(resumed.stdout.contains("MW0372"), "{}{}", resumed.stdout, resumed.stderr);
    assert_eq!((generations(), sender(&fixture, 0).as_str()), ((2, 2), "emergency@example.com"));
    // `drift: revert` takes it back.
    fixture.edit("rollout steady,", "rollout steady, drift: revert,");
    own_profile(&fixture, "two", "third@example.com");
    fixture.push("Git is right");
    eventually("both are as the files say", || {
        (sender(&fixture, 0).as_str(), sender(&fixture, 1).as_str()) == ("git@example.com", "third@example.com")
    });
}

#[test]
fn a_newer_commit_does_not_end_the_soak_time_of_an_unchanged_canary() {
    let receiver = WebhookReceiver::start();
    let fixture = fixture(&receiver);
    fixture.fleet.repo.write("rollouts/steady.yaml", WAVES.replace("soak: 1s", "soak: 1h"));
    fixture.push("a long soak");
    let _watch = fixture.watch("data");
    let soaks = |run: &serde_json::Value| run["waves"][0]["soak"].is_array() && run["waves"][0]["soaked"] == false;
    eventually("the canary soaks", || soaks(&run(&fixture)));
    let mut last = run(&fixture)["id"].clone();
    // Twice: what the second run takes over from the first one, the third one takes over as well.
    for address in ["second@example.com", "third@example.com"] {
        own_profile(&fixture, "two", address);
        fixture.push("a change of two only");
        eventually("a new run soaks", || {
            let run = run(&fixture);
            run["id"] != last && soaks(&run)
        });
        let run = run(&fixture);
        assert_eq!(run["environments"]["one"]["outcome"], json!({ "state": "unchanged", "generation": 1 }), "{run:#}");
        assert_eq!((fixture.fleet.generation(0), fixture.fleet.generation(1)), (1, 0));
        last = run["id"].clone();
    }
}

/// Waits until the watch has planned an environment twice more.
pub(super) fn two_passes(watch: &WatchProcess, name: &str) {
    for _ in 0..2 {
        let planned = watch.of(name)["plannedAt"].clone();
        eventually("there is another pass", || watch.of(name)["plannedAt"] != planned);
    }
}

/// Waits for the soak time of the canary, and pauses the run as an operator does.
fn pause_in_soak(fixture: &WatchFixture) {
    eventually("the canary soaks", || {
        let run = run(fixture);
        run["waves"][0]["soak"].is_array() && run["waves"][0]["soaked"] == false && run["status"]["state"] == "running"
    });
    let mut pause = fixture.fleet.command(&["rollout", "pause", "steady", "--state", "data"]);
    pause.env("USER", "ann");
    run_command(pause).code(0);
    assert_eq!(run(fixture)["status"]["state"], "paused");
}

#[test]
fn a_run_that_an_operator_paused_stays_paused() {
    let receiver = WebhookReceiver::start();
    let fixture = fixture(&receiver);
    fixture.fleet.repo.write("rollouts/steady.yaml", WAVES.replace("soak: 1s", "soak: 6s"));
    fixture.push("a longer soak");
    let generations = || (fixture.fleet.generation(0), fixture.fleet.generation(1));
    let reports = || {
        let reports = receiver.of("apply-waiting");
        reports.iter().filter(|report| report["environment"] == "two").count()
    };
    let mut watch = fixture.watch("data");
    let waits = |watch: &WatchProcess| {
        eventually("`two` waits", || watch.of("two")["waiting"]["code"] == "MW0289");
        two_passes(watch, "two");
        let waiting = watch.of("two")["waiting"].clone();
        assert!(waiting["message"].as_str().unwrap().contains("is paused by ann@"), "{waiting}");
        assert_eq!(run(&fixture)["status"]["state"], "paused");
        waiting["remedy"].as_str().unwrap().to_owned()
    };
    pause_in_soak(&fixture);
    let remedy = waits(&watch);
    assert!(remedy.contains("`mailwright rollout resume steady --state data` continues it"), "{remedy}");
    assert_eq!((generations(), reports()), ((1, 0), 1));
    // A restart changes nothing, and reports nothing again.
    watch.terminate();
    assert_eq!(watch.wait(120), Some(0));
    let watch = fixture.watch("data");
    waits(&watch);
    assert_eq!((generations(), reports()), ((1, 0), 1));
    // An operator resumes it, although the waves list an environment that takes no part.
    fixture.fleet.run(&["rollout", "resume", "steady", "--state", "data"]).code(0);
    assert_eq!((generations(), fixture.fleet.generation(2)), ((1, 1), 0));
    eventually("nothing waits", || watch.of("two")["waiting"].is_null() && watch.of("two")["changes"] == 0);
    // A newer commit does not end the pause.
    fixture.from("second@example.com");
    fixture.push("the second");
    pause_in_soak(&fixture);
    waits(&watch);
    let commit = watch.of("two")["commit"].clone();
    fixture.from("third@example.com");
    fixture.push("the third");
    eventually("the commit is seen", || watch.of("two")["commit"] != commit);
    eventually("it says what to do", || watch.of("two")["waiting"]["remedy"].as_str().unwrap_or("").contains("newer"));
    waits(&watch);
    assert_eq!(generations(), (2, 1));
    // After the abort, the watch begins with the newer commit.
    fixture.fleet.run(&["rollout", "abort", "steady", "--state", "data", "--yes"]).code(0);
    eventually("both have the newer commit", || {
        (sender(&fixture, 0).as_str(), sender(&fixture, 1).as_str()) == ("third@example.com", "third@example.com")
    });
    assert_eq!((generations(), fixture.fleet.generation(2)), ((3, 2), 0));
}

#[test]
fn invalid_files_fail_in_their_wave_and_concern_no_rollout_that_the_environment_does_not_name() {
    let receiver = WebhookReceiver::start();
    let fixture = fixture(&receiver);
    let generations = || [0, 1, 2].map(|index| fixture.fleet.generation(index));
    // An environment that takes no part, and whose file cannot even be parsed.
    let by_hand = fixture.fleet.repo.read("environments/by-hand/environment.yaml");
    let watch = fixture.watch("data");
    eventually("both are applied", || generations() == [1, 1, 0]);
    eventually("the first run has finished", || run(&fixture)["status"]["state"] == "finished");
    for broken in [format!("{by_hand}unknown: true\n"), "a: [\n".to_owned()] {
        fixture.fleet.repo.write("environments/by-hand/environment.yaml", broken);
        fixture.from(if generations()[0] == 1 { "second@example.com" } else { "third@example.com" });
        let before = generations();
        fixture.push("broken by hand");
        eventually("both are applied", || generations() == [before[0] + 1, before[1] + 1, 0]);
        eventually("its files are refused", || watch.of("by-hand")["problem"]["code"] == "MW0371");
        eventually("the run has finished", || run(&fixture)["status"]["state"] == "finished");
    }
    // One that takes part fails in its wave. The canary comes first; by default no failure is tolerated.
    let one = fixture.fleet.repo.read("environments/one/environment.yaml");
    for broken in [format!("{one}unknown: true\n"), "a: [\n".to_owned()] {
        fixture.fleet.repo.write("environments/one/environment.yaml", broken);
        fixture.from(&format!("{}@example.com", if watch.of("two")["waiting"].is_null() { "fourth" } else { "fifth" }));
        let last = run(&fixture)["id"].clone();
        fixture.push("a broken canary");
        eventually("another run stops", || {
            run(&fixture)["id"] != last && run(&fixture)["status"]["state"] == "stopped"
        });
        assert_eq!(run(&fixture)["environments"]["one"]["problem"]["code"], "MW0371");
        eventually("`two` waits", || watch.of("two")["waiting"]["code"] == "MW0289");
        assert_eq!(generations(), [3, 3, 0]);
    }
    // A corrected commit begins again, though nothing else changed.
    fixture.fleet.repo.write("environments/one/environment.yaml", &one);
    fixture.push("corrected");
    eventually("both are applied", || generations() == [4, 4, 0]);
    eventually("the corrected run has finished", || run(&fixture)["status"]["state"] == "finished");
    // With a tolerance, the other waves go on without it.
    fixture.fleet.repo.write("rollouts/steady.yaml", format!("failures: {{ tolerate: 1 }}\n{WAVES}"));
    fixture.fleet.repo.write("environments/one/environment.yaml", format!("{one}unknown: true\n"));
    fixture.from("sixth@example.com");
    fixture.push("tolerated");
    eventually("`two` is applied", || generations() == [4, 5, 0]);
}
