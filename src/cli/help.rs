//! Help: groups of commands, topics, and the flow of text.
//!
//! [`command`] returns the definition of the command line with help that fits the terminal. Paragraphs are filled and
//! broken at words; examples keep their lines, and one that is too wide is continued so that it still can be copied. Add a
//! command to [`GROUPS`]; others are listed at the end.

use clap::{Command, CommandFactory as _};

use super::{
    Cli, Exit,
    ui::{terminal::output_width, wrap::wrap},
    variables,
};

/// The greatest width of help, as of the options that clap prints.
const MAX_WIDTH: usize = 110;
/// The width of help that is not printed to a terminal.
const DEFAULT_WIDTH: usize = 100;
/// The number of spaces that separate an example from its explanation.
const SEPARATOR: &str = "  ";

/// The groups of commands, in the order of the overview. Names of commands that do not exist are skipped.
const GROUPS: &[(&str, &[&str])] = &[
    ("Start", &["init", "demo", "new", "microsoft", "doctor"]),
    ("Files", &["validate", "render", "diff", "import", "schema", "functions"]),
    ("Change the service", &["plan", "apply", "approve", "rollback", "drift", "history", "blame", "show", "comment"]),
    ("Many environments", &["rollout", "watch"]),
    ("Mail", &["verify", "resolve", "send", "address-book", "outbox", "why", "status"]),
    ("Secrets and access", &["secrets", "token", "operator", "access", "audit"]),
    ("The service", &["serve", "backup", "restore", "sandbox"]),
    ("Help", &["help", "explain", "completions", "man"]),
];

/// Examples of subcommands whose definition has none.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "outbox list",
        &[
            "mailwright outbox list prod --status failed",
            "mailwright outbox list prod --document invoice/4711",
            "mailwright outbox list prod --recipient customer@example.com --limit 10",
        ],
    ),
    ("outbox show", &["mailwright outbox show prod 01980c1e-..."]),
    (
        "outbox retry",
        &["mailwright outbox retry prod 01980c1e-...", "mailwright outbox retry prod --status queued --company EDU1"],
    ),
    (
        "outbox cancel",
        &["mailwright outbox cancel prod 01980c1e-...", "mailwright outbox cancel prod --status queued --company EDU1"],
    ),
    (
        "outbox export",
        &[
            "mailwright outbox export prod 01980c1e-... > message.eml",
            "mailwright outbox export prod 01980c1e-... --output message.eml",
        ],
    ),
    (
        "outbox hold",
        &[
            "mailwright outbox hold prod --company EDU1 --reason 'wrong prices' --for 2h",
            "mailwright outbox hold prod --profile documents --reason 'new mailbox'",
        ],
    ),
    ("outbox holds", &["mailwright outbox holds prod"]),
    ("outbox release", &["mailwright outbox release prod 4b825dc642cb"]),
    ("outbox confirm-restore", &["mailwright outbox confirm-restore prod"]),
    ("rollout plan", &["mailwright rollout plan relay-587"]),
    ("rollout start", &["mailwright rollout start relay-587", "mailwright rollout start relay-587 --yes"]),
    ("rollout resume", &["mailwright rollout resume relay-587"]),
    ("rollout status", &["mailwright rollout status", "mailwright rollout status relay-587 --format json"]),
    ("rollout pause", &["mailwright rollout pause relay-587"]),
    ("rollout abort", &["mailwright rollout abort relay-587", "mailwright rollout abort relay-587 --take-back"]),
    (
        "token create",
        &[
            "mailwright token create prod --name pipeline --role deployer > token",
            "mailwright token create prod --name erp --role sender --companies EDU1 > token",
            "mailwright token create prod --name robot --role viewer --expires never > token",
        ],
    ),
    ("token list", &["mailwright token list prod"]),
    ("token confirm", &["mailwright token confirm prod 1f0c63a2b4d5"]),
    ("token revoke", &["mailwright token revoke prod 1f0c63a2b4d5"]),
    ("audit list", &["mailwright audit list prod", "mailwright audit list prod --after 1200 --format json"]),
    ("audit verify", &["mailwright audit verify prod", "mailwright audit verify prod --data /var/lib/mailwright"]),
    ("secrets recipients list", &["mailwright secrets recipients list", "mailwright secrets recipients list prod"]),
    ("secrets recipients add", &["mailwright secrets recipients add \"$(cat ann.pub)\" prod"]),
    ("secrets recipients remove", &["mailwright secrets recipients remove \"$(cat ann.pub)\" prod"]),
];

/// Returns the definition of the command line.
pub(super) fn command() -> Command {
    command_within(output_width().unwrap_or(DEFAULT_WIDTH).min(MAX_WIDTH))
}

/// Returns the definition of the command line, with help that fits a width.
pub(super) fn command_within(width: usize) -> Command {
    let command = reflowed(Cli::command(), "", width);
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}\nOptions:\n{{options}}{{after-help}}",
        overview(&command, width)
    );
    command.help_template(template)
}

/// Returns a command whose help fits a width, with its subcommands. `path` is the name behind `mailwright`.
fn reflowed(command: Command, path: &str, width: usize) -> Command {
    let examples = || {
        let (_, examples) = EXAMPLES.iter().find(|(name, _)| *name == path)?;
        Some(format!("Examples:\n  {}", examples.join("\n  ")))
    };
    let text = command.get_after_help().map(ToString::to_string).or_else(examples);
    let command = match text {
        Some(text) => command.after_help(reflow(&text, width)),
        None => command,
    };
    command.mut_subcommands(|subcommand| {
        let path = format!("{path} {}", subcommand.get_name());
        reflowed(subcommand, path.trim_start(), width)
    })
}

