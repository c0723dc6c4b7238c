//! `mailwright functions`: lists the kinds of mail that a profile can serve, with their fallbacks.
//!
//! The list is [`crate::model::function`], which is part of the program. Reads no repository and calls no service.

use serde_json::json;

use crate::{
    cli::{CliError, Context, Exit, Runnable},
    model::Function,
};

/// List the functions that a profile can serve
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright functions\n  \
    mailwright functions --format json")]
pub(crate) struct Functions {
    /// Output format
    #[arg(long, value_enum, default_value_t = CatalogueFormat::Human, value_name = "FORMAT")]
    format: CatalogueFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum CatalogueFormat {
    /// A table
    Human,
    /// One JSON document
    Json,
}

impl Runnable for Functions {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        match self.format {
            CatalogueFormat::Human => {
                let rows = Function::all().map(|function| {
                    let back = function.falls_back_to().map_or("-", Function::id);
                    vec![function.id().to_owned(), back.to_owned(), function.entry().covers.clone()]
                });
                context.printer.out(&crate::cli::ui::table::table(&["function", "falls back to", "covers"], rows));
            }
            CatalogueFormat::Json => {
                let functions: Vec<_> = Function::all()
                    .map(|function| {
                        let entry = function.entry();
                        json!({ "id": entry.id, "name": entry.name, "covers": entry.covers, "fallsBackTo": entry.falls_back_to })
                    })
                    .collect();
                context.printer.json(&json!({ "functions": functions }));
            }
        }
        Ok(Exit::Done)
    }
}
