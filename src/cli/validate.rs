//! `mailwright validate`: checks the files, without any service.

use super::{CliError, Context, Exit};
use crate::{
    config::suggest,
    model::{Code, EnvironmentName},
};

/// Check the files of all environments, or of those named
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright validate\n  mailwright validate prod\n  \
    mailwright validate --format github              in a workflow: problems show at their lines\n  \
    mailwright validate --format sarif > report.sarif\n\n\
    Needs no service and no key. Exit code 1 if there are errors; warnings do not fail.")]
pub(crate) struct Validate {
    /// The environments; all if none is named
    environments: Vec<String>,
    /// How to print the problems
    #[arg(long, value_enum, default_value_t = ReportFormat::Human, value_name = "FORMAT")]
    format: ReportFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ReportFormat {
    /// For people.
    Human,
    /// One document.
    Json,
    /// Workflow commands of GitHub.
    Github,
    /// SARIF 2.1.0.
    Sarif,
}

impl Validate {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let repository = context.repository()?;
        let known = repository.environments();
        let names = if self.environments.is_empty() {
            known
        } else {
            self.environments.iter().map(|name| find(&known, name)).collect::<Result<_, _>>()?
        };
        let mut report = repository.check(&names);
        if self.environments.is_empty() {
            report = report.and(repository.check_rollouts());
        }
        match self.format {
            ReportFormat::Human => context.printer.out(&report.human()),
            ReportFormat::Json => context.printer.out(&report.json()),
            ReportFormat::Github => {
                context.printer.out(&format!("{}{}", report.github(), report.summary()));
            }
            ReportFormat::Sarif => context.printer.out(&report.sarif()),
        }
        if report.has_errors() { Err(CliError::already_told()) } else { Ok(Exit::Done) }
    }
}

fn find(known: &[EnvironmentName], name: &str) -> Result<EnvironmentName, CliError> {
    if let Some(found) = known.iter().find(|known| known.as_str() == name) {
        return Ok(found.clone());
    }
    let error = CliError::coded(Code::UnknownEnvironment, format!("there is no environment `{}`", name.escape_debug()));
    let names = known.iter().map(EnvironmentName::as_str);
    Err(match suggest::nearest(name, names.clone()) {
        Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
        None => error.remedy(format!("There are: {}.", names.collect::<Vec<_>>().join(", "))),
    })
}