/// Returns the commands in their groups, a line for each.
fn overview(command: &Command, width: usize) -> String {
    let all: Vec<&Command> = command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    let label = all.iter().map(|command| command.get_name().len()).max().unwrap_or_default();
    let grouped = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let others: Vec<&str> = all.iter().map(|command| command.get_name()).filter(|name| !grouped(name)).collect();
    let mut text = String::new();
    for (title, names) in GROUPS.iter().copied().chain([("Other commands", others.as_slice())]) {
        let found = names.iter().filter_map(|name| all.iter().find(|command| command.get_name() == *name));
        let lines: Vec<String> = found
            .map(|command| {
                let about = command.get_about().map(ToString::to_string).unwrap_or_default();
                wrap(&format!("  {:label$}  {about}", command.get_name()), width)
            })
            .collect();
        if !lines.is_empty() {
            text.push_str(&format!("{title}:\n{}\n\n", lines.join("\n")));
        }
    }
    text.trim_end().to_owned() + "\n"
}

/// Fills paragraphs to a width, and folds examples that are wider.
fn reflow(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut paragraph: Vec<&str> = Vec::new();
    let mut example: Option<String> = None;
    for line in text.lines().chain([""]) {
        let indent = line.len() - line.trim_start().len();
        if indent > 0
            && let Some(begun) = &mut example
            && indent > begun.len() - begun.trim_start().len()
        {
            // A line that continues the example above.
            let end = begun.trim_end().trim_end_matches('\\').trim_end().len();
            begun.truncate(end);
            begun.push(' ');
            begun.push_str(line.trim_start());
            continue;
        }
        if let Some(done) = example.take() {
            lines.extend(fold_example(&done, width));
        }
        if indent == 0 && !line.is_empty() {
            paragraph.push(line);
            continue;
        }
        if !paragraph.is_empty() {
            lines.extend(wrap(&paragraph.join(" "), width).lines().map(str::to_owned));
            paragraph.clear();
        }
        if line.is_empty() { lines.push(String::new()) } else { example = Some(line.to_owned()) }
    }
    lines.pop();
    lines.join("\n")
}

/// Folds an example with its explanation. If both do not fit, the explanation has lines of its own below.
fn fold_example(example: &str, width: usize) -> Vec<String> {
    if example.len() <= width {
        return vec![example.to_owned()];
    }
    let indent = example.len() - example.trim_start().len();
    let text = example.trim_start();
    let is_command = !text.starts_with(|first: char| first.is_ascii_digit());
    let explained = text.find(SEPARATOR).filter(|_| is_command).map(|at| (&text[..at], text[at..].trim_start()));
    let folded = match explained {
        Some((command, explanation)) => format!(
            "{}\n{}",
            wrap(&format!("{:indent$}{command}", ""), width),
            wrap(&format!("{:1$}{explanation}", "", indent + 4), width)
        ),
        None => wrap(example, width),
    };
    folded.lines().map(str::to_owned).collect()
}

/// A topic: its name, and the function that returns its text.
type Topic = (&'static str, fn() -> String);

/// The topics of `mailwright help TOPIC`.
pub(super) const TOPICS: &[Topic] = &[("environment", environment_topic), ("exit-codes", exit_codes_topic)];

/// Lists the environment variables.
fn environment_topic() -> String {
    let label = variables::LIST.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines = variables::LIST.iter().map(|(name, meaning)| format!("  {name:label$}  {meaning}"));
    format!(
        "Environment variables\n\n{}\n\nAn option on the command line takes precedence. Any other variable that begins with MAILWRIGHT_ is an error.",
        lines.collect::<Vec<_>>().join("\n")
    )
}

/// Lists the exit codes.
fn exit_codes_topic() -> String {
    let mut lines = vec!["Exit codes".to_owned(), String::new()];
    for exit in Exit::ALL {
        lines.push(format!("  {}  {}", exit.code(), exit.meaning()));
        lines.extend(exit.commands().iter().map(|command| format!("       {command}")));
    }
    lines.push(
        "\nWith several environments, an error in one takes precedence. An invalid command line is an ordinary error, so that a misspelt option never looks like changes."
            .to_owned(),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Examples:\n  mailwright a b   does one thing\n  mailwright c --long value \\\n      --other\n\nOne paragraph that was\nbroken by hand.";

    #[test]
    fn paragraphs_are_filled_and_examples_keep_their_lines() {
        let wide = reflow(TEXT, 80);
        assert_eq!(
            wide,
            "Examples:\n  mailwright a b   does one thing\n  mailwright c --long value --other\n\nOne paragraph that was broken by hand."
        );
    }

    #[test]
    fn a_long_example_stays_copyable() {
        let narrow = reflow(TEXT, 30);
        assert!(narrow.contains("  mailwright a b\n      does one thing\n"), "{narrow}");
        assert!(narrow.contains("mailwright c --long value \\\n"), "{narrow}");
        assert!(narrow.lines().all(|line| line.len() <= 30), "{narrow}");
    }

    #[test]
    fn every_command_has_examples() {
        fn check(command: &Command) {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(text.contains("Examples:\n  "), "{} has no examples", command.get_name());
            command.get_subcommands().for_each(check);
        }
        command().get_subcommands().for_each(check);
    }

    #[test]
    fn every_command_is_in_the_overview_once() {
        let command = Cli::command();
        let text = overview(&command, 80);
        for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            let line = format!("\n  {} ", subcommand.get_name());
            assert_eq!(format!("\n{text}").matches(&line).count(), 1, "{line}");
        }
    }
}
