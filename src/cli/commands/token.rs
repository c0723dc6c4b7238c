//! `mailwright token`: creates, lists and revokes the tokens that the service accepts.

use std::time::Duration;

use serde_json::json;

use crate::{
    api::NewToken,
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceArgs,
        args::values::parse_duration,
        environment::{Environment, check_service},
        ui::{format::document_of, table::table, wording::format_time},
    },
    model::{
        CompanyId, Function,
        token::{Role, Scope},
    },
    text::printable,
};

/// The lifetime of a token; none if it does not expire.
#[derive(Clone, Copy, Debug)]
struct Lifetime(Option<Duration>);

/// Parses a lifetime: a duration, or `never`.
fn parse_lifetime(text: &str) -> Result<Lifetime, CliError> {
    if text == "never" {
        return Ok(Lifetime(None));
    }
    parse_duration(text).map(|time| Lifetime(Some(time)))
}

/// Create, list and revoke the tokens that the service accepts
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright token create prod --name pipeline --role deployer > token\n  \
    mailwright token create prod --name erp --role sender --companies EDU1 --functions all-documents > token\n  \
    mailwright token list prod\n  \
    mailwright token revoke prod 1f0c63a2b4d5\n  \
    mailwright token create prod --name erp --role sender --replaces 1f0c63a2b4d5 > token\n  \
    mailwright token create prod --name robot --role viewer --expires never > token")]
