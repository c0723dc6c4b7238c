//! Commands that the program prints, read as the shell reads them into which a person pastes them.

use std::{os::unix::fs::PermissionsExt as _, process::Command};

/// Parts of names that a shell would act on.
pub(crate) const HOSTILE: [&str; 14] = [
    "o'brien",
    "$(touch pwned)",
    "`touch pwned`",
    "a;touch pwned",
    "a&&touch pwned",
    "a|touch pwned",
    "a b",
    "-Flag",
    "line\ntouch pwned",
    "a\"b",
    "back\\slash",
    "$HOME",
    "'$(touch pwned)'",
    "{client}",
];

/// Programs that take the place of the real ones, and of the one that hostile names call.
const PROGRAMS: [&str; 8] = ["mailwright", "git", "chmod", "openssl", "az", "cut", "base64", "touch"];

/// Runs a script in a POSIX shell that finds only stand-ins, and returns each call: the program and its arguments.
pub(crate) fn calls_of(script: &str) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("bin");
    std::fs::create_dir(&programs).unwrap();
    let calls = folder.path().join("calls");
    let stand_in = format!(
        "#!/bin/sh\n{{ printf '%s\\0' \"${{0##*/}}\" \"$@\"; printf '\\001'; }} >>'{}'\necho output\n",
        calls.display()
    );
    for program in PROGRAMS {
        let path = programs.join(program);
        std::fs::write(&path, &stand_in).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = Command::new("/bin/sh")
        .args(["-e", "-c", script])
        .env_clear()
        .env("PATH", &programs)
        .env("HOME", "/expanded")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    let calls = String::from_utf8(std::fs::read(calls).unwrap()).unwrap();
    let words = |call: &str| call.trim_end_matches('\0').split('\0').map(str::to_owned).collect();
    calls.split_terminator('\u{1}').map(words).collect()
}

/// Returns the words of a command for PowerShell. Outside of single quotes it must have no character that PowerShell acts on.
pub(crate) fn powershell_words(command: &str) -> Vec<String> {
    let is_quote = |c: char| matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}');
    let (mut words, mut word, mut is_literal) = (Vec::new(), None::<String>, false);
    let mut characters = command.chars().peekable();
    while let Some(character) = characters.next() {
        if is_literal {
            if !is_quote(character) {
                word.get_or_insert_default().push(character);
            } else if let Some(doubled) = characters.next_if(|next| is_quote(*next)) {
                word.get_or_insert_default().push(doubled);
            } else {
                is_literal = false;
                let ends = characters.peek().is_none_or(|next| matches!(next, ' ' | ')'));
                assert!(ends, "a word goes on after its quotes: {command}");
            }
        } else if is_quote(character) {
            assert!(word.is_none(), "a quote within a word: {command}");
            (word, is_literal) = (Some(String::new()), true);
        } else if character == ' ' {
            words.extend(word.take());
        } else {
            let is_plain = character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '(' | ')' | '|');
            assert!(is_plain, "`{character}` outside of quotes: {command}");
            word.get_or_insert_default().push(character);
        }
    }
    assert!(!is_literal, "a quote is open: {command}");
    words.extend(word);
    words
}
