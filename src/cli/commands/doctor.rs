//! `mailwright doctor`: checks what this machine needs to work with an environment and its service.
//!
//! One function per check; a check that depends on a failed one is skipped. A failed check makes the exit code 1; a warning, such
//! as a missing identity or an age file that cannot be opened, does not. Of age files the first 50 are opened. Nothing is changed.

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    api::{ServiceInfo, VERSION},
    cli::{
        CliError, Context, ErrorFormat, Exit, OutputArgs, Runnable, ServiceArgs,
        args::{
            environments::EnvironmentsArgs, identity::IdentityArgs, outbound::read_pem, service::expand_environment,
        },
        environment::Environment,
        fleet::Fleet,
        ui::{
            age_prompt::AgePrompt,
            fleet_report::{Significance, Summary, SummaryLabels},
            wording::{count_of, short_commit},
        },
        variables,
    },
    client::Client,
    config::Repository,
    fs::read_ordinary,
    git,
    model::{Code, EnvironmentName},
    operations,
    secrets::{FILE_LIMIT, OpenError, RECIPIENTS_LIMIT, Recipients, fingerprint, open},
    text::{enumerate, printable, shell::quote_posix},
};

/// The difference between two clocks that is tolerated, in milliseconds.
const TOLERATED_SKEW: i64 = 10_000;
/// The longest wait for the resolution of a name.
const DNS_DEADLINE: Duration = Duration::from_secs(5);
/// The number of age files that are opened.
const OPENED: usize = 50;
/// The number of entries of the folder of secrets that are read.
const ENTRIES: usize = 10_000;

/// Check this machine's access to environments and their services, with remedies
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright doctor prod\n  \
    mailwright doctor 'prod-*' --format json\n  \
    mailwright doctor prod --identity ~/.config/age/keys.txt\n\n\
    Checks the files, Git, the token, the certificate authority, the name of the\n\
    service, the service with its environment, version and clock, the age identity\n\
    and the recipients. Exit code 1 if a check fails.")]
pub(crate) struct Doctor {
    #[command(flatten)]
    environments: EnvironmentsArgs,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Ok,
    Warning,
    Failed,
    Skipped,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Warning => "warning",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "skipped",
        }
    }
}

/// One check with its result.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    outcome: Outcome,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn new(name: &'static str, outcome: Outcome, message: impl Into<String>) -> Self {
        Self { name, outcome, message: message.into(), remedy: None }
    }

    fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self::new(name, Outcome::Ok, message)
    }

    fn skipped(name: &'static str, message: impl Into<String>) -> Self {
        Self::new(name, Outcome::Skipped, message)
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Returns a check that failed with an error, and its remedy.
    fn failed(name: &'static str, error: CliError) -> Self {
        Self { remedy: error.remedy.clone(), ..Self::new(name, Outcome::Failed, error.message) }
    }
}

impl Runnable for Doctor {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let labels = SummaryLabels { notable: ("failed", "with a failed check"), quiet: ("sound", "without one") };
        let fleet = Fleet::from_args(context, &self.environments, &self.service)?;
        fleet.run(context, self.output.format, &labels, |context, environment| Ok(self.diagnose(context, environment)))
    }
}

impl Doctor {
    /// Runs all checks of an environment.
    fn diagnose(&self, context: &Context, environment: &Environment) -> Summary {
        let root = environment.repository.root();
        let mut checks = vec![check_files(environment), check_git(root), self.check_authority(&environment.name)];
        let client = match environment.client(context, &self.service) {
            Ok(client) => {
                checks.push(Check::ok("token", "a token is configured, and may be sent to the service"));
                Some(client)
            }
            Err(error) => {
                checks.push(Check::failed("token", error));
                None
            }
        };
        let service = client.as_ref().map(|client| ask_service(context, client, &environment.name));
        match service {
            Some((found, info)) => {
                checks.extend(found);
                checks.push(match &info {
                    Some(info) => check_recipients(root, &environment.name, info),
                    None => Check::skipped("recipients", "the service did not answer"),
                });
            }
            None => checks.push(Check::skipped("service", "there is no token that may be sent to it")),
        }
        checks.push(self.check_identity(root, &environment.name));
        summarize(environment.name.clone(), &checks)
    }

