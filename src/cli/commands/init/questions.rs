//! The questions of `init` on a terminal: [`ask_missing`] asks for each required value that no flag gives, and fills in the
//! arguments.
//!
//! An answer is checked before the next question; after five wrong answers the command fails. Without a terminal, `init` does not
//! call this module. Writes no file.

use std::path::{Path, PathBuf};

use crate::{
    cli::{
        CliError, Context,
        args::profile::ProviderName,
        commands::init::{Ci, Init, LOCAL_SERVICE, files},
        environment::company,
        operator_key::default_identity_file,
        variables,
    },
    model::Code,
};

/// The number of times that a question is asked before `init` gives up.
const TRIES: usize = 5;
/// The number of keys that are offered.
const KEYS: usize = 9;

/// Asks for every answer that is missing.
pub(super) fn ask_missing(context: &Context, root: &Path, answers: &mut Init) -> Result<(), CliError> {
    let form = Form { context };
    if answers.environment.is_none() {
        let check = |text: &str| files::check_environment_name(root, text).map(drop);
        answers.environment = Some(form.ask("Name of the environment", Some("prod"), check)?);
    }
    if answers.company.is_empty() {
        let split = |text: &str| text.split([' ', ',', ';']).filter(|id| !id.is_empty()).map(str::to_owned).collect();
        let check = |text: &str| {
            let ids: Vec<String> = split(text);
            if ids.is_empty() { required() } else { ids.iter().try_for_each(|id| company(id).map(drop)) }
        };
        answers.company = split(&form.ask("Ids of the companies, such as `EDU1 10`", None, check)?);
    }
    if answers.settings.provider.is_none() {
        let options = [
            "a mail server (SMTP)",
            "Microsoft 365: the application itself sends",
            "Microsoft 365: users send from a desktop client",
            "Microsoft 365: users send from a web client",
        ];
        answers.settings.provider = Some(match form.choose("How does the mail leave?", &options)? {
            0 => ProviderName::Smtp,
            1 => ProviderName::MicrosoftGraphDirect,
            delegate => {
                answers.settings.platform = Some(if delegate == 2 { "native" } else { "spa" }.to_owned());
                ProviderName::MicrosoftGraphDelegate
            }
        });
    }
    form.ask_settings(answers)?;
    form.ask_service(answers)?;
    if answers.needs_secrets() && !answers.keygen && answers.recipient.is_empty() {
        form.ask_recipient(answers)?;
    }
    if answers.ci.is_none() {
        let options = ["none", "GitHub Actions", "GitLab CI", "Azure Pipelines"];
        answers.ci = Some(match form.choose("Pipeline that plans and applies changes?", &options)? {
            1 => Ci::Github,
            2 => Ci::Gitlab,
            3 => Ci::Azure,
            _ => Ci::None,
        });
    }
    Ok(())
}

fn required() -> Result<(), CliError> {
    Err(CliError::coded(Code::Usage, "an answer is required"))
}

/// Asks questions on the terminal.
struct Form<'a> {
    context: &'a Context,
}

