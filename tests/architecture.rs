//! Architecture test: which module may use which, and which crates stay where.
//!
//! It reads the sources as text, so that it runs in a moment and names file and line. A new top-level module needs a line in
//! [`LAYERS`].

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeMap, fs, path::Path};

/// Top-level modules by layer. A module uses modules of lower layers only.
const LAYERS: &[&[&str]] = &[
    &["fs", "sync", "text", "time", "vfs"],
    &["model"],
    &["changes", "credential", "mime", "net", "passkey", "secrets", "telemetry"],
    &["api", "approvals", "entra", "smtp"],
    &["config", "git", "replies"],
    &["client", "reconcile", "store", "verify"],
    &["delivery", "operations"],
    &["import", "pull_request", "rollout", "service"],
    &["console", "sandbox", "watch"],
    &["cli"],
];

/// Modules that work on files and talk to a service as its client.
const CLIENT_SIDE: &[&str] = &["config", "git", "reconcile", "client", "operations", "rollout", "watch", "import"];

/// Modules of the service itself.
const SERVER_SIDE: &[&str] = &["store", "delivery", "service", "console"];

/// Crates that only the listed modules use, with the reason.
const CRATES: &[(&str, &[&str], &str)] = &[
    (
        "axum",
        &["service", "console", "sandbox", "net", "watch"],
        "HTTP servers are the service, its console, the sandbox and the status pages of `watch`",
    ),
    ("axum_server", &["net", "sandbox"], "connections are accepted in one place"),
    ("clap", &["cli"], "arguments are the command line's concern"),
    ("terminal_size", &["cli"], "only `cli` prints"),
    ("unicode_width", &["cli"], "only `cli` prints"),
    ("rusqlite", &["store"], "database drivers stay in the store"),
    ("lettre", &["mime", "delivery"], "messages are composed in one place"),
    ("oauth2", &["entra"], "sign-in is the concern of `entra`"),
    ("age", &["secrets"], "encryption is the concern of `secrets`"),
    ("similar", &["config", "reconcile", "cli"], "text differences and suggestions"),
    ("askama", &["console"], "pages are the concern of the console"),
    ("fluent_bundle", &["console"], "texts in several languages are the concern of the console"),
    ("jsonschema", &["config"], "schemas are checked where files are read"),
];

/// Texts that only the listed modules contain.
const TEXTS: &[(&str, &[&str], &str)] = &[
    ("println!", &["cli"], "only `cli` prints"),
    ("print!", &["cli"], "only `cli` prints"),
    ("Command::new(\"git\")", &["git"], "only `git` runs git"),
    ("\"https://login.microsoftonline", &["entra", "sandbox"], "only `entra` and `sandbox` know Microsoft's addresses"),
    ("\"https://graph.microsoft.com", &["entra", "sandbox"], "only `entra` and `sandbox` know Microsoft's addresses"),
];

/// A source file: its path, its module path and its text without comments.
struct Source {
    file: String,
    module: Vec<String>,
    text: String,
}

/// A path that a file uses: the line, and the components after `crate`.
struct Use {
    line: usize,
    path: Vec<String>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    collect(&root.join("src"), &mut found);
    assert!(found.len() > 200, "only {} source files were found", found.len());
    let mut sources: Vec<Source> = found
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
            let mut module: Vec<String> =
                relative.trim_start_matches("src/").trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            if module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            let text = without_comments(&fs::read_to_string(&path).unwrap());
            Source { file: relative, module, text }
        })
        .filter(|source| !matches!(source.file.as_str(), "src/lib.rs" | "src/main.rs"))
        .collect();
    sources.sort_by(|a, b| a.file.cmp(&b.file));
    sources
}

