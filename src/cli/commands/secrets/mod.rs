//! `mailwright secrets`: one file a subcommand. What they share is here: the recipients of an environment, the keys
//! of the operator, the files that are there, and how the operator is asked.

mod belonging;
mod check;
mod edit;
mod expiring;
mod init;
mod list;
mod recipients;
mod rekey;
mod rotate;
mod scratch;
mod set;
mod value;

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use secrecy::SecretString;

use crate::{
    cli::{CliError, Context, ErrorFormat, Exit, Runnable, environment::Environment, fleet, variables},
    config::{NoDestination, Repository, Selection},
    model::{
        Code, Destination, EnvironmentName, InvalidName, SecretReference,
        rotation::{Rotation, Standing},
    },
    secrets::{
        Callbacks, Header, Identities, OpenError, Recipients, RecipientsError, SealError, ServiceIdentity, ValueId,
        fingerprint,
    },
    text::{printable, printable_lines},
};

/// Seal, list and check the secrets of an environment
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailwright secrets init prod age1... \"ssh-ed25519 AAAA... ann@example.com\"\n  \
    mailwright secrets set prod relay/password\n  mailwright secrets list prod\n  mailwright secrets check\n  \
    mailwright secrets rekey prod\n  mailwright secrets rotate prod relay/password\n  \
    mailwright secrets recipients remove \"ssh-ed25519 AAAA...\"\n\n\
    A secret is a plain age file, secrets/ENV/NAME/KEY.age, sealed to everyone in secrets/ENV/recipients.txt.\n\
    `age -d -i KEYFILE secrets/ENV/NAME/KEY.age` opens it without this program.\n\n\
    Keys to open with, first that is there: `--identity FILE` (may be given several times),\n\
    MAILWRIGHT_AGE_IDENTITY_FILE; or all of ~/.config/age/keys.txt, ~/.config/sops/age/keys.txt, ~/.ssh/id_ed25519 and\n\
    ~/.ssh/id_rsa that are there (macOS: ~/Library/Application Support; Windows: %APPDATA%; or XDG_CONFIG_HOME).")]
pub(crate) struct Secrets {
    #[command(subcommand)]
    command: SecretsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SecretsCommand {
    Init(init::Init),
    Set(set::Set),
    Edit(edit::Edit),
    List(list::List),
    Rekey(rekey::Rekey),
    Rotate(rotate::Rotate),
    Recipients(recipients::RecipientsCommand),
    Expiring(expiring::Expiring),
    Check(check::Check),
}

impl SecretsCommand {
    fn runnable(&self) -> &dyn Runnable {
        match self {
            Self::Init(command) => command,
            Self::Set(command) => command,
            Self::Edit(command) => command,
            Self::List(command) => command,
            Self::Rekey(command) => command,
            Self::Rotate(command) => command,
            Self::Recipients(command) => command,
            Self::Expiring(command) => command,
            Self::Check(command) => command,
        }
    }
}

impl Runnable for Secrets {
    fn error_format(&self) -> ErrorFormat {
        self.command.runnable().error_format()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        self.command.runnable().run(context)
    }
}

/// The keys to open with.
#[derive(Debug, clap::Args)]
pub(super) struct IdentityOptions {
    /// A file with age identities or an SSH key; may be given several times
    #[arg(long, short = 'i', value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    identity: Vec<PathBuf>,
}

impl IdentityOptions {
    /// Whether none was named on the command line.
    pub(super) fn is_empty(&self) -> bool {
        self.identity.is_empty()
    }

