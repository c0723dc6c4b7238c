//! `mailwright status`: shows the generation, drift, the profiles with their last verification, expiring credentials, and the
//! state of delivery of one or many services.
//!
//! Everything is as the services report it; the files are read for addresses only. The text about delivery is in `ui::outbox`. A
//! service that does not answer is an error (1), trouble with delivery is 2; tokens are shown to administrators only.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Runnable,
        args::fleet::FleetArgs,
        environment::{self, Environment},
        fleet::Fleet,
        ui::{
            delivery_summary::DeliverySummary,
            fleet_report::{Significance, Summary, SummaryLabels},
            outbox::{describe_outbox, needs_attention},
            table::table,
            wording::count_of,
        },
    },
    model::{
        Code, Function, LastVerified, ProfileName, SecretReference, State, StoredProfile,
        resolution::{Cell, Resolver},
        token::Token,
    },
    text::printable,
    time::local::{format_day, format_time},
    verify::expiry::live_credentials,
};

/// Show the status of a service
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright status prod\n  \
    mailwright status prod --format json\n  \
    mailwright status 'prod-*' -l region=emea\n\n\
    Exit code: 0 nothing needs attention; 1 error, such as a service that does not\n\
    answer; 2 a suspended profile, mail without a sender, a server that has been\n\
    away for 15 minutes, a restore that is not confirmed, or a store that cannot be\n\
    written. Of several, those with trouble are last.")]
pub(crate) struct Status {
    #[command(flatten)]
    args: FleetArgs,
}

impl Runnable for Status {
    fn error_format(&self) -> ErrorFormat {
        self.args.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let labels = SummaryLabels { notable: ("trouble", "with trouble"), quiet: ("fine", "fine") };
        let fleet = Fleet::from_args(context, &self.args.environments, &self.args.service)?;
        fleet.run(context, self.args.output.format, &labels, |context, environment| self.status(context, environment))
    }
}

impl Status {
    fn status(&self, context: &Context, environment: &Environment) -> Result<Summary, CliError> {
        let client = environment.client(context, &self.args.service)?;
        let (info, state, outbox, last, verified, tokens) = context.runtime()?.block_on(async {
            let state = environment::state(&client, &environment.name);
            let (last, verified) = (client.generations(None, 1), client.last_verified());
            tokio::join!(client.service(), state, client.outbox(), last, verified, client.tokens())
        });
        let (info, state, outbox, verified) = (info?, state?, outbox?, verified?.profiles);
        // Only an administrator sees the tokens.
        let tokens = match tokens {
            Err(problem) if problem.code == Code::RoleTooLow => Vec::new(),
            tokens => tokens?.tokens,
        };
        let last = last?.generations.into_iter().next();

        let drift = crate::changes::drift::drift(&state).len();
        let live: Vec<_> = state.live().collect();
        let disabled = live.iter().filter(|(_, profile)| !profile.enabled).count();
        let unmanaged = state.profiles.values().filter(|p| p.live.is_some() && !p.is_managed()).count();
        let resolver = Resolver::new(live.iter().copied());
        let cells = Cell::all(&state.settings.companies);
        let unserved: Vec<&Cell> = cells.iter().filter(|cell| resolver.sender(cell).is_none()).collect();

        let ending = ending_soon(&state, &verified, &tokens, context.clock.now());
        let document = json!({
            "environment": environment.name, "generation": state.generation, "service": info, "address": client.address(), "lastChange": last, "profiles": live.len(),
            "disabled": disabled, "unmanaged": unmanaged, "drift": drift,
            "companies": state.settings.companies, "unserved": unserved, "outbox": outbox,
            "endingSoon": ending, "verified": verified,
        });
        let DeliverySummary { mut trouble, counts, .. } = DeliverySummary::new(&outbox);
        if drift > 0 {
            trouble.push(format!("{drift} changed outside Git"));
        }
        trouble.extend(ending.first().map(|first| match ending.len() - 1 {
            0 => first.describe(),
            others => format!("{} and {others} more", first.describe()),
        }));
        let has_trouble = !trouble.is_empty();
        if !has_trouble {
            trouble.push(format!("generation {}, {}", state.generation, count_of(live.len(), "profile")));
        }
        let line = trouble.into_iter().chain(counts).collect::<Vec<_>>().join(", ");
        let mut lines = vec![
            format!("environment  {}", info.environment),
            format!(
                "service      {} (mailwright {}, API v{}){}",
                client.address(),
                printable(&info.version),
                info.api_version,
                if info.demo { ", DEMO: its key is public" } else { "" }
            ),
            format!(
                "generation   {}{}",
                state.generation,
                last.map(|last| format!(
                    ", {} by `{}` at {}",
                    last.kind.id(),
                    printable(&last.by),
                    format_time(last.at)
                ))
                .unwrap_or_default()
            ),
            format!("profiles     {} live ({disabled} disabled, {unmanaged} not in Git)", live.len()),
            format!(
                "companies    {}",
                state.settings.companies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ),
            format!(
                "drift        {}",
                if drift == 0 {
                    "none".to_owned()
                } else {
                    format!("{drift} changed outside Git; details: `mailwright drift {}`", info.environment)
                }
            ),
        ];
        if !unserved.is_empty() {
            lines.push(format!(
                "unserved     {} of {} combinations of company and function have no profile",
                unserved.len(),
                cells.len()
            ));
        }
        for end in &ending {
            lines.push(format!("ends soon    {}", end.describe()));
        }
        lines.push(describe_outbox(&outbox, environment.name.as_str()));
        if !live.is_empty() {
            lines.push(String::new());
            let rows = live.iter().map(|(name, profile)| {
                let functions = if profile.functions.len() == Function::all().len() {
                    "all".to_owned()
                } else {
                    profile.functions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                };
                let companies = match &profile.applies_to {
                    crate::model::AppliesTo::SystemWide => "system-wide".to_owned(),
                    crate::model::AppliesTo::Companies(companies) => {
                        companies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                    }
                };
                let enabled = if profile.enabled { "" } else { " (disabled)" };
                let stored = state.profiles.get(*name).and_then(|profile| profile.live.as_ref());
                let last = describe_verified(verified.get(*name), stored);
                vec![format!("{name}{enabled}"), profile.provider.id().to_owned(), companies, functions, last]
            });
            let shown = rows.take(50);
            lines.push(table(&["profile", "provider", "applies to", "functions", "verified"], shown));
            if live.len() > 50 {
                lines.push(format!("... and {} more; `--format json` lists all", live.len() - 50));
            }
        }
        let significance = if has_trouble { Significance::Listed } else { Significance::Quiet };
        let exit = if needs_attention(&outbox) { Exit::Attention } else { Exit::Done };
        Ok(Summary { exit, ..Summary::new(significance, line, lines.join("\n"), document) })
    }
}

