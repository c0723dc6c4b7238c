//! Entry point: calls [`mailwright::cli::main`] and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    mailwright::cli::main(std::env::args_os())
}