    /// The keys that are named, or else those at the usual places. If one of the files was sealed with a passphrase,
    /// the passphrase is a key too.
    pub(super) fn load<'a>(&self, mut files: impl Iterator<Item = &'a [u8]>) -> Result<Identities, CliError> {
        let mut identities = Identities::default();
        let named: Vec<PathBuf> = if self.identity.is_empty() {
            variables::read(variables::AGE_IDENTITY_FILE).map(PathBuf::from).into_iter().collect()
        } else {
            self.identity.clone()
        };
        for path in &named {
            identities.add_file(path, &Prompt).map_err(|error| {
                CliError::coded(Code::IdentityMissing, error.to_string()).remedy(
                    "Name a file of age identities (AGE-SECRET-KEY-1... or a plugin's), one sealed with a passphrase, or an SSH key.",
                )
            })?;
        }
        if named.is_empty() {
            for path in usual_places().into_iter().filter(|path| path.is_file()) {
                // A key of another kind at a usual place is no reason to stop.
                drop(identities.add_file(&path, &Prompt));
            }
        }
        if files.any(|file| Header::read(file).is_ok_and(|header| header.kinds.iter().any(|kind| kind == "scrypt"))) {
            identities.add_passphrase(&Prompt);
        }
        if identities.is_empty() {
            return Err(CliError::coded(Code::IdentityMissing, "no age identity is at hand to open the secrets with").remedy(
                "Give `--identity FILE`, set MAILWRIGHT_AGE_IDENTITY_FILE, or put one at ~/.config/age/keys.txt (`age-keygen -o ~/.config/age/keys.txt`).",
            ));
        }
        Ok(identities)
    }
}

/// Where age's own users and those of SOPS keep their identities, and SSH its keys.
fn usual_places() -> Vec<PathBuf> {
    let home = variables::home();
    let config = variables::config_home().or_else(|| {
        home.as_ref()
            .map(|home| home.join(if cfg!(target_os = "macos") { "Library/Application Support" } else { ".config" }))
    });
    let mut places = Vec::new();
    places.extend(config.iter().flat_map(|config| [config.join("age/keys.txt"), config.join("sops/age/keys.txt")]));
    places.extend(home.iter().flat_map(|home| [home.join(".ssh/id_ed25519"), home.join(".ssh/id_rsa")]));
    places
}

/// Asks the operator on the terminal; without one, nothing is answered.
#[derive(Clone, Copy, Debug)]
struct Prompt;

impl Prompt {
    /// What a plugin says reaches the terminal without its control characters.
    #[expect(clippy::print_stderr, reason = "this is the command line, and age calls back into it")]
    fn say(text: &str) {
        eprintln!("{}", printable_lines(text));
    }

    fn line(question: &str) -> Option<String> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        Self::say(question);
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).ok()?;
        Some(line.trim().to_owned())
    }
}

impl Callbacks for Prompt {
    fn display_message(&self, message: &str) {
        Self::say(message);
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        Self::line(&format!("{message} [{yes}/{}]", no.unwrap_or("no"))).map(|line| line.eq_ignore_ascii_case(yes))
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        Self::line(&format!("{description}:"))
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let question = printable(description);
        rpassword::prompt_password(format!("{question}: ")).ok().map(SecretString::from)
    }
}

/// Where an environment's recipients stand, relative to the repository.
fn recipients_path(environment: &EnvironmentName) -> PathBuf {
    Path::new("secrets").join(environment.as_str()).join("recipients.txt")
}

/// The recipients of an environment's secrets.
fn recipients(root: &Path, environment: &EnvironmentName) -> Result<Recipients, CliError> {
    let path = recipients_path(environment);
    let wrong = |why: String| CliError::coded(Code::RecipientsInvalid, why);
    let shown = path.display();
    let bytes = std::fs::read(root.join(&path)).map_err(|error| {
        wrong(format!("{shown}: {error}"))
            .remedy(format!("Make it: mailwright secrets init {environment} RECIPIENT..."))
    })?;
    let text = crate::text::decode(&bytes)
        .map_err(|encoding| wrong(format!("{shown}: it is {encoding}")).remedy("Save it as UTF-8."))?;
    Recipients::parse(&text, &Prompt).map_err(|error| {
        let message = match &error {
            RecipientsError::Line { line, column, why } => format!("{shown}:{line}:{column}: not a recipient: {why}"),
            RecipientsError::Empty => format!("{shown}:1:1: {error}"),
        };
        wrong(message).remedy("One recipient a line: the service's own (`mailwright status` and the service's first start tell it) and the operators'.")
    })
}

