//! `mailwright resolve`: shows which profile sends for a company and a function, and why.

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceArgs,
        environment::{self, Environment},
    },
    model::{
        Client, Code,
        resolution::{Cell, PassedOverBecause, Resolution},
    },
};

/// Show which profile sends for a company and a function, and why
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright resolve prod EDU1 documents-remittance\n  \
    mailwright resolve prod EDU1 user-interface --client spa\n  \
    mailwright resolve prod EDU1 default --desired      from the files, without the service\n\n\
    The function is tried first, then its fallbacks; at each step a profile that\n\
    names the company has precedence over a system-wide one. Exit code 1 if no\n\
    profile sends.")]
pub(crate) struct Resolve {
    /// Environment
    environment: String,
    /// Company
    company: String,
    /// Function
    function: String,
    /// Client that the user works in, for `user-interface`: native or spa
    #[arg(long, value_name = "CLIENT")]
    client: Option<Client>,
    /// Resolve from the files instead of the service
    #[arg(long)]
    desired: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    service: ServiceArgs,
}

impl Runnable for Resolve {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let company = environment::company(&self.company)?;
        let cell = Cell { company, function: environment::function(&self.function)?, client: self.client };
        let environment = Environment::find(context, &self.environment)?;
        let resolution = if self.desired {
            let desired = environment.desired(context)?;
            let profiles = desired.profiles.iter().map(|(name, profile)| (name, &profile.stored.profile));
            crate::model::resolution::Resolver::new(profiles).explain(&cell)
        } else {
            let client = environment.client(context, &self.service)?;
            context.runtime()?.block_on(client.resolve(&cell))?
        };
        if self.format == Format::Json {
            context.printer.out(&format!("{:#}", serde_json::to_value(&resolution).unwrap_or_default()));
        } else {
            context.printer.out(&text(&resolution));
        }
        match resolution.profile {
            Some(_) => Ok(Exit::Done),
            None => Err(CliError {
                in_json: true,
                ..CliError::coded(Code::NoRoute, format!("no profile sends for {cell}"))
            }),
        }
    }
}

fn text(resolution: &Resolution) -> String {
    let mut lines = vec![format!("{}", resolution.cell)];
    for (index, step) in resolution.steps.iter().enumerate() {
        let scope = step.company.as_ref().map_or("system-wide".to_owned(), |company| format!("for {company}"));
        let found = step.found.as_ref().map_or("none".to_owned(), |name| format!("`{name}`"));
        lines.push(format!("  {}. {} {scope}: {found}", index + 1, step.function));
        for passed in &step.passed_over {
            let because = match passed.because {
                PassedOverBecause::Disabled => "is disabled",
                PassedOverBecause::OtherClient => "serves another client than the request names",
                PassedOverBecause::NameComesLater => "claims the same and comes later by name",
            };
            lines.push(format!("     (`{}` {because})", passed.profile));
        }
    }
    lines.push(match &resolution.profile {
        Some(name) => format!("=> {name}"),
        None => "=> none".to_owned(),
    });
    lines.join("\n")
}
