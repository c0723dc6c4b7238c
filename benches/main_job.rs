//! The main job at size, against what others and what the machine itself need for the same. Every figure is a ratio
//! within one run. `benches/README.md` describes how to run it and its results.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    missing_docs,
    reason = "a benchmark prints, and ends where it fails"
)]

mod shared;
#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use mailwright::{
    client::{Client, ClientOptions},
    config::Repository,
    reconcile::{self, PlanRequest, attachments},
    store::SqliteStore,
};
use shared::{best, optional_tool, print_head, print_row, written_out};
use support::{
    functions,
    repository::{PROGRAM, TestRepository},
};

fn main() {
    print_head("size");
    cold_start();
    for environments in [10, 100, 1000] {
        validate(environments);
    }
    for profiles in [100, 1000, 10_000] {
        plan_and_apply(profiles);
    }
}

fn cold_start() {
    let time = |program: &str, argument: &str| {
        best(20, || {
            let ended =
                Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            assert!(ended.success());
        })
    };
    print_row("mailwright --version", "-", time(PROGRAM, "--version"), "/bin/true", time("/bin/true", "--version"));
}

fn profile(company: &str, function: &str, more: &str) -> String {
    format!(
        "# yaml-language-server: $schema=../../../schema/profile.schema.json\ndescription: Mail of {company}, {function}\nprovider:\n  smtp:\n    host: {more}\n    port: 587\n    encryption: starttls\nfrom:\n  address: erp@example.com\n  name: Example Ltd\nfunctions:\n  - {function}\nappliesTo:\n  companies: [{company}]\n"
    )
}

/// Writes ten profiles in each of many environments, every one in files of its own.
fn validate(environments: usize) {
    let repo = TestRepository::empty();
    let mut files = Vec::new();
    for number in 0..environments {
        let folder = format!("environments/site-{number:04}");
        repo.write(&format!("{folder}/environment.yaml"), format!("companies: [C{number:03}]\nvariables: {{ relay: smtp{number}.example.com }}\nunserved: [{{ reason: not in use }}]\n").replace("C1000", "C999"));
        files.push(repo.path(&format!("{folder}/environment.yaml")));
        for function in functions().take(10) {
            let path = format!("{folder}/profiles/{function}.yaml");
            repo.write(&path, profile(&format!("C{number:03}"), function, "\"${relay}\""));
            files.push(repo.path(&path));
        }
    }
    let ours = best(5, || assert_eq!(repo.run(&["validate"]).code, 0));
    let plain = best(5, || {
        for path in &files {
            let text = std::fs::read_to_string(path).unwrap();
            for event in saphyr_parser::Parser::new_from_str(&text) {
                std::hint::black_box(event.unwrap());
            }
        }
    });
    let size = format!("{} profiles, {} files", environments * 10, files.len());
    print_row("validate", &size, ours, "reading and parsing the files, one thread", plain);
    let alone = best(3, || assert_eq!(repo.run(&["validate", "--threads", "1"]).code, 0));
    print_row("validate, one thread", &size, alone, "reading and parsing the files, one thread", plain);
    if environments == 1000 {
        check_jsonschema(&repo, ours / u32::try_from(files.len()).unwrap());
    }
}

fn check_jsonschema(repo: &TestRepository, ours: Duration) {
    let Some(program) = optional_tool("check-jsonschema") else { return };
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/profile.schema.json");
    let files: Vec<PathBuf> = (0..50)
        .flat_map(|number| functions().take(10).map(move |function| (number, function)))
        .map(|(number, function)| repo.path(&format!("environments/site-{number:04}/profiles/{function}.yaml")))
        .collect();
    let theirs = best(2, || {
        let ended = Command::new(&program)
            .arg("--schemafile")
            .arg(&schema)
            .args(&files)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(ended.success());
    });
    print_row("validate, a file", "11,000 files against 500", ours, "check-jsonschema, a file", theirs / 500);
}

