//! `mailwright verify`: checks registrations, permissions, credentials and mail servers of profiles, and renders the report.
//!
//! The checks run in the service (`service`), on this machine (`local`), or on exported registrations (`manifest`); `sign_in`
//! gets a token to read the directory. The checks and the formats of the report are [`crate::verify`]; waivers and the place
//! of each finding come from [`crate::operations::waivers`].

mod local;
mod manifest;
mod overview;
mod service;
mod sign_in;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use crate::{
    cli::{
        self, CliError, Context, ErrorFormat, Exit, Runnable, ServiceArgs,
        args::{environments::SelectionArgs, fail_on::FailOn, identity::IdentityArgs, outbound::OutgoingArgs},
        environment::{self, Environment},
        fleet::{EnvironmentSet, Fleet},
        ui::fleet_report::{FleetReport, ROWS, Significance, Summary, SummaryLabels, TaskResult},
        verification::VerifyProgress,
    },
    config::{Desired, DesiredProfile, Repository, suggest},
    model::{
        Code, EnvironmentName, ProfileName, Severity,
        finding::{Report, Verdict},
    },
    operations::waivers,
    verify::{NeededPermissions, ReportSet, Subject, Verifier, VerifyOptions},
};

/// Check that mail can be sent: registrations, permissions, redirect URIs, credentials, mail servers
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright verify prod                       the service checks, and can open the secrets\n  \
    mailwright verify prod invoices --local      this machine checks, with your own identity\n  \
    mailwright verify prod --manifest app.json   checks an exported registration, without the network\n  \
    mailwright verify prod --format junit > report.xml\n  \
    mailwright verify prod invoices --probe      sends a mail to the sender itself\n  \
    mailwright verify 'prod-*' -l region=emea --format sarif > report.sarif\n\n\
    Levels: 0 the files · 1 anonymous queries · 2 the profile's own credential · 3 a\n\
    reader's token (MAILWRIGHT_READER_TOKEN, or --sign-in CLIENT) · 4 a probe. A\n\
    result that could not be determined is `unknown`, never clean, and names what\n\
    would determine it.\n\n\
    Exit code: 0 no findings that --fail-on names, 1 error, 3 findings: errors by\n\
    default, also warnings with --fail-on warning, also unknown results with\n\
    --fail-on unknown. Several environments: 1 if any could not be checked, else 3\n\
    if any has such findings. `mailwright explain GRAPH-REDIRECT-SPA` explains a\n\
    finding.")]
pub(crate) struct Verify {
    /// Environment: a name, or a pattern such as 'prod-*' [default: the only one]
    #[arg(value_name = "ENV")]
    environment: Option<String>,
    /// Profiles of the environment [default: all enabled ones], or further environments
    #[arg(value_name = "PROFILE|ENV")]
    more: Vec<String>,
    /// Profile whose name is also that of an environment (can be repeated)
    #[arg(long = "profile", value_name = "NAME")]
    profiles: Vec<String>,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    /// Also show checks that passed
    #[arg(long)]
    all: bool,
    /// Findings that make the exit code 3: errors, also warnings, or also unknown results
    #[arg(long, value_enum, default_value_t = FailOn::Error, value_name = "LIMIT")]
    fail_on: FailOn,
    /// Check from this machine, with your own identity, instead of in the service
    #[arg(long)]
    local: bool,
    /// Send this secret to the destination in the files, although its own file does not contain it (can be repeated)
    #[arg(long, value_name = "NAME/KEY", requires = "local")]
    send_secret: Vec<String>,
    /// Check only this exported registration: from `az ad app show`, Graph, or the portal (can be repeated)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with_all = ["probe", "sign_in"])]
    manifest: Vec<PathBuf>,
    /// Send a mail from each profile's sender to itself
    #[arg(long)]
    probe: bool,
    #[command(flatten)]
    reader: ReaderArgs,
    #[command(flatten)]
    outgoing: OutgoingArgs,
    #[command(flatten)]
    identities: IdentityArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

/// Arguments for reading the directory.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Reading the directory (level 3)")]
struct ReaderArgs {
    /// Sign in by device code as a user with read access to the directory, with this public client of the tenant
    #[arg(long, value_name = "CLIENT")]
    sign_in: Option<String>,
}

/// The format of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Text for a terminal
    Human,
    /// One JSON document; `mailwright schema verify-report` prints its schema
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// XML of the kind that test runners write, for programs that show test results
    Junit,
    /// Markdown for a comment on a pull request
    Markdown,
    /// GitHub workflow commands
    Github,
}

