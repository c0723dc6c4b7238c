//! A full disk for the journal: what cannot be written down is not begun.

use crate::rollout::fixture::RolloutFixture;

#[test]
fn a_step_that_cannot_be_journalled_is_not_begun() {
    let fleet = RolloutFixture::new(12);
    fleet.rollout("port", "gate: false\nparallel: 3\nwaves:\n  - { name: all, environments: ['*'] }\n");
    fleet.change_port(587);
    let (small, kept) = (fleet.repo.path("small"), fleet.repo.path("kept"));
    std::fs::create_dir_all(&small).unwrap();
    // Room for the beginning, and for some environments. What is there at the end is copied out.
    let script = format!(
        "mount -t tmpfs -o size=8k none {0} && \"$0\" \"$@\"; code=$?; cp -r {0} {1}; exit $code",
        small.display(),
        kept.display()
    );
    let program = fleet.command(&[]).get_program().to_owned();
    let arguments = ["rollout", "start", "port", "--yes", "--state", small.to_str().unwrap()];
    let mut command = fleet.command(&[]);
    let mut under = std::process::Command::new("unshare");
    under.args(["-m", "sh", "-c", &script]).arg(program).args(arguments);
    under.current_dir(fleet.repo.folder.path());
    for (name, value) in command.envs(std::iter::empty::<(&str, &str)>()).get_envs() {
        match value {
            Some(value) => under.env(name, value),
            None => under.env_remove(name),
        };
    }
    let output = crate::support::repository::run_command(under).code(1);
    assert!(
        output.stderr.contains("MW0287") && output.stderr.contains("resume port"),
        "{}\n{}",
        output.stdout,
        output.stderr
    );
    let done = fleet.ports().iter().filter(|port| **port == 587).count();
    assert!((1..12).contains(&done), "{done} are done:\n{}", output.stdout);
    assert!(fleet.ask(fleet.client("c-01").leases()).unwrap().leases.is_empty());

    // With room it goes on where it was.
    let kept = kept.to_str().unwrap();
    let output = fleet.run(&["rollout", "resume", "port", "--state", kept]).code(0);
    assert_eq!(fleet.ports(), [587; 12], "{}", output.stdout);
    for name in fleet.names() {
        assert_eq!(fleet.changesets(&name).len(), 2, "{name}");
    }
}

#[test]
fn a_changed_journal_is_refused() {
    let fleet = RolloutFixture::new(2);
    fleet.rollout("port", "gate: false\nwaves:\n  - { name: all, environments: ['*'] }\n");
    fleet.change_port(587);
    fleet.run(&["rollout", "start", "port", "--yes"]).code(0);
    let path = fleet.journal("port");
    let good = std::fs::read_to_string(&path).unwrap();
    // The end of a line that a crash cut off is left out; a line that is not as it was written is not.
    std::fs::write(&path, &good[..good.len() - 10]).unwrap();
    let status = fleet.status("port");
    assert_eq!(status["run"]["status"]["state"], "running");
    fleet.run(&["rollout", "resume", "port"]).code(0);
    let lines: Vec<&str> = good.lines().collect();
    for bad in [good.replacen("587", "588", 1).replacen("c-01", "c-02", 1), [lines[0], lines[2]].join("\n") + "\n"] {
        std::fs::write(&path, bad).unwrap();
        for arguments in
            [&["rollout", "status", "port"][..], &["rollout", "resume", "port"], &["rollout", "start", "port", "--yes"]]
        {
            let refused = fleet.run(arguments).code(1);
            assert!(refused.stderr.contains("MW0288"), "{}", refused.stderr);
        }
    }
}
