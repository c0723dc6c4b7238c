//! An enabled profile passes by verify before it is applied, as with `apply`.

use crate::{
    sink::Sink,
    watch::fixture::{WatchFixture, eventually},
};

#[test]
fn a_server_that_answers_lets_it_by_and_one_that_does_not_stops_it_in_clear_words() {
    let sink = Sink::start();
    let fixture = WatchFixture::sending(sink.port, "watch: { apply: auto }");
    let applied = fixture.once("data").code(0);
    assert_eq!(applied.stdout, "one: applied: 1 to add, 1 to change, 0 to destroy (generation 1)\n");
    assert!(sink.seen("ehlo") > 0, "verify has asked the server");
    assert_eq!(fixture.once("data").code(0).stdout, "one: as the files say\n");

    fixture.by(1);
    fixture.push("a port without a listener");
    let refused = fixture.once("data").code(1);
    let expected = "one: failed: [MW0234] verify found errors in relay: SMTP-CONNECT no server accepts connections at 127.0.0.1, port 1\n\
        one: help: `mailwright verify one` shows them with their remedies. A waiver in environment.yaml accepts a finding for a time.\n";
    assert_eq!(refused.stdout, expected);
    assert_eq!(refused.stderr, "", "what is printed is not logged as well");
    assert_eq!(fixture.generation(), 1);
    let document = fixture.once_with("data", &["--format", "json"]).code(1).json();
    assert_eq!(document["environments"]["one"]["refused"]["code"], "MW0234");
    assert_eq!(document["exitCode"], 1);

    // The watch tries again, and applies when the server is available.
    let watch = fixture.watch("data");
    eventually("it is refused twice", || watch.one()["errors"].as_u64() >= Some(2));
    assert_eq!(watch.one()["changes"], 1);
    let another = Sink::start();
    fixture.by(another.port);
    fixture.push("a port with a listener");
    eventually("it is applied", || fixture.generation() == 2);
    eventually("nothing is pending", || watch.one()["changes"] == 0 && watch.one()["refused"].is_null());
}
