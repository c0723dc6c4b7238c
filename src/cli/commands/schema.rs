//! `mailwright schema`: prints the JSON Schema of a kind of file, or lists their names.
//!
//! The schemas are part of the program ([`crate::config::SCHEMAS`]). `init`, `new` and `import` write them into a repository.

use crate::{
    cli::{CliError, Context, Exit, Runnable},
    config::{SCHEMAS, suggest},
    model::Code,
};

/// Print the JSON Schemas of the files and documents
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright schema profile > profile.schema.json\n  \
    mailwright schema          lists the names\n\n\
    An editor with a YAML language server completes and checks a file with this\n\
    first line:\n  \
    # yaml-language-server: $schema=../../../schema/profile.schema.json")]
pub(crate) struct Schema {
    /// Name of the schema: access, environment, profile, rollout, oidc, plan, diff or verify-report
    name: Option<String>,
}

impl Runnable for Schema {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let names = || SCHEMAS.iter().map(|(name, _)| *name);
        let Some(wanted) = &self.name else {
            names().for_each(|name| context.printer.out(name));
            return Ok(Exit::Done);
        };
        if let Some((_, text)) = SCHEMAS.iter().find(|(name, _)| name == wanted) {
            context.printer.document(text);
            Ok(Exit::Done)
        } else {
            let error = CliError::coded(Code::UnknownValue, format!("unknown schema `{}`", wanted.escape_debug()));
            Err(match suggest::nearest(wanted, names()) {
                Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
                None => error.remedy(format!("Use one of: {}.", names().collect::<Vec<_>>().join(", "))),
            })
        }
    }
}