impl Runnable for Verify {
    fn error_format(&self) -> ErrorFormat {
        ErrorFormat::json_if(self.format == Format::Json)
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        self.check_unused_arguments()?;
        let repository = Arc::new(context.repository()?);
        let (environments, profiles) = self.split_names(&repository)?;
        match Fleet::find(context, &repository, &environments, &self.selection, &self.service)? {
            Fleet::Single(environment) => {
                let report = self.report(context, &environment, &profiles)?;
                match self.format {
                    Format::Human => context.printer.out(&report.human(self.all)),
                    Format::Json => context.printer.document(&report.json()),
                    Format::Sarif => context.printer.document(&report.sarif()),
                    Format::Junit => context.printer.document(&report.junit()),
                    Format::Markdown => context.printer.document(&report.markdown()),
                    Format::Github => context.printer.document(&report.github()),
                }
                Ok(if report.fails_on(self.fail_on.limit()) { Exit::Findings } else { Exit::Done })
            }
            Fleet::Many(set) => self.verify_set(context, set, &profiles),
        }
    }
}

impl Verify {
    /// Returns an error for arguments that would have no effect.
    fn check_unused_arguments(&self) -> Result<(), CliError> {
        if self.local && self.manifest.is_empty() {
            return Ok(());
        }
        let mut given = self.outgoing.explicitly_set(self.reader.sign_in.is_some());
        if !self.identities.is_empty() {
            given.push("--identity");
        }
        if given.is_empty() {
            return Ok(());
        }
        let (why, remedy) = if self.manifest.is_empty() {
            ("applies only to checks from this machine", "Add `--local`, or pass it to `mailwright serve`.")
        } else {
            ("applies only to checks over the network, which `--manifest` does not use", "Omit it.")
        };
        Err(CliError::coded(Code::Usage, format!("`{}` {why}", given.join("`, `"))).remedy(remedy))
    }

    /// Splits the names into environments and profiles.
    fn split_names(&self, repository: &Arc<Repository>) -> Result<(Vec<String>, Vec<String>), CliError> {
        let known = repository.environments();
        let known = |word: &str| known.iter().find(|name| name.as_str() == word);
        let first = self.environment.as_deref();
        let first_profiles = first.and_then(known).map(|name| repository.profile_names(name)).unwrap_or_default();
        let mut profiles = self.profiles.clone();
        let mut environments: Vec<String> = first.map(str::to_owned).into_iter().collect();
        // Without an environment, clap has taken the first profile for it.
        if let Some(word) = first
            && known(word).is_none()
            && !self.selection.has_filter()
            && let Ok(only) = Environment::only_in(repository)
            && repository.profile_names(&only.name).iter().any(|name| name.as_str() == word)
        {
            environments = vec![only.name.to_string()];
            profiles.push(word.to_owned());
        }
        for word in &self.more {
            let is_environment = known(word).is_some() || word.contains(['*', '?', '[', '{']);
            let is_profile = first_profiles.iter().any(|name| name.as_str() == word);
            match (is_environment, is_profile) {
                (true, true) => {
                    return Err(CliError::coded(
                        Code::AmbiguousArgument,
                        format!("`{word}` is both an environment and a profile"),
                    )
                    .remedy(format!("To verify the profile, pass `--profile {word}`.")));
                }
                (true, false) => environments.push(word.clone()),
                (false, _) => profiles.push(word.clone()),
            }
        }
        Ok((environments, profiles))
    }

