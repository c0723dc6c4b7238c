//! `mailwright delegate address-book`: searches the address book of the signed-in person: own contacts, and users of the tenant.
//!
//! The person signs in here, with the permissions `Contacts.Read` and `User.ReadBasic.All`, which no other command requests. The
//! requests go from this program to Microsoft Graph; the service is not called, and learns neither the text nor the result. The
//! token ends with the process. A source that fails is a note, and the exit code is 2; if both fail, it is an error.

use std::time::Duration;

use serde_json::json;

use super::{DelegateArgs, sign_in::UserSignIn};
use crate::{
    api::address_book::{AddressBookWarning, LONGEST_SEARCH, SHORTEST_SEARCH},
    cli::{
        CliError, Context, Exit, Format,
        args::outbound::read_authorities,
        ui::{address_book::entry_table, format::document_of},
    },
    entra::{
        Endpoints, Http,
        directory_search::{FoundEntries, SearchError, search_contacts, search_directory},
        http::HttpOptions,
    },
    model::{
        Code,
        address_book::{AddressBookEntry, AddressKind, merge_entries},
    },
    sync::BlockingPool,
    text::{composed, is_hidden},
};

/// A part of a person's address book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Source {
    Contacts,
    Directory,
}

impl Source {
    /// Returns the permission that the search needs.
    fn permission(self) -> &'static str {
        match self {
            Self::Contacts => "Contacts.Read",
            Self::Directory => "User.ReadBasic.All",
        }
    }

    fn kind(self) -> AddressKind {
        match self {
            Self::Contacts => AddressKind::Contact,
            Self::Directory => AddressKind::Person,
        }
    }
}

/// Search the contacts of the account, and the users of its tenant
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright delegate address-book prod müller\n  \
    mailwright delegate address-book prod 'ann mü' --only contacts\n\n\
    The person signs in, and consents to `Contacts.Read` and `User.ReadBasic.All`;\n\
    with `--only`, to one of them. The service is not called.\n\n\
    Exit code: 0 searched, also without a result; 1 error; 2 one source is missing.")]
pub(super) struct AddressBook {
    #[command(flatten)]
    pub(super) delegate: DelegateArgs,
    /// Text to search for: the beginning of a name or an address
    #[arg(value_name = "TEXT")]
    text: String,
    /// Search one source only
    #[arg(long, value_enum, value_name = "SOURCE")]
    only: Option<Source>,
    /// Number of entries to show
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50))]
    limit: u32,
}

impl AddressBook {
    pub(super) async fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let text = self.checked_text()?;
        let (tenant, application) = self.delegate.registration()?;
        let sign_in = self.user_sign_in(context, &tenant, &application)?;
        let sources = self.only.map_or(vec![Source::Contacts, Source::Directory], |only| vec![only]);
        let permissions: Vec<&str> =
            ["User.Read"].into_iter().chain(sources.iter().map(|source| source.permission())).collect();
        let token = sign_in.sign_in(&permissions, None).await?.tokens.access;
        let (mut found, mut warnings) = (Vec::new(), Vec::new());
        for source in sources {
            let searched = match source {
                Source::Contacts => search_contacts(&sign_in.http, &sign_in.endpoints, &token, &text).await,
                Source::Directory => {
                    search_directory(&sign_in.http, &sign_in.endpoints, &token, source.kind(), &text).await
                }
            };
            match searched {
                Ok(entries) => found.push(entries),
                Err(error) => warnings.push(warning(source, &error)),
            }
        }
        self.show(context, &found, &warnings)
    }

    fn checked_text(&self) -> Result<String, CliError> {
        let text = composed(self.text.trim()).into_owned();
        let length = text.chars().count();
        if (SHORTEST_SEARCH..=LONGEST_SEARCH).contains(&length) && !text.chars().any(is_hidden) {
            return Ok(text);
        }
        Err(CliError::coded(
            Code::Usage,
            format!(
                "a text to search for has {SHORTEST_SEARCH} to {LONGEST_SEARCH} characters, and no control characters"
            ),
        )
        .remedy(format!("mailwright delegate address-book {} müller", self.delegate.environment)))
    }

    fn user_sign_in<'a>(
        &'a self,
        context: &'a Context,
        tenant: &'a str,
        application: &'a str,
    ) -> Result<UserSignIn<'a>, CliError> {
        let delegate = &self.delegate;
        let authorities = delegate.outgoing_ca_file.as_deref().map(read_authorities).transpose()?;
        let options = HttpOptions { authorities, timeout: Duration::from_secs(30), ..HttpOptions::default() };
        Ok(UserSignIn {
            printer: &context.printer,
            http: Http::new(&options).map_err(CliError::new)?,
            endpoints: Endpoints::for_cloud(&delegate.cloud()).map_err(|error| CliError::new(error.to_string()))?,
            tenant,
            application,
            user: delegate.user.as_deref(),
            by_device_code: delegate.device_code,
            opens_browser: !delegate.no_browser,
            pool: BlockingPool::default(),
        })
    }

    fn show(
        &self,
        context: &Context,
        found: &[FoundEntries],
        warnings: &[AddressBookWarning],
    ) -> Result<Exit, CliError> {
        if found.is_empty() {
            let reasons: Vec<&str> = warnings.iter().map(|warning| warning.message.as_str()).collect();
            return Err(CliError::coded(
                Code::AddressBookUnavailable,
                format!("cannot search the address book of the account: {}", reasons.join("; ")),
            )
            .remedy("Try again; if a permission is missing, an administrator consents to it."));
        }
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let merged = merge_entries(found.iter().flat_map(|found| &found.entries));
        let is_truncated = merged.len() > limit || found.iter().any(|found| found.has_more);
        let entries: Vec<AddressBookEntry> = merged.into_iter().take(limit).cloned().collect();
        if self.delegate.output.format == Format::Json {
            let document = json!({ "entries": entries, "isTruncated": is_truncated, "warnings": warnings });
            context.printer.json(&document_of(self.delegate.environment.as_str(), "search", &document));
        } else {
            context.printer.out(&entry_table(&entries));
            for warning in warnings {
                context.printer.note(&format!("Warning: {}", warning.message));
            }
            if is_truncated {
                context.printer.note("There are more entries: a longer text finds them.");
            }
        }
        Ok(if warnings.is_empty() { Exit::Done } else { Exit::Attention })
    }
}

fn warning(source: Source, error: &SearchError) -> AddressBookWarning {
    let kind = source.kind();
    let permission = matches!(error, SearchError::Denied { .. }).then(|| source.permission().to_owned());
    let message = match &permission {
        Some(permission) => {
            format!("{} are missing: the account has no consent to `{permission}` ({error})", kind.plural())
        }
        None => format!("{} are missing: {error}", kind.plural()),
    };
    AddressBookWarning { kind, message, permission }
}
