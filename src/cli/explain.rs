//! `mailwright explain`: a problem code at length.

use super::{CliError, Context, Exit};
use crate::{config::suggest, model::Code};

/// A problem code at length
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright explain MW0104\n  mailwright explain          lists all codes")]
pub(crate) struct Explain {
    /// The code; all are listed if none is given
    code: Option<String>,
}

impl Explain {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let Some(text) = self.code else {
            let rows = Code::ALL.iter().map(|code| vec![code.id().to_owned(), code.title().to_owned()]);
            context.printer.out(&super::table::table(&["code", "problem"], rows));
            return Ok(Exit::Done);
        };
        let code: Code = text.parse().map_err(|_| {
            let error = CliError::coded(Code::Usage, format!("there is no code `{}`", text.escape_debug()));
            match suggest::nearest(&text, Code::ALL.iter().map(|code| code.id())) {
                Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
                None => error.remedy("`mailwright explain` lists them."),
            }
        })?;
        let bold = anstyle::Style::new().bold();
        context.printer.out(&format!("{bold}{code}: {}{bold:#}\n\n{}", code.title(), code.explanation()));
        Ok(Exit::Done)
    }
}
