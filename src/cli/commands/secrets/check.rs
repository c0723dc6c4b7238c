//! `mailwright secrets check`: checks without a key that the age files of environments parse, are encrypted to the recipients
//! in `recipients.txt`, and are sealed for the destination in the profiles.
//!
//! Also reports missing and unexpected files. Only headers are read, which their author could forge; the service checks a file
//! again when it opens it. Errors make the exit code 1, warnings do not. Of a file of another program only the number of recipients
//! is compared.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable,
        commands::secrets::{
            files::{SecretFiles, list_files, read_age},
            recipients_file::{includes_public_identity, read_recipients},
        },
        environment::Environment,
        ui::wording::count_of,
    },
    config::{Repository, SecretUsage, Selection},
    model::{Code, Destination, EnvironmentName, code::Severity, secret_detection::mentions_age_identity},
    secrets::{Binding, Header, Recipients, ServiceIdentity, find_private_key, fingerprint},
    text::decode_lossy,
};

/// Check that every secret parses and is encrypted to everyone in recipients.txt
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright secrets check          all environments that have secrets\n  \
    mailwright secrets check prod --format json\n\n\
    Needs no key. Exit code 1 if there are errors. Reports files without a\n\
    destination, which should be sealed again. For a file that another program made,\n\
    only the number of recipients can be checked.")]
pub(super) struct Check {
    /// Environments: names, or patterns such as 'prod-*' [default: all with secrets]
    #[arg(value_name = "ENV")]
    environments: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// A problem of a file.
struct SecretProblem {
    file: String,
    code: Code,
    message: String,
    remedy: String,
}

impl Runnable for Check {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let repository = Arc::new(context.repository()?);
        let selection = Selection::parse(&self.environments, &[])?;
        let names: Vec<EnvironmentName> = if selection.is_empty() {
            let has_secrets = |name: &EnvironmentName| {
                !repository.is_abstract(name)
                    && (repository.root().join("secrets").join(name.as_str()).exists()
                        || !repository.used_secrets(name).is_empty())
            };
            repository.environments().into_iter().filter(has_secrets).collect()
        } else {
            repository.select(&selection)?
        };
        let new = |name| CheckedEnvironment::new(Environment::new(name, Arc::clone(&repository)));
        let all = names.into_iter().map(new).collect::<Result<Vec<_>, _>>()?;
        let found: Vec<&SecretProblem> = all.iter().flat_map(|one| &one.problems).collect();
        let checked: usize = all.iter().map(|one| one.files).sum();
        let errors = found.iter().filter(|found| found.code.severity() == Severity::Error).count();
        if self.output.format == Format::Json {
            let document = match &all[..] {
                [one] if selection.single_name().is_some() => one.to_json(),
                all => {
                    let documents: serde_json::Map<_, _> =
                        all.iter().map(|one| (one.name.to_string(), one.to_json())).collect();
                    json!({ "environments": documents })
                }
            };
            context.printer.json(&document);
        } else {
            for f in &found {
                let word = if f.code.severity() == Severity::Error { "error" } else { "warning" };
                context.printer.out(&format!("{}: {word}[{}]: {}\n  help: {}", f.file, f.code, f.message, f.remedy));
            }
            context.printer.out(&format!(
                "{} in {} checked, {}, {}.",
                count_of(checked, "secret"),
                count_of(all.len(), "environment"),
                count_of(errors, "error"),
                count_of(found.len() - errors, "warning")
            ));
            let mut bindings = no_bindings();
            for (kind, count) in all.iter().flat_map(|one| &one.bindings) {
                *bindings.entry(*kind).or_default() += count;
            }
            let bound = bindings.iter().filter(|(_, count)| **count > 0);
            let bound: Vec<String> = bound.map(|(kind, count)| format!("{count} by {}", kind.describe())).collect();
            if !bound.is_empty() {
                context.printer.out(&format!("Bound to their destination: {}.", bound.join(", ")));
            }
        }
        if errors > 0 { Err(CliError { in_json: true, ..CliError::already_printed() }) } else { Ok(Exit::Done) }
    }
}

/// The secrets of an environment.
struct CheckedEnvironment {
    name: EnvironmentName,
    files: usize,
    bindings: BTreeMap<Binding, usize>,
    problems: Vec<SecretProblem>,
}

