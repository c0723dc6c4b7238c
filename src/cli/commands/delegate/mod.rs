//! `mailwright delegate`: sends mail as the person at this desktop, who signs in to Microsoft here.
//!
//! `login` signs in and shows what waits, `send` submits one message and sends it, `run` sends the person's messages until it is
//! stopped. The service keeps the messages and records the outcomes. The tokens stay in the memory of this process; only the ID
//! token, which says who the person is, is sent to the service. `sign_in` has the sign-in and `loopback` its browser, `sending`
//! sends one message, `run` all of them, `sent_items` evaluates mails that were sent before, and `address_book` searches for
//! recipients. If consent is missing, another account signs in, or Graph cannot accept a message now, the message still waits.

mod address_book;
mod loopback;
mod run;
mod sending;
mod sent_items;
mod sign_in;

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;
use serde_json::json;
use uuid::Uuid;

use self::{run::Run, sending::DelegateSession, sign_in::UserSignIn};
use crate::{
    api::{delegates::DelegateMessage, messages::Submission},
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, ServiceArgs,
        args::outbound::read_authorities,
        environment,
        message_parts::{check_addresses, parse_document, read_attachment, read_text},
        ui::format::document_of,
        variables,
    },
    entra::{Endpoints, Http, http::HttpOptions},
    model::{Client, Cloud, Code, EnvironmentName, Function, Message, Status, cloud::CustomCloud, message::Document},
    sync::BlockingPool,
    text::printable,
};

/// The size of attachments from which a message may need a draft.
const LARGE_ATTACHMENTS: usize = 2_000_000;

/// Send mail as the signed-in user, from this desktop
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright delegate login prod\n  \
    mailwright delegate send prod --company EDU1 --to customer@example.com \\\n      \
    --subject 'Invoice 4711' --text 'Please see below.' --attach invoice.pdf\n  \
    mailwright delegate run prod\n\n\
    The person signs in with the browser, or with `--device-code`. Tokens stay in\n\
    the memory of this program and end with it. `--tenant` and `--application`, or\n\
    MAILWRIGHT_DELEGATE_TENANT and MAILWRIGHT_DELEGATE_APPLICATION, name the\n\
    application of the delegate profile; `--service` or MAILWRIGHT_SERVICE the\n\
    service.")]
