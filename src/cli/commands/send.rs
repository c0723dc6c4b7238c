//! `mailwright send`: submits a message to a service, in parts or as a complete message from standard input, and can wait for
//! its outcome.
//!
//! The service chooses the profile and the sender's address, composes the mail and delivers it. A submission that fails, or whose
//! answer is lost, is an error and not repeated; with the same `--idempotency-key` it can be sent again and is accepted once.
//! Addresses are checked before anything is sent. Nothing here speaks SMTP. With `--wait`, the exit code is that of the outcome:
//! 4 still queued after `--timeout`, 5 failed or cancelled, 6 unknown.

use std::{path::PathBuf, time::Duration};

use crate::{
    api::messages::{MessageDetail, Submission},
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, ServiceArgs,
        args::environment::EnvironmentArg,
        environment,
        message_parts::{check_addresses, decode, parse_document, read, read_attachment, read_stdin, read_text},
        ui::{format::document_of, outbox::waiting_times},
    },
    client::Client,
    mime::raw_message::strip_byte_order_mark,
    model::{
        self, Code, CompanyId, EnvironmentName, Message, Status, WaitReason, Waiting, address::NamedAddress,
        message::Document,
    },
    text::printable,
};

/// Send a message through the service
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright send dev --company EDU1 --function documents-accounts-receivable \\\n      \
    --to customer@example.com --subject 'Invoice 4711' --text 'Please find it attached.' --attach invoice.pdf \\\n      \
    --document invoice/4711 --wait\n  \
    mailwright send dev --company EDU1 --function all-reports < report.eml\n  \
    mailwright send dev --company EDU1 --function all-reports --to boss@example.com < report.eml\n  \
    df -h | mailwright send dev --company EDU1 --function all-reports --to boss@example.com --subject Disks --text -\n\n\
    Without a body (`--text`, `--html`, `--attach`), a complete message (RFC 5322)\n\
    is read from standard input. It is sent to the recipients in its header, or\n\
    instead to those of `--to`. The sender is that of the profile that serves the\n\
    company and the function. The token needs the role `sender` or `admin`.\n\n\
    Exit code: 0 accepted, or with --wait delivered; 1 error, such as a message that\n\
    the service rejects. With --wait also: 4 still queued, 5 failed or cancelled,\n\
    6 outcome unknown.")]
