//! `mailwright resolve`: shows which profile sends for a company and a function, and the steps that lead to it; without a
//! function, a table.
//!
//! Asks the service, or with `--desired` evaluates the files. The rule is [`crate::model::resolution`] in both cases. The exit code
//! is 1 if none sends for a company and a function that were named; in a table it is shown as `none`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, ServiceArgs,
        args::environment::EnvironmentArg,
        environment::{self, Environment},
        ui::{format::document_of, table::table},
    },
    model::{
        Client, Code, CompanyId, ProfileName, Settings,
        resolution::{Cell, PassedOverBecause, Resolution, Resolver},
    },
    text::{enumerate, shell::quote_posix},
};

/// Show which profile sends for a company and a function, and why
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright resolve prod                             all companies and functions\n  \
    mailwright resolve prod EDU1                        all functions of a company\n  \
    mailwright resolve prod EDU1 documents-remittance   with every step\n  \
    mailwright resolve prod EDU1 user-interface --client spa\n  \
    mailwright resolve prod EDU1 default --desired      from the files\n\n\
    The function is tried first, then its fallbacks; at each step a profile that\n\
    names the company has precedence over a system-wide one. Exit code 1 if no\n\
    profile sends for the company and the function.")]
pub(crate) struct Resolve {
    #[command(flatten)]
    environment: EnvironmentArg,
    /// Company, then function [default: all]
    #[arg(value_name = "COMPANY FUNCTION")]
    names: Vec<String>,
    /// Client that the user works in, for `user-interface`: native or spa
    #[arg(long, value_name = "CLIENT")]
    client: Option<Client>,
    /// Resolve from the files instead of the service
    #[arg(long)]
    desired: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

impl Runnable for Resolve {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let is_company = |text: &str| text.parse::<CompanyId>().is_ok();
        let (environment, names) = self.environment.find_before(context, &self.names, is_company)?;
        let (company, function) = match names.as_slice() {
            [] => (None, None),
            [company] => (Some(environment::company(company)?), None),
            [company, function] => (Some(environment::company(company)?), Some(environment::function(function)?)),
            [_, _, more, ..] => {
                return Err(CliError::coded(Code::Usage, format!("unexpected argument `{}`", more.escape_debug()))
                    .remedy(format!(
                        "A company, and then a function: mailwright resolve {} {} {}",
                        environment.name,
                        quote_posix(names.first().map_or("", String::as_str)),
                        quote_posix(names.get(1).map_or("", String::as_str)),
                    )));
            }
        };
        match (company, function) {
            (Some(company), Some(function)) => {
                self.resolve_cell(context, &environment, Cell { company, function, client: self.client })
            }
            (company, _) => self.print_matrix(context, &environment, company.as_ref()),
        }
    }
}

