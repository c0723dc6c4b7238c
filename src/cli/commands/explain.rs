//! `mailwright explain`: prints the page of a problem code, a finding of `verify`, an AADSTS code of Entra, an error code of
//! Microsoft Graph, or a reply of a mail server.
//!
//! The pages and tables are those of `model`, `entra` and `replies`; only their lookup from what the user typed is here. Contacts
//! no host. An unknown code is an error with a suggestion.

use serde::Serialize;
use serde_json::json;

use crate::{
    cli::{CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, ui::table::table},
    config::suggest,
    entra::aadsts::{self, AadstsCode},
    model::{Code, finding_id::FindingId, message::Class},
    replies::{self, Meaning, RefusalScope},
    text::shortened,
    verify::graph::findings_of_cause,
};

/// Explain a problem code, a finding, an error code of Microsoft, or an SMTP reply
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright explain MW0104\n  \
    mailwright explain GRAPH-REDIRECT-SPA\n  \
    mailwright explain AADSTS7000215\n  \
    mailwright explain ErrorAccessDenied\n  \
    mailwright explain MW0104 --format json\n  \
    mailwright explain \"550 5.7.1 Relay access denied\"\n  \
    mailwright explain          lists all problem codes and findings")]
pub(crate) struct Explain {
    /// Code, finding id or reply; without it, problem codes and findings are listed
    code: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Returns `MW0007` for `mw7` and `7`; other text is returned unchanged.
fn complete_code(text: &str) -> String {
    let digits = text.trim_start_matches(['m', 'M']).trim_start_matches(['w', 'W']);
    digits.parse::<u16>().map_or(text.to_owned(), |number| format!("MW{number:04}"))
}

/// Returns the number of an AADSTS code: alone, in a copied message, or without prefix. Problem codes cannot be confused with
/// it, since they have at most four digits.
fn parse_aadsts(text: &str) -> Option<u32> {
    let bare = || text.trim().parse().ok().filter(|number| *number > 9_999);
    aadsts::parse(text).or_else(|| aadsts::find_codes(text).first().copied()).or_else(bare)
}

/// Explains an AADSTS code.
fn explain_aadsts(entry: &AadstsCode) -> String {
    let findings: Vec<&str> = findings_of_cause(entry.cause).iter().map(|id| id.id()).collect();
    let delivery = if entry.cause.is_transient() {
        "the attempt is made again later; the profile is not suspended"
    } else {
        "the profile is suspended and its mail waits; no message fails for it"
    };
    format!(
        "{}.\n\nWhat to do: {}\n\n`verify` reports it as {}. While delivering: {delivery}.\nOAuth error, as a rule: {}\nSource: {}\nMicrosoft's page: {}",
        capitalize(&entry.meaning),
        entry.remedy,
        findings.join(", or "),
        entry.error,
        entry.source,
        aadsts::page(entry.code),
    )
}

/// The steps of an SMTP conversation, and their names.
const STEPS: [(&str, &str); 7] = [
    ("greeting", "the greeting"),
    ("tls", "STARTTLS"),
    ("login", "the login"),
    ("mail", "MAIL"),
    ("rcpt", "RCPT"),
    ("data", "DATA"),
    ("dot", "the end of the contents"),
];

/// Explains a reply for each step at which it may occur.
fn explain_reply(code: &str, text: &str) -> String {
    let has_reply_code = text.trim().bytes().take(3).all(|b| b.is_ascii_digit());
    let digits = match code.as_bytes().first() {
        Some(b'2') => "250",
        Some(b'4') => "450",
        _ => "550",
    };
    let reply = if has_reply_code { text.trim().to_owned() } else { format!("{digits} {}", text.trim()) };
    let mut meanings: Vec<(Vec<&str>, Meaning)> = Vec::new();
    for (step, name) in STEPS {
        let meaning = replies::classify_smtp(step, &reply);
        match meanings.iter_mut().find(|(_, known)| *known == meaning) {
            Some((names, _)) => names.push(name),
            None => meanings.push((vec![name], meaning)),
        }
    }
    let paragraph = |(names, meaning): &(Vec<&str>, Meaning)| {
        let remedy = meaning.remedy.map(|remedy| format!("\nWhat to do: {remedy}.")).unwrap_or_default();
        format!("At {}: {}; {}.{remedy}", names.join(", "), meaning.why, consequence(meaning))
    };
    let paragraphs: Vec<String> = meanings.iter().map(paragraph).collect();
    let example = if has_reply_code && code.len() == 3 { code.to_owned() } else { format!("{digits} {code}") };
    format!(
        "{}\n\nThe words of a reply count as well: `mailwright explain \"{example} TEXT\"` reads all of it.",
        paragraphs.join("\n\n")
    )
}

/// Returns the consequence of a reply for the mail.
fn consequence(meaning: &Meaning) -> &'static str {
    match (meaning.class, meaning.scope) {
        (Class::Delivered, _) => "the server has accepted it",
        (Class::Transient, _) => "the attempt is made again later",
        (Class::Throttled, _) => "nothing else leaves through this mailbox until the server accepts mail again",
        (Class::Auth, _) => "the profile is suspended and its mail waits",
        (Class::Size, _) => "the message is too large for this server, and fails",
        (Class::Permanent, RefusalScope::Recipient) => "this recipient fails, and the others get the message",
        (Class::Permanent, _) => "the message fails",
        (Class::Unknown, _) => "the message may have been accepted, and is `unknown`",
    }
}

