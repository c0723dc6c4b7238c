//! JSON documents of all commands: each command that offers `--format json` runs, and prints one document with the keys that
//! every document has.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::git::{commit, git};
use crate::support::repository::{CommandOutput, TestRepository, run_command};

/// The keys that a document must have, apart from `formatVersion`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    /// None: it is not about environments.
    Plain,
    /// `environment`.
    One,
    /// `environment` and `generation`.
    State,
    /// `environments`: a document for each environment, by its name.
    Many,
    /// As `Many`, and `generation` in each.
    ManyStates,
    /// A list under this key that is ordered across environments; each row has `environment`.
    Rows(&'static str),
    /// `error`.
    Error,
}

/// Runs of commands, in this order. `{key}` is replaced by what an earlier run printed.
const RUNS: &[(&str, &str, Keys)] = &[
    ("secrets keygen", "--out key.identity", Keys::Plain),
    ("functions", "", Keys::Plain),
    ("explain", "", Keys::Plain),
    ("explain", "MW0104", Keys::Plain),
    ("explain", "MW9999", Keys::Error),
    ("validate", "", Keys::Plain),
    ("diff", "HEAD", Keys::Many),
    ("render", "dev", Keys::One),
    ("render", "dev relay", Keys::One),
    (
        "init",
        "--environment first --company EDU1 --provider smtp --host mail.example.com --from erp@example.com --recipient {recipient}",
        Keys::One,
    ),
    ("new environment", "second --from base --company EDU1", Keys::One),
    ("new environment", "--from base --from-csv list.csv --dry-run", Keys::Many),
    (
        "new profile",
        "added --environment first --company EDU1 --provider smtp --host mail.example.com --from erp@example.com --function all-reports",
        Keys::One,
    ),
    ("secrets init", "second {recipient}", Keys::One),
    ("secrets list", "dev", Keys::One),
    ("secrets list", "de*", Keys::Many),
    ("secrets set", "dev relay/password", Keys::One),
    ("secrets set", "de* documents/client-secret", Keys::Many),
    ("secrets check", "dev", Keys::One),
    ("secrets check", "de*", Keys::Many),
    ("secrets edit", "dev relay/password -i secrets/dev/demo-identity.txt", Keys::One),
    ("secrets rekey", "dev --all -i secrets/dev/demo-identity.txt", Keys::One),
    ("secrets recipients list", "dev", Keys::One),
    ("secrets recipients list", "", Keys::Many),
    ("secrets recipients add", "{recipient} dev --dry-run -i secrets/dev/demo-identity.txt", Keys::One),
    ("secrets recipients add", "{recipient} de* -i secrets/dev/demo-identity.txt", Keys::Many),
    (
        "secrets recipients remove",
        "{recipient} dev --even-the-service {recipient} -i secrets/dev/demo-identity.txt",
        Keys::One,
    ),
    ("plan", "dev", Keys::State),
    ("plan", "de*", Keys::ManyStates),
    ("plan", "nowhere", Keys::Error),
    ("plan", "dev --no-such-option", Keys::Error),
    ("approve", "dev.plan --key key.pub --unsigned --reason seen --yes", Keys::Error),
    ("apply", "dev --skip-verify --yes", Keys::State),
    ("apply", "de* --skip-verify --yes", Keys::ManyStates),
    ("drift", "dev", Keys::State),
    ("drift", "de*", Keys::ManyStates),
    ("status", "dev", Keys::State),
    ("status", "de*", Keys::ManyStates),
    ("show", "dev relay", Keys::State),
    ("history", "dev", Keys::State),
    ("history", "dev --before 1", Keys::State),
    ("history", "de*", Keys::ManyStates),
    ("access list", "dev", Keys::One),
    ("access list", "dev --live", Keys::State),
    ("access explain", "dev token:erp --role viewer", Keys::One),
    ("access who", "dev from.name relay", Keys::One),
    ("resolve", "dev", Keys::State),
    ("resolve", "dev EDU1 default", Keys::State),
    ("blame", "dev relay", Keys::One),
    ("rollback", "dev --to 1 --yes", Keys::State),
    ("rollback", "de* --to 1 --yes", Keys::ManyStates),
    ("secrets expiring", "dev", Keys::Rows("credentials")),
    ("secrets rotate", "--status dev", Keys::Rows("rotations")),
    ("secrets rotate", "dev relay/password", Keys::One),
    ("import", "dev --dry-run", Keys::One),
    ("import", "dev --from profiles.csv --dry-run", Keys::Many),
    ("import", "--patch new.patch --dry-run", Keys::One),
    ("microsoft register", "prod documents", Keys::One),
    ("verify", "dev relay", Keys::One),
    ("verify", "de* relay", Keys::Many),
    ("doctor", "dev", Keys::One),
    ("doctor", "de*", Keys::Many),
    ("watch", "dev --once", Keys::Many),
    ("rollout plan", "no-such-rollout", Keys::Error),
    ("rollout start", "no-such-rollout --yes", Keys::Error),
    ("rollout resume", "no-such-rollout", Keys::Error),
    ("rollout abort", "no-such-rollout --yes", Keys::Error),
    ("rollout status", "", Keys::Plain),
    ("send", "dev --company EDU1 --function default --to a@example.com --text x", Keys::One),
    ("address-book search", "dev --profile relay ann", Keys::Error),
    ("delegate login", "dev", Keys::Error),
    ("delegate send", "dev --company EDU1 --to a@example.com --text x", Keys::Error),
    ("delegate run", "dev --once", Keys::Error),
    ("delegate address-book", "dev ann", Keys::Error),
    ("outbox hold", "dev --company EDU1 --reason wrong", Keys::One),
    ("outbox hold", "de* --company EDU1 --reason wrong --yes", Keys::Many),
    ("outbox holds", "dev", Keys::One),
    ("outbox holds", "de*", Keys::Many),
    ("outbox release", "dev {hold}", Keys::One),
    ("outbox release", "de* --reason wrong --yes", Keys::Many),
    ("outbox status", "dev", Keys::One),
    ("outbox status", "de*", Keys::Many),
    ("outbox list", "dev", Keys::One),
    ("outbox list", "de*", Keys::Many),
    ("outbox show", "dev {message}", Keys::One),
    ("outbox export", "dev {message} --output message.eml", Keys::One),
    ("outbox export", "dev {message}", Keys::Error),
    ("why", "dev --message {message}", Keys::One),
    ("why", "de* --message {message}", Keys::Many),
    ("outbox show", "de* {message}", Keys::One),
    ("outbox status", "de* --trouble", Keys::Many),
    ("outbox cancel", "dev {message} --dry-run", Keys::One),
    ("outbox retry", "de* {message} --dry-run", Keys::Many),
    ("outbox retry", "dev {message}", Keys::One),
    ("outbox retry", "de* --status queued --yes", Keys::Many),
    ("outbox cancel", "dev {message}", Keys::One),
    ("outbox replay", "dev {message} --all-recipients --yes", Keys::One),
    ("outbox resolve", "dev --status unknown --failed --reason looked --yes", Keys::One),
    ("outbox confirm-restore", "dev --yes", Keys::One),
    ("outbox confirm-restore", "de* --yes", Keys::Many),
    ("token create", "dev --name robot --role viewer", Keys::One),
    ("token list", "dev", Keys::One),
    ("token list", "de*", Keys::Many),
    ("token confirm", "dev {token}", Keys::One),
    ("token confirm", "de* --name robot --yes", Keys::Many),
    ("token revoke", "dev {token}", Keys::One),
    ("token revoke", "de* --name robot --yes", Keys::Many),
    ("operator add", "dev --name ann", Keys::One),
    ("operator list", "dev", Keys::One),
    ("operator list", "de*", Keys::Many),
    ("operator link", "dev ann", Keys::One),
    ("operator confirm", "dev ann", Keys::One),
    ("operator remove", "dev ann --yes", Keys::One),
    ("audit list", "dev", Keys::One),
    ("audit list", "de*", Keys::Many),
    ("audit verify", "dev", Keys::One),
    ("audit verify", "de*", Keys::Many),
    ("backup", "--data .data --to copy --recipient {recipient}", Keys::One),
    ("restore", "copy --data restored --identity key.identity", Keys::One),
];

