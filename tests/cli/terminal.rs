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
    &["why", "dev", "--message", "ID"],
    &["why", "dev", "--function", "documents-remittance"],
    &["doctor", "dev"],
    &["rollout", "status"],
    &["rollout", "plan", "relay-587"],
    &["secrets", "recipients", "list"],
    &["secrets", "rotate", "dev", "--status"],
    &["explain", "AADSTS7000222"],
    &["explain", "535 5.7.139"],
    &["outbox", "show", "dev", "ffffffff"],
    &["token", "revoke", "dev", "ffffffffffff"],
    &["send", "dev", "--company", "EDU9", "--function", "default", "--to", "a@example.com", "--text", "x"],
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

/// Returns the subcommands that a help page lists.
fn subcommands(help: &str) -> Vec<String> {
    let lists = help.split("\n\n").filter(|part| {
        let title = part.trim_start().lines().next().unwrap_or_default();
        title.ends_with(':') && !["Options:", "Arguments:", "Global options:", "Examples:"].contains(&title)
    });
    let is_name = |word: &str| word.chars().all(|character| character.is_ascii_lowercase() || character == '-');
    let name = |line: &str| {
        let (name, about) = line.strip_prefix("  ")?.split_once("  ")?;
        (is_name(name) && !name.is_empty() && !about.trim().is_empty()).then(|| name.to_owned())
    };
    lists.flat_map(|part| part.lines().filter_map(name).collect::<Vec<_>>()).collect()
}

#[test]
fn every_help_page_fits_the_window() {
    let repo = TestRepository::small();
    let mut wide = Vec::new();
    let mut to_read: Vec<Vec<String>> = vec![Vec::new()];
    let mut pages = 0;
    while let Some(path) = to_read.pop() {
        for width in [80, 100, 120] {
            let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
            arguments.push("--help");
            let mut program = repo.command(&arguments);
            program.env("COLUMNS", width.to_string());
            let help = run_command(program).code(0).stdout;
            assert!(help.contains("Usage: "), "{path:?}: {help}");
            assert!(path.is_empty() || help.contains("mailwright "), "`{}` has no example", path.join(" "));
            let lines = help.lines().filter(|line| line.chars().count() > width);
            wide.extend(lines.map(|line| format!("{width} {}: {line}", path.join(" "))));
            if width == 120 && help.lines().any(|line| line.starts_with("Usage: ") && line.contains("COMMAND")) {
                to_read.extend(subcommands(&help).into_iter().map(|name| [path.clone(), vec![name]].concat()));
            }
        }
        pages += 1;
        assert!(pages < 200, "{path:?}");
    }
    assert!(wide.is_empty(), "{} lines are too wide:\n{}", wide.len(), wide.join("\n"));
    assert!(pages >= 80, "only {pages} pages were read");
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
    assert!(short.len() == 13 && id.starts_with(short), "{list}");
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

/// Commands that show times, and what their output contains.
const TIMES: &[&[&str]] = &[
    &["outbox", "list", "dev"],
    &["outbox", "show", "dev", "ID"],
    &["outbox", "holds", "dev"],
    &["history", "dev"],
    &["audit", "list", "dev"],
    &["token", "list", "dev"],
    &["status", "dev"],
    &["show", "dev", "relay"],
    &["blame", "dev", "relay"],
    &["why", "dev", "--message", "ID"],
    &["plan", "dev"],
    &["drift", "dev"],
    &["resolve", "dev"],
    &["secrets", "expiring", "dev"],
];

#[test]
fn times_are_local_and_json_has_utc() {
    let (repo, id) = repository_with_mail();
    repo.run(&["verify", "dev", "--all"]);
    // A change by hand, which `plan` and `drift` show with its time.
    assert_eq!(repo.patch("relay", &serde_json::json!({ "description": "by hand" })).status, 200);
    let run = |command: &[&str], zone: &str, more: &[&str]| {
        let arguments: Vec<&str> = command
            .iter()
            .map(|word| if *word == "ID" { id.as_str() } else { *word })
            .chain(more.iter().copied())
            .collect();
        let mut program = repo.command(&arguments);
        program.env("TZ", zone);
        run_command(program).stdout
    };
    let has_utc_time = |text: &str| text.split(['"', ' ', ',', ')', '\n']).any(|word| is_time_of_day(word, "Z"));
    for command in TIMES {
        let local = run(command, "Asia/Kolkata", &[]);
        assert!(!has_utc_time(&local), "{command:?} shows a time in UTC:\n{local}");
        let has_times = has_utc_time(&run(command, "UTC", &[]));
        assert_eq!(local.contains("+05:30"), has_times, "{command:?}:\n{local}");
        let document = run(command, "Asia/Kolkata", &["--format", "json"]);
        assert!(document.starts_with('{') && !document.contains("+05:30"), "{command:?}:\n{document}");
    }
    for command in [&TIMES[0], &TIMES[3], &TIMES[4], &TIMES[6], &TIMES[10], &TIMES[11]] {
        assert!(run(command, "Asia/Kolkata", &[]).contains("+05:30"), "{command:?}");
    }
    // A day is that of the zone as well.
    let tokens: serde_json::Value =
        serde_json::from_str(&run(&["token", "list", "dev"], "UTC", &["--format", "json"])).unwrap();
    let end: jiff::Timestamp = tokens["tokens"][1]["expiresAt"].as_str().unwrap().parse().unwrap();
    let zones = [("UTC+12", -12), ("UTC-14", 14)];
    let days = zones.map(|(name, offset)| {
        let day = end.to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(offset))).date().to_string();
        let list = run(&["token", "list", "dev"], name, &[]);
        assert!(list.contains(&format!("until {day}")), "{name} {day}:\n{list}");
        day
    });
    assert_ne!(days[0], days[1], "26 hours lie between the zones");
}