impl Form<'_> {
    /// Asks until the answer passes the check. An empty answer is the default.
    fn ask(
        &self,
        question: &str,
        default: Option<&str>,
        check: impl Fn(&str) -> Result<(), CliError>,
    ) -> Result<String, CliError> {
        let shown = default.filter(|text| !text.is_empty()).map(|text| format!(" [{text}]")).unwrap_or_default();
        for _ in 0..TRIES {
            let given = self.context.printer.ask(&format!("{question}{shown}:")).unwrap_or_default();
            let answer = if given.is_empty() { default.unwrap_or_default().to_owned() } else { given };
            match check(&answer) {
                Ok(()) => return Ok(answer),
                Err(error) => self.context.printer.note(&error.render()),
            }
        }
        Err(CliError::coded(Code::Usage, format!("no answer to: {question}"))
            .remedy("Start again, or pass the answer as a flag; `mailwright init --help` lists them."))
    }

    fn ask_required(&self, question: &str) -> Result<String, CliError> {
        self.ask(question, None, |text| if text.is_empty() { required() } else { Ok(()) })
    }

    /// Asks for one of several options, and returns its index. The first one is the default.
    fn choose(&self, question: &str, options: &[&str]) -> Result<usize, CliError> {
        let list: Vec<String> =
            options.iter().enumerate().map(|(index, option)| format!("  {}  {option}", index + 1)).collect();
        self.context.printer.note(&format!("{question}\n{}", list.join("\n")));
        let parse = |text: &str| text.parse::<usize>().ok().filter(|number| (1..=options.len()).contains(number));
        let check = |text: &str| match parse(text) {
            Some(_) => Ok(()),
            None => Err(CliError::coded(Code::Usage, format!("write a number from 1 to {}", options.len()))),
        };
        Ok(parse(&self.ask("Number", Some("1"), check)?).unwrap_or(1) - 1)
    }

    fn ask_settings(&self, answers: &mut Init) -> Result<(), CliError> {
        let settings = &mut answers.settings;
        match settings.provider {
            Some(ProviderName::Smtp) if settings.host.is_none() => {
                settings.host = Some(self.ask_required("Host name of the mail server")?);
                if settings.encryption.is_none() && settings.port.is_none() {
                    let options = ["STARTTLS, port 587", "TLS, port 465", "none, port 25"];
                    let names = ["starttls", "tls", "none"];
                    let index = self.choose("Encryption?", &options)?;
                    settings.encryption = names.get(index).map(|name| (*name).to_owned());
                }
                if settings.username.is_none() && settings.encryption.as_deref() != Some("none") {
                    let name = self.ask("User name of the login (empty: no login)", Some(""), |_| Ok(()))?;
                    settings.username = Some(name).filter(|name| !name.is_empty());
                }
            }
            Some(ProviderName::MicrosoftGraphDirect | ProviderName::MicrosoftGraphDelegate) => {
                if settings.tenant.is_none() {
                    settings.tenant =
                        Some(self.ask_required("Tenant: a domain such as contoso.onmicrosoft.com, or its id")?);
                    if settings.client.is_none() {
                        let question = "Client id of the application (empty: it will be registered)";
                        let client = self.ask(question, Some(""), |_| Ok(()))?;
                        settings.client = Some(client).filter(|client| !client.is_empty());
                    }
                }
                if settings.platform.as_deref() == Some("spa") && settings.redirect.is_none() {
                    settings.redirect = Some(self.ask_required("Address of the web client (https)")?);
                }
            }
            Some(ProviderName::Smtp) | None => {}
        }
        if settings.from.is_none() && settings.provider != Some(ProviderName::MicrosoftGraphDelegate) {
            settings.from = Some(self.ask_required("Address of the sender")?);
        }
        Ok(())
    }

    fn ask_service(&self, answers: &mut Init) -> Result<(), CliError> {
        if answers.data.is_some() || answers.from_service || answers.service.service.is_some() {
            return Ok(());
        }
        let options = ["it will run on this machine", "it runs already"];
        if self.choose("Where is the service?", &options)? == 0 {
            let home = variables::home().unwrap_or_else(|| PathBuf::from("."));
            let default = home.join("mailwright").join(answers.environment_name());
            let folder = self.ask("Its data folder", Some(&default.to_string_lossy()), |_| Ok(()))?;
            answers.data = Some(PathBuf::from(folder));
        } else {
            answers.service.service = Some(self.ask("Its address", Some(LOCAL_SERVICE), |_| Ok(()))?);
            answers.from_service = answers.needs_secrets();
        }
        Ok(())
    }

    /// Asks who may open the secrets, in addition to the service.
    fn ask_recipient(&self, answers: &mut Init) -> Result<(), CliError> {
        let keys = public_keys();
        let mut options: Vec<String> = keys.iter().map(|path| path.display().to_string()).collect();
        if let Some(path) = default_identity_file() {
            let what = if path.exists() { "the age identity" } else { "a new age identity" };
            options.push(format!("{what} {}", path.display()));
        }
        options.push("another recipient".to_owned());
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let chosen = self.choose("Who may open the secrets, in addition to the service?", &options)?;
        match keys.get(chosen) {
            Some(path) => answers.recipient.push(path.to_string_lossy().into_owned()),
            None if chosen + 1 < options.len() => answers.keygen = true,
            None => {
                let check = |text: &str| files::read_recipient_argument(text).map(drop);
                answers.recipient.push(self.ask("age1..., an SSH public key, or the path of its file", None, check)?);
            }
        }
        Ok(())
    }
}

/// Returns the SSH public keys of the user that age can encrypt to.
fn public_keys() -> Vec<PathBuf> {
    let Some(folder) = variables::home().map(|home| home.join(".ssh")) else { return Vec::new() };
    let mut keys: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pub"))
        .filter(|path| files::read_recipient_argument(&path.to_string_lossy()).is_ok())
        .collect();
    keys.sort();
    keys.truncate(KEYS);
    keys
}
