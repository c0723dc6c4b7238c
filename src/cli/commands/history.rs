//! `mailwright history`: lists the generations of a service with time, author, commit and number of changes, the newest first.
//!
//! The service returns them in pages (`--before`). With several environments, the table has the last change of each. Nothing is
//! read from Git. A service without generations is not an error.

use std::fmt::Write as _;

use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, ServiceArgs,
        args::environments::EnvironmentsArgs,
        environment::Environment,
        fleet::Fleet,
        ui::{
            fleet_report::{Significance, Summary, SummaryLabels},
            format::document_of,
            table::table,
            wording::{describe_changes, short_author, short_commit},
        },
    },
    model::{Generation, Meaning, provenance::Signature},
    text::printable,
    time::local::format_time,
};

/// List past generations, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright history prod\n  \
    mailwright history prod --limit 100 --format json\n  \
    mailwright history 'cust-*'                       the last change of each, equal ones together")]
pub(crate) struct History {
    #[command(flatten)]
    environments: EnvironmentsArgs,
    /// Number of generations to show
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Only generations older than this one
    #[arg(long, value_name = "GENERATION")]
    before: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

impl Runnable for History {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let labels =
            SummaryLabels { notable: ("changed", "with generations"), quiet: ("empty", "without generations") };
        let fleet = Fleet::from_args(context, &self.environments, &self.service)?;
        fleet.run(context, self.output.format, &labels, |context, environment| self.history(context, environment))
    }
}

impl History {
    fn history(&self, context: &Context, environment: &Environment) -> Result<Summary, CliError> {
        let client = environment.client(context, &self.service)?;
        let page = context.runtime()?.block_on(client.generations(self.before, self.limit))?;
        let newest = match self.before {
            Some(_) => {
                context.runtime()?.block_on(client.generations(None, 1))?.generations.first().map(|it| it.number)
            }
            None => page.generations.first().map(|generation| generation.number),
        };
        let mut document = document_of(environment.name.as_str(), "generations", &page);
        document["generation"] = json!(newest.unwrap_or_default());
        let Some(last) = page.generations.first() else {
            let (line, text) = match (self.before, newest) {
                (Some(before), Some(_)) => {
                    (format!("no generations before {before}"), format!("No generations before {before}."))
                }
                _ => (
                    "no generations".to_owned(),
                    "No generations: nothing has changed since the store was created.".to_owned(),
                ),
            };
            return Ok(Summary::new(Significance::Quiet, line, text, document));
        };
        let head = ["generation", "at", "by", "how", "commit", "branch", "author", "signature", "what"];
        let mut text = table(&head, page.generations.iter().map(row));
        text.push_str(&list_signatures(&page.generations));
        if let (Some(next), Format::Human) = (page.next_before, self.output.format) {
            context.printer.note(&format!("Older ones: mailwright history {} --before {next}", environment.name));
        }
        Ok(Summary::new(Significance::Listed, describe_last(last), text, document))
    }
}

/// Describes a generation in one line, without its time, so that equal ones of several environments share a row.
fn describe_last(generation: &Generation) -> String {
    let cells = row(generation);
    let [number, _, by, how, commit, .., what] = &cells[..] else { return String::new() };
    let commit = if commit == "-" { String::new() } else { format!(", commit {commit}") };
    format!("{number}: {how} by {by}{commit}: {what}")
}

fn row(generation: &Generation) -> Vec<String> {
    let how = match generation.rolled_back_to {
        Some(to) => format!("rollback to {to}"),
        None => generation.kind.id().to_owned(),
    };
    let provenance = &generation.provenance;
    let branch = provenance.branch.as_deref().map_or("-".to_owned(), |branch| printable(branch).into_owned());
    vec![
        generation.number.to_string(),
        format_time(generation.at),
        describe_actor(generation),
        how,
        short_commit(provenance),
        branch,
        short_author(provenance),
        provenance.signature.map_or("-", Signature::id).to_owned(),
        describe_changes(&generation.summary),
    ]
}

/// Describes the author of a generation: `pipeline, approved by alice, bob`.
fn describe_actor(generation: &Generation) -> String {
    let signed = Meaning::ALL.iter().filter_map(|meaning| {
        let of_meaning = generation.approvals.iter().filter(|approved| approved.meaning == *meaning);
        let signers: Vec<&str> = of_meaning.map(|approved| approved.signer.as_str()).collect();
        (!signers.is_empty()).then(|| format!(", {meaning} by {}", signers.join(", ")))
    });
    let signed: String = signed.collect();
    let break_glass = generation.allowances.break_glass.as_ref().map_or("", |_| ", without approvals");
    format!("{}{signed}{break_glass}", generation.by)
}

/// Lists the signatures of generations, one in a line: who signed, with which meaning, when, how, why, and what.
fn list_signatures(generations: &[Generation]) -> String {
    let mut text = String::new();
    for generation in generations.iter().filter(|generation| !generation.approvals.is_empty()) {
        let _ = write!(text, "\n\nSignatures of generation {}:", generation.number);
        for approved in &generation.approvals {
            let digest = approved.digest.as_ref().map_or_else(String::new, |digest| format!(" ({digest})"));
            let _ = write!(text, "\n  {}{digest}", printable(&approved.describe()));
        }
    }
    text
}
