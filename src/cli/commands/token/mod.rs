//! `mailwright token`: creates, lists, confirms and revokes the tokens that a service accepts.
//!
//! `named` changes all tokens of a name in many environments. A new token is printed or written to a file once (an existing file is
//! refused, and a token that cannot be written is revoked); the service keeps only its hash. The roles and their rights are defined
//! in [`crate::model::token`] and enforced by the service.

mod named;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use named::{NamedAction, NamedChange};
use serde_json::json;

use crate::{
    api::NewToken,
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, ServiceArgs,
        args::{
            environment::EnvironmentArg,
            environments::{EnvironmentsArgs, SelectionArgs},
            fleet::FleetArgs,
            service::{PLACEHOLDER, expand_environment},
            values::parse_duration,
        },
        environment::{Environment, check_service},
        exposure::warn_if_unignored,
        fleet::Fleet,
        short_id::find_id,
        ui::{
            fleet_report::{Significance, Summary, SummaryLabels},
            format::document_of,
            table::table,
        },
    },
    client::Client,
    fs::write_private,
    model::{
        Code, CompanyId, EnvironmentName, Function,
        token::{Role, Scope, Token},
    },
    text::{printable, shell::quote_posix},
    time::local::{format_day, format_time},
};

/// The length of a token's id.
const ID_LENGTH: usize = 12;

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
    mailwright token create 'cust-*' --name pipeline --role deployer --out 'tokens/{environment}'\n  \
    mailwright token list 'cust-*'                    equal ones together\n  \
    mailwright token revoke 'cust-*' --name pipeline")]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TokenCommand {
    /// Create a token; it is printed once, alone, on standard output
    Create {
        #[command(flatten)]
        environments: EnvironmentsArgs,
        /// Name of the owner; shown in the audit log and in drift reports
        #[arg(long)]
        name: String,
        /// Role: bound, sender, viewer, planner, deployer or admin
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
        /// File for the token instead of standard output; `{environment}` in its name is replaced by the environment's name
        #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        out: Option<PathBuf>,
        /// Output format; `json` includes the token's id and expiry
        #[arg(long, value_parser = Format::text_or_json(), default_value = Format::HUMAN, value_name = "FORMAT")]
        format: Format,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// List the tokens, without their secrets
    List(FleetArgs),
    /// Confirm tokens that are suspended after a restore from a backup
    #[command(
        override_usage = "mailwright token confirm [ENV] ID...\n       mailwright token confirm [ENV...] --name NAME [--yes]"
    )]
    Confirm {
        /// Environment and ids of the tokens, as `list` shows them; with `--name`, environments
        #[arg(value_name = "ENV ID...|ENV...")]
        names: Vec<String>,
        /// Confirm all suspended tokens with this name, in one or many environments
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Revoke a token; it is refused from then on
    #[command(
        override_usage = "mailwright token revoke [ENV] ID\n       mailwright token revoke [ENV...] --name NAME [--yes]"
    )]
    Revoke {
        /// Environment and id of the token, as `list` shows it; with `--name`, environments
        #[arg(value_name = "ENV ID|ENV...")]
        names: Vec<String>,
        /// Revoke all tokens with this name, in one or many environments
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

/// The arguments that confirming and revoking share.
#[derive(Debug, clap::Args)]
struct ChangeArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// With `--name`: skip the confirmation prompt
    #[arg(long, short = 'y', requires = "name")]
    yes: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

impl Runnable for TokenArgs {
    fn error_format(&self) -> ErrorFormat {
        match &self.command {
            TokenCommand::Create { format, .. } => (*format).into(),
            TokenCommand::List(args) => args.output.format.into(),
            TokenCommand::Confirm { change, .. } | TokenCommand::Revoke { change, .. } => change.output.format.into(),
        }
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        match &self.command {
            TokenCommand::Create {
                environments,
                name,
                role,
                companies,
                functions,
                expires,
                replaces,
                out,
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
                let creation = Creation { wanted, out: out.as_deref(), format: *format, service };
                creation.run(context, environments)
            }
            TokenCommand::List(FleetArgs { environments, output, service }) => {
                let labels = SummaryLabels { notable: ("listed", "with tokens"), quiet: ("empty", "without tokens") };
                let fleet = Fleet::from_args(context, environments, service)?;
                fleet.run(context, output.format, &labels, |context, environment| list(context, environment, service))
            }
            TokenCommand::Confirm { names, name: Some(name), change } => {
                let ChangeArgs { selection, yes, output, service } = change;
                let change = NamedChange { action: NamedAction::Confirm, name, yes: *yes };
                change.run(context, names, selection, output.format, service)
            }
            TokenCommand::Confirm { names, name: None, change: ChangeArgs { output, service, .. } } => {
                let (environment, ids) = split_ids(context, names)?;
                if ids.is_empty() {
                    return Err(CliError::coded(Code::Usage, "an id is required").remedy(
                        "Use: mailwright token confirm ENV ID..., or: mailwright token confirm ENV... --name NAME",
                    ));
                }
                confirm_tokens(context, &environment, &ids, output.format, service)
            }
            TokenCommand::Revoke { names, name: Some(name), change } => {
                let ChangeArgs { selection, yes, output, service } = change;
                let change = NamedChange { action: NamedAction::Revoke, name, yes: *yes };
                change.run(context, names, selection, output.format, service)
            }
            TokenCommand::Revoke { names, name: None, change: ChangeArgs { output, service, .. } } => {
                let (environment, ids) = split_ids(context, names)?;
                match ids.as_slice() {
                    [id] => revoke(context, &environment, id, output.format, service),
                    _ => Err(CliError::coded(Code::Usage, "exactly one environment and one id are required")
                        .remedy("Use: mailwright token revoke ENV ID, or: mailwright token revoke ENV... --name NAME")),
                }
            }
        }
    }
}

/// The tokens to create: one in each environment.
struct Creation<'a> {
    wanted: NewToken,
    /// The file that each is written to.
    out: Option<&'a Path>,
    format: Format,
    service: &'a ServiceArgs,
}

