//! `mailwright operator`: adds, lists, confirms and removes the people who sign in to the console with a passkey, and makes their
//! enrolment links.
//!
//! A link is printed once, alone, on standard output; the service keeps only its hash. Operators are named by their names, which
//! are unique for ever. Passkeys are removed in the console. The rules are in `service::operators`.

use std::time::Duration;

use serde_json::json;

use crate::{
    api::operators::{NewEnrolmentLink, NewOperator, OperatorInvited},
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, ServiceArgs,
        args::{environment::EnvironmentArg, fleet::FleetArgs, values::parse_duration},
        environment::{Environment, check_service},
        fleet::Fleet,
        ui::{
            confirm::confirm,
            fleet_report::{Significance, Summary, SummaryLabels},
            format::document_of,
            table::table,
        },
    },
    client::Client,
    model::{
        Code, CompanyId, Function,
        operator::Operator,
        token::{Role, Scope},
    },
    text::printable,
    time::local::{format_day, format_time},
};

/// Add, list and remove the people who sign in to the console with a passkey
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright operator add prod --name ann             rights by access.yaml\n  \
    mailwright operator add prod --name ann --role viewer --expires-in 72h\n  \
    mailwright operator list prod\n  \
    mailwright operator link prod ann                   for a lost device\n  \
    mailwright operator remove prod ann\n  \
    mailwright operator confirm prod ann                after a restore\n\n\
    Give a link to the person on a way that others cannot read. It works once. It\n\
    begins with the address that `mailwright serve --public-url` sets.")]
pub(crate) struct OperatorArgs {
    #[command(subcommand)]
    command: OperatorCommand,
}

