//! `mailwright send`: submits a message to the service.

use std::{
    io::{IsTerminal as _, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    api::messages::{File, SUBMISSION_LIMIT, Submission},
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceOptions,
        environment::{self, Environment},
    },
    client::Client,
    delivery::content,
    model::{self, Code, CompanyId, Message, Status, address::NamedAddress, message::Document},
    text::printable,
};

/// Send a message through the service
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright send dev --company EDU1 --function documents-accounts-receivable \\\n      \
    --to customer@example.com --subject 'Invoice 4711' --text 'Please find it attached.' --attach invoice.pdf \\\n      \
    --document invoice/4711 --wait\n  \
    mailwright send dev --company EDU1 --function all-reports < report.eml\n  \
    mailwright send dev --company EDU1 --function all-reports --to boss@example.com < report.eml\n  \
    df -h | mailwright send dev --company EDU1 --function all-reports --to boss@example.com --subject Disks --text -\n\n\
    Without a body of its own (`--text`, `--html`, `--attach`) a whole message (RFC 5322) is read from standard input; it\n\
    goes to those whom it names, or to those whom `--to` names instead. Who it comes from is decided by the profile that\n\
    serves the company and the function. The token needs the role `sender` (or `admin`).\n\n\
    Exit code: 0 accepted, or with --wait delivered; 1 refused, or with --wait not delivered."
)]
pub(crate) struct Send {
    /// The environment
    environment: String,
    /// Whose mail it is
    #[arg(long)]
    company: String,
    /// What kind of mail; `mailwright functions` lists them
    #[arg(long)]
    function: String,
    /// The client that the user works in, for mail of the user interface: native, spa
    #[arg(long, value_name = "CLIENT")]
    client: Option<model::Client>,
    /// A recipient: a@example.com, or 'A Person <a@example.com>'; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,
    /// A recipient of a copy
    #[arg(long, value_name = "ADDRESS")]
    cc: Vec<String>,
    /// A recipient that nobody else sees
    #[arg(long, value_name = "ADDRESS")]
    bcc: Vec<String>,
    /// Where answers go
    #[arg(long, value_name = "ADDRESS")]
    reply_to: Vec<String>,
    /// The subject
    #[arg(long, default_value = "")]
    subject: String,
    /// The body as text; `-` reads it from standard input
    #[arg(long, allow_hyphen_values = true)]
    text: Option<String>,
    /// A file with the body as HTML
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// A file to attach; may be given several times
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    attach: Vec<PathBuf>,
    /// The document that the message carries, by which it is found and not sent twice: invoice/4711
    #[arg(long, value_name = "TYPE/NUMBER", value_parser = document)]
    document: Option<Document>,
    /// Send the document although it was sent before
    #[arg(long)]
    allow_duplicate: bool,
    /// Makes the submission safe to repeat [default: a new one each time]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait until it is delivered, or is not
    #[arg(long)]
    wait: bool,
    /// How long to wait, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS", requires = "wait")]
    timeout: u64,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    service: ServiceOptions,
}

/// What an address says behind its question mark.
type Query = Vec<(&'static str, String)>;

fn document(text: &str) -> Result<Document, String> {
    let (kind, number) = text.split_once('/').ok_or("write it as type/number, such as invoice/4711")?;
    if kind.is_empty() || number.is_empty() {
        return Err("write it as type/number, such as invoice/4711".to_owned());
    }
    Ok(Document { kind: kind.to_owned(), number: number.to_owned() })
}

impl Runnable for Send {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let company = environment::company(&self.company)?;
        self.check_addresses()?;
        let environment = Environment::find(context, &self.environment)?;
        let client = environment.client(context, &self.service)?;
        let runtime = context.runtime()?;
        let key = self.idempotency_key.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let accepted = if let Some(message) = self.whole()? {
            if let Some(note) = self.envelope_note() {
                context.printer.note(note);
            }
            runtime.block_on(client.submit_raw(&self.query(&company)?, message, Some(&key)))?
        } else {
            let submission = self.submission(company)?;
            runtime.block_on(client.submit(&submission, Some(&key)))?
        };
        if !self.wait {
            self.show(context, &accepted);
            return Ok(Exit::Done);
        }
        context.printer.note(&format!("{} is accepted; `{}` sends it ...", accepted.id, accepted.profile));
        let message = runtime.block_on(self.end(&client, accepted))?;
        self.show(context, &message);
        match message.status {
            Status::Delivered => Ok(Exit::Done),
            status if !status.is_final() => {
                let last = printable(&message.reason);
                let last = if last.is_empty() { String::new() } else { format!("; last: {last}") };
                let why =
                    format!("still {} after {} s, and the service goes on trying{last}", status.id(), self.timeout);
                let again = format!("mailwright outbox {} show {}", self.environment, message.id);
                let error = CliError::coded(Code::NotDelivered, why).remedy(again);
                Err(CliError { in_json: self.format == Format::Json, ..error })
            }
            status => {
                let said = printable(&message.reason);
                let said = if said.is_empty() { String::new() } else { format!(": {said}") };
                let error = CliError::coded(Code::NotDelivered, format!("it is {}{said}", status.id()));
                let again = format!("mailwright outbox {} show {}", self.environment, message.id);
                Err(CliError { in_json: self.format == Format::Json, ..error.remedy(again) })
            }
        }
    }
}