pub(crate) struct Send {
    #[command(flatten)]
    environment: EnvironmentArg,
    /// Company that sends the mail
    #[arg(long)]
    company: String,
    /// Function of the mail; `mailwright functions` lists them
    #[arg(long)]
    function: String,
    /// Client that the user works in, for mail of the user interface: native, spa
    #[arg(long, value_name = "CLIENT")]
    client: Option<model::Client>,
    /// Recipient: a@example.com, or 'A Person <a@example.com>' (can be repeated)
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,
    /// Recipient of a copy (can be repeated)
    #[arg(long, value_name = "ADDRESS")]
    cc: Vec<String>,
    /// Recipient of a blind copy (can be repeated)
    #[arg(long, value_name = "ADDRESS")]
    bcc: Vec<String>,
    /// Address for replies (can be repeated)
    #[arg(long, value_name = "ADDRESS")]
    reply_to: Vec<String>,
    /// Subject
    #[arg(long, default_value = "")]
    subject: String,
    /// Body as text; `-` reads it from standard input
    #[arg(long, allow_hyphen_values = true)]
    text: Option<String>,
    /// File with the body as HTML
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// File to attach (can be repeated)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    attach: Vec<PathBuf>,
    /// Document in the message, to find it and to avoid sending it twice: invoice/4711
    #[arg(long, value_name = "TYPE/NUMBER", value_parser = parse_document)]
    document: Option<Document>,
    /// Send the document even if it was sent before
    #[arg(long, alias = "again")]
    allow_duplicate: bool,
    /// Key that makes the submission safe to repeat [default: a new key]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait until the message is delivered or has failed
    #[arg(long)]
    wait: bool,
    /// Longest time to wait, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS", requires = "wait")]
    timeout: u64,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

/// Query parameters.
type Query = Vec<(&'static str, String)>;

impl Runnable for Send {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let company = environment::company(&self.company)?;
        self.check_addresses()?;
        let environment = self.environment.find(context)?;
        let client = environment.client(context, &self.service)?;
        let runtime = context.runtime()?;
        let key = self.idempotency_key.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let accepted = if let Some(message) = self.complete_message(&environment.name)? {
            if let Some(note) = self.envelope_note() {
                context.printer.note(note);
            }
            runtime.block_on(client.submit_raw(&self.query(&company)?, message, Some(&key)))?
        } else {
            let submission = self.submission(company)?;
            runtime.block_on(client.submit(&submission, Some(&key)))?
        };
        if !self.wait {
            self.show(context, &environment.name, &accepted);
            return Ok(Exit::Done);
        }
        context.printer.note(&format!("{} was accepted; profile `{}` sends it ...", accepted.id, accepted.profile));
        let message = runtime.block_on(self.wait_for_end(context, &client, accepted))?;
        self.show(context, &environment.name, &message);
        match message.status {
            Status::Delivered => Ok(Exit::Done),
            status if !status.is_final() => {
                let detail = runtime.block_on(client.message(message.id))?;
                let why =
                    format!("the message is still {} after {} s{}", status.id(), self.timeout, describe_wait(&detail));
                let show = format!("mailwright outbox show {} {}", environment.name, message.id);
                let command = detail.waiting.filter(|waiting| waiting.needs_operator);
                let again = command.and_then(|waiting| waiting.plain_command().map(str::to_owned)).unwrap_or(show);
                let error = CliError::coded(Code::NotDelivered, why).remedy(again);
                Err(CliError { in_json: self.output.format == Format::Json, exit: Exit::Unfinished, ..error })
            }
            status => {
                let reason = printable(&message.reason);
                let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                let error = CliError::coded(
                    Code::NotDelivered,
                    format!("the message was not delivered, its status is `{}`{reason}", status.id()),
                );
                let again = format!("mailwright outbox show {} {}", environment.name, message.id);
                let exit = if status == Status::Unknown { Exit::OutcomeUnknown } else { Exit::MessageFailed };
                Err(CliError { in_json: self.output.format == Format::Json, exit, ..error.remedy(again) })
            }
        }
    }
}

impl Send {
    /// Returns an error that names the option of an invalid address. Called before anything is sent.
    fn check_addresses(&self) -> Result<(), CliError> {
        check_addresses(&[("--to", &self.to), ("--cc", &self.cc), ("--bcc", &self.bcc), ("--reply-to", &self.reply_to)])
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
        submission.text = read_text(self.text.as_deref())?;
        if let Some(path) = &self.html {
            submission.html = Some(decode(&read(path)?, &format!("`{}`", path.display()))?);
        }
        submission.attachments = self.attach.iter().map(|path| read_attachment(path)).collect::<Result<_, _>>()?;
        Ok(submission)
    }

    /// Returns true if the command line names recipients.
    fn has_recipients(&self) -> bool {
        !(self.to.is_empty() && self.cc.is_empty() && self.bcc.is_empty())
    }

    /// Reads a complete message from standard input. Returns none if the options give the parts of the message.
    fn complete_message(&self, environment: &EnvironmentName) -> Result<Option<Vec<u8>>, CliError> {
        let has_body = self.text.is_some() || self.html.is_some() || !self.attach.is_empty();
        let message = if has_body { Vec::new() } else { read_stdin()? };
        if message.is_empty() {
            return if self.has_recipients() {
                Ok(None)
            } else {
                Err(CliError::coded(Code::Usage, "no recipient is given").remedy(format!(
                    "Name recipients with `--to`, or pass a complete message on standard input: mailwright send {environment} ... < message.eml",
                )))
            };
        }
        let message = strip_byte_order_mark(message).map_err(|error| {
            let remedy = error.remedy.clone().unwrap_or_default();
            CliError::coded(Code::Encoding, format!("cannot read standard input: {error}")).remedy(remedy)
        })?;
        if !is_message(&message) {
            return Err(CliError::coded(Code::Usage, "standard input is not a message with a header (RFC 5322)")
                .remedy("If it is the text of the mail, pass `--text -`."));
        }
        let own = [("--subject", !self.subject.is_empty()), ("--reply-to", !self.reply_to.is_empty())];
        if let Some((option, _)) = own.iter().find(|(_, is_given)| *is_given) {
            return Err(CliError::coded(
                Code::Usage,
                format!("{option} cannot be used with a complete message, which has its own"),
            )
            .remedy("Omit it; or, if standard input is the text of the mail, pass `--text -`."));
        }
        Ok(Some(message))
    }

