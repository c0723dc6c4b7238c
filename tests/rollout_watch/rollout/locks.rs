//! Lock files that the owner of a folder replaced: a link, a FIFO, a socket, a device. None is opened, and none is waited for.

use std::path::Path;

use crate::rollout::fixture::RolloutFixture;

/// Puts something that is not an ordinary file where a lock file belongs, and returns what keeps it there.
fn replace(lock: &Path, kind: &str) -> Option<std::os::unix::net::UnixListener> {
    std::fs::remove_file(lock).unwrap_or_default();
    match kind {
        "fifo" => assert!(std::process::Command::new("mkfifo").arg(lock).status().unwrap().success()),
        "socket" => return Some(std::os::unix::net::UnixListener::bind(lock).unwrap()),
        target => std::os::unix::fs::symlink(target, lock).unwrap(),
    }
    None
}

#[test]
fn a_lock_that_is_not_an_ordinary_file_is_refused_without_waiting() {
    let fleet = RolloutFixture::new(1);
    fleet.rollout("port", "gate: false\nwaves:\n  - { name: all, environments: ['*'] }\n");
    fleet.change_port(587);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (state, watch, data, elsewhere) = (path("state"), path("watch"), path("data"), path("elsewhere"));
    for folder in [&format!("{state}/rollouts/port"), &watch, &data] {
        std::fs::create_dir_all(folder).unwrap();
    }
    for (lock, code, arguments) in [
        (
            format!("{state}/rollouts/port/lock"),
            "MW0287",
            &["rollout", "start", "port", "--yes", "--state", &state][..],
        ),
        (format!("{watch}/lock"), "MW0370", &["watch", "--once", "--data", &watch]),
        (format!("{data}/lock"), "MW0016", &["serve", "--demo", "--environment", "c-01", "--data", &data]),
    ] {
        for kind in ["fifo", "socket", "/dev/tty", &elsewhere] {
            let kept = replace(Path::new(&lock), kind);
            let output = fleet.run(arguments).code(1);
            for words in [code, "is not an ordinary file", &format!("Remove `{lock}`")] {
                assert!(output.stderr.contains(words), "{kind}, {words}: {}", output.stderr);
            }
            drop(kept);
        }
    }
    // In their usual folders, both write a `.gitignore`, which a branch can have replaced too.
    for folder in [".mailwright", ".mailwright/watch"] {
        std::fs::create_dir_all(fleet.repo.path(folder)).unwrap();
        std::os::unix::fs::symlink(&elsewhere, fleet.repo.path(&format!("{folder}/.gitignore"))).unwrap();
    }
    fleet.run(&["watch", "--once"]);
    assert_eq!(fleet.ports(), [25]);
    fleet.run(&["rollout", "start", "port", "--yes"]).code(0);
    assert_eq!(fleet.ports(), [587]);
    assert!(
        fleet.repo.path(".mailwright/watch/lock").is_file()
            && fleet.repo.path(".mailwright/rollouts/port/lock").is_file()
    );
    assert!(!Path::new(&elsewhere).exists(), "the target of a link is not created");
    // After the remedy, a folder can be used.
    std::fs::remove_file(format!("{state}/rollouts/port/lock")).unwrap();
    fleet.change_port(25);
    fleet.run(&["rollout", "start", "port", "--yes", "--state", &state]).code(0);
    assert_eq!(fleet.ports(), [25]);
}