/// Credentials and tokens that end within this number of days are shown.
const SOON: i64 = 30;

/// A credential of a profile that ends soon or has ended, or a token of the service that ends soon.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct EndingCredential {
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<ProfileName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<SecretReference>,
    /// The name of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    kind: &'static str,
    ends: Timestamp,
    days: i64,
    /// True if it is the next value of a rotation.
    next: bool,
}

impl EndingCredential {
    /// Describes it in one line: `client secret of documents: 13 days (2026-12-10)`.
    fn describe(&self) -> String {
        let next = if self.next { "next " } else { "" };
        let left = match self.days {
            days if days < 0 => "expired".to_owned(),
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        };
        let whose = match (&self.profile, &self.token) {
            (Some(profile), _) => format!("of {profile}"),
            (None, token) => format!("`{}`", printable(token.as_deref().unwrap_or_default())),
        };
        format!("{next}{} {whose}: {left} ({})", self.kind, format_day(self.ends))
    }
}

/// Returns the credentials of live profiles and the tokens that end soon, the first one first.
fn ending_soon(
    state: &State,
    verified: &BTreeMap<ProfileName, LastVerified>,
    tokens: &[Token],
    now: Timestamp,
) -> Vec<EndingCredential> {
    let days_until = |end: Timestamp| (end.as_second() - now.as_second()).div_euclid(86_400);
    let credentials = live_credentials(state, verified).into_iter().filter_map(|credential| {
        let end = credential.end?;
        Some(EndingCredential {
            profile: Some(credential.profile),
            secret: Some(credential.secret),
            token: None,
            kind: credential.kind,
            ends: end.ends,
            days: days_until(end.ends),
            next: end.next,
        })
    });
    let in_effect = || tokens.iter().filter(move |token| token.is_in_effect(now));
    let ending_tokens = in_effect().filter_map(|token| {
        let ends = token.expires_at?;
        let lasts_longer = |other: &Token| other.expires_at.is_none_or(|end| end > ends);
        let is_replaced = in_effect().any(|other| other.owner() == token.owner() && lasts_longer(other));
        (!is_replaced).then(|| EndingCredential {
            profile: None,
            secret: None,
            token: Some(token.name.clone()),
            kind: "token",
            ends,
            days: days_until(ends),
            next: false,
        })
    });
    let mut ending: Vec<EndingCredential> =
        credentials.chain(ending_tokens).filter(|ending| ending.days <= SOON).collect();
    ending.sort_by(|a, b| (a.ends, &a.profile, &a.token).cmp(&(b.ends, &b.profile, &b.token)));
    ending
}

/// Returns when a profile was last verified, at which level, and with which result.
fn describe_verified(last: Option<&LastVerified>, stored: Option<&StoredProfile>) -> String {
    let Some(last) = last else { return "never".to_owned() };
    let result = match (last.errors, last.warnings) {
        (0, 0) => "passed".to_owned(),
        (0, warnings) => count_of(warnings as usize, "warning"),
        (errors, _) => count_of(errors as usize, "error"),
    };
    let is_old = stored.is_some_and(|stored| stored.verified_digest() != last.of);
    let changed = if is_old { ", changed since" } else { "" };
    format!("{}, {} {}{changed}", result, last.reached, format_day(last.at))
}