    /// Returns a note about recipients on the command line: they replace those in the header.
    fn envelope_note(&self) -> Option<&'static str> {
        self.has_recipients().then_some(
            "The message is sent only to the addresses of `--to`, `--cc` and `--bcc`; its `To` and `Cc` fields are not changed and not used.",
        )
    }

    /// Returns the query parameters of a complete message.
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
        // The envelope contains only addresses, without display names.
        let named = self.to.iter().chain(&self.cc).chain(&self.bcc);
        let address = |text: &String| NamedAddress::parse(text).map(|named| named.address.to_string());
        let addresses: Vec<String> = named.map(|text| address(text).unwrap_or_else(|_| text.clone())).collect();
        if !addresses.is_empty() {
            query.push(("recipients", addresses.join(",")));
        }
        Ok(query)
    }

    /// Polls the message until its status is final or the timeout has passed.
    async fn wait_for_end(&self, context: &Context, client: &Client, accepted: Message) -> Result<Message, CliError> {
        let until = tokio::time::Instant::now() + Duration::from_secs(self.timeout);
        let mut pause = Duration::from_millis(50);
        let mut message = accepted;
        let mut noted = None;
        while !message.status.is_final() && tokio::time::Instant::now() < until {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
            let detail = client.message(message.id).await?;
            let reason = detail.waiting.as_ref().map(|waiting| waiting.reason);
            if reason.is_some_and(|reason| reason != WaitReason::Scheduled) && reason != noted {
                if let Some(waiting) = &detail.waiting {
                    context.printer.note(&format!(
                        "It waits: {}{} ...",
                        printable(&waiting.describe()),
                        times_of(waiting)
                    ));
                }
                noted = reason;
            }
            message = detail.message;
        }
        Ok(message)
    }

    fn show(&self, context: &Context, environment: &EnvironmentName, message: &Message) {
        if self.output.format == Format::Json {
            context.printer.json(&document_of(environment.as_str(), "message", message));
        } else {
            context.printer.out(&format!("{} {} ({})", message.id, message.status.id(), message.profile));
        }
    }
}

/// Returns why a message waits, as the end of a sentence.
fn describe_wait(detail: &MessageDetail) -> String {
    let Some(waiting) = &detail.waiting else { return String::new() };
    if waiting.reason == WaitReason::Scheduled {
        let last = printable(&waiting.last_reply);
        let last = if last.is_empty() { String::new() } else { format!("; last error: {last}") };
        return format!("; the service continues to retry{last}");
    }
    let continues = if waiting.needs_operator { "" } else { "; the service continues to retry" };
    format!("{continues}: {}{}", printable(&waiting.describe()), times_of(waiting))
}

/// Returns since when and until when a message waits, in parentheses.
fn times_of(waiting: &Waiting) -> String {
    let times = waiting_times(waiting);
    if times.is_empty() { times } else { format!(" ({times})") }
}

/// Returns true if the bytes begin with a message header: fields up to an empty line, including a common one.
fn is_message(bytes: &[u8]) -> bool {
    const COMMON: [&str; 8] =
        ["from", "to", "subject", "date", "message-id", "mime-version", "content-type", "received"];
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut has_common = false;
    for line in lines.take_while(|line| !line.is_empty()) {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            continue;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
        let name = line[..colon].trim_ascii_end();
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return false;
        }
        has_common |= COMMON.iter().any(|common| name.eq_ignore_ascii_case(common.as_bytes()));
    }
    has_common
}