pub(crate) struct Delegate {
    #[command(subcommand)]
    command: DelegateCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DelegateCommand {
    Login(Login),
    Send(Box<DelegateSend>),
    Run(Run),
    AddressBook(Box<address_book::AddressBook>),
}

/// The application, the account and the service.
#[derive(Debug, clap::Args)]
struct DelegateArgs {
    /// Environment of the service
    #[arg(value_name = "ENV")]
    environment: EnvironmentName,
    /// Tenant of the delegate profile [default: `MAILWRIGHT_DELEGATE_TENANT`]
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Client id of the delegate profile [default: `MAILWRIGHT_DELEGATE_APPLICATION`]
    #[arg(long, value_name = "ID")]
    application: Option<String>,
    /// Cloud of the tenant
    #[arg(long, value_enum, default_value_t = CloudName::Global, value_name = "CLOUD")]
    cloud: CloudName,
    /// Sign-in host of another cloud
    #[arg(long, value_name = "URL", requires = "graph_host", value_hint = clap::ValueHint::Url)]
    sign_in_host: Option<String>,
    /// Graph host of another cloud
    #[arg(long, value_name = "URL", requires = "sign_in_host", value_hint = clap::ValueHint::Url)]
    graph_host: Option<String>,
    /// Account to sign in with; another one is refused
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Sign in with a code on another device
    #[arg(long)]
    device_code: bool,
    /// Print the address of the sign-in, and open no browser
    #[arg(long)]
    no_browser: bool,
    /// PEM file with certificate authorities to trust in addition to the system's, for Microsoft's hosts
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    outgoing_ca_file: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

/// A cloud of Microsoft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CloudName {
    Global,
    UsGovernmentL4,
    UsGovernmentL5,
    China,
}

/// Sign in, and show the messages that wait for the account
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright delegate login prod --user ann@contoso.com\n  \
    mailwright delegate login prod --device-code\n\n\
    The sign-in is not kept: it shows that the application, the consent and the\n\
    service work for this account.")]
struct Login {
    #[command(flatten)]
    delegate: DelegateArgs,
}

/// Submit a message, and send it as the signed-in user
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright delegate send prod --company EDU1 --to customer@example.com \\\n      \
    --subject Offer --text 'As discussed.'\n  \
    mailwright delegate send prod --company EDU1 --to customer@example.com \\\n      \
    --subject 'Invoice 4711' --text - --attach invoice.pdf \\\n      \
    --document invoice/4711 < text.txt\n\n\
    The submission needs a token of the service with `submit` in `mail`\n\
    (MAILWRIGHT_TOKEN). The mail leaves from the mailbox of the account.\n\n\
    Exit code: 0 sent; 1 not sent, and the message says if it waits; 6 unknown.")]
struct DelegateSend {
    #[command(flatten)]
    delegate: DelegateArgs,
    /// Company that sends the mail
    #[arg(long)]
    company: String,
    /// Recipient: a@example.com, or 'A Person <a@example.com>' (can be repeated)
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,
    /// Recipient of a copy (can be repeated)
    #[arg(long, value_name = "ADDRESS")]
    cc: Vec<String>,
    /// Recipient of a blind copy (can be repeated)
    #[arg(long, value_name = "ADDRESS")]
    bcc: Vec<String>,
    /// Subject
    #[arg(long, default_value = "")]
    subject: String,
    /// Body as text; `-` reads it from standard input
    #[arg(long, allow_hyphen_values = true)]
    text: Option<String>,
    /// File to attach (can be repeated)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    attach: Vec<PathBuf>,
    /// Document in the message, to find it and to avoid sending it twice: invoice/4711
    #[arg(long, value_name = "TYPE/NUMBER", value_parser = parse_document)]
    document: Option<Document>,
    /// Send the document even if it was sent before
    #[arg(long)]
    allow_duplicate: bool,
    /// Key that makes the submission safe to repeat [default: a new key]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Runnable for Delegate {
    fn error_format(&self) -> ErrorFormat {
        let delegate = match &self.command {
            DelegateCommand::Login(login) => &login.delegate,
            DelegateCommand::Send(send) => &send.delegate,
            DelegateCommand::Run(run) => &run.delegate,
            DelegateCommand::AddressBook(search) => &search.delegate,
        };
        delegate.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let runtime = context.runtime()?;
        match &self.command {
            DelegateCommand::Login(login) => runtime.block_on(login.run(context)),
            DelegateCommand::Send(send) => runtime.block_on(send.run(context)),
            DelegateCommand::Run(run) => runtime.block_on(run.run(context)),
            DelegateCommand::AddressBook(search) => runtime.block_on(search.run(context)),
        }
    }
}

impl DelegateArgs {
    /// Returns an option, or the variable that replaces it.
    fn required(given: Option<&str>, variable: &'static str, option: &str) -> Result<String, CliError> {
        given.map(str::to_owned).or_else(|| variables::read(variable)).ok_or_else(|| {
            CliError::coded(Code::Usage, format!("neither {option} nor {variable} is set"))
                .remedy("Both are in the delegate profile: `tenant` and `client`.")
        })
    }

    fn cloud(&self) -> Cloud {
        match (&self.sign_in_host, &self.graph_host, self.cloud) {
            (Some(sign_in), Some(graph), _) => {
                Cloud::Custom(CustomCloud { sign_in: sign_in.clone(), graph: graph.clone() })
            }
            (_, _, CloudName::Global) => Cloud::Global,
            (_, _, CloudName::UsGovernmentL4) => Cloud::UsGovernmentL4,
            (_, _, CloudName::UsGovernmentL5) => Cloud::UsGovernmentL5,
            (_, _, CloudName::China) => Cloud::China,
        }
    }

    /// Signs in. `needs_draft`: the message to send is so large that it may need a draft.
    async fn open<'a>(
        &'a self,
        context: &'a Context,
        tenant: &'a str,
        application: &'a str,
        needs_draft: bool,
    ) -> Result<DelegateSession<'a>, CliError> {
        let endpoints = Endpoints::for_cloud(&self.cloud()).map_err(|error| CliError::new(error.to_string()))?;
        let authorities = self.outgoing_ca_file.as_deref().map(read_authorities).transpose()?;
        let options = HttpOptions { authorities, timeout: Duration::from_secs(100), ..HttpOptions::default() };
        let sign_in = UserSignIn {
            printer: &context.printer,
            http: Http::new(&options).map_err(CliError::new)?,
            endpoints,
            tenant,
            application,
            user: self.user.as_deref(),
            by_device_code: self.device_code,
            opens_browser: !self.no_browser,
            pool: BlockingPool::default(),
        };
        DelegateSession::open(context, &self.environment, &self.service, sign_in, needs_draft).await
    }

    /// Returns the tenant and the client id of the application.
    fn registration(&self) -> Result<(String, String), CliError> {
        let tenant = Self::required(self.tenant.as_deref(), variables::DELEGATE_TENANT, "`--tenant`")?;
        let application = self.application.as_deref();
        let application = Self::required(application, variables::DELEGATE_APPLICATION, "`--application`")?;
        Ok((tenant, application))
    }
}