fn collect(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Removes line comments. A `//` inside a string literal on the same line is kept.
fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| {
            let mut quoted = false;
            let mut previous = ' ';
            for (at, character) in line.char_indices() {
                match character {
                    '"' if previous != '\\' && previous != '\'' => quoted = !quoted,
                    '/' if previous == '/' && !quoted => return line[..at - 1].to_owned(),
                    _ => {}
                }
                previous = character;
            }
            line.to_owned()
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Splits a text into identifiers and single punctuation characters, each with its line.
fn tokens(text: &str) -> Vec<(usize, String)> {
    let mut tokens: Vec<(usize, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut word = String::new();
        for character in line.chars().chain([' ']) {
            if character.is_alphanumeric() || character == '_' {
                word.push(character);
                continue;
            }
            if !word.is_empty() {
                tokens.push((number + 1, std::mem::take(&mut word)));
            }
            if !character.is_whitespace() {
                tokens.push((number + 1, character.to_string()));
            }
        }
    }
    tokens
}

/// Returns every path below `crate`, written as `crate::a::b`, `super::super::a` or as a tree of `use`.
fn uses(source: &Source) -> Vec<Use> {
    let tokens = tokens(&source.text);
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|(_, token)| token == text);
    let mut uses = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let starts = (at == 0 || !is(at - 1, ":")) && is(at + 1, ":") && is(at + 2, ":");
        let base = match tokens[at].1.as_str() {
            "crate" if starts => Some((Vec::new(), at + 3)),
            "super" if starts => {
                let (mut ups, mut next) = (1, at + 3);
                while is(next, "super") && is(next + 1, ":") {
                    (ups, next) = (ups + 1, next + 3);
                }
                // Inside of an inline module of tests, `super` is the file's own module: too few levels, never too many.
                (source.module.len() >= ups).then(|| (source.module[..source.module.len() - ups].to_vec(), next))
            }
            _ => None,
        };
        if let Some((base, next)) = base {
            at = tree(&tokens, next, &base, &mut uses);
        } else {
            at += 1;
        }
    }
    uses
}

/// Reads a path or a tree of paths that begins at a token; returns the index after it.
fn tree(tokens: &[(usize, String)], mut at: usize, base: &[String], uses: &mut Vec<Use>) -> usize {
    let mut path = base.to_vec();
    let mut line = tokens.get(at).map_or(0, |token| token.0);
    loop {
        match tokens.get(at).map(|(_, token)| token.as_str()) {
            Some("{") => {
                at += 1;
                while tokens.get(at).is_some_and(|(_, token)| token != "}") {
                    let before = at;
                    at = tree(tokens, at, &path, uses);
                    if tokens.get(at).is_some_and(|(_, token)| token == ",") || at == before {
                        at += 1;
                    }
                }
                return at + 1;
            }
            Some(word) if word.chars().all(|character| character.is_alphanumeric() || character == '_') => {
                line = tokens[at].0;
                path.push(word.to_owned());
                at += 1;
                if tokens.get(at).is_some_and(|(_, token)| token == ":")
                    && tokens.get(at + 1).is_some_and(|(_, token)| token == ":")
                {
                    at += 2;
                    continue;
                }
                // `a as b`
                if tokens.get(at).is_some_and(|(_, token)| token == "as") {
                    at += 2;
                }
            }
            _ => {}
        }
        uses.push(Use { line, path });
        return at;
    }
}

fn report(what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{what}:\n{}", faults.join("\n"));
}

#[test]
fn a_module_uses_modules_of_lower_layers_only() {
    let layers: BTreeMap<&str, usize> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(layer, modules)| modules.iter().map(move |module| (*module, layer)))
        .collect();
    let mut faults = Vec::new();
    let mut edges = 0;
    for source in sources() {
        let own = source.module[0].as_str();
        let Some(layer) = layers.get(own) else {
            faults.push(format!("{}: module `{own}` is missing in LAYERS", source.file));
            continue;
        };
        for used in uses(&source) {
            let Some(other) = used.path.first().filter(|other| *other != own) else { continue };
            let Some(below) = layers.get(other.as_str()) else { continue };
            edges += 1;
            if below >= layer {
                faults.push(format!(
                    "{}:{}: `{own}` (layer {layer}) uses `{}` (layer {below})",
                    source.file,
                    used.line,
                    used.path.join("::")
                ));
            }
        }
    }
    assert!(edges > 1000, "only {edges} uses were read; the reader of this test is at fault");
    report("uses of the same or a higher layer", &faults);
}