    /// Verifies one environment.
    fn report(&self, context: &Context, environment: &Environment, profiles: &[String]) -> Result<Report, CliError> {
        let desired = environment.desired(context)?;
        let selected = select_profiles(&desired, profiles)?;
        let mut report = if !self.manifest.is_empty() {
            manifest::verify_manifests(self, context, &desired, &selected, !profiles.is_empty())?
        } else if self.local {
            local::verify_locally(self, context, environment, &desired, &selected)?
        } else {
            service::verify_by_service(self, context, environment, &desired, &selected)?
        };
        let is_complete = profiles.is_empty() && self.manifest.is_empty();
        waivers::apply(&mut report, &desired.verify, context.clock.now(), is_complete.then_some(&desired));
        waivers::add_places(&mut report, &desired);
        Ok(report)
    }

    /// Verifies several environments: one section each, or one document for all.
    fn verify_set(&self, context: &Context, set: EnvironmentSet, profiles: &[String]) -> Result<Exit, CliError> {
        if self.reader.sign_in.is_some() {
            return Err(CliError::coded(Code::SeveralEnvironments, "`--sign-in` works with one environment only")
                .remedy("Name one environment, or configure a reader in each (`verify.reader`)."));
        }
        if !matches!(self.format, Format::Sarif | Format::Junit | Format::Github)
            && set.print_if_empty(context, self.report_format())
        {
            return Ok(Exit::Done);
        }
        let (repository, summary_only) = (set.repository(), set.summary_only);
        let results =
            set.run(context, Report::summary, |context, environment| self.report(context, environment, profiles))?;
        let joined = match self.format {
            Format::Human | Format::Json | Format::Markdown => None,
            Format::Sarif => Some(join_reports(&results).sarif()),
            Format::Junit => Some(join_reports(&results).junit()),
            Format::Github => Some(join_reports(&results).github()),
        };
        let overview = (results.len() > ROWS).then(|| {
            let known =
                results.iter().filter_map(|TaskResult { name, result, .. }| Some((name, result.as_ref().ok()?)));
            overview::describe(known, repository.as_deref(), self.all)
        });
        let summary = |result: TaskResult<Report>| TaskResult {
            name: result.name,
            notes: result.notes,
            result: result.result.map(|report| {
                let summary = self.summary(&report);
                if overview.is_some() { shorten(summary, &report) } else { summary }
            }),
        };
        let results: Vec<TaskResult<Summary>> = results.into_iter().map(summary).collect();
        let report = FleetReport::new(results, repository.as_deref()).summary_only(summary_only);
        let report = report.with_overview(overview.unwrap_or_default());
        let labels = SummaryLabels { notable: ("findings", "with findings"), quiet: ("clean", "clean") };
        if let Some(joined) = joined {
            report.print_failures(context);
            context.printer.document(&joined);
            return report.exit(false);
        }
        report.print(context, self.report_format(), &labels)
    }

    /// Returns the format of the report of several environments.
    fn report_format(&self) -> cli::Format {
        match self.format {
            Format::Json => cli::Format::Json,
            Format::Markdown => cli::Format::Markdown,
            _ => cli::Format::Human,
        }
    }

    fn summary(&self, report: &Report) -> Summary {
        let has_open = report.open().next().is_some();
        let significance = match (has_open, self.all) {
            (true, _) => Significance::Counted,
            (false, true) => Significance::Shown,
            (false, false) => Significance::Quiet,
        };
        let text = if self.format == Format::Markdown { report.markdown() } else { report.human(self.all) };
        let document = serde_json::to_value(report).unwrap_or_default();
        let exit = if report.fails_on(self.fail_on.limit()) { Exit::Findings } else { Exit::Done };
        Summary { exit, ..Summary::new(significance, report.summary(), text, document) }
    }