impl Creation<'_> {
    fn run(&self, context: &Context, environments: &EnvironmentsArgs) -> Result<Exit, CliError> {
        let fleet = Fleet::from_args(context, environments, self.service)?;
        if let Fleet::Many(_) = &fleet {
            let has_placeholder = self.out.is_some_and(|out| out.to_string_lossy().contains(PLACEHOLDER));
            if !has_placeholder && self.format != Format::Json {
                return Err(CliError::coded(
                    Code::SeveralEnvironments,
                    "several tokens cannot be printed on standard output",
                )
                .remedy("Write each to a file: `--out 'tokens/{environment}'`. `--format json` prints all."));
            }
            if self.out.is_some() && !has_placeholder {
                return Err(CliError::coded(Code::Usage, "several tokens cannot be written to one file")
                    .remedy("Write each to a separate file: `--out 'tokens/{environment}'`."));
            }
            if self.wanted.replaces.is_some() {
                return Err(CliError::coded(
                    Code::SeveralEnvironments,
                    "`--replaces` names a token of one environment",
                )
                .remedy("Name one environment."));
            }
        }
        let labels = SummaryLabels { notable: ("created", "created"), quiet: ("unchanged", "unchanged") };
        fleet.run(context, self.format, &labels, |context, environment| self.create(context, environment))
    }

    fn create(&self, context: &Context, environment: &Environment) -> Result<Summary, CliError> {
        let file = self.out.map(|out| expand_environment(out.to_owned(), &environment.name));
        if let Some(file) = file.as_ref().filter(|file| file.symlink_metadata().is_ok()) {
            return Err(CliError::coded(Code::Unwritable, format!("cannot write `{}`: it exists", file.display()))
                .remedy("Remove the file, or name another one. No token was created."));
        }
        let client = environment.client(context, self.service)?;
        let runtime = context.runtime()?;
        let created = runtime.block_on(async {
            check_service(&client, &environment.name).await?;
            let mut wanted = self.wanted.clone();
            if let Some(replaced) = &self.wanted.replaces {
                wanted.replaces = Some(find_token_id(&client, &environment.name, replaced).await?);
            }
            client.create_token(&wanted).await.map_err(CliError::from)
        })?;
        let (id, role) = (printable(&created.token.id).into_owned(), self.wanted.role.id());
        if let Some(file) = &file
            && let Err(error) = write_token(file, &created.secret)
        {
            // A token that cannot be stored is of no use to anyone.
            let revoked = runtime.block_on(client.revoke_token(&created.token.id)).is_ok();
            let state = if revoked {
                "it was revoked".to_owned()
            } else {
                format!("revoke it: mailwright token revoke {} {}", environment.name, quote_posix(&created.token.id))
            };
            return Err(CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", file.display()))
                .detail(format!("the token {id} was created; {state}")));
        }
        if let Some(file) = &file {
            warn_if_unignored(context, file);
        }
        let until = created
            .token
            .expires_at
            .map_or("It does not expire.".to_owned(), |end| format!("It expires at {}.", format_time(end)));
        let name = printable(&created.token.name).into_owned();
        let shown_once = if file.is_none() { " It cannot be shown again:" } else { "" };
        context.printer.note(&format!("Token {id} of `{name}`, role {role}. {until}{shown_once}"));
        let mut document = document_of(environment.name.as_str(), "created", &created);
        let text = match &file {
            Some(file) => {
                document["secret"] = json!(null);
                document["file"] = json!(file);
                format!("wrote {}", file.display())
            }
            None => created.secret,
        };
        Ok(Summary::new(Significance::Listed, format!("created {role} `{name}`"), text, document))
    }
}