#[derive(Debug, clap::Subcommand)]
enum OperatorCommand {
    /// Add an operator; the enrolment link is printed once, alone, on standard output
    #[command(after_help = "Examples:\n  \
        mailwright operator add prod --name ann\n  \
        mailwright operator add prod --name ann --role viewer --expires-in 72h")]
    Add {
        #[command(flatten)]
        environment: EnvironmentArg,
        /// Name of the person; unique for ever, also after a removal
        #[arg(long)]
        name: String,
        /// Role: bound, sender, viewer, planner, deployer or admin
        #[arg(long, default_value = "bound")]
        role: Role,
        /// Companies that a sender is limited to, separated by commas
        #[arg(long, value_name = "COMPANIES", value_delimiter = ',')]
        companies: Vec<CompanyId>,
        /// Functions that a sender is limited to, separated by commas
        #[arg(long, value_name = "FUNCTIONS", value_delimiter = ',')]
        functions: Vec<Function>,
        #[command(flatten)]
        link: LinkArgs,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// List the operators with their passkeys and open links
    #[command(after_help = "Examples:\n  \
        mailwright operator list prod\n  \
        mailwright operator list prod --format json")]
    List(FleetArgs),
    /// Make another enrolment link; the person who opens it can sign in as the operator
    #[command(after_help = "Examples:\n  \
        mailwright operator link prod ann")]
    Link {
        #[command(flatten)]
        environment: EnvironmentArg,
        /// Name of the operator
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        link: LinkArgs,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Confirm an operator that is suspended after a restore from a backup
    #[command(after_help = "Examples:\n  \
        mailwright operator confirm prod ann")]
    Confirm {
        #[command(flatten)]
        environment: EnvironmentArg,
        /// Name of the operator
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Remove an operator for ever; its sessions end
    #[command(after_help = "Examples:\n  \
        mailwright operator remove prod ann")]
    Remove {
        #[command(flatten)]
        environment: EnvironmentArg,
        /// Name of the operator
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Skip the confirmation prompt
        #[arg(long, short = 'y')]
        yes: bool,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        service: ServiceArgs,
    },
}

/// The time for which a link is valid.
#[derive(Clone, Copy, Debug, clap::Args)]
struct LinkArgs {
    /// Time for which the link is valid, at most 7d
    #[arg(long, alias = "expires", value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    expires_in: Duration,
}

/// The words for the name of an operator in messages.
const NAME: &str = "the name of an operator";

impl Runnable for OperatorArgs {
    fn error_format(&self) -> ErrorFormat {
        match &self.command {
            OperatorCommand::Add { output, .. }
            | OperatorCommand::Link { output, .. }
            | OperatorCommand::Confirm { output, .. }
            | OperatorCommand::Remove { output, .. } => output.format.into(),
            OperatorCommand::List(args) => args.output.format.into(),
        }
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        match &self.command {
            OperatorCommand::Add { environment, name, role, companies, functions, link, output, service } => {
                let wanted = NewOperator {
                    name: name.clone(),
                    role: *role,
                    scope: Scope {
                        companies: companies.iter().cloned().collect(),
                        functions: functions.iter().copied().collect(),
                    },
                    link_ends_at: Some(context.clock.now() + link.expires_in),
                };
                let target = Target::new(context, environment.find(context)?, service)?;
                let invited = target.block_on(async { Ok(target.client.create_operator(&wanted).await?) })?;
                target.print_link(&invited, output.format)
            }
            OperatorCommand::List(FleetArgs { environments, output, service }) => {
                let labels =
                    SummaryLabels { notable: ("listed", "with operators"), quiet: ("empty", "without operators") };
                let fleet = Fleet::from_args(context, environments, service)?;
                fleet.run(context, output.format, &labels, |context, environment| list(context, environment, service))
            }
            OperatorCommand::Link { environment, names, link, output, service } => {
                let (environment, name) = environment.find_before_one(context, names, NAME)?;
                let target = Target::new(context, environment, service)?;
                let wanted = NewEnrolmentLink { link_ends_at: Some(context.clock.now() + link.expires_in) };
                let invited = target.block_on(async {
                    let operator = target.find(&name).await?;
                    Ok(target.client.make_enrolment_link(&operator.id, &wanted).await?)
                })?;
                target.print_link(&invited, output.format)
            }
            OperatorCommand::Confirm { environment, names, output, service } => {
                let (environment, name) = environment.find_before_one(context, names, NAME)?;
                let target = Target::new(context, environment, service)?;
                let operator = target.block_on(async {
                    let operator = target.find(&name).await?;
                    Ok(target.client.confirm_operator(&operator.id).await?)
                })?;
                let passkeys = describe_passkeys(&operator);
                target.print(&operator, output.format, &format!("is confirmed. Passkeys of the backup: {passkeys}."))
            }
            OperatorCommand::Remove { environment, names, yes, output, service } => {
                let (environment, name) = environment.find_before_one(context, names, NAME)?;
                let target = Target::new(context, environment, service)?;
                let operator = target.block_on(target.find(&name))?;
                let question = format!(
                    "Remove the operator `{}` of {} for ever?",
                    printable(&operator.name),
                    target.environment.name
                );
                confirm(context, *yes, &question, "Pass `--yes` to skip the prompt.")?;
                let operator = target.block_on(async { Ok(target.client.remove_operator(&operator.id).await?) })?;
                target.print(&operator, output.format, "is removed.")
            }
        }
    }
}

/// The service of one environment.
struct Target<'a> {
    context: &'a Context,
    environment: Environment,
    client: Client,
}

impl<'a> Target<'a> {
    fn new(context: &'a Context, environment: Environment, service: &ServiceArgs) -> Result<Self, CliError> {
        let client = environment.client(context, service)?;
        let target = Self { context, environment, client };
        target.block_on(check_service(&target.client, &target.environment.name))?;
        Ok(target)
    }

    fn block_on<T>(&self, work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
        self.context.runtime()?.block_on(work)
    }

    /// Finds an operator by its name, regardless of case, or by its id.
    async fn find(&self, name: &str) -> Result<Operator, CliError> {
        let operators = self.client.operators().await?.operators;
        let wanted = name.to_lowercase();
        let found = operators.into_iter().find(|one| one.name.to_lowercase() == wanted || one.id == name);
        found.ok_or_else(|| {
            CliError::coded(Code::NotFound, format!("the operator `{}` does not exist", printable(name)))
                .remedy(format!("`mailwright operator list {}` lists the operators.", self.environment.name))
        })
    }

    /// Prints a link, alone, on standard output.
    fn print_link(&self, invited: &OperatorInvited, format: Format) -> Result<Exit, CliError> {
        let OperatorInvited { operator, secret, link } = invited;
        let (name, printer) = (printable(&operator.name), &self.context.printer);
        let until = operator.enrolment.as_ref().map(|enrolment| format_time(enrolment.ends_at)).unwrap_or_default();
        printer.note(&format!(
            "Operator {} `{name}`, role {}. The link is valid until {until} and works once. It cannot be shown again:",
            printable(&operator.id),
            operator.role.id()
        ));
        let shown = link.clone().unwrap_or_else(|| {
            let address = self.client.address();
            let local = ["://127.0.0.1", "://[::1]"].iter().find(|host| address.contains(**host));
            let address = local.map_or(address.to_owned(), |host| address.replace(host, "://localhost"));
            if !address.contains("://localhost") {
                printer.note("The service does not know the address of its console, and has no passkeys until it is started with `mailwright serve --public-url https://HOST`.");
            }
            format!("{address}/console/enroll#{secret}")
        });
        if format == Format::Json {
            let mut document = document_of(self.environment.name.as_str(), "operator", invited);
            document["link"] = json!(shown);
            printer.json(&document);
        } else {
            printer.out(&printable(&shown));
        }
        Ok(Exit::Done)
    }

    fn print(&self, operator: &Operator, format: Format, state: &str) -> Result<Exit, CliError> {
        if format == Format::Json {
            self.context.printer.json(&document_of(self.environment.name.as_str(), "operator", operator));
        } else {
            let (id, name) = (printable(&operator.id), printable(&operator.name));
            self.context.printer.out(&format!("Operator {id} `{name}` {state}"));
        }
        Ok(Exit::Done)
    }
}

fn describe_passkeys(operator: &Operator) -> String {
    let labels =
        operator.passkeys.iter().map(|one| format!("{} ({})", printable(&one.label), format_day(one.added_at)));
    let labels: Vec<String> = labels.collect();
    if labels.is_empty() { "none".to_owned() } else { labels.join(", ") }
}

fn list(context: &Context, environment: &Environment, service: &ServiceArgs) -> Result<Summary, CliError> {
    let client = environment.client(context, service)?;
    let list = context.runtime()?.block_on(async {
        check_service(&client, &environment.name).await?;
        client.operators().await.map_err(CliError::from)
    })?;
    let now = context.clock.now();
    let describe_state = |operator: &Operator| {
        if let Some(at) = operator.removed_at {
            return format!("removed {}", format_day(at));
        }
        if operator.suspended_at.is_some() {
            return "suspended: confirm or remove it".to_owned();
        }
        match &operator.enrolment {
            Some(enrolment) if operator.has_open_enrolment(now) => {
                format!("link until {}", format_time(enrolment.ends_at))
            }
            _ if operator.passkeys.is_empty() => "without a passkey".to_owned(),
            _ => "active".to_owned(),
        }
    };
    let rows = list.operators.iter().map(|operator| {
        vec![
            operator.id.clone(),
            operator.name.clone(),
            operator.role.id().to_owned(),
            describe_passkeys(operator),
            format_time(operator.created_at),
            describe_state(operator),
        ]
    });
    let text = table(&["id", "name", "role", "passkeys", "created", "state"], rows);
    let present = list.operators.iter().filter(|operator| operator.removed_at.is_none());
    let described: Vec<String> =
        present.map(|one| format!("{} ({}, {})", printable(&one.name), one.role.id(), describe_state(one))).collect();
    let significance = if described.is_empty() { Significance::Quiet } else { Significance::Listed };
    let document = document_of(environment.name.as_str(), "operators", &list);
    Ok(Summary::new(significance, described.join(", "), text, document))
}