impl Send {
    /// Refuses what is not an address before anything is sent, with the option that it was given by.
    fn check_addresses(&self) -> Result<(), CliError> {
        let given = [("--to", &self.to), ("--cc", &self.cc), ("--bcc", &self.bcc), ("--reply-to", &self.reply_to)];
        for (option, texts) in given {
            for text in texts {
                if let Err(error) = NamedAddress::parse(text) {
                    let shown: String = text.escape_debug().to_string().chars().take(100).collect();
                    let message = format!("`{shown}` ({option}) is not an e-mail address: {error}");
                    return Err(CliError::coded(Code::InvalidAddress, message).remedy(error.remedy));
                }
            }
        }
        Ok(())
    }

    fn submission(&self, company: CompanyId) -> Result<Submission, CliError> {
        let mut submission = Submission::new(company, environment::function(&self.function)?);
        submission.client = self.client;
        submission.document.clone_from(&self.document);
        submission.allow_duplicate = self.allow_duplicate;
        submission.to.clone_from(&self.to);
        submission.cc.clone_from(&self.cc);
        submission.bcc.clone_from(&self.bcc);
        submission.reply_to.clone_from(&self.reply_to);
        submission.subject.clone_from(&self.subject);
        submission.text = match self.text.as_deref() {
            Some("-") => Some(decode(&piped()?, "standard input")?),
            text => text.map(str::to_owned),
        };
        if let Some(path) = &self.html {
            submission.html = Some(decode(&read(path)?, &format!("`{}`", path.display()))?);
        }
        for path in &self.attach {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            submission.attachments.push(File {
                media_type: media_type(&name).to_owned(),
                name,
                content: BASE64_STANDARD.encode(read(path)?),
                content_id: None,
            });
        }
        Ok(submission)
    }

    /// The whole message on standard input, if that is what is to be sent; none if it is made of parts.
    fn whole(&self) -> Result<Option<Vec<u8>>, CliError> {
        let has_recipients = !(self.to.is_empty() && self.cc.is_empty() && self.bcc.is_empty());
        let has_body = self.text.is_some() || self.html.is_some() || !self.attach.is_empty();
        let message = if has_body { Vec::new() } else { piped()? };
        if message.is_empty() {
            return if has_recipients {
                Ok(None)
            } else {
                Err(CliError::coded(Code::Usage, "nobody to send it to").remedy(
                    "Name recipients (`--to`), or give a whole message on standard input: mailwright send ENV ... < message.eml",
                ))
            };
        }
        let message = content::without_byte_order_mark(message).map_err(|error| {
            let remedy = error.remedy.clone().unwrap_or_default();
            CliError::coded(Code::Encoding, format!("cannot read standard input: {error}")).remedy(remedy)
        })?;
        if !is_message(&message) {
            return Err(CliError::coded(Code::Usage, "standard input is no message with a header (RFC 5322)")
                .remedy("If it is the text of the mail: `--text -`."));
        }
        let own = [("--subject", !self.subject.is_empty()), ("--reply-to", !self.reply_to.is_empty())];
        if let Some((option, _)) = own.iter().find(|(_, is_given)| *is_given) {
            return Err(CliError::coded(
                Code::Usage,
                format!("{option} does not go with a whole message, which has its own"),
            )
            .remedy("Leave it out; or, if standard input is the text of the mail: `--text -`."));
        }
        Ok(Some(message))
    }