impl CheckedEnvironment {
    fn new(environment: Environment) -> Result<Self, CliError> {
        let (mut problems, mut bindings) = (Vec::new(), no_bindings());
        let files = check_environment(&environment, &mut problems, &mut bindings)?;
        Ok(Self { name: environment.name, files, bindings, problems })
    }

    fn to_json(&self) -> serde_json::Value {
        let findings: Vec<_> = self
            .problems
            .iter()
            .map(|f| json!({ "file": f.file, "code": f.code, "severity": f.code.severity(), "message": f.message, "remedy": f.remedy }))
            .collect();
        let bindings: BTreeMap<_, _> = self.bindings.iter().map(|(kind, count)| (kind.id(), count)).collect();
        json!({ "environment": self.name, "files": self.files, "bindings": bindings, "findings": findings })
    }
}

/// Returns a count of zero for each way in which a file is bound to its destination.
fn no_bindings() -> BTreeMap<Binding, usize> {
    BTreeMap::from([Binding::Destination, Binding::ValueId, Binding::File].map(|kind| (kind, 0)))
}

fn check_environment(
    environment: &Environment,
    found: &mut Vec<SecretProblem>,
    bindings: &mut BTreeMap<Binding, usize>,
) -> Result<usize, CliError> {
    let (root, name) = (environment.repository.root(), &environment.name);
    let present = list_files(root, name)?;
    let used = environment.repository.used_secrets(name);
    for (reference, uses) in &used {
        if !present.secrets.iter().any(|(own, _)| own == reference) {
            let users = uses.names().iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            found.push(SecretProblem {
                file: Repository::secret_path(name, reference).display().to_string(),
                code: Code::SecretMissing,
                message: format!("the file is missing but used by {users}"),
                remedy: format!("Seal the value: mailwright secrets set {name} {reference}"),
            });
        }
    }
    let recipients = match read_recipients(root, name) {
        Ok(recipients) => Some(recipients),
        Err(error) => {
            found.push(SecretProblem {
                file: Repository::recipients_path(name).display().to_string(),
                code: Code::RecipientsInvalid,
                message: error.message,
                remedy: error.remedy.unwrap_or_default(),
            });
            None
        }
    };
    check_unexpected(root, name, &present, recipients.as_ref(), found)?;
    for (reference, path) in present.age_files() {
        let is_next = present.next.iter().any(|(_, next)| next == path);
        let mut report = |code: Code, message: String, remedy: String| {
            found.push(SecretProblem { file: path.display().to_string(), code, message, remedy });
        };
        let header = match Header::read(&read_age(root, path)?) {
            Ok(header) => header,
            Err(error) => {
                let remedy = if is_next {
                    format!("Seal the next value: mailwright secrets rotate {name} {reference} --replace")
                } else {
                    format!("Seal the value: mailwright secrets set {name} {reference}")
                };
                report(Code::NotAgeFile, error.to_string(), remedy);
                continue;
            }
        };
        if is_next && !present.secrets.iter().any(|(own, _)| own == reference) {
            report(
                Code::SecretMissing,
                format!("this is the next value of `{reference}`, which has no current value"),
                format!("Seal the current value: mailwright secrets set {name} {reference}"),
            );
        } else if !used.contains_key(reference) {
            report(
                Code::SecretUnused,
                "no profile uses this secret".to_owned(),
                "Remove the file, or use the secret in a profile.".to_owned(),
            );
        }
        *bindings.entry(header.binding()).or_default() += 1;
        if let Some((code, message)) = used.get(reference).and_then(|uses| binding_problem(name, &header, uses)) {
            let again = if is_next {
                format!("mailwright secrets rotate {name} {reference} --replace")
            } else {
                format!("mailwright secrets set {name} {reference}")
            };
            let remedy = if code == Code::SecretRedirected {
                format!("If the new destination is correct, set the value again: {again}")
            } else {
                format!("Seal it for its destination: mailwright secrets rekey {name} {reference}, or {again}")
            };
            report(code, message, remedy);
        }
        for message in recipients.iter().flat_map(|recipients| recipient_problems(&header, recipients)) {
            report(Code::RecipientMissing, message, format!("mailwright secrets rekey {name}"));
        }
    }
    Ok(present.age_files().count())
}