impl Resolve {
    /// Prints the steps of the resolution of one cell.
    fn resolve_cell(&self, context: &Context, environment: &Environment, cell: Cell) -> Result<Exit, CliError> {
        let (resolution, generation) = if self.desired {
            let desired = environment.desired(context)?;
            check_company(environment, &desired.settings, &cell.company)?;
            let profiles = desired.profiles.iter().map(|(name, profile)| (name, &profile.stored.profile));
            (Resolver::new(profiles).explain(&cell), None)
        } else {
            let client = environment.client(context, &self.service)?;
            let state = context.runtime()?.block_on(environment::state(&client, &environment.name))?;
            check_company(environment, &state.settings, &cell.company)?;
            (Resolver::new(state.live()).explain(&cell), Some(state.generation))
        };
        if self.output.format == Format::Json {
            let mut document = document_of(environment.name.as_str(), "resolution", &resolution);
            document["generation"] = json!(generation);
            context.printer.json(&document);
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

    /// Prints the profile of every function, of one company or of all.
    fn print_matrix(
        &self,
        context: &Context,
        environment: &Environment,
        company: Option<&CompanyId>,
    ) -> Result<Exit, CliError> {
        let (matrix, generation) = if self.desired {
            let desired = environment.desired(context)?;
            let profiles = desired.profiles.iter().map(|(name, profile)| (name, &profile.stored.profile));
            (Matrix::new(environment, &Resolver::new(profiles), &desired.settings, company)?, None)
        } else {
            let client = environment.client(context, &self.service)?;
            let state = context.runtime()?.block_on(environment::state(&client, &environment.name))?;
            let matrix = Matrix::new(environment, &Resolver::new(state.live()), &state.settings, company)?;
            (matrix, Some(state.generation))
        };
        if self.output.format == Format::Json {
            context.printer.json(&json!({
                "environment": environment.name, "generation": generation, "resolutions": matrix.to_json(),
            }));
        } else {
            context.printer.out(&matrix.to_table());
        }
        Ok(Exit::Done)
    }
}

/// Returns an error if the environment does not have the company.
fn check_company(environment: &Environment, settings: &Settings, company: &CompanyId) -> Result<(), CliError> {
    if settings.companies.contains(company) {
        return Ok(());
    }
    let known = enumerate(settings.companies.iter().map(ToString::to_string), 10);
    let message = format!("the environment `{}` has no company `{company}`", environment.name);
    Err(CliError::coded(Code::UnknownCompany, message)
        .remedy(format!("Correct the company, or add it to environment.yaml and apply. There are: {known}.")))
}

/// The functions that each profile serves for a company.
type FunctionsByProfile = BTreeMap<String, Vec<String>>;

/// The profile that sends for each company and function.
struct Matrix(Vec<(Cell, Option<ProfileName>)>);

impl Matrix {
    fn new(
        environment: &Environment,
        resolver: &Resolver<'_>,
        settings: &Settings,
        company: Option<&CompanyId>,
    ) -> Result<Self, CliError> {
        if let Some(company) = company {
            check_company(environment, settings, company)?;
        }
        let cells = Cell::all(settings.companies.iter().filter(|one| company.is_none_or(|wanted| wanted == *one)));
        let resolved = cells.into_iter().map(|cell| {
            let profile = resolver.sender(&cell).map(|(name, _)| name.clone());
            (cell, profile)
        });
        Ok(Self(resolved.collect()))
    }

    fn to_json(&self) -> Value {
        let cell = |(cell, profile): &(Cell, Option<ProfileName>)| {
            json!({
                "company": cell.company, "function": cell.function, "client": cell.client, "profile": profile,
            })
        };
        self.0.iter().map(cell).collect()
    }

    /// Returns a row for each profile of a company, with its functions. Companies with the same rows share them.
    fn to_table(&self) -> String {
        let mut by_company: BTreeMap<&CompanyId, FunctionsByProfile> = BTreeMap::new();
        for (cell, profile) in &self.0 {
            let profile = profile.as_ref().map_or("none".to_owned(), ToString::to_string);
            let function = match cell.client {
                Some(client) => format!("{} ({})", cell.function, client.id()),
                None => cell.function.to_string(),
            };
            by_company.entry(&cell.company).or_default().entry(profile).or_default().push(function);
        }
        let mut groups: Vec<(Vec<&CompanyId>, FunctionsByProfile)> = Vec::new();
        for (company, profiles) in by_company {
            match groups.iter_mut().find(|(_, others)| *others == profiles) {
                Some((companies, _)) => companies.push(company),
                None => groups.push((vec![company], profiles)),
            }
        }
        let rows = groups.iter().flat_map(|(companies, profiles)| {
            profiles.iter().enumerate().map(move |(index, (profile, functions))| {
                let companies: Vec<String> = companies.iter().map(ToString::to_string).collect();
                let companies = if index == 0 { companies.join(", ") } else { String::new() };
                vec![companies, profile.clone(), functions.join(", ")]
            })
        });
        table(&["company", "profile", "functions"], rows)
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