/// Whether the public identity of the examples opens what is sealed to these, without a file beside them that says so.
fn is_open_to_all(root: &Path, environment: &EnvironmentName, recipients: &Recipients) -> bool {
    let Ok(demo) = ServiceIdentity::demo() else { return false };
    let public = fingerprint(&demo.recipient());
    recipients.fingerprints().any(|own| own == public)
        && !root.join("secrets").join(environment.as_str()).join("demo-identity.txt").is_file()
}

/// Refuses to seal something to the key that everybody has, where nothing says that it is an example.
fn refuse_public(environment: &Environment, recipients: &Recipients) -> Result<(), CliError> {
    if !is_open_to_all(environment.repository.root(), &environment.name, recipients) {
        return Ok(());
    }
    Err(CliError::coded(
        Code::PublicIdentity,
        format!(
            "the recipients of `{}` include the public one of the examples: everybody could open what is sealed",
            environment.name
        ),
    )
    .remedy("Name the recipient of a service that was started without `--demo`. An example says what it is by a copy of demo-identity.txt beside recipients.txt."))
}

/// What to say where nothing was found: it holds of the environments whose services were asked, and of no others.
/// `asked` is how many there are, and how many of them could not be asked.
fn nothing_found(nothing: &str, asked: (usize, usize)) -> String {
    let environments =
        |count: usize| if count == 1 { "1 environment".to_owned() } else { format!("{count} environments") };
    match asked {
        (_, 0) => format!("{nothing}."),
        (all, silent) if silent >= all => format!("Nothing is known: {} could not be asked.", environments(silent)),
        (all, silent) => {
            let (other, silent) = (environments(all - silent), environments(silent));
            format!("{nothing} in {other}. Of {silent} nothing is known: the service could not be asked.")
        }
    }
}

/// A secret's name, well formed or refused.
fn reference(environment: &EnvironmentName, text: &str) -> Result<SecretReference, CliError> {
    let reference: SecretReference = text.parse().map_err(|rule: InvalidName| {
        CliError::coded(Code::InvalidName, format!("`{}` is not the name of a secret", text.escape_debug()))
            .remedy(format!("{rule}."))
    })?;
    match reference.next_of() {
        None => Ok(reference),
        Some(own) => Err(CliError::coded(
            Code::ReservedSecretName,
            format!("no secret can be named `{reference}`: its file would be the next value of `{own}`"),
        )
        .remedy(format!("For the next value: mailwright secrets rotate {environment} {own}. Otherwise give it a name that does not end in `.next`."))),
    }
}

/// The one destination that a secret is sealed for: that of all profiles that name it.
fn destination(environment: &Environment, reference: &SecretReference) -> Result<Destination, CliError> {
    let name = &environment.name;
    let uses = environment.repository.used_secrets(name).remove(reference).unwrap_or_default();
    uses.destination().cloned().map_err(|none| match none {
        NoDestination::Unused => CliError::coded(
            Code::DestinationUnknown,
            format!(
                "cannot seal `{reference}`: no profile of `{name}` names it, so it is not known where it may be sent"
            ),
        )
        .remedy(format!(
            "First write `{{ secret: {reference} }}` where it belongs in environments/{name}/, then seal it."
        )),
        NoDestination::Unclear(user) => CliError::coded(
            Code::DestinationUnknown,
            format!("cannot seal `{reference}`: `{user}` names it, and does not say soundly where it is sent"),
        )
        .remedy(format!("Correct what `mailwright validate {name}` reports, then seal it.")),
        NoDestination::Different(two) => {
            let [(one, first), (other, second)] = *two;
            CliError::coded(
                Code::DestinationsDiffer,
                format!("cannot seal `{reference}`: `{one}` sends it to {first}, and `{other}` to {second}"),
            )
            .remedy("Give each destination a secret of its own, even if the values are equal.")
        }
    })
}

/// How many services are asked at once.
const ASKED_AT_ONCE: usize = 16;

/// The environments that a command over many is for.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Many {
    /// The environments, or patterns such as 'prod-*'; all if none is named
    #[arg(value_name = "ENV")]
    environments: Vec<String>,
    /// Environments with these labels, such as region=emea,tier!=test
    #[arg(long = "selector", short = 'l', value_name = "LABELS")]
    selectors: Vec<String>,
}

