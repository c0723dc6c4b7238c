//! Command lines that pages, help and messages print: each names commands and options that exist.

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the files below a folder whose names have one of these endings.
fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, endings, found);
        } else if path.extension().is_some_and(|ending| endings.iter().any(|one| *one == ending)) {
            found.push(path);
        }
    }
}

/// Returns the words of a command line as a shell reads them, up to an operator or a comment. `{name}` of a format string is `x`.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut is_quoted) = (Vec::new(), String::new(), None, false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '"' | '\'') => (quote, is_quoted) = (Some(character), true),
            (None, '|' | '&' | ';' | '<' | '>' | ')') => break,
            (None, '#') if word.is_empty() => break,
            (_, '{') if characters.peek().is_some_and(|next| next.is_ascii_lowercase() || "}0_".contains(*next)) => {
                while characters.next().is_some_and(|next| next != '}') {}
                word.push('x');
            }
            (None, _) if character.is_whitespace() => {
                if !word.is_empty() || is_quoted {
                    words.push(std::mem::take(&mut word));
                }
                is_quoted = false;
            }
            _ => word.push(character),
        }
    }
    if !word.is_empty() || is_quoted {
        words.push(word);
    }
    words.retain(|word| word != "..." && !word.starts_with('['));
    words
}

/// Returns the command lines of a line of a file: those in backticks, those in a block of code or help, and those at the
/// beginning of a string.
fn command_lines(line: &str, is_page: bool, is_block: bool) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("mailwright ") {
        let (before, rest) = line.split_at(at);
        let is_code = before.ends_with('`');
        let is_start = matches!(before.trim(), "" | "$" | "\"") && (!is_page || is_block);
        if !is_code && !is_start {
            continue;
        }
        let rest = rest.replace("\\\"", "'");
        let end = if is_code { rest.find('`') } else { None };
        let end = end.or_else(|| (!is_page).then(|| rest.find('"')).flatten()).unwrap_or(rest.len());
        // Behind two spaces, help explains what the command does.
        let text = rest[..end].split("\\n").next().unwrap_or_default();
        let text = text.split("  ").next().unwrap_or_default();
        found.push(text.trim_end_matches(['\\', '.', ',']).to_owned());
    }
    found
}

#[test]
fn a_printed_command_line_has_commands_and_options_that_exist() {
    let mut paths = vec![root().join("README.md")];
    files(&root().join("docs"), &["md"], &mut paths);
    files(&root().join("src"), &["md", "rs", "json"], &mut paths);
    files(&root().join("templates"), &["yml", "yaml"], &mut paths);
    let (mut checked, mut wrong) = (0, Vec::new());
    // Built once: parsing a command line changes none of its settings.
    let mut command = mailwright::cli::command();
    for path in paths {
        let is_page = path.extension().is_some_and(|ending| ending == "md");
        let mut text = std::fs::read_to_string(&path).unwrap();
        if is_page {
            text = text.replace("\\\n", "");
        }
        let mut is_block = false;
        for line in text.lines() {
            if line.starts_with("```") {
                is_block = !is_block;
            }
            for shown in command_lines(line, is_page, is_block) {
                let words = words(&shown);
                // `mailwright COMMAND`, and a format string whose command is a variable.
                let verb = words.get(1).map_or("", String::as_str);
                if verb.is_empty() || verb == "x" || verb.chars().all(|letter| letter.is_ascii_uppercase()) {
                    continue;
                }
                // Sentences and labels that begin with the name, and a command of a unit test.
                if ["serves", "watches,", "webhooks", "2", "c"].contains(&verb) {
                    continue;
                }
                checked += 1;
                let is_wrong = |kind| {
                    matches!(
                        kind,
                        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand | ErrorKind::ArgumentConflict
                    )
                };
                match command.try_get_matches_from_mut(&words) {
                    // The verb of a noun may be a variable.
                    Err(error) if is_wrong(error.kind()) && words.get(2).is_none_or(|word| word != "x") => {
                        let error = error.to_string();
                        let why = error.lines().next().unwrap_or_default();
                        wrong.push(format!("{}: `{shown}`: {why}", path.display()));
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 400, "{checked}");
}

#[test]
fn the_words_of_a_command_line_are_those_of_a_shell() {
    assert_eq!(words("mailwright plan 'prod-*' --out {path} # all"), ["mailwright", "plan", "prod-*", "--out", "x"]);
    assert_eq!(words("mailwright verify {0} && mailwright apply {0}"), ["mailwright", "verify", "x"]);
    let line = "    .remedy(\"Seal it: `mailwright secrets set {name} a/b`, or `mailwright plan`\")";
    assert_eq!(command_lines(line, false, false), ["mailwright secrets set {name} a/b", "mailwright plan"]);
    assert_eq!(command_lines("The text mailwright plan is prose.", true, false), Vec::<String>::new());
    assert_eq!(command_lines("$ mailwright plan dev", true, true), ["mailwright plan dev"]);
}
