//! A thousand environments of ten profiles: files, Git, plans against running services, and a rollout over them. The
//! services are fifty processes of twenty environments each, on the same two cores as the program that asks them.
//! `benches/README.md` describes how to run it and its results.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    dead_code,
    missing_docs,
    clippy::disallowed_methods,
    reason = "a benchmark prints, ends where it fails, and shares its helpers with tests"
)]

#[path = "../tests/rollout_watch/rollout/fixture.rs"]
mod fixture;
mod shared;
#[path = "../tests/support/mod.rs"]
mod support;

use std::{collections::BTreeMap, path::Path, process::Command, sync::Arc, time::Duration};

use fixture::RolloutFixture;
use mailwright::{
    client::Client,
    config::{Desired, Repository},
    model::EnvironmentName,
    reconcile::{self, PlanRequest},
};
use shared::{best, print_head, print_row, timed, written_out};
use support::functions;

/// The number of environments of a process.
const HOSTED: usize = 20;
/// The number of services processed concurrently, by Mailwright and by the compared programs.
const AT_ONCE: usize = 16;

fn main() {
    let largest: usize = std::env::var("LARGEST").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    print_head("environments");
    let mut plan = Duration::ZERO;
    for count in [10, 100, 1000].into_iter().filter(|count| *count <= largest) {
        plan = measure(count);
    }
    compare_with_other_programs(plan, largest);
}

/// Runs everything with a number of environments. Returns the time of a plan of all.
fn measure(count: usize) -> Duration {
    let fleet = RolloutFixture::hosted(count, HOSTED);
    for function in functions().skip(1).take(9) {
        fleet.repo.write(
            &format!("environments/base/profiles/{function}.yaml"),
            format!("provider:\n  smtp:\n    host: 'smtp.${{domain}}'\n    port: 587\nfrom:\n  address: '{function}@${{domain}}'\nfunctions: [{function}]\nappliesTo: system-wide\n"),
        );
    }
    let root = fleet.repo.folder.path().to_owned();
    fleet.repo.write(".gitignore", ".data\ntokens\n.mailwright\n");
    git(&root, &["init", "--quiet"]);
    commit(&root);
    fleet.seed();

    let files = fleet.repo.path("environments");
    let validate = best(3, || drop(fleet.run(&["validate"]).code(0)));
    print_row("validate", count, validate, "reading the files", best(3, || read_all(&files)));
    fleet.change_port(26);
    commit(&root);
    let diff = best(3, || drop(fleet.run(&["diff", "HEAD~1..HEAD"]).code(0)));
    print_row("diff HEAD~1..HEAD, a base profile", count, diff, "validate", validate);

    let asked = ask_all(&fleet);
    let planned = best(2, || drop(fleet.run(&["plan", "*", "--format", "json"]).code(0)));
    print_row("plan '*', a change in each", count, planned, "two bare requests a service", asked);

    fleet.rollout("all", "gate: false\nparallel: 16\nwaves: [{ name: all, environments: ['*'] }]\n");
    let rollout = timed(|| drop(fleet.run(&["rollout", "start", "all", "--yes"]).code(0)));
    fleet.change_port(27);
    commit(&root);
    let bare = apply_all(&fleet);
    print_row("rollout start", count, rollout, "the same requests, without journal and files", bare);
    let each = rollout.saturating_sub(bare) / u32::try_from(count).unwrap();
    println!(
        "| rollout, beyond its requests, an environment | {count} | {:.2} ms | | | |",
        each.as_secs_f64() * 1000.0
    );
    let unchanged = best(2, || drop(fleet.run(&["plan", "*", "--format", "json"]).code(0)));
    print_row("plan '*' without changes", count, unchanged, "two bare requests a service", asked);
    planned
}

fn read_all(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path);
        } else {
            std::hint::black_box(std::fs::read(&path).unwrap());
        }
    }
}

/// Runs a request for every service, a limited number concurrently.
fn with_all<F: Future<Output = ()> + Send + 'static>(
    fleet: &RolloutFixture,
    work: impl Fn(Client, EnvironmentName) -> F,
) -> Duration {
    let clients: Vec<(Client, EnvironmentName)> =
        fleet.names().into_iter().map(|name| (fleet.client(&name), name.parse().unwrap())).collect();
    timed(|| {
        fleet.ask(async {
            let places = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
            let mut under_way = Vec::new();
            for (client, name) in clients {
                let (places, work) = (Arc::clone(&places), work(client, name));
                under_way.push(tokio::spawn(async move {
                    let _place = places.acquire_owned().await;
                    work.await;
                }));
            }
            for one in under_way {
                one.await.unwrap();
            }
        });
    })
}

/// Sends the requests of a plan, and does nothing else.
fn ask_all(fleet: &RolloutFixture) -> Duration {
    with_all(fleet, |client, _| async move {
        client.state().await.unwrap();
        client.last_verified().await.unwrap();
    })
}

/// Sends the requests of a rollout, and does nothing else: the state, and the changeset.
fn apply_all(fleet: &RolloutFixture) -> Duration {
    let repository = Repository::open(fleet.repo.folder.path()).unwrap();
    let of = |name: String| (name.parse().unwrap(), repository.load(&name.parse().unwrap()).unwrap());
    let desired: Arc<BTreeMap<EnvironmentName, Desired>> = Arc::new(fleet.names().into_iter().map(of).collect());
    with_all(fleet, |client, name| {
        let desired = Arc::clone(&desired);
        async move {
            let desired = &desired[&name];
            let state = client.state().await.unwrap();
            let planned = reconcile::plan(&PlanRequest::new(desired, &state, client.address())).unwrap();
            client.apply(&planned.changeset, false).await.unwrap();
        }
    })
}

/// Runs `octodns-sync` and `terraform plan` over the same number of objects.
fn compare_with_other_programs(plan: Duration, environments: usize) {
    let objects = environments * 10;
    if let Some(theirs) = shared::octodns(environments, 10, 1) {
        let other = format!("octodns-sync, {objects} records in {environments} zones");
        print_row("plan '*'", environments, plan, &other, theirs);
    }
    if let Some(theirs) = shared::terraform(&written_out(objects), |_| {}) {
        print_row("plan '*'", environments, plan, &format!("terraform plan, {objects} resources written out"), theirs);
    }
}

fn commit(folder: &Path) {
    git(folder, &["add", "--all"]);
    git(folder, &["-c", "user.name=bench", "-c", "user.email=bench@example.com", "commit", "--quiet", "-m", "one"]);
}

fn git(folder: &Path, arguments: &[&str]) {
    let ended =
        Command::new("git").args(arguments).current_dir(folder).env("GIT_CONFIG_GLOBAL", "/dev/null").status().unwrap();
    assert!(ended.success());
}
