//! `mailwright completions` and `mailwright man`: scripts for shells, and man pages, generated from the definitions of the
//! commands.
//!
//! The script calls the program itself for candidates; those are computed in `cli::completion`.

use std::path::PathBuf;

use crate::cli::{CliError, Context, Exit, Runnable, completion, help};

/// The width of examples in man pages: 80 columns without the indentation.
const MAN_WIDTH: usize = 72;

/// The script for PowerShell. That of `clap_complete` evaluates the line that is being typed (`Invoke-Expression`), with the
/// commands in it; this one passes its words as they are.
const POWERSHELL: &str = r"Register-ArgumentCompleter -Native -CommandName mailwright -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $words = @($commandAst.CommandElements |
        Where-Object { $_.Extent.StartOffset -lt $cursorPosition } |
        ForEach-Object {
            if ($_ -is [System.Management.Automation.Language.StringConstantExpressionAst]) { $_.Value }
            else { $_.Extent.Text }
        })
    if ($wordToComplete -eq '') { $words += '' }

    $previous = $env:COMPLETE
    $env:COMPLETE = 'powershell'
    try {
        $results = & mailwright -- @words
    } finally {
        if ($null -eq $previous) { Remove-Item Env:\COMPLETE } else { $env:COMPLETE = $previous }
    }
    $results | ForEach-Object {
        $candidate, $help = $_.Split([char]9)
        if (-not $help) { $help = $candidate }
        [System.Management.Automation.CompletionResult]::new($candidate, $candidate, 'ParameterValue', $help)
    }
}
";

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright completions bash > ~/.local/share/bash-completion/completions/mailwright\n  \
    mailwright completions zsh > ~/.zfunc/_mailwright\n  \
    mailwright completions fish > ~/.config/fish/completions/mailwright.fish\n  \
    mailwright completions powershell >> $PROFILE\n  \
    source <(mailwright completions bash)     in this shell only\n\n\
    The shell asks the program for names of environments, profiles, secrets,\n\
    rollouts, functions and codes. They are read from the repository around the\n\
    current folder; no service is called.")]
pub(crate) struct Completions {
    /// Shell
    shell: clap_complete::Shell,
}

impl Runnable for Completions {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        if self.shell == clap_complete::Shell::PowerShell {
            context.printer.document(POWERSHELL);
            return Ok(Exit::Done);
        }
        let mut script = Vec::new();
        let shells = clap_complete::env::Shells::builtins();
        let shell = shells.completer(&self.shell.to_string());
        let shell = shell.ok_or_else(|| CliError::new(format!("cannot print completions for {}", self.shell)))?;
        shell
            .write_registration(completion::VARIABLE, "mailwright", "mailwright", "mailwright", &mut script)
            .map_err(|error| CliError::new(format!("cannot print completions for {}: {error}", self.shell)))?;
        context.printer.document(&String::from_utf8_lossy(&script));
        Ok(Exit::Done)
    }
}

/// Write man pages into a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright man ~/.local/share/man/man1\n  \
    mailwright man . && man ./mailwright-plan.1")]
pub(crate) struct Man {
    /// Existing folder
    folder: PathBuf,
}

impl Runnable for Man {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let failed = |error: std::io::Error| {
            CliError::new(format!("cannot write man pages into `{}`: {error}", self.folder.display()))
        };
        clap_mangen::generate_to(help::command_within(MAN_WIDTH), &self.folder).map_err(failed)?;
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("mailwright") && name.ends_with(".1") {
                let page = std::fs::read_to_string(&path).map_err(failed)?;
                std::fs::write(&path, unfill_examples(&page)).map_err(failed)?;
            }
        }
        context.printer.note(&format!("Wrote man pages to {}.", self.folder.display()));
        Ok(Exit::Done)
    }
}

/// Returns a man page whose examples keep their lines, and whose words are not hyphenated, so that they can be copied.
fn unfill_examples(page: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    let mut is_extra = false;
    let mut is_example = false;
    for line in page.lines() {
        let begins_example = is_extra && line.starts_with(' ');
        if begins_example != is_example {
            lines.push(if begins_example { ".nf" } else { ".fi" });
            is_example = begins_example;
        }
        match line {
            ".SH EXTRA" => is_extra = true,
            _ if line.starts_with(".SH ") => {
                is_extra = false;
                lines.push(line);
            }
            _ if line.starts_with(".TH ") => lines.extend([line, ".nh"]),
            "Examples:" | "Start here:" if is_extra => lines.push(".SH EXAMPLES"),
            "" if is_extra => lines.push(".PP"),
            // Two spaces are the indentation of an example.
            _ => lines.push(if is_example { line.strip_prefix("  ").unwrap_or(line) } else { line }),
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_a_man_page_are_not_filled() {
        let page = ".TH a 1\n.SH NAME\na\n.SH EXTRA\nExamples:\n  a b\n  c\n\nText.\n.SH VERSION\nv1\n";
        assert_eq!(
            unfill_examples(page),
            ".TH a 1\n.nh\n.SH NAME\na\n.SH EXAMPLES\n.nf\na b\nc\n.fi\n.PP\nText.\n.SH VERSION\nv1\n"
        );
    }
}
