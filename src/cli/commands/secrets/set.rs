//! `mailwright secrets set`: seals a value to an environment's recipients, for the destination in the profiles that use it.
//!
//! Takes one value for one or many environments, or a list with a value for each (`value_list`). [`SealTarget`] finds
//! recipients and destination, and writes the file; `rotate` uses it too. A value is never an argument of the command line.
//!
//! Several environments are sealed one by one: an error in one is reported, and the others are sealed. Of a list nothing is sealed
//! if a line has a problem: all are encrypted before the first file is written. A file that cannot be written leaves the earlier
//! ones sealed.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use secrecy::ExposeSecret as _;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, OutputArgs, Runnable,
        commands::secrets::{
            files::write_age,
            names::SecretNames,
            recipients_file::{check_not_public, read_recipients},
            sealing::{find_destination, fresh_value_id, parse_reference, seal_error},
            value::{self, PreparedValue},
            value_list::{ValueRow, parse_list},
        },
        environment::Environment,
        fleet::Fleet,
        list_file::{list_error, read_list_file},
        ui::{
            fleet_report::{FleetReport, Significance, Summary, SummaryLabels, TaskResult},
            wording::count_of,
        },
    },
    config::Repository,
    import::spreadsheet::SIZE_LIMIT,
    model::{Code, Destination, EnvironmentName, SecretReference},
    secrets::{Recipients, seal_for},
};

/// Seal a value to the environment's recipients
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailwright secrets set ENV... NAME/KEY\n       \
    mailwright secrets set --from-csv FILE|-",
    after_help = "Examples:\n  \
    mailwright secrets set prod relay/password                    asks for the value without showing it\n  \
    pass show relay | mailwright secrets set prod relay/password  one trailing line break is removed\n  \
    mailwright secrets set prod remittance/certificate < certificate-and-key.pem\n  \
    pass show relay | mailwright secrets set 'cust-*' relay/password   one value for all\n  \
    export-list | mailwright secrets set --from-csv -             a value each\n\n\
    The value is sealed for the destination in the profiles that use it: the\n\
    environment, the kind of credential, and the mail server, or the tenant and\n\
    client. It is never sent elsewhere, so use the secret in a profile first.\n\n\
    A list has the columns environment, secret and value. It is read once and not\n\
    stored; if a line has a problem, nothing is sealed.\n\n\
    There is no option for the value, because other users and the shell history can\n\
    see a command line."
)]
pub(super) struct Set {
    #[command(flatten)]
    names: SecretNames,
    /// List of values in CSV with the columns environment, secret and value; `-` is standard input
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    from_csv: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// The labels of a report of sealed values.
const SEALED_LABELS: SummaryLabels = SummaryLabels { notable: ("sealed", "sealed"), quiet: ("unchanged", "unchanged") };

impl Runnable for Set {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        if let Some(list) = &self.from_csv {
            return self.seal_list(context, list);
        }
        let (fleet, secret) = self.names.find(context, None)?;
        let given = OnceLock::new();
        if let Fleet::Many(_) = &fleet {
            // One value for all: it is asked for once.
            drop(given.set(value::read_given(secret)?));
        }
        fleet.run(context, self.output.format, &SEALED_LABELS, |context, environment| {
            let reference = parse_reference(&environment.name, secret)?;
            let path = Repository::secret_path(&environment.name, &reference);
            let target = SealTarget::find(environment, reference, path)?;
            let value = match given.get() {
                Some(given) => target.prepare(context, given)?,
                None => target.prepare(context, &value::read_given(secret)?)?,
            };
            target.seal(context, &value)?;
            Ok(target.summary())
        })
    }
}

impl Set {
    /// Seals the values of a list. Every line is checked before anything is sealed.
    fn seal_list(&self, context: &Context, list: &Path) -> Result<Exit, CliError> {
        if !self.names.is_empty() {
            return Err(CliError::coded(
                Code::Usage,
                "`--from-csv` cannot be used with names of environments and secrets",
            )
            .remedy("The list names them."));
        }
        let repository = Arc::new(context.repository()?);
        let bytes = Zeroizing::new(read_value_list(context, list)?);
        let rows = parse_list(list, &bytes)?;
        let (mut targets, mut problems) = (BTreeMap::new(), Vec::new());
        for row in &rows {
            let (column, error) = match prepare_row(context, &repository, row) {
                Ok((target, value, sealed)) => {
                    let name = (target.environment.name.clone(), target.reference.clone());
                    match targets.insert(name, (target, value, sealed)) {
                        None => continue,
                        Some(_) => (
                            "secret",
                            CliError::new("the secret is in the list twice").remedy("Remove one of the lines."),
                        ),
                    }
                }
                Err(problem) => problem,
            };
            problems.push(row.problem(column, error));
        }
        if !problems.is_empty() {
            return Err(list_error(Code::ListMalformed, list, problems));
        }
        let mut sealed: BTreeMap<EnvironmentName, Vec<SealTarget>> = BTreeMap::new();
        for ((name, _), (target, value, file)) in targets {
            target.write(context, &value, &file)?;
            sealed.entry(name).or_default().push(target);
        }
        let results = sealed.into_iter().map(|(name, targets)| {
            let names: Vec<&str> = targets.iter().map(|target| target.reference.as_str()).collect();
            let documents: Vec<_> = targets.iter().map(SealTarget::document).collect();
            let line = format!("sealed {}", names.join(", "));
            let summary = Summary::new(Significance::Listed, line, String::new(), json!({ "secrets": documents }));
            TaskResult { name, notes: String::new(), result: Ok(summary) }
        });
        let report = FleetReport::new(results.collect(), Some(&repository));
        report.summary_only(self.names.selection.summary).print(context, self.output.format, &SEALED_LABELS)
    }
}