impl Many {
    /// Those that are meant. Layers that are only extended have no secrets, and are meant only where they are named.
    fn select(&self, repository: &Repository) -> Result<Vec<EnvironmentName>, CliError> {
        let selection = Selection::parse(&self.environments, &self.selectors)?;
        let mut names = repository.select(&selection)?;
        if selection.is_empty() {
            names.retain(|name| !repository.is_abstract(name));
        }
        Ok(names)
    }

    /// The same, ready to be worked with.
    fn environments(&self, context: &Context) -> Result<Vec<Environment>, CliError> {
        let repository = Arc::new(context.repository()?);
        let names = self.select(&repository)?;
        Ok(names.into_iter().map(|name| Environment::new(name, Arc::clone(&repository))).collect())
    }

    /// Asks the service of each, side by side.
    fn each<T: Send>(
        &self,
        context: &Context,
        ask: impl Fn(&Context, &Environment) -> Result<T, CliError> + Sync,
    ) -> Result<Vec<fleet::Ended<T>>, CliError> {
        let mut environments = self.environments(context)?;
        // One alone is no matter for progress.
        if environments.len() == 1
            && let Some(environment) = environments.pop()
        {
            let result = ask(context, &environment);
            return Ok(vec![fleet::Ended { name: environment.name, notes: String::new(), result }]);
        }
        let items = environments.into_iter().map(|environment| (environment.name.clone(), environment)).collect();
        let asked = |_: &T| "asked".to_owned();
        fleet::side_by_side(context, ASKED_AT_ONCE, items, asked, |context, environment| ask(context, &environment))
    }
}

/// How a rotation stands, in a line.
pub(super) fn standing(rotation: &Rotation) -> String {
    let Rotation { profile, secret, .. } = rotation;
    let at = |time: jiff::Timestamp| time.strftime("%Y-%m-%d %H:%M:%SZ");
    match rotation.standing {
        Standing::Staged => format!("{profile}: the next value of {secret} was not tried yet"),
        Standing::Promoted => {
            format!("{profile}: the next value of {secret} is in use since {}; finish it", at(rotation.since))
        }
        Standing::Refused => {
            let again = rotation.next_try_at.map(|next| format!(", tried again at {}", at(next))).unwrap_or_default();
            format!(
                "{profile}: the next value of {secret} is refused since {}, the current one is used{again}: {}",
                at(rotation.since),
                crate::cli::commands::outbox::plain(&rotation.reason)
            )
        }
    }
}

/// A new value's id.
fn fresh_value_id() -> Result<ValueId, CliError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| CliError::new(format!("the machine gives no random numbers: {error}")))?;
    Ok(ValueId::from_random(random))
}

/// What is in the folder of an environment's secrets.
#[derive(Default)]
struct Files {
    /// The secrets, by name.
    secrets: Vec<(SecretReference, PathBuf)>,
    /// Their next values, by the secret's name.
    next: Vec<(SecretReference, PathBuf)>,
    /// What lies among them and is no secret's file: names that cannot be, other endings.
    strange: Vec<PathBuf>,
    /// The files beside the folders.
    beside: Vec<PathBuf>,
}

impl Files {
    /// Every age file, the next values too.
    fn age_files(&self) -> impl Iterator<Item = &(SecretReference, PathBuf)> {
        self.secrets.iter().chain(&self.next)
    }
}

/// The files of an environment's secrets.
fn files(root: &Path, environment: &EnvironmentName) -> Result<Files, CliError> {
    let folder = Path::new("secrets").join(environment.as_str());
    let mut found = Files::default();
    for name in entries(root, &folder)? {
        let below = folder.join(&name);
        if !root.join(&below).is_dir() {
            found.beside.push(below);
            continue;
        }
        for file in entries(root, &below)? {
            let path = below.join(&file);
            match file.strip_suffix(".age").map(|key| format!("{name}/{key}").parse::<SecretReference>()) {
                Some(Ok(reference)) => match reference.next_of() {
                    Some(own) => found.next.push((own, path)),
                    None => found.secrets.push((reference, path)),
                },
                _ => found.strange.push(path),
            }
        }
    }
    found.secrets.sort();
    found.next.sort();
    found.strange.sort();
    found.beside.sort();
    Ok(found)
}