    /// Checks that the configured certificate authority can be read.
    fn check_authority(&self, environment: &EnvironmentName) -> Check {
        let file = self.service.ca_file.clone().or_else(|| variables::read(variables::CA_FILE).map(Into::into));
        let Some(path) = file.map(|path| expand_environment(path, environment)) else {
            return Check::ok("authority", "the authorities of the system are used");
        };
        match read_pem(&path, "certificate authority", "`--ca-file` or MAILWRIGHT_CA_FILE") {
            Err(error) => Check::failed("authority", error),
            Ok(text) if String::from_utf8_lossy(&text).contains("-----BEGIN CERTIFICATE-----") => {
                Check::ok("authority", format!("`{}` is trusted in addition to those of the system", path.display()))
            }
            Ok(_) => Check::new("authority", Outcome::Failed, format!("`{}` has no certificate", path.display()))
                .remedy("Name the PEM file of the authority: `--ca-file FILE` or MAILWRIGHT_CA_FILE."),
        }
    }

    /// Checks that an identity of this machine opens the age files.
    fn check_identity(&self, root: &Path, environment: &EnvironmentName) -> Check {
        const NAME: &str = "identity";
        let files = age_files(root, environment);
        if files.is_empty() {
            return Check::skipped(NAME, format!("`secrets/{environment}` has no age files"));
        }
        let identities = match self.identity.load(files.iter().map(|(_, file)| file.as_slice())) {
            Ok(identities) => identities,
            Err(error) => {
                // Only operators who change secrets need one.
                return Check { outcome: Outcome::Warning, ..Check::failed(NAME, error) };
            }
        };
        let failed = |error: &OpenError| !matches!(error, OpenError::Redirected(_));
        let unopened: Vec<String> = files
            .iter()
            .filter_map(|(name, file)| {
                let error = open(file, identities.iter()).err().filter(failed)?;
                Some(format!("{name}: {error}"))
            })
            .collect();
        if unopened.is_empty() {
            return Check::ok(NAME, format!("opens {}", count_of(files.len(), "age file")));
        }
        let message = format!("cannot open {} of {}: {}", unopened.len(), files.len(), enumerate(&unopened, 3));
        Check::new(NAME, Outcome::Warning, message).remedy(format!(
            "Pass `--identity FILE`, or have an operator add your recipient: mailwright secrets recipients add age1... {environment}"
        ))
    }
}

/// Checks the files of an environment.
fn check_files(environment: &Environment) -> Check {
    match environment.repository.load(&environment.name) {
        Ok(desired) => Check::ok("files", format!("valid, {}", count_of(desired.profiles.len(), "profile"))),
        Err(report) => {
            let problems = count_of(report.diagnostics.len(), "problem");
            Check::new("files", Outcome::Failed, problems).remedy(format!("mailwright validate {}", environment.name))
        }
    }
}

/// Returns the command that commits the files of a repository.
fn commit_command(root: &Path) -> String {
    let parts = [".gitignore", "environments", "rollouts", "schema", "secrets"];
    let present: Vec<&str> = parts.into_iter().filter(|part| root.join(part).exists()).collect();
    format!("git init && git add {} && git commit -m 'E-mail profiles'", present.join(" "))
}

/// Checks the Git repository.
fn check_git(root: &Path) -> Check {
    let git::WorkTreeProvenance { provenance, refusal } = git::read_provenance(root, None);
    if let Some(refusal) = refusal {
        return Check::new("git", Outcome::Failed, refusal.message).remedy(refusal.remedy);
    }
    if provenance.commit.is_none() {
        return Check::new("git", Outcome::Warning, "the files are not in a Git repository with a commit")
            .remedy(commit_command(root));
    }
    let branch = provenance.branch.as_deref().map_or("no branch".to_owned(), |branch| printable(branch).into_owned());
    let commit = short_commit(&provenance);
    if provenance.dirty {
        return Check::new(
            "git",
            Outcome::Warning,
            format!("{commit} on {branch}, with changes that are not committed"),
        )
        .remedy("git status");
    }
    Check::ok("git", format!("{commit} on {branch}"))
}

