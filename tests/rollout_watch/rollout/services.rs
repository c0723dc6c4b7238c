//! Services that are dead, slow, of another version, of another environment, or being restarted.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    time::Duration,
};

use crate::rollout::fixture::{RolloutFixture, end};

/// Something that listens, and answers every connection in its way.
fn listener(answer: impl Fn(std::net::TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = std::sync::Arc::clone(&answer);
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

fn says(text: &'static str) -> String {
    listener(move |mut stream| {
        let mut buffer = [0; 4096];
        drop(stream.read(&mut buffer));
        drop(stream.write_all(text.as_bytes()));
    })
}

#[test]
fn each_fault_has_its_own_report_and_the_others_go_on() {
    let fleet = RolloutFixture::new(7);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fleet.declare("c-02", &format!("http://{closed}"));
    fleet.declare(
        "c-03",
        &listener(|stream| {
            std::thread::sleep(Duration::from_secs(60));
            drop(stream);
        }),
    );
    fleet.declare(
        "c-04",
        &says("HTTP/1.1 200 OK\r\nmailwright-api-version: 99\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"),
    );
    fleet.declare("c-05", &fleet.address("c-06"));
    let own_token = fleet.repo.read("tokens/c-05");
    fleet.repo.write("tokens/c-05", fleet.repo.read("tokens/c-06"));
    fleet.declare("c-07", &says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"));
    fleet.rollout(
        "port",
        "gate: false\ndeadline: 8s\nfailures: { tolerate: 5 }\nwaves:\n  - { name: all, environments: ['*'] }\n",
    );
    fleet.change_port(587);

    let plan = fleet.run(&["rollout", "plan", "port"]).code(1).stdout;
    assert!(plan.contains("1 change, in 2 environments; 5 could not be planned."), "{plan}");
    let output = fleet.run(&["rollout", "start", "port", "--yes"]).code(2);
    for (name, code, words) in [
        ("c-02", "MW0200", "repeated for 8s"),
        ("c-03", "MW0291", "took longer than 8s"),
        ("c-04", "MW0205", "version 99"),
        ("c-05", "MW0211", "belongs to environment `c-06`"),
        ("c-07", "MW0204", "not a Mailwright service"),
    ] {
        let line = output.stdout.lines().find(|line| line.contains(name) && line.contains("failed")).unwrap();
        assert!(line.contains(code) && line.contains(words), "{line}");
    }
    assert!(output.stdout.contains("or raise `deadline` in rollouts/port.yaml"), "{}", output.stdout);
    assert_eq!((fleet.port("c-01"), fleet.port("c-06")), (587, 587));

    // All are fixed. A finished run cannot be continued; another run skips the environments that are up to date.
    for name in ["c-02", "c-03", "c-04", "c-05", "c-07"] {
        fleet.declare(name, &fleet.address(name));
    }
    fleet.repo.write("tokens/c-05", own_token);
    fleet.run(&["rollout", "start", "port", "--yes"]).code(0);
    assert_eq!(fleet.ports(), [587; 7]);
}

#[test]
fn one_that_is_being_started_again_is_waited_for() {
    let mut fleet = RolloutFixture::new(3);
    fleet.rollout("port", "gate: false\nparallel: 1\nwaves:\n  - { name: all, environments: ['*'] }\n");
    fleet.change_port(587);
    let address = fleet.stop("c-02");
    let child = fleet.spawn(&["rollout", "start", "port", "--yes"]);
    std::thread::sleep(Duration::from_millis(1500));
    fleet.start_again("c-02", address);
    end(child).code(0);
    assert_eq!(fleet.ports(), [587; 3]);
}

#[test]
fn without_its_coordinator_it_does_not_begin() {
    let mut fleet = RolloutFixture::new(2);
    fleet.rollout("port", "gate: false\ncoordinator: c-02\nwaves:\n  - { name: all, environments: [c-01] }\n");
    fleet.change_port(587);
    fleet.stop("c-02");
    let output = fleet.run(&["rollout", "start", "port", "--yes"]).code(1);
    assert!(output.stderr.contains("MW0200"), "{}", output.stderr);
    assert_eq!(fleet.port("c-01"), 25);
    assert!(fleet.run(&["rollout", "status", "port"]).code(1).stderr.contains("MW0285"));
}