/// The names in a folder; none if it is not there. What Git itself and file managers put down is passed over.
fn entries(root: &Path, folder: &Path) -> Result<Vec<String>, CliError> {
    let read = || -> std::io::Result<Vec<String>> {
        std::fs::read_dir(root.join(folder))?
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect()
    };
    match read() {
        Ok(mut names) => {
            names.retain(|name| !matches!(name.as_str(), ".gitignore" | ".gitattributes" | ".gitkeep" | ".DS_Store"));
            Ok(names)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(CliError::coded(Code::Unreadable, format!("cannot read `{}`: {error}", folder.display()))),
    }
}

/// Refuses a path whose folder is a link out of the repository.
fn inside(root: &Path, path: &Path) -> Result<(), CliError> {
    let real = |path: &Path| path.canonicalize().ok();
    match (real(root), root.join(path).parent().and_then(real)) {
        (Some(root), Some(folder)) if !folder.starts_with(&root) => Err(CliError::coded(
            Code::LinkOutside,
            format!("`{}` lies behind a link that leaves the repository", path.display()),
        )
        .remedy("Make it a folder of the repository.")),
        _ => Ok(()),
    }
}

/// Reads an age file, bounded.
fn read_age(root: &Path, path: &Path) -> Result<Vec<u8>, CliError> {
    use std::io::Read as _;
    inside(root, path)?;
    let mut bytes = Vec::new();
    std::fs::File::open(root.join(path))
        .and_then(|file| file.take(crate::secrets::FILE_LIMIT as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| CliError::coded(Code::Unreadable, format!("cannot read `{}`: {error}", path.display())))?;
    Ok(bytes)
}

/// Writes an age file in the place of the old one.
fn write_age(environment: &Environment, path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let target = environment.repository.root().join(path);
    let failed = |error: std::io::Error| {
        CliError::coded(Code::Unwritable, format!("cannot write `{}`: {error}", path.display()))
    };
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    inside(environment.repository.root(), path)?;
    crate::fs::write_atomically(&target, bytes).map_err(failed)
}

fn seal_error(reference: &SecretReference, error: &SealError) -> CliError {
    let (code, remedy) = match error {
        SealError::Masked => {
            (Code::MaskedValue, "Give the real value; what was copied is what a screen shows in its place.")
        }
        SealError::Empty => {
            (Code::InvalidValue, "Type the value, or pipe it in: printf %s VALUE | mailwright secrets set ...")
        }
        SealError::TooLong => (Code::TooLarge, "A secret is a password, a client secret, or a PEM file."),
        SealError::Incompatible => {
            (Code::RecipientsInvalid, "Keep one kind in recipients.txt. The service's recipient is a classic one.")
        }
        SealError::Age(_) => {
            (Code::RecipientsInvalid, "Look at recipients.txt, and whether the plugins that it needs are installed.")
        }
    };
    CliError::coded(code, format!("`{reference}` was not sealed: {error}")).remedy(remedy)
}

fn open_error(path: &Path, error: &OpenError) -> CliError {
    let (code, remedy) = match error {
        OpenError::NotForUs => {
            (Code::IdentityMissing, "Use the identity of somebody in recipients.txt: `--identity FILE`.")
        }
        OpenError::NotAge | OpenError::Tampered => {
            (Code::NotAgeFile, "Take the file from Git again, or seal the value once more: mailwright secrets set.")
        }
        OpenError::Size | OpenError::Masked => (Code::MaskedValue, "Seal the real value: mailwright secrets set."),
        OpenError::Key(_) => {
            (Code::IdentityMissing, "A passphrase needs a terminal to be typed on; a plugin must be installed.")
        }
        OpenError::Redirected(_) => (Code::SecretRedirected, "Set the value again: mailwright secrets set."),
    };
    CliError::coded(code, format!("`{}` cannot be opened: {error}", path.display())).remedy(remedy)
}
