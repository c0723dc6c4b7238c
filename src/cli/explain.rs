//! `mailwright explain`: a problem code, a finding of `verify`, or an AADSTS code of Entra, at length.

use super::{CliError, Context, Exit};
use crate::{
    config::suggest,
    microsoft::aadsts::{self, Entry},
    model::Code,
    verify::{Id, graph::reported_as},
};

/// Explain a problem code, a finding of `verify`, or an AADSTS code
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright explain MW0104\n  mailwright explain GRAPH-REDIRECT-SPA\n  mailwright explain AADSTS7000215\n  mailwright explain          lists all problem codes and findings"
)]
pub(crate) struct Explain {
    /// The code or the finding's id; problem codes and findings are listed if none is given
    code: Option<String>,
}

/// `MW0007` for `mw7` and `7`; what is no number stays as it is.
fn in_full(text: &str) -> String {
    let digits = text.trim_start_matches(['m', 'M']).trim_start_matches(['w', 'W']);
    digits.parse::<u16>().map_or(text.to_owned(), |number| format!("MW{number:04}"))
}

/// The number of an AADSTS code: by itself, in a copied message, or bare, since no problem code has five digits.
fn entras(text: &str) -> Option<u32> {
    let bare = || text.trim().parse().ok().filter(|number| *number > 9_999);
    aadsts::parse(text).or_else(|| aadsts::named_in(text).first().copied()).or_else(bare)
}

/// What is known of an AADSTS code.
fn explained(entry: &Entry) -> String {
    let findings: Vec<&str> = reported_as(entry.cause).iter().map(|id| id.id()).collect();
    let delivery = if entry.cause.is_transient() {
        "the attempt is made again later; the profile is not suspended"
    } else {
        "the profile is suspended and its mail waits; no message fails for it"
    };
    format!(
        "{}.\n\nWhat to do: {}\n\n`verify` reports it as {}. While delivering: {delivery}.\nOAuth error, as a rule: {}\nSource: {}\nMicrosoft's page: {}",
        capitalised(&entry.meaning),
        entry.remedy,
        findings.join(", or "),
        entry.error,
        entry.source,
        aadsts::page(entry.code),
    )
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
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
        if let Some(number) = entras(&text) {
            let entry = aadsts::find(number).ok_or_else(|| {
                CliError::coded(
                    Code::Usage,
                    format!("cannot explain AADSTS{number}: it is not among the codes that are known here"),
                )
                .remedy(format!("Microsoft's page about it: {}", aadsts::page(number)))
            })?;
            context.printer.out(&format!("{bold}AADSTS{number}: {}{bold:#}\n\n{}", entry.name, explained(entry)));
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
