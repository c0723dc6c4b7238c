//! Many faults at once, over many environments in processes that serve several each: some are dead, some frozen, some at
//! another version, some being started again, some changed by others in between; and the rollout itself is killed.
//!
//! The long form is `MAILWRIGHT_TEST_ENVIRONMENTS=1000`: 1,000 environments in 50 processes. See `tests/README.md`.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpListener,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    rollout::fixture::{RolloutFixture, end, is, kill},
    support::host_process::HostProcess,
};

/// The fault of a process and all its environments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ServiceFate {
    Dead,
    Frozen,
    OtherVersion,
    Restarted,
    Changed,
    Well,
}

/// One process in eight of each kind of trouble; the first is well, and the coordinator's.
fn fate(process: usize) -> ServiceFate {
    match process % 8 {
        1 => ServiceFate::Dead,
        2 => ServiceFate::Frozen,
        3 => ServiceFate::OtherVersion,
        4 => ServiceFate::Restarted,
        5 => ServiceFate::Changed,
        _ => ServiceFate::Well,
    }
}

struct StormFixture {
    fleet: RolloutFixture,
}

impl StormFixture {
    fn new(count: usize) -> Self {
        let fleet = RolloutFixture::hosted(count, count.div_ceil(8).min(20));
        let storm = Self { fleet };
        storm.files(25);
        storm.fleet.seed();
        storm
    }

    /// Two profiles that change together: an environment with one of both would be half.
    fn files(&self, port: u16) {
        self.fleet.change_port(port);
        let relay = self.fleet.repo.read("environments/base/profiles/relay.yaml");
        let reports = relay.replace("[default]", "[all-reports]");
        self.fleet.repo.write("environments/base/profiles/reports.yaml", reports);
    }

    fn of(&self, wanted: ServiceFate) -> Vec<String> {
        let hosts = self.fleet.hosts.iter().enumerate();
        hosts.filter(|(process, _)| fate(*process) == wanted).flat_map(|(_, host)| host.names.clone()).collect()
    }

    fn each(&mut self, wanted: ServiceFate, mut work: impl FnMut(&mut HostProcess)) {
        let hosts = self.fleet.hosts.iter_mut().enumerate();
        hosts.filter(|(process, _)| fate(*process) == wanted).for_each(|(_, host)| work(host));
    }

    /// The ports of both profiles in each environment; they are the same everywhere.
    fn ports(&self) -> BTreeMap<String, u64> {
        let of = |name: String| {
            let state = serde_json::to_value(self.fleet.state(&name)).unwrap();
            let port =
                |profile: &str| state["profiles"][profile]["live"]["profile"]["provider"]["smtp"]["port"].as_u64();
            let (relay, reports) = (port("relay").unwrap_or(25), port("reports").unwrap_or(25));
            assert_eq!(relay, reports, "{name} is half");
            (name, relay)
        };
        self.fleet.names().into_iter().map(of).collect()
    }
}

/// Answers as a service of another version of the API would.
fn another_version() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                drop(stream.read(&mut [0; 4096]));
                let answer =
                    "HTTP/1.1 200 OK\r\nmailwright-api-version: 99\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                drop(stream.write_all(answer.as_bytes()));
            });
        }
    });
    address
}

