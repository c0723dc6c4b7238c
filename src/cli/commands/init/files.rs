//! Composes, checks and writes the files of `init`: environment, profile, recipients, schemas, `.gitignore` and pipeline.
//!
//! [`plan`] returns all files after validating them together (or an error, and nothing is written), [`write`] writes those that do
//! not exist. The answers that they are made of come from the flags or from `questions`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::{
    cli::{
        CliError, Context, commands::init::Ci, environment::company, schema_files::missing_schemas,
        ui::age_prompt::AgePrompt,
    },
    config::{
        Repository,
        scaffold::{NewEnvironmentFile, NewProfile, NewProvider},
    },
    fs::write_all,
    import::check_files,
    model::{Code, EnvironmentName, Function, InvalidName, code::Severity},
    secrets::{Recipients, RecipientsError, render_recipients},
};

/// The largest file of a public key, in bytes.
const KEY_LIMIT: u64 = 64 * 1024;

const GITIGNORE: &str = "\
# Saved plans with their approvals, and the state of rollouts and of `mailwright watch`.
*.plan
*.plan.approvals/
/.mailwright/
# Private keys and tokens never belong into a repository.
identity.txt
keys.txt
*.identity
*.token
token
";

const GIT_ATTRIBUTES: &str = "# Age files are compared by digest: line endings must not be converted.\n*.age -text\n";

/// A file that `init` writes, or keeps because it exists.
pub(super) struct PlannedFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) exists: bool,
}

/// The answers that the files depend on.
pub(super) struct FirstFiles<'a> {
    pub(super) root: &'a Path,
    pub(super) environment: &'a EnvironmentName,
    pub(super) companies: &'a [String],
    pub(super) service: &'a str,
    pub(super) profile: &'a NewProfile,
    pub(super) recipients: &'a [(String, String)],
    pub(super) ci: Ci,
    /// The data folder of the service, if it is on this machine.
    pub(super) data: Option<&'a Path>,
}

/// Returns the name of the new environment, or an error if it is not a name or exists already.
pub(super) fn check_environment_name(root: &Path, text: &str) -> Result<EnvironmentName, CliError> {
    let name: EnvironmentName = text.parse().map_err(|rule: InvalidName| {
        CliError::coded(Code::InvalidName, format!("`{}` is not an environment's name", text.escape_debug()))
            .remedy(format!("{rule}."))
    })?;
    let entries = std::fs::read_dir(root.join("environments")).into_iter().flatten().flatten();
    let existing = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .find(|existing| existing.eq_ignore_ascii_case(name.as_str()));
    match existing {
        None => Ok(name),
        Some(existing) => Err(CliError::coded(
            Code::EnvironmentExists,
            format!("`environments/{existing}` already exists"),
        )
        .remedy(format!(
            "Name another one with `--environment`, or add a profile to it: mailwright new profile NAME --provider PROVIDER --environment {existing}"
        ))),
    }
}

/// Returns the recipient of an argument: its text, or the line of the file that it names.
pub(super) fn read_recipient_argument(given: &str) -> Result<String, CliError> {
    let wrong = |why: String| {
        CliError::coded(Code::RecipientsInvalid, why).remedy(
            "Pass age1..., an SSH public key in quotes, or the path of its file. Without a key: `--keygen`. A private key must not be used here.",
        )
    };
    let given = given.trim();
    if given.is_empty() {
        return Err(wrong("`--recipient` is empty".to_owned()));
    }
    let is_key_file = Path::new(given).extension().is_some_and(|extension| extension == "pub");
    let is_path = (is_key_file && !given.starts_with("ssh-")) || given.starts_with(['/', '.', '~']);
    let text = if is_path {
        let path = files_path(given);
        let bytes = crate::fs::read_given(&path, KEY_LIMIT).map_err(|error| match error.kind() {
            std::io::ErrorKind::FileTooLarge => wrong(format!("`{given}` is too large for a public key")),
            _ => wrong(format!("cannot read `{given}`: {error}")),
        })?;
        String::from_utf8(bytes).map_err(|_| wrong(format!("cannot read `{given}`: it is not UTF-8")))?
    } else {
        given.to_owned()
    };
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    match Recipients::parse(line, &AgePrompt) {
        Ok(_) => Ok(line.to_owned()),
        Err(RecipientsError::Line { why, .. }) => Err(wrong(format!("`--recipient` is not a recipient: {why}"))),
        Err(RecipientsError::Empty) => Err(wrong(format!("`{given}` holds no recipient"))),
    }
}

/// Returns the path of an argument that a shell did not expand.
fn files_path(given: &str) -> PathBuf {
    match (given.strip_prefix("~/"), crate::cli::variables::home()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(given),
    }
}

/// Returns the placeholder for the recipient of an identity that is created when the files are written.
pub(super) fn placeholder(path: &Path) -> String {
    format!("(the recipient of {})", path.display())
}

/// Returns the line of `.gitignore` for the data folder of a service, if the folder is inside the repository.
pub(super) fn data_line(root: &Path, data: &Path) -> Option<String> {
    let (data, root) = (std::path::absolute(data).ok()?, std::path::absolute(root).ok()?);
    // A link in the path of either hides that one contains the other.
    let resolved = || Some(data.canonicalize().ok()?.strip_prefix(root.canonicalize().ok()?).ok()?.to_owned());
    let inside = data.strip_prefix(&root).map(Path::to_owned).ok().or_else(resolved)?;
    let is_plain = inside.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    crate::git::ignore_line(&inside, true).filter(|_| is_plain)
}