/// Asks the service, and checks its name, its answer, its version and its clock.
fn ask_service(context: &Context, client: &Client, environment: &EnvironmentName) -> (Vec<Check>, Option<ServiceInfo>) {
    let runtime = match context.runtime() {
        Ok(runtime) => runtime,
        Err(error) => return (vec![Check::failed("service", error)], None),
    };
    let mut checks = vec![runtime.block_on(check_name(client.address()))];
    let before = context.clock.now();
    let info = match runtime.block_on(client.service()) {
        Ok(info) => info,
        // A token for submissions cannot ask.
        Err(problem) if problem.code == Code::RoleTooLow => {
            checks.push(Check::ok("service", format!("{} answers; {}", client.address(), printable(&problem.message))));
            return (checks, None);
        }
        Err(problem) => {
            checks.push(Check::failed("service", problem.into()));
            return (checks, None);
        }
    };
    let after = context.clock.now();
    checks.push(check_environment(client, &info, environment));
    checks.push(check_version(&info));
    checks.extend(info.time.map(|time| check_clock(time, before, after)));
    (checks, Some(info))
}

/// Checks that the name of the service can be resolved.
async fn check_name(address: &str) -> Check {
    const NAME: &str = "dns";
    let Ok(url) = reqwest::Url::parse(address) else { return Check::skipped(NAME, "the address is not a URL") };
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Check::skipped(NAME, "the address has no host");
    };
    let host = host.trim_matches(['[', ']']).to_owned();
    let found = tokio::time::timeout(DNS_DEADLINE, tokio::net::lookup_host((host.clone(), port))).await;
    let remedy = "Check `service.address`, the resolver of this machine, and the VPN.";
    match found {
        Ok(Ok(addresses)) => {
            let addresses: Vec<String> = addresses.map(|address| address.ip().to_string()).collect();
            Check::ok(NAME, format!("{host} is {}", enumerate(&addresses, 3)))
        }
        Ok(Err(error)) => Check::new(NAME, Outcome::Failed, format!("cannot resolve {host}: {error}")).remedy(remedy),
        Err(_) => {
            Check::new(NAME, Outcome::Failed, format!("cannot resolve {host}: no answer within 5 s")).remedy(remedy)
        }
    }
}

fn check_environment(client: &Client, info: &ServiceInfo, environment: &EnvironmentName) -> Check {
    if let Err(problem) = operations::check_environment(client, &info.environment, environment) {
        return Check::failed("service", problem.into());
    }
    let role = info.role.map(|role| format!("; the token has the role {}", role.id())).unwrap_or_default();
    Check::ok("service", format!("{} answers for {environment}{role}", client.address()))
}

fn check_version(info: &ServiceInfo) -> Check {
    let own = env!("CARGO_PKG_VERSION");
    let version = printable(&info.version);
    if info.api_version == VERSION && info.version == own {
        return Check::ok("version", format!("service and command line are {own}"));
    }
    let message =
        format!("the service is {version} (API v{}), the command line {own} (API v{VERSION})", info.api_version);
    Check::new("version", Outcome::Warning, message).remedy("Install the version of the service on this machine.")
}

/// Compares the clock of the service with that of this machine, which was read before and after.
fn check_clock(service: Timestamp, before: Timestamp, after: Timestamp) -> Check {
    let skew = if service < before {
        service.as_millisecond() - before.as_millisecond()
    } else if service > after {
        service.as_millisecond() - after.as_millisecond()
    } else {
        0
    };
    if skew.abs() <= TOLERATED_SKEW {
        return Check::ok("clock", "service and this machine agree within 10 s");
    }
    let direction = if skew > 0 { "ahead of" } else { "behind" };
    Check::new("clock", Outcome::Warning, format!("the service is {} s {direction} this machine", skew.abs() / 1000))
        .remedy("Synchronise both clocks (NTP): tokens, certificates and approvals depend on them.")
}