    /// What a caller might take otherwise: recipients that are named here are not added to those of the message.
    fn envelope_note(&self) -> Option<&'static str> {
        let has_recipients = !(self.to.is_empty() && self.cc.is_empty() && self.bcc.is_empty());
        has_recipients.then_some(
            "Only the addresses of `--to`, `--cc` and `--bcc` get the message; its own `To` and `Cc` stay as they are and get nothing.",
        )
    }

    /// What a whole message is for, as the address says it.
    fn query(&self, company: &CompanyId) -> Result<Query, CliError> {
        let function = environment::function(&self.function)?;
        let mut query = vec![("company", company.to_string()), ("function", function.id().to_owned())];
        if let Some(document) = &self.document {
            query.push(("documentType", document.kind.clone()));
            query.push(("documentNumber", document.number.clone()));
        }
        if let Some(client) = self.client {
            query.push(("client", client.id().to_owned()));
        }
        if self.allow_duplicate {
            query.push(("allowDuplicate", "true".to_owned()));
        }
        // Those of the envelope: the address alone counts.
        let named = self.to.iter().chain(&self.cc).chain(&self.bcc);
        let address = |one: &String| NamedAddress::parse(one).map(|named| named.address.to_string());
        let addresses: Vec<String> = named.map(|one| address(one).unwrap_or_else(|_| one.clone())).collect();
        if !addresses.is_empty() {
            query.push(("recipients", addresses.join(",")));
        }
        Ok(query)
    }

    /// Asks until the message has come to its end, or nobody wants to wait any longer.
    async fn end(&self, client: &Client, accepted: Message) -> Result<Message, CliError> {
        let until = tokio::time::Instant::now() + Duration::from_secs(self.timeout);
        let mut pause = Duration::from_millis(50);
        let mut message = accepted;
        while !message.status.is_final() && tokio::time::Instant::now() < until {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
            message = client.message(message.id).await?.message;
        }
        Ok(message)
    }

    fn show(&self, context: &Context, message: &Message) {
        if self.format == Format::Json {
            context.printer.out(&format!("{:#}", serde_json::to_value(message).unwrap_or_default()));
        } else {
            context.printer.out(&format!("{} {} ({})", message.id, message.status.id(), message.profile));
        }
    }
}

/// What comes on standard input; nothing if that is a terminal.
fn piped() -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    if !std::io::stdin().is_terminal() {
        std::io::stdin()
            .take(SUBMISSION_LIMIT as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| CliError::coded(Code::Unreadable, format!("standard input: {error}")))?;
    }
    Ok(bytes)
}

/// Whether this begins with a header of mail: fields up to an empty line, and among them one that every program writes.
fn is_message(bytes: &[u8]) -> bool {
    const USUAL: [&str; 8] =
        ["from", "to", "subject", "date", "message-id", "mime-version", "content-type", "received"];
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut has_usual = false;
    for line in lines.take_while(|line| !line.is_empty()) {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            continue;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
        let name = line[..colon].trim_ascii_end();
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return false;
        }
        has_usual |= USUAL.iter().any(|usual| name.eq_ignore_ascii_case(usual.as_bytes()));
    }
    has_usual
}

/// The text of what was read, in UTF-8, or in UTF-16 with its mark.
fn decode(bytes: &[u8], what: &str) -> Result<String, CliError> {
    crate::text::decode(bytes).map_err(|encoding| {
        CliError::coded(Code::Encoding, format!("{what} is {encoding}")).remedy("Save it as UTF-8.")
    })
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |why: String| CliError::coded(Code::Unreadable, format!("cannot read `{}`: {why}", path.display()));
    let length = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if length > SUBMISSION_LIMIT as u64 {
        return Err(failed("it is larger than any message may be".to_owned()));
    }
    std::fs::read(path).map_err(|error| failed(error.to_string()))
}

/// The media types of what an ERP attaches; everything else is bytes.
fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).as_deref() {
        Some("pdf") => "application/pdf",
        Some("xml") => "application/xml",
        Some("ics") => "text/calendar",
        Some("json") => "application/json",
        Some("csv") => "text/csv",
        Some("txt" | "log") => "text/plain",
        Some("htm" | "html") => "text/html",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("zip") => "application/zip",
        Some("xlsx") => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        Some("docx") => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        _ => "application/octet-stream",
    }
}
