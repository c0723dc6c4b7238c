//! `mailwright validate`: checks the files of environments, and those of rollouts unless environments are named, and reports
//! every problem with its line. Private keys in files of the repository are reported too.
//!
//! The checks are those of [`crate::config::Repository::check`]; the formats are text, JSON, GitHub annotations and SARIF. Errors
//! make the exit code 1, warnings do not. Needs no service and no key.

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Runnable, args::environments::SelectionArgs, exposure::check_private_keys,
    },
    config::Selection,
};

/// Check the files of all environments, or of the named ones
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright validate\n  \
    mailwright validate prod\n  \
    mailwright validate 'prod-*' -l region=emea\n  \
    mailwright validate --format github              in a workflow: problems appear at their lines\n  \
    mailwright validate --format sarif > report.sarif\n\n\
    Needs no service and no key. Exit code 1 if there are errors; warnings do not\n\
    fail. Without a selection, private keys are reported too, in files that Git has\n\
    or would add.")]
pub(crate) struct Validate {
    /// Environments: names, or patterns such as 'prod-*' [default: all]
    #[arg(value_name = "ENV")]
    environments: Vec<String>,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Output format
    #[arg(long, value_enum, default_value_t = ReportFormat::Human, value_name = "FORMAT")]
    format: ReportFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ReportFormat {
    /// Text for a terminal
    Human,
    /// One JSON document
    Json,
    /// GitHub workflow commands
    Github,
    /// SARIF 2.1.0
    Sarif,
}

impl Runnable for Validate {
    fn error_format(&self) -> ErrorFormat {
        ErrorFormat::json_if(self.format == ReportFormat::Json)
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let repository = context.repository()?;
        let selection = Selection::parse(&self.environments, &self.selection.selector)?;
        let names = self.selection.select(context, &repository, &selection)?.names;
        // One report for all environments, so that a problem in a shared layer is reported once.
        let mut report = match self.selection.parallel {
            Some(parallel) => repository.check_in_parallel(&names, usize::from(parallel)),
            None => repository.check(&names),
        };
        if self.environments.is_empty() && !self.selection.has_filter() {
            report = report.merge(repository.check_rollouts());
            let keys = check_private_keys(repository.root(), &report);
            report = report.merge(keys);
        }
        match self.format {
            ReportFormat::Human if self.selection.summary => context.printer.out(&report.summary()),
            ReportFormat::Human => context.printer.out(&report.human()),
            ReportFormat::Json => context.printer.document(&report.json()),
            ReportFormat::Github => {
                context.printer.document(&format!("{}{}", report.github(), report.summary()));
            }
            ReportFormat::Sarif => context.printer.document(&report.sarif()),
        }
        if report.has_errors() {
            Err(CliError { in_json: true, ..CliError::already_printed() })
        } else {
            Ok(Exit::Done)
        }
    }
}