#[test]
fn in_the_end_everything_is_so_and_nothing_was_done_twice() {
    let wanted = std::env::var("MAILWRIGHT_TEST_ENVIRONMENTS").ok().and_then(|text| text.parse().ok());
    let count: usize = wanted.unwrap_or(40);
    let begun = Instant::now();
    let say = |text: &str| println!("{:6.1} s  {text}", begun.elapsed().as_secs_f64());
    let mut storm = StormFixture::new(count);
    say(&format!("{count} environments in {} processes, seeded", storm.fleet.hosts.len()));
    // Those that are well must have the time, with fifty processes on two cores, too.
    let deadline = if count > 100 { "10s" } else { "3s" };
    storm.fleet.rollout(
        "port",
        &format!(
            "gate: false\nparallel: 16\ndeadline: {deadline}\ncoordinator: c-01\nfailures: {{ tolerate: {count} }}\nwaves:\n  - {{ name: canary, selector: ring=canary }}\n  - {{ name: rest, environments: ['*'] }}\n"
        ),
    );
    storm.files(587);

    // The trouble. What is frozen and what is started again gets into it while the rollout is at work.
    storm.each(ServiceFate::Dead, HostProcess::kill);
    let elsewhere = another_version();
    for name in storm.of(ServiceFate::OtherVersion) {
        storm.fleet.declare(&name, &format!("{elsewhere}/environments/{name}"));
    }
    let plan = storm.fleet.run(&["plan", "*", "--format", "json"]).code(1).json();
    let assert_code = |fate: ServiceFate, code: Value| {
        for name in storm.of(fate) {
            assert_eq!(plan["environments"][&name]["error"]["code"], code, "{name}, {fate:?}");
        }
    };
    assert_code(ServiceFate::Dead, "MW0200".into());
    assert_code(ServiceFate::OtherVersion, "MW0205".into());
    assert_code(ServiceFate::Well, Value::Null);
    say("planned, with some dead and some at another version");

    let mut by_hand: BTreeMap<String, usize> = BTreeMap::new();
    let mut word = &["rollout", "start", "port", "--yes"][..];
    for round in 0..3 {
        let child = storm.fleet.spawn(word);
        storm.fleet.wait_for("port", |entry| entry["event"] == "intended" || is("finished")(entry));
        // One after the other, each amid something else.
        let frozen = storm.fleet.hosts.iter().enumerate().filter(|(process, _)| fate(*process) == ServiceFate::Frozen);
        frozen.skip(round).step_by(3).for_each(|(_, host)| host.freeze());
        storm.each(ServiceFate::Restarted, |host| {
            host.kill();
            host.start();
        });
        for name in storm.of(ServiceFate::Changed) {
            storm.fleet.meddle(&name, &format!("by hand {round}"));
            *by_hand.entry(name).or_default() += 1;
        }
        std::thread::sleep(Duration::from_millis(50));
        kill(child);
        word = &["rollout", "resume", "port"];
        if storm.fleet.entries("port").last().is_some_and(is("finished")) {
            break;
        }
    }
    say("killed and resumed, with some frozen, some started again and some changed by hand");
    let child = storm.fleet.spawn(word);
    storm.each(ServiceFate::Restarted, |host| {
        host.kill();
        host.start();
    });
    let output = end(child);
    assert!([0, 1, 2].contains(&output.code), "{}\n{}", output.stdout, output.stderr);
    say("run to its end");

    // A clear word for each, and everything is the one or the other.
    let status = storm.fleet.status("port");
    assert_eq!(status["run"]["status"]["state"], "finished", "{status:#}");
    let mut words: BTreeMap<(ServiceFate, String), usize> = BTreeMap::new();
    for (process, host) in storm.fleet.hosts.iter().enumerate() {
        for name in &host.names {
            let run = &status["run"]["environments"][name];
            let code = run["problem"]["code"].as_str().unwrap_or("done");
            let allowed: &[&str] = match fate(process) {
                ServiceFate::Dead => &["MW0200"],
                ServiceFate::Frozen => &["done", "MW0291"],
                ServiceFate::OtherVersion => &["MW0205"],
                ServiceFate::Restarted => &["done", "MW0200", "MW0208"],
                ServiceFate::Changed | ServiceFate::Well => &["done"],
            };
            assert!(allowed.contains(&code), "{name}, {:?}: {run:#}", fate(process));
            *words.entry((fate(process), code.to_owned())).or_default() += 1;
        }
    }
    say(&format!("{words:?}"));
    storm.each(ServiceFate::Frozen, |host| host.thaw());
    storm.each(ServiceFate::Dead, HostProcess::start);
    for name in storm.of(ServiceFate::OtherVersion) {
        storm.fleet.declare(&name, &storm.fleet.address(&name));
    }
    let ports = storm.ports();
    let at = |fate: ServiceFate, port: u64| storm.of(fate).iter().all(|name| ports[name] == port);
    assert!(at(ServiceFate::Dead, 25) && at(ServiceFate::OtherVersion, 25) && at(ServiceFate::Well, 587), "{ports:?}");
    say("fixed: each environment has all of the change or nothing of it");

    // Another run does what is left and no more.
    let before: BTreeMap<String, usize> = generations(&storm.fleet);
    storm.fleet.run(&["rollout", "start", "port", "--yes"]).code(0);
    assert!(storm.ports().values().all(|port| *port == 587));
    for (name, after) in generations(&storm.fleet) {
        let changesets = storm.fleet.changesets(&name).len();
        let meddled = by_hand.get(&name).copied().unwrap_or_default();
        // The seed and the change; and once more for each change that was made by hand.
        assert!((2..=2 + meddled).contains(&changesets), "{name}: {changesets}, {meddled} by hand");
        assert_eq!(after, changesets + meddled, "{name}");
        assert!(after - before[&name] <= 1, "{name}");
    }
    assert!(storm.fleet.run(&["rollout", "plan", "port"]).code(0).stdout.contains("No changes"));
    say("another run: all of them have it, once");
}

fn generations(fleet: &RolloutFixture) -> BTreeMap<String, usize> {
    fleet.names().into_iter().map(|name| (name.clone(), fleet.generations(&name).len())).collect()
}