    /// Returns the options of checks and of a sign-in from this machine.
    fn verify_options(&self, context: &Context, desired: &Desired) -> Result<VerifyOptions, CliError> {
        let mut options = VerifyOptions::new(desired.environment.clone(), context.clock.now());
        options.credential_days = desired.verify.credential_days;
        let outgoing = self.outgoing.outgoing()?;
        options.http.authorities = outgoing.authorities;
        options.federated = outgoing.federated;
        options.dns_server = outgoing.dns_server;
        options.smtp_timeout = outgoing.smtp_timeout;
        options.hello = outgoing.hello;
        options.probe = self.probe;
        options.needs =
            NeededPermissions::from_profiles(desired.profiles.values().map(|profile| &profile.stored.profile));
        Ok(options)
    }
}

/// Returns the named profiles, or all enabled ones.
fn select_profiles<'d>(
    desired: &'d Desired,
    named: &[String],
) -> Result<BTreeMap<&'d ProfileName, &'d DesiredProfile>, CliError> {
    if named.is_empty() {
        let enabled = desired.profiles.iter().filter(|(_, profile)| profile.stored.profile.enabled);
        return Ok(enabled.collect());
    }
    let mut selected = BTreeMap::new();
    for text in named {
        let name = environment::profile_name(text)?;
        let (name, profile) = desired.profiles.get_key_value(&name).ok_or_else(|| {
            let error = CliError::coded(
                Code::NotFound,
                format!("the environment `{}` has no profile `{name}`", desired.environment),
            );
            if let Some(meant) = suggest::nearest(text, desired.profiles.keys().map(ProfileName::as_str)) {
                return error.remedy(format!("Did you mean `{meant}`?"));
            }
            let names = crate::text::enumerate(desired.profiles.keys().map(|name| format!("`{name}`")), 20);
            error.remedy(format!("There are: {}.", if names.is_empty() { "none" } else { &names }))
        })?;
        selected.insert(name, profile);
    }
    Ok(selected)
}

/// Runs the checks on this machine, and shows the progress.
fn run_checks(
    context: &Context,
    environment: &EnvironmentName,
    verifier: &Arc<Verifier>,
    subjects: Vec<Subject>,
) -> Result<Report, CliError> {
    let progress = VerifyProgress::new(context, subjects.len());
    context.runtime()?.block_on(async {
        let mut results = Arc::clone(verifier).run(subjects);
        let mut profiles = Vec::new();
        while let Some(verified) = results.recv().await {
            progress.show(profiles.len() + 1, &verified);
            profiles.push(verified);
        }
        progress.end();
        profiles.sort_by(|a, b| a.profile.cmp(&b.profile));
        Ok(Report {
            format_version: Report::FORMAT_VERSION,
            environment: environment.to_string(),
            profiles,
            findings: verifier.reader_finding().into_iter().collect(),
            requests: verifier.requests(),
        })
    })
}

/// Returns a row in place of a section, for environments whose findings an overview shows.
fn shorten(summary: Summary, report: &Report) -> Summary {
    let count = |severity: Severity, verdict: Verdict| {
        report.open().filter(|finding| finding.severity == severity && finding.verdict == verdict).count() as u64
    };
    let unknown = report.open().filter(|finding| finding.verdict == Verdict::Unknown).count() as u64;
    let amounts = [
        ("errors", count(Severity::Error, Verdict::Fail)),
        ("warnings", count(Severity::Warning, Verdict::Fail)),
        ("unknown", unknown),
        ("notes", count(Severity::Info, Verdict::Fail)),
    ];
    let significance = match summary.significance {
        Significance::Counted => Significance::Listed,
        _ => Significance::Quiet,
    };
    let amounts: Vec<_> = amounts.into_iter().filter(|(_, amount)| *amount > 0).collect();
    Summary { significance, line: String::new(), amounts, ..summary }
}

/// Joins the reports of several environments, and the errors of the others.
fn join_reports(results: &[TaskResult<Report>]) -> ReportSet<'_> {
    let mut joined = ReportSet::default();
    for TaskResult { name, result, .. } in results {
        match result {
            Ok(report) => joined.reports.push(report),
            Err(error) => joined.failed.push((name.as_str(), error.headline())),
        }
    }
    joined
}