pub(crate) struct Token {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TokenCommand {
    /// Create a token; it is printed once, alone, on standard output
    Create {
        /// Environment
        environment: String,
        /// Name of the owner; shown in the audit log and in drift reports
        #[arg(long)]
        name: String,
        /// Role: sender, viewer, planner, deployer or admin
        #[arg(long)]
        role: Role,
        /// Companies that a sender is limited to, separated by commas
        #[arg(long, value_name = "COMPANIES", value_delimiter = ',')]
        companies: Vec<CompanyId>,
        /// Functions that a sender is limited to, separated by commas
        #[arg(long, value_name = "FUNCTIONS", value_delimiter = ',')]
        functions: Vec<Function>,
        /// Lifetime: 12h, 4w, or `never`
        #[arg(long, alias = "expires-in", value_name = "TIME", default_value = "90d", value_parser = parse_lifetime)]
        expires: Lifetime,
        /// Id of the token to replace: name, mail and idempotency keys are taken over
        #[arg(long, value_name = "ID")]
        replaces: Option<String>,
        /// Output format; `json` includes the token's id and expiry
        #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
        format: Format,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// List the tokens, without their secrets
    List {
        /// Environment
        environment: String,
        /// Output format
        #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
        format: Format,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Confirm tokens that are suspended after a restore from a backup
    Confirm {
        /// Environment
        environment: String,
        /// Ids of the tokens, as `list` shows them
        #[arg(required = true)]
        ids: Vec<String>,
        /// Output format
        #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
        format: Format,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Revoke a token; it is refused from then on
    Revoke {
        /// Environment
        environment: String,
        /// Id of the token, as `list` shows it
        id: String,
        /// Output format
        #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
        format: Format,
        #[command(flatten)]
        service: ServiceArgs,
    },
}

impl Runnable for Token {
    fn error_format(&self) -> ErrorFormat {
        match &self.command {
            TokenCommand::Create { format, .. }
            | TokenCommand::List { format, .. }
            | TokenCommand::Confirm { format, .. }
            | TokenCommand::Revoke { format, .. } => (*format).into(),
        }
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        match &self.command {
            TokenCommand::Create {
                environment,
                name,
                role,
                companies,
                functions,
                expires,
                replaces,
                format,
                service,
            } => {
                let wanted = NewToken {
                    name: name.clone(),
                    role: *role,
                    scope: Scope {
                        companies: companies.iter().cloned().collect(),
                        functions: functions.iter().copied().collect(),
                    },
                    expires_at: expires.0.map(|time| context.clock.now() + time),
                    replaces: replaces.clone(),
                };
                create(context, environment, &wanted, *format, service)
            }
            TokenCommand::List { environment, format, service } => list(context, environment, *format, service),
            TokenCommand::Confirm { environment, ids, format, service } => {
                confirm(context, environment, ids, *format, service)
            }
            TokenCommand::Revoke { environment, id, format, service } => {
                revoke(context, environment, id, *format, service)
            }
        }
    }
}

fn create(
    context: &Context,
    environment: &str,
    wanted: &NewToken,
    format: Format,
    service: &ServiceArgs,
) -> Result<Exit, CliError> {
    let environment = Environment::find(context, environment)?;
    let client = environment.client(context, service)?;
    let created = context.runtime()?.block_on(async {
        check_service(&client, &environment.name).await?;
        client.create_token(wanted).await.map_err(CliError::from)
    })?;
    let until = created
        .token
        .expires_at
        .map_or("It does not expire.".to_owned(), |end| format!("It expires at {}.", format_time(end)));
    context.printer.note(&format!(
        "Token {} of `{}`, role {}. {until} It cannot be shown again:",
        printable(&created.token.id),
        printable(&created.token.name),
        wanted.role.id()
    ));
    if format == Format::Json {
        context.printer.json(&document_of(environment.name.as_str(), "created", &created));
    } else {
        context.printer.document(&created.secret);
    }
    Ok(Exit::Done)
}

fn confirm(
    context: &Context,
    environment: &str,
    ids: &[String],
    format: Format,
    service: &ServiceArgs,
) -> Result<Exit, CliError> {
    let environment = Environment::find(context, environment)?;
    let client = environment.client(context, service)?;
    let runtime = context.runtime()?;
    runtime.block_on(check_service(&client, &environment.name))?;
    let mut confirmed = Vec::new();
    for id in ids {
        let token = runtime.block_on(client.confirm_token(id))?;
        if format != Format::Json {
            context.printer.out(&format!(
                "Token {} of `{}` is confirmed.",
                printable(&token.id),
                printable(&token.name)
            ));
        }
        confirmed.push(token);
    }
    if format == Format::Json {
        context.printer.json(&json!({ "environment": environment.name, "tokens": confirmed }));
    }
    Ok(Exit::Done)
}

fn revoke(
    context: &Context,
    environment: &str,
    id: &str,
    format: Format,
    service: &ServiceArgs,
) -> Result<Exit, CliError> {
    let environment = Environment::find(context, environment)?;
    let client = environment.client(context, service)?;
    let token = context.runtime()?.block_on(async {
        check_service(&client, &environment.name).await?;
        client.revoke_token(id).await.map_err(CliError::from)
    })?;
    if format == Format::Json {
        context.printer.json(&document_of(environment.name.as_str(), "token", &token));
    } else {
        context.printer.out(&format!("Token {} of `{}` is revoked.", printable(&token.id), printable(&token.name)));
    }
    Ok(Exit::Done)
}

fn list(context: &Context, environment: &str, format: Format, service: &ServiceArgs) -> Result<Exit, CliError> {
    let environment = Environment::find(context, environment)?;
    let client = environment.client(context, service)?;
    let list = context.runtime()?.block_on(async {
        check_service(&client, &environment.name).await?;
        client.tokens().await.map_err(CliError::from)
    })?;
    if format == Format::Json {
        context.printer.json(&document_of(environment.name.as_str(), "tokens", &list));
        return Ok(Exit::Done);
    }
    let now = context.clock.now();
    let rows = list.tokens.iter().map(|token| {
        let state = match (token.revoked_at, token.expires_at) {
            (Some(at), _) => format!("revoked {}", at.strftime("%Y-%m-%d")),
            (None, _) if token.suspended_at.is_some() => "suspended: confirm or revoke it".to_owned(),
            (None, Some(end)) if end <= now => format!("expired {}", end.strftime("%Y-%m-%d")),
            (None, Some(end)) => format!("until {}", end.strftime("%Y-%m-%d")),
            (None, None) => "does not expire".to_owned(),
        };
        vec![
            token.id.clone(),
            token.name.clone(),
            token.role.id().to_owned(),
            describe_limit(token.scope.companies.iter().map(CompanyId::as_str)),
            describe_limit(token.scope.functions.iter().map(|function| function.id())),
            format_time(token.created_at),
            state,
        ]
    });
    context.printer.out(&table(&["id", "name", "role", "companies", "functions", "created", "state"], rows));
    Ok(Exit::Done)
}

/// Lists what a token is limited to; `all` if it is not limited.
fn describe_limit<'a>(limits: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = limits.collect();
    if names.is_empty() { "all".to_owned() } else { names.join(", ") }
}
