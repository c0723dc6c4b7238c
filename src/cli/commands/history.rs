//! `mailwright history`: lists past generations.

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceArgs,
        environment::Environment,
        ui::{
            format::document_of,
            table::table,
            wording::{describe_changes, format_time, short_author, short_commit},
        },
    },
    model::{Generation, provenance::Signature},
    text::printable,
};

/// List past generations, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright history prod\n  \
    mailwright history prod --limit 100 --format json")]
pub(crate) struct History {
    /// Environment
    environment: String,
    /// Number of generations to show
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Only generations older than this one
    #[arg(long, value_name = "GENERATION")]
    before: Option<u64>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    service: ServiceArgs,
}

impl Runnable for History {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let environment = Environment::find(context, &self.environment)?;
        let client = environment.client(context, &self.service)?;
        let page = context.runtime()?.block_on(client.generations(self.before, self.limit))?;
        if self.format == Format::Json {
            context.printer.json(&document_of(environment.name.as_str(), "generations", &page));
            return Ok(Exit::Done);
        }
        if page.generations.is_empty() {
            context.printer.out("No generations: nothing has changed since the store was created.");
            return Ok(Exit::Done);
        }
        let rows = page.generations.iter().map(row);
        context
            .printer
            .out(&table(&["generation", "at", "by", "how", "commit", "branch", "author", "signature", "what"], rows));
        if let Some(next) = page.next_before {
            context.printer.note(&format!("Older ones: mailwright history {} --before {next}", environment.name));
        }
        Ok(Exit::Done)
    }
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
    let signers: Vec<&str> = generation.approvals.iter().map(|approved| approved.signer.as_str()).collect();
    let approved = if signers.is_empty() { String::new() } else { format!(", approved by {}", signers.join(", ")) };
    let break_glass = generation.allowances.break_glass.as_ref().map_or("", |_| ", without approvals");
    format!("{}{approved}{break_glass}", generation.by)
}