/// Reads a list of values, up to one byte more than its size limit.
fn read_value_list(context: &Context, list: &Path) -> Result<Vec<u8>, CliError> {
    if list != Path::new("-") {
        if list.is_file() {
            context.printer.note(&format!(
                "warning: `{}` has values that are not encrypted. Remove it, or give the list on standard input: `--from-csv -`.",
                list.display()
            ));
        }
        return read_list_file(list);
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(SIZE_LIMIT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::new(format!("cannot read standard input: {error}")))?;
    Ok(bytes)
}

/// Finds the place of a line's value, checks the value, and encrypts it. An error names its column.
fn prepare_row(
    context: &Context,
    repository: &Arc<Repository>,
    row: &ValueRow,
) -> Result<(SealTarget, PreparedValue, Vec<u8>), (&'static str, CliError)> {
    // A value can stand in the wrong column, so only names that the repository has are quoted.
    let environment = Environment::find_in(repository, &row.environment).map_err(|_| {
        let error = CliError::new("the repository has no environment of this name");
        (
            "environment",
            error.remedy(
                "Correct the name and the order of the columns; environments are the folders in `environments`.",
            ),
        )
    })?;
    let reference = parse_reference(&environment.name, &row.secret).ok();
    let used = repository.used_secrets(&environment.name);
    let reference = reference.filter(|reference| used.contains_key(reference)).ok_or_else(|| {
        let error = CliError::new(format!("no profile of `{}` uses a secret of this name", environment.name));
        let remedy = format!(
            "Correct the name and the order of the columns; `mailwright secrets list {}` shows the secrets.",
            environment.name
        );
        ("secret", error.remedy(remedy))
    })?;
    let path = Repository::secret_path(&environment.name, &reference);
    let target = SealTarget::find(&environment, reference, path).map_err(|error| ("secret", error))?;
    let value = target.prepare(context, row.value.as_bytes()).map_err(|error| ("value", error))?;
    if value.value.expose_secret().is_empty() {
        return Err(("value", CliError::new("the value is empty").remedy("Write the value, or remove the line.")));
    }
    let sealed = target.encrypt(&value).map_err(|error| ("value", error))?;
    Ok((target, value, sealed))
}

/// The file that a value is sealed to.
pub(super) struct SealTarget {
    environment: Environment,
    reference: SecretReference,
    path: PathBuf,
    recipients: Recipients,
    destination: Destination,
}

impl SealTarget {
    /// Finds the recipients of a secret, and the destination of the profiles that use it.
    pub(super) fn find(environment: &Environment, reference: SecretReference, path: PathBuf) -> Result<Self, CliError> {
        let recipients = read_recipients(environment.repository.root(), &environment.name)?;
        check_not_public(environment, &recipients)?;
        let destination = find_destination(environment, &reference)?;
        Ok(Self { environment: environment.clone(), reference, path, recipients, destination })
    }

    /// Returns the value to seal. Returns an error if it does not fit.
    pub(super) fn prepare(&self, context: &Context, given: &[u8]) -> Result<PreparedValue, CliError> {
        value::prepare(context, &self.environment, &self.reference, given)
    }

    /// Seals a value, writes the file, and prints the notes about the value.
    pub(super) fn seal(&self, context: &Context, value: &PreparedValue) -> Result<(), CliError> {
        self.write(context, value, &self.encrypt(value)?)
    }

    /// Returns the content of the file.
    fn encrypt(&self, value: &PreparedValue) -> Result<Vec<u8>, CliError> {
        let Self { environment, reference, recipients, destination, .. } = self;
        seal_for(&value.value, recipients, &fresh_value_id()?, &destination.digest(&environment.name))
            .map_err(|error| seal_error(reference, &error))
    }

    fn write(&self, context: &Context, value: &PreparedValue, sealed: &[u8]) -> Result<(), CliError> {
        write_age(&self.environment, &self.path, sealed)?;
        value.print_notes(context);
        Ok(())
    }

    /// The result after the value was sealed.
    pub(super) fn summary(&self) -> Summary {
        let count = self.recipients.texts().count();
        let text = describe_sealed(&self.path, count, &self.destination, &self.environment.name);
        let line = format!("sealed to {}, for {}", count_of(count, "recipient"), self.destination);
        Summary::new(Significance::Listed, line, text, self.document())
    }

    fn document(&self) -> serde_json::Value {
        let Self { path, recipients, destination, .. } = self;
        json!({
            "sealed": path, "recipients": recipients.texts().count(), "used": true,
            "destination": destination.to_string(),
        })
    }
}

/// Describes a sealed file.
fn describe_sealed(path: &Path, recipients: usize, destination: &Destination, environment: &EnvironmentName) -> String {
    format!(
        "sealed {} to {}, {}",
        path.display(),
        count_of(recipients, "recipient"),
        describe_destination(destination, environment)
    )
}

/// Describes the destination for which a value was sealed, so that the operator can check it.
pub(super) fn describe_destination(destination: &Destination, environment: &EnvironmentName) -> String {
    format!("for {destination} in {environment}")
}
