//! Set-up shared by the benchmarks: a row of the table, the best of some runs, and the programs that Mailwright is
//! compared with.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::repository::TestRepository;

pub(crate) fn print_head(size: &str) {
    println!("| what | {size} | ours | compared with | theirs | ratio |\n| --- | --- | --- | --- | --- | --- |");
}

pub(crate) fn print_row(what: &str, size: impl Display, ours: Duration, other: &str, theirs: Duration) {
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    println!(
        "| {what} | {size} | {} | {other} | {} | {:.2} |",
        ms(ours),
        ms(theirs),
        ours.as_secs_f64() / theirs.as_secs_f64()
    );
}

pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

/// Returns the best time of some runs, which is the least disturbed one.
pub(crate) fn best(runs: u32, mut work: impl FnMut()) -> Duration {
    (0..runs).map(|_| timed(&mut work)).min().unwrap()
}

/// Returns the path of a program that `benches/run` installs in `target/tools`.
pub(crate) fn optional_tool(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/python-benches/bin").join(name);
    path.is_file().then_some(path)
}

/// Measures `octodns-sync` for a number of records in a number of zones: YAML compared with YAML, without changes.
pub(crate) fn octodns(zones: usize, records: usize, runs: u32) -> Option<Duration> {
    let program = optional_tool("octodns-sync")?;
    let repo = TestRepository::empty();
    let mut config = "providers:\n  one: { class: octodns.provider.yaml.YamlProvider, directory: ./one, default_ttl: 300 }\n  two: { class: octodns.provider.yaml.YamlProvider, directory: ./two, default_ttl: 300 }\nzones:\n".to_owned();
    for zone in 0..zones {
        config.push_str(&format!("  zone{zone}.example.com.: {{ sources: [one], targets: [two] }}\n"));
        let records: String = (0..records)
            .map(|record| format!("r{record:03}:\n  type: A\n  value: 192.0.2.{}\n", record % 250))
            .collect();
        for side in ["one", "two"] {
            repo.write(&format!("{side}/zone{zone}.example.com.yaml"), &records);
        }
    }
    repo.write("config.yaml", config);
    let sync = || run_quietly(&program, &["--config-file", "config.yaml", "--quiet"], repo.folder.path());
    Some(best(runs, sync))
}

/// Returns resources that need no provider, written out one by one.
pub(crate) fn written_out(resources: usize) -> String {
    let one = |number| format!("resource \"terraform_data\" \"r{number}\" {{\n  input = \"profile {number}\"\n}}\n");
    (0..resources).map(one).collect()
}

/// Measures `terraform plan` in a folder with this `main.tf`. Nothing is applied before: that takes minutes and changes
/// the time of a plan little.
pub(crate) fn terraform(main: &str, more: impl Fn(&TestRepository)) -> Option<Duration> {
    Command::new("terraform").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    let repo = TestRepository::empty();
    repo.write("main.tf", main);
    more(&repo);
    let run = |arguments: &[&str]| run_quietly(Path::new("terraform"), arguments, repo.folder.path());
    run(&["init", "-input=false"]);
    Some(timed(|| run(&["plan", "-input=false"])))
}

fn run_quietly(program: &Path, arguments: &[&str], folder: &Path) {
    let ended = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(ended.success(), "{} {arguments:?}", program.display());
}
