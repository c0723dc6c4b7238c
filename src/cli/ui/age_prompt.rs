//! [`AgePrompt`]: shows the questions of the age library and its plugins on the terminal, such as a request for a passphrase.
//!
//! Without a terminal no question is answered, and the operation fails.

use std::io::IsTerminal as _;

use secrecy::SecretString;

use crate::{
    secrets::Callbacks,
    text::{printable, printable_lines},
};

/// Asks the operator on the terminal. Without a terminal, no question is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AgePrompt;

impl AgePrompt {
    /// Prints a message of a plugin without its control characters.
    #[expect(clippy::print_stderr, reason = "this is the command line, and age calls back into it")]
    fn print(text: &str) {
        eprintln!("{}", printable_lines(text));
    }

    fn ask(question: &str) -> Option<String> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        Self::print(question);
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).ok()?;
        Some(line.trim().to_owned())
    }
}

impl Callbacks for AgePrompt {
    fn display_message(&self, message: &str) {
        Self::print(message);
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        Self::ask(&format!("{message} [{yes}/{}]", no.unwrap_or("no"))).map(|line| line.eq_ignore_ascii_case(yes))
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        Self::ask(&format!("{description}:"))
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let question = printable(description);
        rpassword::prompt_password(format!("{question}: ")).ok().map(SecretString::from)
    }
}
