//! `mailwright secrets expiring`: lists the client secrets and certificates of many environments by expiry date.
//!
//! The dates are those that the last verification stored in the services; nothing is verified now. They are collected by
//! [`crate::verify::expiry`]. A service that cannot be queried makes the exit code 1, and the others are listed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, ServiceArgs,
        commands::secrets::environments::{EnvironmentFilter, describe_unreachable, nothing_found},
        environment::{self, Environment},
        ui::table::table,
    },
    model::{HumanDuration, LastVerified, ProfileName, State},
    text::printable,
    time::local::format_day,
    verify::expiry::{CredentialExpiry as Row, live_credentials},
};

/// List client secrets and certificates by expiry date
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright secrets expiring\n  \
    mailwright secrets expiring 'prod-*' --within 30d --detailed-exitcode\n  \
    mailwright secrets expiring -l region=emea --format json\n\n\
    Exit codes: 0 done, 1 error or a service that could not be queried, and with\n\
    --detailed-exitcode 2 if something expires within that time.\n\n\
    Dates are those that `verify` last read: run it regularly, with a reader if the\n\
    application cannot read its own registration. Credentials of Graph and of\n\
    XOAUTH2 mail servers are listed. A password of a mail server has no known expiry\n\
    date and is not listed.")]
pub(super) struct Expiring {
    #[command(flatten)]
    environments: EnvironmentFilter,
    /// Only credentials that expire within this time, such as 30d
    #[arg(long, value_name = "TIME")]
    within: Option<HumanDuration>,
    /// Exit with code 2 if a credential expires within that time [default: 30d]
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

impl Runnable for Expiring {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let now = context.clock.now();
        let mut rows = Vec::new();
        let mut unreachable = BTreeMap::new();
        let answers = self.environments.query_each(context, |context, environment| self.query(context, environment))?;
        let count = answers.len();
        for one in answers {
            match one.result {
                Ok((state, last)) => rows.extend(live_credentials(&state, &last)),
                Err(error) => drop(unreachable.insert(one.name, error)),
            }
        }
        let limit =
            self.within.map_or(30 * 86_400, |within| i64::try_from(within.duration().as_secs()).unwrap_or(i64::MAX));
        let ends_soon = |row: &Row| {
            row.end.as_ref().is_some_and(|end| end.ends.duration_since(now) <= SignedDuration::from_secs(limit))
        };
        let soon = rows.iter().filter(|row| ends_soon(row)).count();
        let unseen = rows.iter().filter(|row| row.end.is_none()).count();
        if self.within.is_some() {
            rows.retain(ends_soon);
        }
        // Credentials without a known date come last.
        rows.sort_by(|a, b| {
            let key = |row: &Row| (row.end.as_ref().map_or(Timestamp::MAX, |end| end.ends), row.environment.clone());
            key(a).cmp(&key(b)).then_with(|| a.profile.cmp(&b.profile))
        });
        if self.output.format == Format::Json {
            let errors: BTreeMap<_, _> = unreachable.iter().map(|(name, error)| (name, &error.message)).collect();
            let credentials: Vec<_> = rows.iter().map(Row::to_json).collect();
            let document = json!({
                "at": now, "credentials": credentials, "endingSoon": soon, "notSeen": unseen, "unreachable": errors,
            });
            context.printer.json(&document);
        } else {
            self.print_table(context, now, &rows, unseen, (count, unreachable.len()));
            for line in describe_unreachable(&unreachable) {
                context.printer.note(&line);
            }
        }
        if !unreachable.is_empty() {
            return Err(CliError { in_json: true, ..CliError::already_printed() });
        }
        Ok(if self.detailed_exitcode && soon > 0 { Exit::Attention } else { Exit::Done })
    }
}

impl Expiring {
    fn print_table(&self, context: &Context, now: Timestamp, rows: &[Row], unseen: usize, asked: (usize, usize)) {
        if rows.is_empty() {
            let nothing = match &self.within {
                Some(within) => format!("No credential is known to expire within {within}"),
                None => "No client secrets or certificates are in use".to_owned(),
            };
            context.printer.out(&nothing_found(&nothing, asked));
        } else {
            let cells = rows.iter().map(|row| row.cells(now));
            context.printer.out(&table(&["ends", "in", "environment", "profile", "secret", "what", "seen"], cells));
        }
        if self.within.is_some() && unseen > 0 {
            context.printer.note(&format!(
                "The expiry of {unseen} others is not known, because `verify` has not read it yet. Omit `--within` to list them."
            ));
        }
    }

    fn query(
        &self,
        context: &Context,
        environment: &Environment,
    ) -> Result<(State, BTreeMap<ProfileName, LastVerified>), CliError> {
        let client = environment.client(context, &self.service)?;
        context.runtime()?.block_on(async {
            let (state, last) = tokio::join!(environment::state(&client, &environment.name), client.last_verified());
            Ok((state?, last?.profiles))
        })
    }
}

impl Row {
    fn cells(&self, now: Timestamp) -> Vec<String> {
        let (ends, left) = match &self.end {
            None => ("not seen".to_owned(), String::new()),
            Some(end) => {
                let days = (end.ends.as_second() - now.as_second()).div_euclid(86_400);
                let left = if days < 0 { "expired".to_owned() } else { format!("{days} days") };
                (format_day(end.ends), left)
            }
        };
        let next = if self.end.as_ref().is_some_and(|end| end.next) { "next " } else { "" };
        let name = self.end.as_ref().map(|end| printable(&end.name).into_owned()).filter(|name| !name.is_empty());
        let what = format!("{next}{}{}", self.kind, name.map(|name| format!(" {name}")).unwrap_or_default());
        let seen = match self.seen {
            None => "never: mailwright verify".to_owned(),
            Some(at) if self.is_old => format!("{}, before its last change", format_day(at)),
            Some(at) => format_day(at),
        };
        vec![ends, left, self.environment.to_string(), self.profile.to_string(), self.secret.to_string(), what, seen]
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "environment": self.environment,
            "profile": self.profile,
            "secret": self.secret,
            "kind": self.kind.replace(' ', "-"),
            "ends": self.end.as_ref().map(|end| end.ends),
            "name": self.end.as_ref().map(|end| &end.name),
            "next": self.end.as_ref().is_some_and(|end| end.next),
            "verifiedAt": self.seen,
            "changedSince": self.is_old,
        })
    }
}