/// Explains an error code of Microsoft Graph.
fn explain_graph(meaning: &Meaning) -> String {
    let verify = "`mailwright verify ENV PROFILE` finds the cause, and prints the commands that correct it";
    let remedy = match (meaning.remedy, meaning.class) {
        (Some(remedy), _) => {
            format!("{}. {verify}", remedy.replace("{sender}", "SENDER").replace("{client}", "CLIENT"))
        }
        (None, Class::Auth) => verify.to_owned(),
        (None, Class::Throttled) => "Nothing; `limits` of the profile keeps below the limit of the mailbox".to_owned(),
        (None, Class::Size) => "Send a smaller message, or a link to the document".to_owned(),
        (None, _) => "Nothing; `mailwright outbox show ENV ID` has the answer in full".to_owned(),
    };
    format!("{}.\n\nWhile delivering: {}.\n\nWhat to do: {remedy}.", capitalize(meaning.why), consequence(meaning))
}

/// Returns the three digits of a reply of a mail server without an enhanced code: `432`, or `550 User unknown`. Problem codes
/// below 400 may be written with three digits too.
fn reply_code(text: &str) -> Option<&str> {
    let text = text.trim();
    let digits = text.get(..3)?;
    let is_reply = matches!(digits.as_bytes(), [b'4' | b'5', b'0'..=b'5', b'0'..=b'9']);
    (is_reply && text.get(3..).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '-']))).then_some(digits)
}

/// Returns the text with a capital first letter.
fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// An explanation of a code.
#[derive(Serialize)]
struct Explanation {
    code: String,
    title: String,
    text: String,
}

impl Explanation {
    fn new(code: impl ToString, title: &str, text: impl Into<String>) -> Self {
        Self { code: code.to_string(), title: title.to_owned(), text: text.into() }
    }

    /// Finds the explanation of a code, or of a text with one.
    fn find(text: &str) -> Result<Self, CliError> {
        if let Ok(id) = text.parse::<FindingId>() {
            return Ok(Self::new(id, id.title(), id.explanation()));
        }
        if let Some(number) = parse_aadsts(text) {
            let entry = aadsts::find(number).ok_or_else(|| {
                CliError::coded(
                    Code::UnknownValue,
                    format!("cannot explain AADSTS{number}: it is not among the codes that are known here"),
                )
                .remedy(format!("Microsoft's page about it: {}", aadsts::page(number)))
            })?;
            return Ok(Self::new(format!("AADSTS{number}"), &entry.name, explain_aadsts(entry)));
        }
        if let Some(code) = replies::enhanced_code(text) {
            return Ok(Self::new(&code, "a reply of a mail server", explain_reply(&code, text)));
        }
        if let Some(code) = reply_code(text) {
            return Ok(Self::new(code, "a reply of a mail server", explain_reply(code, text)));
        }
        if let Some((code, meaning)) = replies::graph_code(text.trim()) {
            return Ok(Self::new(code, "an error of Microsoft Graph", explain_graph(&meaning)));
        }
        let code: Code = complete_code(text).parse().map_err(|_| {
            let text = shortened(text, 60);
            let error = CliError::coded(Code::UnknownValue, format!("unknown code `{}`", text.escape_debug()));
            let known = Code::ALL.iter().map(|code| code.id()).chain(FindingId::ALL.iter().map(|id| id.id()));
            match suggest::nearest(&text, known) {
                Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
                None => error.remedy("`mailwright explain` lists them."),
            }
        })?;
        Ok(Self::new(code, code.title(), code.explanation()))
    }
}

impl Runnable for Explain {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let is_json = self.output.format == Format::Json;
        let Some(text) = &self.code else {
            let codes = Code::ALL.iter().map(|code| (code.id(), code.title()));
            let all = codes.chain(FindingId::ALL.iter().map(|id| (id.id(), id.title())));
            if is_json {
                let codes: Vec<_> = all.map(|(code, title)| json!({ "code": code, "title": title })).collect();
                context.printer.json(&json!({ "codes": codes }));
            } else {
                let rows = all.map(|(code, title)| vec![code.to_owned(), title.to_owned()]);
                context.printer.out(&table(&["code", "problem"], rows));
            }
            return Ok(Exit::Done);
        };
        let explanation = Explanation::find(text)?;
        if is_json {
            context.printer.json(&json!(explanation));
        } else {
            let bold = anstyle::Style::new().bold();
            let Explanation { code, title, text } = explanation;
            context.printer.out(&format!("{bold}{code}: {title}{bold:#}\n\n{text}"));
        }
        Ok(Exit::Done)
    }
}