fn plan_and_apply(profiles: usize) {
    let mut repo = TestRepository::empty();
    repo.write_companies(profiles / 10, |company, function| profile(company, function, "smtp.example.com"));
    // Each run needs an empty service of its own; the last one is kept for the plan.
    let request = (0..3)
        .map(|_| {
            repo.kill();
            // The first run has no predecessor.
            drop(std::fs::remove_dir_all(repo.path(".data")));
            drop(std::fs::remove_file(repo.path(".token")));
            repo.serve_with(&["--demo"]);
            apply(&repo)
        })
        .min()
        .unwrap_or_default();
    let size = format!("{profiles} profiles");
    let rows = insert_the_same_rows(&repo);
    print_row("apply, the request", &size, request, "the same rows into SQLite, one transaction", rows);
    let ours = best(5, || assert_eq!(repo.run(&["plan", "dev", "--detailed-exitcode"]).code, 0));
    print_row("plan without changes", &size, ours, "apply, the request", request);
    if profiles == 10_000 {
        octodns(ours);
        terraform(ours);
    }
}

/// Returns the time from sending the changeset to its reply.
fn apply(repo: &TestRepository) -> Duration {
    let repository = Repository::open(repo.folder.path()).unwrap();
    let desired = repository.load(&"dev".parse().unwrap()).unwrap_or_else(|report| panic!("{}", report.human()));
    let client = Client::new(repo.address(), repo.token().to_owned().into(), &ClientOptions::default()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let state = runtime.block_on(client.state()).unwrap();
    let mut planned = reconcile::plan(&PlanRequest::new(&desired, &state, repo.address())).unwrap();
    let files = attachments::required_age_files(&desired, &state, &planned.changeset);
    attachments::attach(&mut planned.changeset, &files, repo.folder.path()).unwrap();
    let started = Instant::now();
    runtime.block_on(client.apply(&planned.changeset, false)).unwrap();
    started.elapsed()
}

fn insert_the_same_rows(repo: &TestRepository) -> Duration {
    let read = rusqlite::Connection::open_with_flags(
        repo.path(".data/store.sqlite"),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
    )
    .unwrap();
    let rows: Vec<(String, String)> = read
        .prepare("SELECT name, state FROM profile")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let history: Vec<(String, i64, String)> = read
        .prepare("SELECT name, generation, live FROM profile_history")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    (0..3)
        .map(|round| {
            let path = repo.path(&format!("baseline-{round}.sqlite"));
            SqliteStore::make_old(&path, 2).unwrap();
            let mut connection = rusqlite::Connection::open(&path).unwrap();
            connection.pragma_update(None, "journal_mode", "wal").unwrap();
            connection.pragma_update(None, "synchronous", "full").unwrap();
            let started = Instant::now();
            let transaction = connection.transaction().unwrap();
            transaction
                .execute("INSERT INTO generation (number, document, settings) VALUES (1, '{}', '{}')", [])
                .unwrap();
            {
                let mut insert = transaction.prepare("INSERT INTO profile (name, state) VALUES (?1, ?2)").unwrap();
                for (name, state) in &rows {
                    insert.execute((name, state)).unwrap();
                }
                let mut insert = transaction
                    .prepare("INSERT INTO profile_history (name, generation, live) VALUES (?1, ?2, ?3)")
                    .unwrap();
                for (name, generation, live) in &history {
                    insert.execute((name, generation, live)).unwrap();
                }
            }
            transaction.commit().unwrap();
            started.elapsed()
        })
        .min()
        .unwrap()
}

fn octodns(ours: Duration) {
    if let Some(theirs) = shared::octodns(100, 100, 2) {
        print_row("plan without changes", "10,000 profiles", ours, "octodns-sync, 10,000 records in 100 zones", theirs);
    }
}

/// Measures 2,000 resources without changes, per resource. As an administrator keeps profiles with Terraform: a YAML
/// file each, read by `for_each`; and written out one by one, which it plans faster.
fn terraform(ours: Duration) {
    let from_files = r#"
        locals {
          files    = fileset(path.module, "profiles/*.yaml")
          profiles = { for file in local.files : file => yamldecode(file("${path.module}/${file}")) }
        }
        resource "terraform_data" "profile" {
          for_each = local.profiles
          input    = each.value
        }
    "#;
    for (what, main) in [
        ("terraform plan, a resource from a YAML file", from_files.to_owned()),
        ("terraform plan, a resource written out", written_out(2000)),
    ] {
        let files = |repo: &TestRepository| {
            for number in 0..2000 {
                repo.write(&format!("profiles/p{number}.yaml"), profile("C001", "default", "smtp.example.com"));
            }
        };
        if let Some(theirs) = shared::terraform(&main, files) {
            print_row("plan without changes, a profile", "10,000 against 2,000", ours / 10_000, what, theirs / 2000);
        }
    }
}