/// Finds the token whose id begins with a text.
async fn find_token_id(client: &Client, environment: &EnvironmentName, text: &str) -> Result<String, CliError> {
    let ids: Vec<String> = client.tokens().await?.tokens.into_iter().map(|token| token.id).collect();
    find_id("token", &ids, text, &format!("mailwright token list {environment}"))
}

/// Writes a token to a file that others cannot read.
fn write_token(file: &Path, token: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    write_private(file, format!("{token}\n").as_bytes())
}

/// Splits the names of a command line into the environment, which can be omitted if there is only one, and ids.
fn split_ids(context: &Context, names: &[String]) -> Result<(Environment, Vec<String>), CliError> {
    let (environment, ids) = match names.split_first() {
        Some((first, ids)) => (Some(first.clone()), ids),
        None => (None, names),
    };
    let is_id = |text: &str| text.len() == ID_LENGTH && text.chars().all(|character| character.is_ascii_hexdigit());
    EnvironmentArg { environment }.find_before(context, ids, is_id)
}

fn confirm_tokens(
    context: &Context,
    environment: &Environment,
    ids: &[String],
    format: Format,
    service: &ServiceArgs,
) -> Result<Exit, CliError> {
    let client = environment.client(context, service)?;
    let runtime = context.runtime()?;
    runtime.block_on(check_service(&client, &environment.name))?;
    let mut confirmed = Vec::new();
    for id in ids {
        let token = runtime.block_on(async {
            let id = find_token_id(&client, &environment.name, id).await?;
            client.confirm_token(&id).await.map_err(CliError::from)
        })?;
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
    environment: &Environment,
    id: &str,
    format: Format,
    service: &ServiceArgs,
) -> Result<Exit, CliError> {
    let client = environment.client(context, service)?;
    let token = context.runtime()?.block_on(async {
        check_service(&client, &environment.name).await?;
        let id = find_token_id(&client, &environment.name, id).await?;
        client.revoke_token(&id).await.map_err(CliError::from)
    })?;
    if format == Format::Json {
        context.printer.json(&document_of(environment.name.as_str(), "token", &token));
    } else {
        context.printer.out(&format!("Token {} of `{}` is revoked.", printable(&token.id), printable(&token.name)));
    }
    Ok(Exit::Done)
}

fn list(context: &Context, environment: &Environment, service: &ServiceArgs) -> Result<Summary, CliError> {
    let client = environment.client(context, service)?;
    let list = context.runtime()?.block_on(async {
        check_service(&client, &environment.name).await?;
        client.tokens().await.map_err(CliError::from)
    })?;
    let now = context.clock.now();
    let describe_state = |token: &Token| match (token.revoked_at, token.expires_at) {
        (Some(at), _) => format!("revoked {}", format_day(at)),
        (None, _) if token.suspended_at.is_some() => "suspended: confirm or revoke it".to_owned(),
        (None, Some(end)) if end <= now => format!("expired {}", format_day(end)),
        (None, Some(end)) => format!("until {}", format_day(end)),
        (None, None) => "does not expire".to_owned(),
    };
    let rows = list.tokens.iter().map(|token| {
        vec![
            token.id.clone(),
            token.name.clone(),
            token.role.id().to_owned(),
            describe_limit(token.scope.companies.iter().map(CompanyId::as_str)),
            describe_limit(token.scope.functions.iter().map(|function| function.id())),
            format_time(token.created_at),
            describe_state(token),
        ]
    });
    let text = table(&["id", "name", "role", "companies", "functions", "created", "state"], rows);
    let in_effect = list.tokens.iter().filter(|token| token.is_in_effect(now));
    let described =
        in_effect.map(|token| format!("{} ({}, {})", printable(&token.name), token.role.id(), describe_state(token)));
    let line = described.collect::<Vec<_>>().join(", ");
    let significance = if line.is_empty() { Significance::Quiet } else { Significance::Listed };
    Ok(Summary::new(significance, line, text, document_of(environment.name.as_str(), "tokens", &list)))
}

/// Lists what a token is limited to; `all` if it is not limited.
fn describe_limit<'a>(limits: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = limits.collect();
    if names.is_empty() { "all".to_owned() } else { names.join(", ") }
}