/// Checks that the service can open the secrets that are sealed to the recipients.
fn check_recipients(root: &Path, environment: &EnvironmentName, info: &ServiceInfo) -> Check {
    const NAME: &str = "recipients";
    let path = Repository::recipients_path(environment);
    let shown = path.display();
    let bytes = match read_ordinary(&root.join(&path), RECIPIENTS_LIMIT) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Check::skipped(NAME, format!("`{shown}` does not exist"));
        }
        Err(error) => {
            return Check::new(NAME, Outcome::Failed, format!("cannot read `{shown}`: {error}"))
                .remedy(format!("mailwright secrets check {environment}"));
        }
    };
    let recipients = crate::text::decode(&bytes)
        .and_then(|text| Recipients::parse(&text, &AgePrompt).map_err(|error| error.to_string()));
    let own = fingerprint(&info.recipient);
    match recipients {
        Err(why) => Check::new(NAME, Outcome::Failed, format!("cannot read `{shown}`: {}", printable(&why)))
            .remedy(format!("mailwright secrets check {environment}")),
        Ok(recipients) if recipients.fingerprints().any(|recipient| recipient == own) => {
            Check::ok(NAME, "the service is one of them")
        }
        Ok(_) => {
            let check = Check::new(
                NAME,
                Outcome::Failed,
                format!("the service is not in `{shown}`: it cannot open the secrets"),
            );
            // The service names it: a command must not run what it says instead.
            if Recipients::parse(&info.recipient, &AgePrompt).is_err() || info.recipient.starts_with('-') {
                return check
                    .remedy("The recipient that the service states is not one. Check who answers at its address.");
            }
            check.remedy(format!("mailwright secrets recipients add {} {environment}", quote_posix(&info.recipient)))
        }
    }
}

/// Returns the first age files of an environment, with their names.
fn age_files(root: &Path, environment: &EnvironmentName) -> Vec<(String, Vec<u8>)> {
    let folder = root.join("secrets").join(environment.as_str());
    let entries = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).take(ENTRIES).collect();
        paths.sort();
        paths
    };
    let below = entries(&folder).into_iter().filter(|path| path.is_dir()).flat_map(|path| entries(&path));
    let files = below.filter(|path| path.extension().is_some_and(|extension| extension == "age"));
    files
        .take(OPENED)
        .filter_map(|path| {
            let name = path.strip_prefix(&folder).unwrap_or(&path).with_extension("").display().to_string();
            Some((name, read_ordinary(&path, FILE_LIMIT as u64).ok()?))
        })
        .collect()
}

/// Returns the checks as the result for an environment.
fn summarize(environment: EnvironmentName, checks: &[Check]) -> Summary {
    let count = |outcome: Outcome| checks.iter().filter(|check| check.outcome == outcome).count();
    let (failed, warnings) = (count(Outcome::Failed), count(Outcome::Warning));
    let mut lines = Vec::new();
    for check in checks {
        let message = printable(&check.message);
        lines.push(format!("{:<8} {:<11} {message}", check.outcome.label(), check.name));
        lines.extend(check.remedy.iter().map(|remedy| format!("{:20} > {}", "", printable(remedy))));
    }
    let line = match (failed, warnings) {
        (0, 0) => "every check passed".to_owned(),
        (0, warnings) => count_of(warnings, "warning"),
        (failed, warnings) => format!("{} failed, {}", count_of(failed, "check"), count_of(warnings, "warning")),
    };
    lines.push(format!("\n{line}"));
    let document = serde_json::json!({
        "environment": environment, "failed": failed, "warnings": warnings, "checks": checks,
    });
    let significance = if failed > 0 { Significance::Counted } else { Significance::Quiet };
    let exit = if failed > 0 { Exit::Error } else { Exit::Done };
    Summary { exit, ..Summary::new(significance, line, lines.join("\n"), document) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_compared_with_the_time_before_and_after_the_request() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        assert_eq!(check_clock(at(100), at(99), at(101)).outcome, Outcome::Ok);
        assert_eq!(check_clock(at(95), at(99), at(101)).outcome, Outcome::Ok);
        let ahead = check_clock(at(200), at(99), at(101));
        assert!(ahead.outcome == Outcome::Warning && ahead.message.contains("99 s ahead of"), "{ahead:?}");
        assert!(check_clock(at(10), at(99), at(101)).message.contains("89 s behind"));
    }
}