/// Returns what is wrong with the binding of a file to its destination.
fn binding_problem(environment: &EnvironmentName, header: &Header, uses: &SecretUsage) -> Option<(Code, String)> {
    let Some(sealed_for) = &header.sealed_for else {
        let words = header.binding().describe();
        return Some((
            Code::DestinationUnsealed,
            format!("it does not contain its destination: the service binds it by {words} when it first accepts it"),
        ));
    };
    let elsewhere = |destination: &&Destination| !destination.matches(environment, sealed_for);
    let (user, destination) = uses
        .destinations
        .iter()
        .filter_map(|(user, destination)| Some((user, destination.as_ref()?)))
        .find(|(_, destination)| elsewhere(destination))?;
    let message = format!(
        "it was sealed for another destination, and `{user}` would send it to {destination} from `{environment}`"
    );
    Some((Code::SecretRedirected, message))
}

/// Returns the differences between a file's header and the recipients. For a file that another program made only the
/// number of keys is known.
fn recipient_problems(header: &Header, recipients: &Recipients) -> Vec<String> {
    let (keys, wanted) = (header.kinds.len(), recipients.texts().count());
    let Some(named) = &header.recipients else {
        let differs = keys != wanted;
        return differs
            .then(|| format!("it is encrypted to {}, but recipients.txt has {wanted}", count_of(keys, "recipient")))
            .into_iter()
            .collect();
    };
    let lacking = recipients.texts().filter(|text| !named.contains(&fingerprint(text)));
    let mut messages: Vec<String> =
        lacking.map(|text| format!("it is not encrypted to {}", recipient_prefix(text))).collect();
    let stale = named.iter().filter(|print| !recipients.fingerprints().any(|own| own == print.as_str())).count();
    if stale > 0 {
        messages.push(format!(
            "it is encrypted to {} that recipients.txt does not have; they can decrypt versions in Git's history, so change the value too",
            count_of(stale, "recipient")
        ));
    }
    if keys < named.len() {
        messages.push(format!("its header names {} but has keys for {keys} only", count_of(named.len(), "recipient")));
    }
    messages
}

/// Reports unexpected files, private keys, and the public recipient of the examples.
fn check_unexpected(
    root: &Path,
    name: &EnvironmentName,
    present: &SecretFiles,
    recipients: Option<&Recipients>,
    found: &mut Vec<SecretProblem>,
) -> Result<(), CliError> {
    for path in &present.unexpected {
        found.push(SecretProblem {
            file: path.display().to_string(),
            code: Code::UnexpectedFile,
            message: "this is not the file of a secret".to_owned(),
            remedy:
                "A secret is secrets/ENV/NAME/KEY.age. If this file contains a plaintext value, remove it and change the value."
                    .to_owned(),
        });
    }
    for path in &present.other_files {
        let text = Zeroizing::new(read_age(root, path)?);
        let holds_key = find_private_key(&Zeroizing::new(decode_lossy(&text))).is_some()
            || mentions_age_identity(&text)
            || text.windows(12).any(|part| part == b"PRIVATE KEY-");
        let is_public = std::str::from_utf8(&text)
            .is_ok_and(|text| ServiceIdentity::parse(&text.to_owned().into()).is_ok_and(|key| key.is_public()));
        if holds_key && !is_public {
            found.push(SecretProblem {
                file: path.display().to_string(),
                code: Code::LooksLikeSecret,
                message: "it contains a private key".to_owned(),
                remedy: "Remove the file, remove its recipient from recipients.txt, and change every value that the key could decrypt.".to_owned(),
            });
        }
    }
    if recipients.is_some_and(|recipients| includes_public_identity(root, name, recipients)) {
        found.push(SecretProblem {
            file: Repository::recipients_path(name).display().to_string(),
            code: Code::PublicIdentity,
            message: "it names the public recipient of the examples: anyone can decrypt what is sealed to it"
                .to_owned(),
            remedy: format!("Remove it, run `mailwright secrets rekey {name}`, and change every value."),
        });
    }
    Ok(())
}

/// Returns the first 24 characters of a recipient.
fn recipient_prefix(recipient: &str) -> String {
    let cut: String = recipient.chars().take(24).collect();
    if recipient.chars().count() > 24 { format!("{cut}...") } else { cut }
}
