//! Waves of a watch whose coordinator cannot be reached, or has a wrong address; and a pause while no watch runs.

use crate::watch::{
    cut_line::CutLine,
    fixture::{WatchFixture, WebhookReceiver, eventually},
    waves::{WAVES, fixture, run, sender, two_passes},
};

/// The coordinator is `by-hand`, which is in no wave, at this address.
fn coordinate(fixture: &WatchFixture, address: &str, waves: &str) {
    let file = "environments/by-hand/environment.yaml";
    let text = fixture.fleet.repo.read(file).replace(fixture.fleet.services[2].address(), address);
    fixture.fleet.repo.write(file, text);
    fixture.fleet.repo.write("rollouts/steady.yaml", format!("coordinator: by-hand\n{waves}"));
    fixture.push("a coordinator");
}

#[test]
fn a_run_that_cannot_reach_its_coordinator_is_tried_again() {
    let receiver = WebhookReceiver::start();
    let fixture = fixture(&receiver);
    let line = CutLine::before(fixture.fleet.services[2].address());
    let waves = WAVES.replace("soak: 1s", "soak: 6s");
    coordinate(&fixture, &line.address, &waves);
    line.cut();
    let watch = fixture.watch("data");
    let generations = || (fixture.fleet.generation(0), fixture.fleet.generation(1));
    let refused = || watch.of("two")["refused"]["message"].as_str().unwrap_or_default().to_owned();
    eventually("`two` says why nothing is applied", || {
        refused().contains("cannot acquire the lease in the service of the coordinator `by-hand`")
    });
    // It is not reported again with each attempt.
    two_passes(&watch, "two");
    two_passes(&watch, "two");
    let reports = receiver.of("apply-refused");
    assert_eq!(reports.iter().filter(|report| report["environment"] == "two").count(), 1, "{reports:#?}");
    assert_eq!(generations(), (0, 0));
    line.restore();
    eventually("the canary is applied without another commit", || generations() == (1, 0));
    // A run that loses its lease goes on when it can have it again.
    line.cut();
    eventually("the lease is lost", || run(&fixture)["status"]["problem"]["code"] == "MW0293");
    eventually("`two` says so", || watch.of("two")["refused"]["code"].is_string());
    assert_eq!(generations(), (1, 0));
    line.restore();
    eventually("both are applied", || generations() == (1, 1));
    eventually("nothing is left", || watch.of("two")["refused"].is_null() && watch.of("two")["changes"] == 0);
}

#[test]
fn a_wrong_address_of_the_coordinator_is_named() {
    let receiver = WebhookReceiver::start();
    let fixture = fixture(&receiver);
    coordinate(&fixture, "ftp://127.0.0.1:1", WAVES);
    let watch = fixture.watch("data");
    eventually("`two` waits", || watch.of("two")["waiting"]["code"] == "MW0207");
    let waiting = watch.of("two")["waiting"].clone();
    let (message, remedy) = (waiting["message"].as_str().unwrap(), waiting["remedy"].as_str().unwrap());
    assert!(message.contains("the coordinator `by-hand`: `ftp://127.0.0.1:1` is not the address"), "{message}");
    assert!(remedy.contains("`service.address` of `by-hand`") && remedy.contains("rollouts/steady.yaml"), "{remedy}");
    // A commit that corrects it is enough.
    coordinate_again(&fixture);
    eventually("both are applied", || (fixture.fleet.generation(0), fixture.fleet.generation(1)) == (1, 1));
}

fn coordinate_again(fixture: &WatchFixture) {
    let file = "environments/by-hand/environment.yaml";
    let address = fixture.fleet.services[2].address();
    fixture.fleet.repo.write(file, fixture.fleet.repo.read(file).replace("ftp://127.0.0.1:1", address));
    fixture.push("corrected");
}

#[test]
fn a_pause_while_no_watch_runs_holds_for_the_next_one() {
    let receiver = WebhookReceiver::start();
    let fixture = fixture(&receiver);
    fixture.fleet.repo.write("rollouts/steady.yaml", WAVES.replace("soak: 1s", "soak: 1h"));
    fixture.push("a long soak");
    let mut watch = fixture.watch("data");
    eventually("the canary soaks", || run(&fixture)["waves"][0]["soak"].is_array());
    watch.terminate();
    assert_eq!(watch.wait(120), Some(0));
    let paused = fixture.fleet.run(&["rollout", "pause", "steady", "--state", "data"]).code(0);
    assert!(paused.stdout.contains("rollout resume steady --state data"), "{}", paused.stdout);
    // A newer commit does not end the pause either.
    fixture.from("second@example.com");
    fixture.push("the second");
    let watch = fixture.watch("data");
    eventually("`two` waits", || watch.of("two")["waiting"]["code"] == "MW0289");
    two_passes(&watch, "two");
    assert!(watch.of("two")["waiting"]["message"].as_str().unwrap().contains("is paused by"), "{}", watch.of("two"));
    assert_eq!((fixture.fleet.generation(0), fixture.fleet.generation(1)), (1, 0));
    assert_eq!(sender(&fixture, 0), "erp@example.com");
}
