//! Quoting of words for a command line that an operator pastes, or for a script.
//!
//! A quoted word reaches the program as one argument and as it was, without NUL. Addresses, hosts, ids of services and names of
//! files are input from outside: they may contain quotes, `$(...)` or line breaks. Quotes do not keep a word that begins with `-`
//! from being an option: [`quote_path`] avoids that for paths.

use std::path::Path;

/// Returns a word for a POSIX shell: as it is if it needs no quotes, otherwise in quotes.
pub fn quote_posix(word: &str) -> String {
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '@' | '+' | ',' | '%' | '=');
    // Some shells replace `=NAME` by the path of a program.
    if !word.is_empty() && !word.starts_with('=') && word.chars().all(is_plain) {
        return word.to_owned();
    }
    // A single quote is easier to read in double quotes, if nothing is expanded there.
    if word.contains('\'') && !word.contains(['"', '$', '`', '\\', '!', '\0']) {
        return format!("\"{word}\"");
    }
    quote_posix_always(word)
}

/// Returns a path for a POSIX shell. A path that begins with `-` begins with `./` instead, so that no program reads it as an
/// option.
pub fn quote_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.starts_with('-') { quote_posix(&format!("./{text}")) } else { quote_posix(&text) }
}

/// Returns a word in single quotes for a POSIX shell.
pub fn quote_posix_always(word: &str) -> String {
    format!("'{}'", word.replace('\0', "").replace('\'', r"'\''"))
}

/// Returns a string literal of PowerShell. In single quotes nothing is expanded; a quote is doubled. PowerShell reads the
/// typographic single quotes as quotes too.
pub fn quote_powershell(word: &str) -> String {
    let mut quoted = String::with_capacity(word.len() + 2);
    quoted.push('\'');
    for character in word.chars().filter(|c| *c != '\0') {
        quoted.push(character);
        if matches!(character, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}') {
            quoted.push(character);
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_reaches_the_program_as_it_was() {
        for word in [
            "",
            "plain",
            "two words",
            "it's",
            "$(touch x)",
            "`id`",
            "a\nb",
            "\\",
            "\"",
            "a=-b",
            "=ls",
            "~",
            "é’‘",
            "a;b&c|d",
        ] {
            for quoted in [quote_posix(word), quote_posix_always(word)] {
                let output =
                    std::process::Command::new("sh").args(["-c", &format!("printf %s {quoted}")]).output().unwrap();
                assert_eq!(String::from_utf8_lossy(&output.stdout), word, "{quoted}");
            }
        }
    }

    #[test]
    fn a_path_is_not_an_option() {
        assert_eq!(quote_path(Path::new("-x.plan")), "./-x.plan");
        assert_eq!(quote_path(Path::new("-x y")), "'./-x y'");
        assert_eq!(quote_path(Path::new("a/-x")), "a/-x");
    }

    #[test]
    fn powershell_doubles_every_kind_of_single_quote() {
        assert_eq!(quote_powershell("O'Neil $(x) \u{2019}"), "'O''Neil $(x) \u{2019}\u{2019}'");
    }
}
