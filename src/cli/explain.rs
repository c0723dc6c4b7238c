//! `mailwright explain`: a problem code, or a finding of `verify`, at length.

use super::{CliError, Context, Exit};
use crate::{config::suggest, model::Code, verify::Id};

/// A problem code, or a finding of `verify`, at length
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright explain MW0104\n  mailwright explain GRAPH-REDIRECT-SPA\n  mailwright explain          lists all"
)]
pub(crate) struct Explain {
    /// The code or the finding's id; all are listed if none is given
    code: Option<String>,
}

/// `MW0007` for `mw7` and `7`; what is no number stays as it is.
fn in_full(text: &str) -> String {
    let digits = text.trim_start_matches(['m', 'M']).trim_start_matches(['w', 'W']);
    digits.parse::<u16>().map_or(text.to_owned(), |number| format!("MW{number:04}"))
}

impl Explain {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let Some(text) = self.code else {
            let codes = Code::ALL.iter().map(|code| vec![code.id().to_owned(), code.title().to_owned()]);
            let findings = Id::ALL.iter().map(|id| vec![id.id().to_owned(), id.title().to_owned()]);
            let rows = codes.chain(findings);
            context.printer.out(&super::table::table(&["code", "problem"], rows));
            return Ok(Exit::Done);
        };
        let bold = anstyle::Style::new().bold();
        if let Ok(id) = text.parse::<Id>() {
            context.printer.out(&format!("{bold}{id}: {}{bold:#}\n\n{}", id.title(), id.explanation()));
            return Ok(Exit::Done);
        }
        let code: Code = in_full(&text).parse().map_err(|_| {
            let error = CliError::coded(Code::Usage, format!("there is no code `{}`", text.escape_debug()));
            let known = Code::ALL.iter().map(|code| code.id()).chain(Id::ALL.iter().map(|id| id.id()));
            match suggest::nearest(&text, known) {
                Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
                None => error.remedy("`mailwright explain` lists them."),
            }
        })?;
        context.printer.out(&format!("{bold}{code}: {}{bold:#}\n\n{}", code.title(), code.explanation()));
        Ok(Exit::Done)
    }
}