#[test]
fn client_side_and_server_side_do_not_meet() {
    let mut faults = Vec::new();
    for source in sources() {
        let own = source.module[0].as_str();
        let foreign = if CLIENT_SIDE.contains(&own) {
            SERVER_SIDE
        } else if SERVER_SIDE.contains(&own) {
            CLIENT_SIDE
        } else {
            continue;
        };
        for used in uses(&source) {
            if used.path.first().is_some_and(|other| foreign.contains(&other.as_str())) {
                faults.push(format!("{}:{}: `{own}` uses `{}`", source.file, used.line, used.path.join("::")));
            }
        }
    }
    report("uses between client side and server side", &faults);
}

#[test]
fn commands_do_not_use_one_another() {
    let mut faults = Vec::new();
    for source in sources() {
        let [cli, area, rest @ ..] = source.module.as_slice() else { continue };
        if cli != "cli" {
            continue;
        }
        for used in uses(&source) {
            let [other, below, name, ..] = used.path.as_slice() else { continue };
            if other != "cli" {
                continue;
            }
            let is_fault = match area.as_str() {
                "commands" => below == "commands" && rest.first().is_some_and(|own| own != name),
                "args" | "ui" => below == "commands",
                _ => false,
            };
            let is_upward = area == "ui" && below == "args";
            if is_fault || is_upward {
                faults.push(format!("{}:{}: uses `{}`", source.file, used.line, used.path.join("::")));
            }
        }
    }
    report("uses between parts of the command line", &faults);
}

#[test]
fn crates_and_texts_stay_in_their_modules() {
    let mut faults = Vec::new();
    for source in sources() {
        let own = source.module[0].as_str();
        let tokens = tokens(&source.text);
        for (name, allowed, reason) in CRATES {
            let used = tokens.windows(4).enumerate().find(|(at, window)| {
                window[0].1 == *name
                    && window[1].1 == ":"
                    && window[2].1 == ":"
                    && (*at == 0 || !matches!(tokens[at - 1].1.as_str(), ":" | "."))
            });
            if let Some((_, window)) = used.filter(|_| !allowed.contains(&own)) {
                faults.push(format!("{}:{}: crate `{name}`: {reason}", source.file, window[0].0));
            }
        }
        for (text, allowed, reason) in TEXTS {
            if allowed.contains(&own) {
                continue;
            }
            for (number, line) in source.text.lines().enumerate() {
                if line.contains(text) && !line.contains(&format!("e{text}")) {
                    faults.push(format!("{}:{}: `{text}`: {reason}", source.file, number + 1));
                }
            }
        }
    }
    report("crates and texts outside of their modules", &faults);
}

#[test]
fn the_reader_sees_every_form_of_a_path() {
    let source = Source {
        file: "src/a/b.rs".into(),
        module: vec!["a".into(), "b".into()],
        text: "use crate::{c::{D, e as f}, g};\nuse super::super::h::I;\nfn x() { crate::j::k(); super::l(); }".into(),
    };
    let paths: Vec<(usize, String)> = uses(&source).into_iter().map(|used| (used.line, used.path.join("::"))).collect();
    let wanted = [(1, "c::D"), (1, "c::e"), (1, "g"), (2, "h::I"), (3, "j::k"), (3, "a::l")];
    assert_eq!(paths, wanted.map(|(line, path)| (line, path.to_owned())));
    assert_eq!(without_comments("a // b\n\"https://c\" // d\n"), "a \n\"https://c\" ");
}
