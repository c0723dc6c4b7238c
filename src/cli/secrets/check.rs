//! `mailwright secrets check`: whether every file parses, and is addressed to everyone that it should be.

use serde_json::json;

use super::{CliError, Context, Environment, Exit, files, read_age, recipients};
use crate::{
    cli::plan::{self, Format},
    model::{Code, EnvironmentName, code::Severity},
    secrets::{Header, fingerprint},
};

/// Check that every secret parses and is addressed to everyone in recipients.txt
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailwright secrets check          all environments that have secrets\n  mailwright secrets check prod --format json\n\n\
    Needs no key. Exit code 1 if something is wrong. For a file that another program made, only the number of its\n\
    recipients can be checked."
)]
pub(super) struct Check {
    /// The environments; all if none is named
    environments: Vec<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
}

/// One thing that was found.
struct Found {
    file: String,
    code: Code,
    message: String,
    remedy: String,
}

impl Check {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        plan::json_even_on_errors(context, self.format, || self.check(context))
    }

    fn check(&self, context: &Context) -> Result<Exit, CliError> {
        let all = context.repository()?;
        let names: Vec<String> = if self.environments.is_empty() {
            let has_something = |name: &EnvironmentName| {
                !all.is_abstract(name)
                    && (all.root().join("secrets").join(name.as_str()).exists() || !all.used_secrets(name).is_empty())
            };
            all.environments().iter().filter(|name| has_something(name)).map(ToString::to_string).collect()
        } else {
            self.environments.clone()
        };
        let mut found = Vec::new();
        let mut checked = 0;
        for name in &names {
            checked += check_one(&Environment::find(context, name)?, &mut found)?;
        }
        let errors = found.iter().filter(|found| found.code.severity() == Severity::Error).count();
        if self.format == Format::Json {
            let findings: Vec<_> = found
                .iter()
                .map(|f| json!({ "file": f.file, "code": f.code, "severity": f.code.severity(), "message": f.message, "remedy": f.remedy }))
                .collect();
            context
                .printer
                .out(&format!("{:#}", json!({ "environments": names, "files": checked, "findings": findings })));
        } else {
            for f in &found {
                let word = if f.code.severity() == Severity::Error { "error" } else { "warning" };
                context.printer.out(&format!("{}: {word}[{}]: {}\n  help: {}", f.file, f.code, f.message, f.remedy));
            }
            let s = |count: usize| if count == 1 { "" } else { "s" };
            context.printer.out(&format!(
                "{} secret{} in {} environment{} checked, {errors} error{}, {} warning{}.",
                checked,
                s(checked),
                names.len(),
                s(names.len()),
                s(errors),
                found.len() - errors,
                s(found.len() - errors)
            ));
        }
        if errors > 0 { Err(CliError { in_json: true, ..CliError::already_told() }) } else { Ok(Exit::Done) }
    }
}

fn check_one(environment: &Environment, found: &mut Vec<Found>) -> Result<usize, CliError> {
    let (root, name) = (environment.repository.root(), &environment.name);
    let present = files(root, name)?;
    let used = environment.repository.used_secrets(name);
    let rekey = format!("mailwright secrets rekey {name}");
    for (reference, profiles) in &used {
        if !present.iter().any(|(own, _)| own == reference) {
            let users = profiles.iter().map(|profile| format!("`{profile}`")).collect::<Vec<_>>().join(", ");
            found.push(Found {
                file: crate::config::Repository::secret_path(name, reference).display().to_string(),
                code: Code::SecretMissing,
                message: format!("the file is missing, and {users} names it"),
                remedy: format!("Seal the value: mailwright secrets set {name} {reference}"),
            });
        }
    }
    let recipients = match recipients(root, name) {
        Ok(recipients) => Some(recipients),
        Err(error) => {
            found.push(Found {
                file: super::recipients_path(name).display().to_string(),
                code: Code::RecipientsInvalid,
                message: error.message,
                remedy: error.remedy.unwrap_or_default(),
            });
            None
        }
    };
    for (reference, path) in &present {
        let mut report = |code: Code, message: String, remedy: String| {
            found.push(Found { file: path.display().to_string(), code, message, remedy });
        };
        let header = match Header::read(&read_age(root, path)?) {
            Ok(header) => header,
            Err(error) => {
                report(
                    Code::NotAgeFile,
                    error.to_string(),
                    format!("Seal the value: mailwright secrets set {name} {reference}"),
                );
                continue;
            }
        };
        if !used.contains_key(reference) {
            report(
                Code::SecretUnused,
                "no profile names this secret".to_owned(),
                "Remove the file, or name it where it belongs.".to_owned(),
            );
        }
        let Some(recipients) = &recipients else { continue };
        match &header.recipients {
            Some(have) => {
                for text in recipients.texts().filter(|text| !have.contains(&fingerprint(text))) {
                    report(
                        Code::RecipientMissing,
                        format!("it is not addressed to {}", beginning(text)),
                        rekey.clone(),
                    );
                }
                let stale =
                    have.iter().filter(|print| !recipients.fingerprints().any(|own| own == print.as_str())).count();
                if stale > 0 {
                    report(
                        Code::RecipientMissing,
                        format!("it is addressed to {stale} recipient(s) that recipients.txt does not have"),
                        format!("{rekey}. They can still open what Git remembers: change the value too."),
                    );
                }
            }
            None => {
                let wanted = recipients.texts().count();
                if header.kinds.len() != wanted {
                    report(
                        Code::RecipientMissing,
                        format!(
                            "it is addressed to {} recipients, and recipients.txt has {wanted}",
                            header.kinds.len()
                        ),
                        rekey.clone(),
                    );
                }
            }
        }
    }
    Ok(present.len())
}

fn beginning(recipient: &str) -> String {
    let cut: String = recipient.chars().take(24).collect();
    if recipient.chars().count() > 24 { format!("{cut}...") } else { cut }
}
