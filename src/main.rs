//! Entry point of the program: calls [`mailwright::cli::main`] and returns its exit code. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    mailwright::cli::main(std::env::args_os())
}
