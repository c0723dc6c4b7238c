//! `mailwright address-book search`: finds recipients in the address book of a direct profile, by the service.
//!
//! The service searches Microsoft's directory with the login of the profile; the token needs the right `look-up` in `mail`. For a
//! delegate profile, `mailwright delegate address-book` searches in the user's own name. One page is printed; the end of the output
//! says how to get the next. A kind whose permission is missing is a note, and the exit code is 2. Nothing is sent.

use crate::{
    api::address_book::AddressBookPage,
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, ServiceArgs,
        args::environment::EnvironmentArg,
        ui::{address_book::entry_table, format::document_of},
    },
    model::{EnvironmentName, ProfileName, address_book::AddressKind},
    text::shell::quote_posix,
};

/// Search the address book of a profile for recipients
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright address-book search prod --profile documents müller\n  \
    mailwright address-book search prod --profile documents 'sales team' --kind group\n\n\
    The profile has `microsoft-graph-direct` and `addressBook: true`. For mail of\n\
    the signed-in user: mailwright delegate address-book.")]
pub(crate) struct AddressBook {
    #[command(subcommand)]
    command: AddressBookCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AddressBookCommand {
    Search(Search),
}

/// Find users, groups and contacts by name or address
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright address-book search prod --profile documents müller\n  \
    mailwright address-book search prod --profile documents 'ann mü' --kind person\n  \
    mailwright address-book search prod --profile documents info@ --limit 50 --format json\n\n\
    Words of a name are found by their beginnings, addresses by theirs; 2 to 100\n\
    characters. The token needs the role `sender` or `admin`, or `look-up` in `mail`,\n\
    for a company and a function of the profile.\n\n\
    Exit code: 0 searched, also without a result; 1 error; 2 a kind is missing,\n\
    because a permission is missing or Microsoft did not answer for it.")]
struct Search {
    #[command(flatten)]
    environment: EnvironmentArg,
    /// Text to search for
    #[arg(value_name = "TEXT")]
    names: Vec<String>,
    /// Profile whose address book is searched
    #[arg(long, value_name = "PROFILE")]
    profile: ProfileName,
    /// Kind of entries: person, contact or group [default: all]
    #[arg(long, value_name = "KIND")]
    kind: Option<AddressKind>,
    /// Number of entries to show
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50))]
    limit: u32,
    /// Only entries after this place, which the previous page printed
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

impl Runnable for AddressBook {
    fn error_format(&self) -> ErrorFormat {
        let AddressBookCommand::Search(search) = &self.command;
        search.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let AddressBookCommand::Search(search) = &self.command;
        search.run(context)
    }
}

impl Search {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (environment, text) = self.environment.find_before_one(context, &self.names, "a text to search for")?;
        let client = environment.client(context, &self.service)?;
        let mut query =
            vec![("profile", self.profile.to_string()), ("q", text.clone()), ("limit", self.limit.to_string())];
        query.extend(self.kind.map(|kind| ("kind", kind.id().to_owned())));
        query.extend(self.after.clone().map(|after| ("after", after)));
        let page = context.runtime()?.block_on(client.address_book(&query))?;
        if self.output.format == Format::Json {
            context.printer.json(&document_of(environment.name.as_str(), "search", &page));
        } else {
            context.printer.out(&entry_table(&page.entries));
            self.print_notes(context, &environment.name, &text, &page);
        }
        Ok(if page.warnings.is_empty() { Exit::Done } else { Exit::Attention })
    }

    /// Prints what is missing, and how to get the next page.
    fn print_notes(&self, context: &Context, environment: &EnvironmentName, text: &str, page: &AddressBookPage) {
        for warning in &page.warnings {
            context.printer.note(&format!("Warning: {}", warning.message));
            if warning.permission.is_some() {
                context.printer.note(&format!("  mailwright verify {environment} {}", self.profile));
            }
        }
        if let Some(after) = &page.next_after {
            let kind = self.kind.map(|kind| format!(" --kind {}", kind.id())).unwrap_or_default();
            context.printer.note(&format!(
                "More: mailwright address-book search {environment} {} --profile {}{kind} --limit {} --after {after}",
                quote_posix(text),
                self.profile,
                self.limit
            ));
        } else if page.is_truncated {
            context.printer.note("The directory has more entries: a longer text finds them.");
        }
    }
}
