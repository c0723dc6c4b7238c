//! Output fits the terminal: no line is wider than the window, except a word that cannot be broken.

use std::process::{Command, Stdio};

use crate::support::repository::{PROGRAM, TestRepository, run_command, send_arguments};

/// The commands that are measured. `ID` is the id of a message.
const COMMANDS: &[&[&str]] = &[
    &["functions"],
    &["validate"],
    &["render", "dev"],
    &["diff", "HEAD"],
    &["plan", "dev"],
    &["drift", "dev"],
    &["status", "dev"],
    &["show", "dev", "relay"],
    &["resolve", "dev"],
    &["resolve", "dev", "EDU1", "documents-remittance"],
    &["history", "dev"],
    &["blame", "dev", "relay"],
    &["outbox", "status", "dev"],
    &["outbox", "list", "dev"],
    &["outbox", "show", "dev", "ID"],
    &["outbox", "holds", "dev"],
    &["token", "list", "dev"],
    &["audit", "list", "dev"],
    &["audit", "verify", "dev"],
    &["secrets", "list", "dev"],
    &["secrets", "expiring", "dev"],
    &["secrets", "check", "dev"],
    &["verify", "dev", "--all"],
    &["explain", "MW0104"],
    &["explain", "GRAPH-CONSENT"],
    &["help"],
    &["help", "environment"],
    &["help", "exit-codes"],
    &["outbox", "nosuch", "dev"],
    &["plan", "nosuch"],
    &["sandbox", "--help"],
    &["watch", "--help"],
    &["approve", "--help"],
    &["send", "--help"],
];

/// Files are printed as they are.
const DOCUMENTS: &[&str] = &["render"];

/// Returns the lines that are wider than the window and could have been broken.
fn too_wide(text: &str, width: usize) -> Vec<String> {
    let plain = anstream::adapter::strip_str(text).to_string();
    let could_be_broken = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let longest = words.iter().map(|word| word.chars().count()).max().unwrap_or_default();
        let indent = line.len() - line.trim_start().len();
        line.chars().count() > width && words.len() > 1 && indent + longest <= width
    };
    plain.lines().filter(could_be_broken).map(str::to_owned).collect()
}

fn repository_with_mail() -> (TestRepository, String) {
    let mut repo = TestRepository::examples();
    repo.pipe(&["secrets", "set", "dev", "relay/password"], b"value").code(0);
    repo.pipe(&["secrets", "set", "dev", "documents/client-secret"], b"a-client-secret-of-this-test").code(0);
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let hold = "a reason that is long enough to need more than one line in a narrow window";
    repo.run(&["outbox", "hold", "dev", "--company", "EDU1", "--reason", hold]).code(0);
    repo.run(&["token", "create", "dev", "--name", "pipeline of the accounting department", "--role", "viewer"])
        .code(0);
    let sent = repo.run(&send_arguments(
        "dev",
        "a.customer.with.a.long.name@accounts.example.com",
        &["--subject", "A subject that is also rather long, with several words in it", "--format", "json"],
    ));
    let id = sent.code(0).json()["id"].as_str().unwrap().to_owned();
    (repo, id)
}

#[test]
fn no_line_is_wider_than_the_window() {
    let (repo, id) = repository_with_mail();
    let mut wide = Vec::new();
    for command in COMMANDS.iter().filter(|command| !DOCUMENTS.contains(&command[0])) {
        let arguments: Vec<&str> = command.iter().map(|word| if *word == "ID" { id.as_str() } else { *word }).collect();
        for width in [80, 100, 120] {
            let mut program = repo.command(&arguments);
            program.env("COLUMNS", width.to_string());
            let output = run_command(program);
            let lines = too_wide(&output.stdout, width).into_iter().chain(too_wide(&output.stderr, width));
            wide.extend(lines.map(|line| format!("{width} {}: {line}", command.join(" "))));
        }
    }
    assert!(wide.is_empty(), "{} lines are too wide:\n{}", wide.len(), wide.join("\n"));
}

#[test]
fn without_a_terminal_lines_are_whole() {
    let (repo, _) = repository_with_mail();
    let list = repo.run(&["outbox", "list", "dev"]).code(0).stdout;
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(list.lines().all(|line| line.len() > 120), "{list}");
    let mut narrow = repo.command(&["outbox", "list", "dev", "--format", "json"]);
    narrow.env("COLUMNS", "60");
    let narrow = run_command(narrow).code(0);
    assert_eq!(narrow.stdout, repo.run(&["outbox", "list", "dev", "--format", "json"]).code(0).stdout);
}

#[test]
fn a_terminal_has_the_width_of_its_window() {
    let repo = TestRepository::small();
    for width in [80, 100, 120] {
        // `script` runs the command on a pseudo-terminal.
        let shell = format!("stty cols {width} rows 40; {PROGRAM} functions");
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &shell, "/dev/null"]).current_dir(repo.path("."));
        let output = script.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap().replace('\r', "");
        assert!(output.status.success() && text.contains("documents-remittance"), "{text}");
        assert_eq!(too_wide(&text, width), Vec::<String>::new());
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest > width - 20, "the window is used: {widest} of {width}\n{text}");
    }
}

#[test]
fn a_short_id_is_shown_and_accepted() {
    let (repo, id) = repository_with_mail();
    let list = repo.run(&["outbox", "list", "dev"]).code(0).stdout;
    let short = list.lines().nth(1).unwrap().split(' ').next().unwrap();
    assert!(short.len() == 8 && id.starts_with(short), "{list}");
    for text in [short.to_owned(), id[..15].to_owned(), id.replace('-', ""), id.to_uppercase()] {
        let shown = repo.run(&["outbox", "show", "dev", &text]).code(0).stdout;
        assert!(shown.contains(&format!("message    {id}")), "{text}: {shown}");
    }
    let other = repo.run(&send_arguments("dev", "b@example.com", &[]));
    let other = other.code(0).stdout.split(' ').next().unwrap().to_owned();
    let common: String =
        id.chars().zip(other.chars()).take_while(|(one, two)| one == two).map(|(one, _)| one).collect();
    let common = common.trim_end_matches('-');
    if common.len() >= 8 {
        let output = repo.run(&["outbox", "show", "dev", common]).code(1);
        assert!(output.stderr.contains(&id) && output.stderr.contains(&other), "{}", output.stderr);
    }
}

#[test]
fn times_are_local_and_json_has_utc() {
    let (repo, _) = repository_with_mail();
    let mut list = repo.command(&["outbox", "list", "dev"]);
    list.env("TZ", "Asia/Kolkata");
    assert!(run_command(list).code(0).stdout.contains("+05:30"));
    let mut list = repo.command(&["outbox", "list", "dev", "--format", "json"]);
    list.env("TZ", "Asia/Kolkata");
    let document = run_command(list).code(0).json();
    assert!(document["messages"][0]["acceptedAt"].as_str().unwrap().ends_with('Z'));
}