impl FirstFiles<'_> {
    /// Returns all files, or prints the problems of those that are not valid.
    pub(super) fn plan(&self, context: &Context) -> Result<Vec<PlannedFile>, CliError> {
        self.companies.iter().try_for_each(|id| company(id).map(drop))?;
        let environment = self.environment.as_str();
        let folder = Path::new("environments").join(environment);
        let profile_path = folder.join("profiles").join(format!("{}.yaml", self.profile.name));
        crate::cli::environment::profile_name(&self.profile.name)?;
        let configuration = BTreeMap::from([
            (folder.join("environment.yaml"), self.environment_text()),
            (profile_path, self.profile.render(environment)),
        ]);
        self.check(context, &configuration)?;
        let mut files: Vec<(PathBuf, String)> = configuration.into_iter().collect();
        if !self.recipients.is_empty() {
            files.push((Repository::recipients_path(self.environment), self.recipients_text()));
            files.push((Path::new("secrets/.gitattributes").to_owned(), GIT_ATTRIBUTES.to_owned()));
        }
        files.push((PathBuf::from(".gitignore"), self.ignored()));
        files.extend(missing_schemas(self.root).into_iter().map(|(path, text)| (path, text.to_owned())));
        files.extend(self.pipeline().map(|(path, text)| (PathBuf::from(path), text.to_owned())));
        let planned = files.into_iter().map(|(path, text)| {
            let exists = self.root.join(&path).symlink_metadata().is_ok();
            PlannedFile { path, text, exists }
        });
        let planned: Vec<PlannedFile> = planned.collect();
        // The recipients of an environment that had files before would not be those of the answers.
        let recipients_path = Repository::recipients_path(self.environment);
        match planned.iter().find(|file| file.exists && file.path == recipients_path) {
            None => Ok(planned),
            Some(file) => Err(CliError::coded(
                Code::RecipientsInvalid,
                format!("`{}` already exists; nothing was written", file.path.display()),
            )
            .remedy("Choose another name with `--environment`, or move the file away.")),
        }
    }

    fn ignored(&self) -> String {
        match self.data.and_then(|data| data_line(self.root, data)) {
            Some(line) => format!("{GITIGNORE}# The data of the service.\n{line}\n"),
            None => GITIGNORE.to_owned(),
        }
    }

    fn environment_text(&self) -> String {
        // A delegate serves what users of one client send themselves, and nothing else.
        let others = || Function::all().collect();
        let is_delegate = matches!(self.profile.provider, NewProvider::Delegate { .. });
        NewEnvironmentFile {
            name: self.environment.to_string(),
            description: None,
            service: self.service.to_owned(),
            companies: self.companies.to_vec(),
            unserved: is_delegate.then(|| (others(), "Only mail that users send themselves is set up")),
        }
        .render()
    }

    fn recipients_text(&self) -> String {
        let recipients =
            self.recipients.iter().map(|(comment, recipient)| (Some(comment.as_str()), recipient.as_str()));
        render_recipients(self.environment, recipients)
    }

    fn pipeline(&self) -> Option<(&'static str, &'static str)> {
        match self.ci {
            Ci::Github => {
                Some((".github/workflows/mailwright.yml", include_str!("../../../../templates/github-actions.yml")))
            }
            Ci::Gitlab => Some((".gitlab-ci.yml", include_str!("../../../../templates/gitlab-ci.yml"))),
            Ci::Azure => Some(("azure-pipelines.yml", include_str!("../../../../templates/azure-pipelines.yml"))),
            Ci::None => None,
        }
    }

    /// Checks the environment as it would be, and prints its problems.
    fn check(&self, context: &Context, configuration: &BTreeMap<PathBuf, String>) -> Result<(), CliError> {
        let names = BTreeSet::from([self.environment.clone()]);
        let (mut report, _) = check_files(self.root, &names, configuration)
            .map_err(|error| CliError::coded(Code::Unreadable, format!("cannot check the files: {error}")))?;
        report.diagnostics.retain(|problem| {
            problem.severity == Severity::Error && configuration.contains_key(Path::new(&problem.file))
        });
        if report.diagnostics.is_empty() {
            return Ok(());
        }
        context.printer.note(&report.human());
        Err(CliError::coded(Code::Usage, "the answers do not make valid files; nothing was written")
            .remedy("Correct the answers that the problems above concern."))
    }
}

/// Writes the files that do not exist yet. `keys` are the identities that were created, with their recipients.
pub(super) fn write(root: &Path, planned: &[PlannedFile], keys: &[(PathBuf, bool, String)]) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        CliError::coded(Code::Unwritable, format!("cannot write the files: {error}"))
            .remedy("Check the permissions of the folder and the free space of the disk.")
    };
    let mut files = Vec::new();
    for file in planned.iter().filter(|file| !file.exists) {
        let mut text = file.text.clone();
        for (path, _, recipient) in keys {
            text = text.replace(&placeholder(path), recipient);
        }
        if let Some(folder) = file.path.parent() {
            std::fs::create_dir_all(root.join(folder)).map_err(failed)?;
        }
        files.push((file.path.clone(), text.into_bytes()));
    }
    write_all(root, &files).map_err(failed)
}

/// Creates a folder that only its owner can enter. An existing folder is not changed.
pub(super) fn create_private_folder(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
