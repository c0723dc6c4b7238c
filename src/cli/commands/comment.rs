//! `mailwright comment`: posts Markdown to the pull request that a CI job runs for, in place of its earlier comment of the
//! same name.
//!
//! Reads the text and the job's variables; [`crate::pull_request`] knows the forges. Outside of a pull request nothing is posted,
//! and the exit code is 0; an empty text, one over 4 MiB, and a refusal are errors.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use crate::{
    cli::{CliError, Context, Exit, Runnable, variables},
    model::Code,
    pull_request::{ForgeError, Posted, PullRequest},
};

/// The size limit of the text and of the event document, in bytes.
const LIMIT: u64 = 4 * 1024 * 1024;

/// Post or update a pull request comment
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright plan --since origin/main --format markdown | mailwright comment\n  \
    mailwright comment plan.md\n  \
    mailwright verify prod --format markdown | mailwright comment --name verify\n\n\
    Runs in GitHub Actions (GITHUB_TOKEN), GitLab CI (GITLAB_TOKEN, with the scope\n\
    `api`) and Azure Pipelines (SYSTEM_ACCESSTOKEN). A comment of the same name is\n\
    replaced, so that repeated jobs do not add more. Outside a pull request nothing\n\
    is posted, and the exit code is 0.")]
pub(crate) struct Comment {
    /// File with the Markdown [default: standard input]
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Name that distinguishes the comment from others of the same job
    #[arg(long, value_name = "NAME", default_value = "plan", value_parser = parse_name)]
    name: String,
}

fn parse_name(text: &str) -> Result<String, String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if (1..=40).contains(&text.len()) && text.chars().all(is_word) {
        return Ok(text.to_owned());
    }
    Err("a name has 1 to 40 letters, digits and dashes".to_owned())
}

impl Runnable for Comment {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let text = read(self.file.as_deref())?;
        if text.trim().is_empty() {
            return Err(CliError::coded(Code::EmptyFile, "cannot post a comment: the text is empty")
                .remedy("Pass the output of a command with `--format markdown`, and check why it is empty."));
        }
        let request = match PullRequest::of_job(variables::read, |path| read_event(Path::new(path))) {
            Ok(request) => request,
            Err(ForgeError::NoPullRequest) => {
                context.printer.note("This job does not belong to a pull request: nothing to comment on.");
                return Ok(Exit::Done);
            }
            Err(error) => {
                return Err(CliError::coded(Code::VariableUnusable, error.to_string())
                    .remedy("Run `mailwright comment` in a CI job; `--help` lists the variables that it needs."));
            }
        };
        let marker = format!("<!-- mailwright comment {} -->", self.name);
        let posted = context.runtime()?.block_on(request.comment(&marker, &format!("{marker}\n{text}")));
        match posted {
            Ok(Posted::Created) => context.printer.note("The comment was posted."),
            Ok(Posted::Replaced) => context.printer.note("The comment was updated."),
            Err(error @ ForgeError::Refused { .. }) => {
                return Err(CliError::coded(Code::RoleTooLow, error.to_string()).remedy(request.forge().remedy()));
            }
            Err(error) => {
                return Err(CliError::coded(Code::ServiceUnreachable, error.to_string()).remedy("Run the job again."));
            }
        }
        Ok(Exit::Done)
    }
}

fn read(file: Option<&Path>) -> Result<String, CliError> {
    let shown = file.map_or("standard input".to_owned(), |path| format!("`{}`", path.display()));
    let mut bytes = Vec::new();
    let read = match file {
        Some(path) => std::fs::File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes)),
        None => std::io::stdin().lock().take(LIMIT + 1).read_to_end(&mut bytes),
    };
    read.map_err(|error| CliError::coded(Code::Unreadable, format!("cannot read {shown}: {error}")))?;
    if bytes.len() as u64 > LIMIT {
        return Err(CliError::coded(Code::FileTooLarge, format!("{shown} has more than 4 MiB")));
    }
    // A Windows shell redirects output as UTF-16.
    crate::text::decode(&bytes).map_err(|encoding| {
        CliError::coded(Code::Encoding, format!("{shown} is {encoding}")).remedy("Save it as UTF-8.")
    })
}

/// Reads the document of GitHub's event. Returns none if it cannot be read; the job's other variables may be enough.
fn read_event(path: &Path) -> Option<serde_json::Value> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(LIMIT).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}