impl Login {
    async fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (tenant, application) = self.delegate.registration()?;
        let mut session = self.delegate.open(context, &tenant, &application, false).await?;
        let messages = session.messages().await?;
        let signed_in = session.signed_in();
        if self.delegate.output.format == Format::Json {
            let account = json!({
                "person": signed_in.person, "name": signed_in.name, "address": signed_in.address,
                "permissions": signed_in.permissions, "messages": messages,
            });
            context.printer.json(&document_of(self.delegate.environment.as_str(), "account", &account));
            return Ok(Exit::Done);
        }
        context.printer.out(&format!(
            "signed in as {} <{}>, object {} of tenant {}",
            printable(&signed_in.name),
            printable(&signed_in.address),
            signed_in.person.object,
            signed_in.person.tenant
        ));
        for message in messages {
            context.printer.out(&describe(&message));
        }
        if session.has_more() {
            context.printer.out("... and older messages");
        }
        Ok(Exit::Done)
    }
}

impl DelegateSend {
    async fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let DelegateArgs { environment, service, output, .. } = &self.delegate;
        let (tenant, application) = self.delegate.registration()?;
        check_addresses(&[("--to", &self.to), ("--cc", &self.cc), ("--bcc", &self.bcc)])?;
        let submission = self.submission()?;
        // Before the sign-in: without a token of the service nothing can be submitted.
        let submitter = service.client(context, environment, None)?;
        let size: usize = submission.attachments.iter().map(|file| file.content.len() / 4 * 3).sum();
        let mut session = self.delegate.open(context, &tenant, &application, size >= LARGE_ATTACHMENTS).await?;
        let key = self.idempotency_key.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
        let id_token = &session.signed_in().tokens.id;
        let accepted = submitter.submit_of_person(&submission, Some(&key), id_token).await?;
        context.printer.note(&format!(
            "{} was accepted, and waits for {} ...",
            accepted.id,
            printable(&session.signed_in().address)
        ));
        let Some(message) = session.find(accepted.id).await? else {
            return Err(CliError::coded(
                Code::GraphSendFailed,
                format!(
                    "message {} does not wait for the account; its status was `{}`",
                    accepted.id,
                    accepted.status.id()
                ),
            )
            .remedy(format!("mailwright outbox show {environment} {}", accepted.id)));
        };
        let sent = session.send(&message).await?;
        show(context, environment, output.format, &sent);
        match sent.status {
            Status::Delivered => Ok(Exit::Done),
            Status::Unknown => Ok(Exit::OutcomeUnknown),
            _ => Ok(Exit::MessageFailed),
        }
    }

    fn submission(&self) -> Result<Submission, CliError> {
        let mut submission = Submission::new(environment::company(&self.company)?, Function::user_interface());
        submission.client = Some(Client::Native);
        submission.document.clone_from(&self.document);
        submission.allow_duplicate = self.allow_duplicate;
        submission.to.clone_from(&self.to);
        submission.cc.clone_from(&self.cc);
        submission.bcc.clone_from(&self.bcc);
        submission.subject.clone_from(&self.subject);
        submission.text = read_text(self.text.as_deref())?;
        submission.attachments = self.attach.iter().map(|path| read_attachment(path)).collect::<Result<_, _>>()?;
        Ok(submission)
    }
}

/// Describes a message in one line.
fn describe(message: &DelegateMessage) -> String {
    format!(
        "{} {} to {}: {}",
        message.id,
        message.status.id(),
        printable(&message.recipients.join(", ")),
        printable(&message.subject)
    )
}

fn show(context: &Context, environment: &EnvironmentName, format: Format, message: &Message) {
    if format == Format::Json {
        context.printer.json(&document_of(environment.as_str(), "message", message));
    } else {
        context.printer.out(&format!("{} {} ({})", message.id, message.status.id(), message.profile));
    }
}