/// A patch of the console with a new profile.
const NEW_PATCH: &str = "From 0\nSubject: [PATCH] dev: add profile patched\n\n---\n
diff --git a/environments/dev/profiles/patched.yaml b/environments/dev/profiles/patched.yaml
new file mode 100644
--- /dev/null
+++ b/environments/dev/profiles/patched.yaml
@@ -0,0 +1,5 @@
+enabled: false
+provider: { smtp: { host: mail.example.com } }
+from: { address: erp@example.com }
+functions: [default]
+appliesTo: system-wide
-- 
mailwright 0.1.0

";

#[test]
fn every_command_that_offers_json_prints_one_document_with_the_same_keys() {
    let mut offered = Vec::new();
    let mut tree = mailwright::cli::command();
    tree.build();
    collect_json_commands(&tree, "", &mut offered);
    let without: Vec<&String> =
        offered.iter().filter(|name| RUNS.iter().all(|(command, ..)| command != name)).collect();
    assert!(without.is_empty(), "commands that offer JSON and have no run in this test: {without:?}");

    let mut repo = TestRepository::examples();
    repo.write("list.csv", "name,company\nthird,EDU1\nfourth,EDU1\n");
    repo.write("profiles.csv", "name,enabled,host,from,functions\nother,no,mail.example.com,erp@example.com,default\n");
    repo.write("new.patch", NEW_PATCH);
    repo.write(".gitattributes", "");
    git(&repo, &["init", "--quiet", "-b", "main"]);
    commit(&repo, "examples");
    repo.serve();
    let mut known: BTreeMap<&str, String> = BTreeMap::new();
    let mut problems = Vec::new();
    for (command, arguments, keys) in RUNS {
        let words =
            arguments.split_whitespace().map(|word| match word.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
                Some(key) => known.get(key).cloned().unwrap_or_default(),
                None => word.to_owned(),
            });
        let words: Vec<String> =
            command.split(' ').map(str::to_owned).chain(words).chain(["--format", "json"].map(str::to_owned)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = run(&repo, command, &words);
        let document: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
        problems.extend(problem(&document, *keys).map(|why| {
            format!(
                "{command} {arguments}: {why}\nexit code {}\n{}\n{}",
                output.code,
                shortened(&output.stdout),
                output.stderr
            )
        }));
        let found = match *command {
            "secrets keygen" => ("recipient", &document["recipient"]),
            "send" => ("message", &document["id"]),
            "outbox hold" if arguments.starts_with("dev") => ("hold", &document["id"]),
            "token create" => ("token", &document["id"]),
            _ => continue,
        };
        known.insert(found.0, found.1.as_str().unwrap_or_default().to_owned());
    }
    assert!(problems.is_empty(), "{} documents:\n\n{}", problems.len(), problems.join("\n\n"));
}

