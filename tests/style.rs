//! Style test: counts wording that the style guide in CONTRIBUTING.md avoids. The number may fall, never grow.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The most places that may use avoided wording, over all files. Lower it when the number has fallen.
const LIMIT: usize = 90;

/// First words that a doc comment does not begin with.
const FIRST_WORDS: &[&str] = &["What", "Whether"];

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | ".git" | "fixtures" | "node_modules") {
                collect(&path, found);
            }
        } else if ["rs", "md", "json", "yml", "yaml", "toml", "sh"]
            .iter()
            .any(|ending| name.ends_with(&format!(".{ending}")))
            && !matches!(name.as_str(), "package-lock.json" | "permissions.json")
        {
            found.push(path);
        }
    }
}

fn places(text: &str, phrases: &[Vec<&str>]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let comment = line.trim_start().strip_prefix("///").or_else(|| line.trim_start().strip_prefix("//!"));
        if let Some(first) = comment.and_then(|comment| comment.split_whitespace().next())
            && FIRST_WORDS.contains(&first)
        {
            found.push((number + 1, format!("a doc comment that begins with `{first}`")));
        }
        let lower = line.to_lowercase();
        let words: Vec<&str> = lower
            .split(|character: char| !character.is_alphanumeric() && character != '_')
            .filter(|word| !word.is_empty())
            .collect();
        for phrase in phrases {
            let count = words
                .windows(phrase.len())
                .filter(|window| window.iter().zip(phrase).all(|(word, wanted)| *wanted == "*" || word == wanted))
                .count();
            for _ in 0..count {
                found.push((number + 1, format!("`{}`", phrase.join(" "))));
            }
        }
    }
    found
}

#[test]
fn avoided_wording_does_not_grow() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(root.join("tests/fixtures/avoided-wording.txt")).unwrap();
    let phrases: Vec<Vec<&str>> = list
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| line.split_whitespace().collect())
        .collect();
    let mut files = Vec::new();
    collect(root, &mut files);
    assert!(files.len() > 300, "only {} files were found", files.len());
    let mut count = 0;
    let mut listed = String::new();
    for file in files {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        for (line, what) in places(&text, &phrases) {
            count += 1;
            listed += &format!("{}:{line}: {what}\n", file.strip_prefix(root).unwrap_or(&file).display());
        }
    }
    assert!(count <= LIMIT, "{count} places use avoided wording, {LIMIT} may:\n{listed}");
}

#[test]
fn the_counter_finds_phrases_and_first_words() {
    let phrases = vec![vec!["tolled"], vec!["are", "not", "*"]];
    let found = places("/// What\nTolled bells; they are not loud\n", &phrases);
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 2]);
}