/// Returns true for `14:02:00Z` with this ending, or `2026-11-26T14:02:00Z`.
fn is_time_of_day(word: &str, ending: &str) -> bool {
    let Some(time) = word.strip_suffix(ending) else { return false };
    let time = time.rsplit('T').next().unwrap_or(time);
    time.len() >= 8 && time.as_bytes()[2] == b':' && time.as_bytes()[5] == b':'
}

#[test]
fn tokens_and_holds_are_found_by_the_beginning_of_their_ids() {
    let (repo, id) = repository_with_mail();
    let token_of = |name: &str, more: &[&str]| {
        let mut arguments = vec!["token", "create", "dev", "--name", name, "--role", "viewer", "--format", "json"];
        arguments.extend(more);
        repo.run(&arguments).code(0).json()["id"].as_str().unwrap().to_owned()
    };
    let (first, second) = (token_of("one", &[]), token_of("two", &[]));
    let replacing = token_of("one", &["--replaces", &first[..8]]);
    let listed = repo.run(&["token", "list", "dev", "--format", "json"]).code(0).json();
    let of_list = listed["tokens"].as_array().unwrap().iter().find(|token| token["id"] == replacing.as_str()).unwrap();
    assert_eq!(of_list["succeeds"], first.as_str(), "{of_list}");
    let revoked = repo.run(&["token", "revoke", "dev", &second[..8]]).code(0).stdout;
    assert!(revoked.contains(&second), "{revoked}");
    let unknown = repo.run(&["token", "revoke", "dev", "ffffffffffff"]).code(1).stderr;
    assert!(unknown.contains("MW0214") && unknown.contains("mailwright token list dev"), "{unknown}");
    let short = repo.run(&["token", "revoke", "dev", &first[..2]]).code(1).stderr;
    assert!(short.contains("too short") && short.contains("mailwright token list dev"), "{short}");

    let holds = repo.run(&["outbox", "holds", "dev", "--format", "json"]).code(0).json();
    let hold = holds["holds"][0]["id"].as_str().unwrap().to_owned();
    let unknown = repo.run(&["outbox", "release", "dev", "ffffffffffff"]).code(1).stderr;
    assert!(unknown.contains("MW0214") && unknown.contains("mailwright outbox holds dev"), "{unknown}");
    repo.run(&["outbox", "release", "dev", &hold[..6].to_uppercase()]).code(0);
    assert_eq!(repo.run(&["outbox", "holds", "dev"]).code(0).stdout.trim(), "Nothing is held.");

    let why = repo.run(&["why", "dev", "--message", &id[..8]]).code(0).stdout;
    assert!(why.contains(&id[..8]), "{why}");
    let unknown = repo.run(&["why", "dev", "--message", "ffffffff"]).code(1).stderr;
    assert!(unknown.contains("MW0214") && unknown.contains("mailwright outbox list dev"), "{unknown}");
}