fn run(repo: &TestRepository, command: &str, words: &[&str]) -> CommandOutput {
    match command {
        "secrets set" | "secrets rotate" => repo.pipe(words, b"a-value-of-this-test"),
        "secrets edit" => {
            let mut edit = repo.command(words);
            edit.env("EDITOR", "true").env("XDG_RUNTIME_DIR", repo.folder.path());
            run_command(edit)
        }
        _ => repo.run(words),
    }
}

/// Adds the names of the commands below `command` that offer JSON.
fn collect_json_commands(command: &clap::Command, path: &str, found: &mut Vec<String>) {
    for subcommand in command.get_subcommands() {
        let name = format!("{path} {}", subcommand.get_name());
        let name = name.trim_start();
        let format = subcommand.get_arguments().find(|argument| argument.get_id() == "format");
        let offers =
            format.is_some_and(|format| format.get_possible_values().iter().any(|value| value.get_name() == "json"));
        if offers && !subcommand.has_subcommands() {
            found.push(name.to_owned());
        }
        collect_json_commands(subcommand, name, found);
    }
}

/// Returns what is wrong with a document.
fn problem(document: &Value, keys: Keys) -> Option<String> {
    let Some(map) = document.as_object() else { return Some("standard output is not one JSON object".to_owned()) };
    if document["formatVersion"] != 1 {
        return Some("it has no `formatVersion`".to_owned());
    }
    if (keys == Keys::Error) != map.contains_key("error") {
        return Some("`error` is missing or not expected".to_owned());
    }
    let has_environment = |document: &Value| document["environment"].is_string();
    let has_generation = |document: &Value| document["generation"].is_u64();
    let all = |test: &dyn Fn(&Value) -> bool| {
        document["environments"]
            .as_object()
            .is_some_and(|all| all.values().all(|one| test(one) && one.get("error").is_none()))
    };
    let fits = match keys {
        Keys::Plain => !map.contains_key("environments"),
        Keys::Error => document["error"]["message"].is_string(),
        Keys::One => has_environment(document),
        Keys::State => has_environment(document) && has_generation(document),
        Keys::Many => all(&|_| true) && !map.contains_key("environment"),
        Keys::ManyStates => all(&|one| has_environment(one) && has_generation(one)),
        Keys::Rows(key) => document[key].as_array().is_some_and(|rows| rows.iter().all(has_environment)),
    };
    (!fits).then(|| format!("it has not the keys of {keys:?}"))
}

fn shortened(text: &str) -> &str {
    text.char_indices().nth(600).map_or(text, |(end, _)| &text[..end])
}
