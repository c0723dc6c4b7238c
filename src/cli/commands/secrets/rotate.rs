//! `mailwright secrets rotate`: a next value beside the current one, until the service says that it works.

use std::collections::BTreeMap;

use serde_json::json;

use crate::{
    api::messages::OutboxStatus,
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, Runnable, ServiceOptions,
        commands::secrets::{
            belonging::{Belonging, Everywhere},
            environments::{Many, nothing_found},
            files::{check_inside, list_files, read_age},
            recipients_file::{read_recipients, refuse_public},
            sealing::parse_reference,
            set,
        },
        environment::{self, Environment},
        ui::outbox::describe_rotation,
        ui::table::table,
    },
    config::Repository,
    model::{
        Code, Digest, EnvironmentName, ProfileName, SecretReference, State,
        rotation::{Rotation, Standing},
    },
    secrets::Header,
    text::printable,
};

/// Rotate a secret: a next value beside the current one, tried first, used once it works
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailwright secrets rotate ENV NAME/KEY [--replace]\n       \
    mailwright secrets rotate ENV NAME/KEY --finish | --abandon\n       \
    mailwright secrets rotate [ENV]... --status [-l LABELS]",
    after_help = "Examples:\n  mailwright secrets rotate prod relay/password            asks for the next value, and does not show it\n  \
    pass show relay-next | mailwright secrets rotate prod relay/password\n  \
    mailwright secrets rotate prod --status                  what came of it\n  \
    mailwright secrets rotate prod relay/password --finish   the next value becomes the current one\n\n\
    1. The next value is sealed beside the current one, as NAME/KEY.next.age. Plan, review and apply it.\n\
    2. The service tries it first. Once it is accepted only it is used; while it is refused the current one is used,\n   \
    one alert goes out (event `next-refused`), and it is tried again now and then.\n\
    3. `--finish` asks the service whether it was accepted, and moves it over the current one. Plan and apply that too."
)]
pub(super) struct Rotate {
    #[command(flatten)]
    what: Many,
    /// Move the next value over the current one, if the service says that it was accepted
    #[arg(long, conflicts_with_all = ["abandon", "status", "replace"])]
    finish: bool,
    /// Finish this one without asking the service
    #[arg(long, value_name = "NAME/KEY", requires = "finish")]
    unconfirmed: Option<String>,
    /// Remove the next value
    #[arg(long, conflicts_with_all = ["status", "replace"])]
    abandon: bool,
    /// Put another value in the place of a next one that is staged already
    #[arg(long, conflicts_with = "status")]
    replace: bool,
    /// Show what is staged, and what came of it
    #[arg(long)]
    status: bool,
    /// How to print the status
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT", requires = "status")]
    format: Format,
    #[command(flatten)]
    service: ServiceOptions,
}

impl Runnable for Rotate {
    fn error_format(&self) -> ErrorFormat {
        self.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        if self.status {
            return self.show(context);
        }
        let [environment, name] = &self.what.environments[..] else {
            return Err(CliError::coded(Code::Usage, "one environment and one secret are rotated at a time")
                .remedy("mailwright secrets rotate ENV NAME/KEY; over many environments there is `--status`."));
        };
        if !self.what.selectors.is_empty() {
            return Err(CliError::coded(Code::Usage, "`--selector` goes with `--status`")
                .remedy("A value is that of one environment: name it."));
        }
        let environment = Environment::find(context, environment)?;
        let reference = parse_reference(&environment.name, name)?;
        if self.finish {
            self.move_over(context, &environment, &reference)
        } else if self.abandon {
            abandon(context, &environment, &reference)
        } else {
            self.stage(context, &environment, &reference)
        }
    }
}

impl Rotate {
    fn stage(
        &self,
        context: &Context,
        environment: &Environment,
        reference: &SecretReference,
    ) -> Result<Exit, CliError> {
        let (root, name) = (environment.repository.root(), &environment.name);
        if !root.join(Repository::secret_path(name, reference)).is_file() {
            return Err(CliError::coded(
                Code::SecretMissing,
                format!("`{reference}` has no current value that another could come next to"),
            )
            .remedy(format!("Seal a first value: mailwright secrets set {name} {reference}")));
        }
        let uses = environment.repository.used_secrets(name).remove(reference).unwrap_or_default();
        if uses.profiles.is_empty() {
            let error = if uses.reader {
                // Its file travels with each verify, so there is nothing that could try another one beside it.
                CliError::coded(
                    Code::SecretUnused,
                    format!("only `verify.reader` uses `{reference}`, and the service keeps nothing of it to try a next value beside"),
                )
                .remedy(format!(
                    "Make the new one at the registration while the old one is still good; mailwright secrets set {name} {reference}; mailwright verify {name}; then delete the old one there."
                ))
            } else {
                CliError::coded(
                    Code::SecretUnused,
                    format!("nothing uses `{reference}`, so nothing would ever try a next value"),
                )
                .remedy(format!("Change it at once: mailwright secrets set {name} {reference}"))
            };
            return Err(error);
        }
        let path = Repository::next_secret_path(name, reference);
        if !self.replace && root.join(&path).symlink_metadata().is_ok() {
            return Err(CliError::coded(Code::StagedSecretExists, format!("`{}` is there already", path.display())).remedy(
                "Finish that rotation (`--finish`) or give it up (`--abandon`); `--replace` puts another value there.",
            ));
        }
        let recipients = read_recipients(root, name)?;
        refuse_public(environment, &recipients)?;
        let destination = set::seal_value(context, environment, reference, &path, &recipients)?;
        context.printer.out(&set::sealed(&path, recipients.texts().count(), &destination, name));
        context.printer.note(&format!(
            "Now plan, review and apply. Then: mailwright secrets rotate {name} --status, and rotate {name} {reference} --finish."
        ));
        Ok(Exit::Done)
    }

    fn move_over(
        &self,
        context: &Context,
        environment: &Environment,
        reference: &SecretReference,
    ) -> Result<Exit, CliError> {
        let (root, name) = (environment.repository.root(), &environment.name);
        let path = Repository::next_secret_path(name, reference);
        let (header, file) = staged(environment, reference)?;
        // Another file may have been copied there; whoever finishes it must not make it this secret.
        let recipients = read_recipients(root, name)?;
        Belonging::new(environment, &recipients).check(reference, &file, true, &mut Everywhere::default()).map_err(
            |error| {
                error.remedy(format!(
                    "Seal the next value again: mailwright secrets rotate {name} {reference} --replace"
                ))
            },
        )?;
        match &self.unconfirmed {
            Some(named) if named == reference.as_str() => {}
            Some(named) => {
                return Err(CliError::coded(
                    Code::Usage,
                    format!("`--unconfirmed` names `{}`, and `{reference}` is to be finished", named.escape_debug()),
                )
                .remedy("Name the same secret twice, or leave `--unconfirmed` out."));
            }
            None => self.confirm(context, environment, reference, &header)?,
        }
        let target = Repository::secret_path(name, reference);
        check_inside(root, &path)?;
        std::fs::rename(root.join(&path), root.join(&target))
            .map_err(|error| CliError::coded(Code::Unreadable, format!("cannot move `{}`: {error}", path.display())))?;
        context.printer.out(&format!("moved {} over {}", path.display(), target.display()));
        context.printer.note("Plan and apply it; then the old value can be taken back where it was given out.");
        Ok(Exit::Done)
    }

    /// Whether every profile that uses the secret has logged in with the next value.
    fn confirm(
        &self,
        context: &Context,
        environment: &Environment,
        reference: &SecretReference,
        header: &Header,
    ) -> Result<(), CliError> {
        let name = &environment.name;
        let refuse = |why: String| {
            CliError::coded(Code::StagedSecretNotPromoted, format!("`{reference}` of `{name}` was not finished: {why}"))
                .remedy(format!("mailwright secrets rotate {name} --status shows how it stands; if you know that the value works: --unconfirmed {reference}"))
        };
        let (state, outbox) = self.ask(context, environment).map_err(|error| CliError {
            code: error.code,
            details: vec![format!("nothing was moved; to finish without asking: --unconfirmed {reference}")],
            ..error
        })?;
        let users: Vec<(&ProfileName, Option<&Digest>)> = state
            .live_stored()
            .filter(|(_, stored)| stored.profile.enabled && stored.secrets.contains_key(reference))
            .map(|(profile, stored)| (profile, stored.next.get(reference)))
            .collect();
        if users.is_empty() {
            return Err(refuse("no live profile that is enabled uses it".to_owned()));
        }
        // The file may have been sealed anew since it was applied; then it is the value's id that is the same.
        let is_it = |digest: &Digest| {
            *digest == header.digest
                || state
                    .secrets
                    .get(digest)
                    .and_then(|record| record.value_id.as_ref())
                    .is_some_and(|id| header.value_id.as_ref() == Some(id))
        };
        let mut lacking = Vec::new();
        for (profile, next) in users {
            let rotation = outbox.rotations.iter().find(|rotation| rotation.profile == *profile);
            match (next, rotation) {
                (Some(next), Some(rotation)) if is_it(next) && rotation.next == *next => {
                    if rotation.standing != Standing::Promoted {
                        lacking.push(describe_rotation(rotation));
                    }
                }
                (Some(_), _) => lacking.push(format!("{profile}: the service has another next value; plan and apply")),
                (None, _) => lacking.push(format!("{profile}: the service does not have it; plan and apply")),
            }
        }
        if lacking.is_empty() {
            return Ok(());
        }
        Err(lacking.into_iter().fold(
            refuse("not every profile that uses it has logged in with the next value".to_owned()),
            CliError::detail,
        ))
    }

    fn ask(&self, context: &Context, environment: &Environment) -> Result<(State, OutboxStatus), CliError> {
        let client = environment.client(context, &self.service)?;
        context.runtime()?.block_on(async {
            let state = environment::state(&client, &environment.name).await?;
            Ok((state, client.outbox().await?))
        })
    }

    fn show(&self, context: &Context) -> Result<Exit, CliError> {
        if self.what.environments.iter().any(|name| name.contains('/')) {
            return Err(CliError::coded(Code::Usage, "`--status` shows all secrets of the environments")
                .remedy("mailwright secrets rotate [ENV]... --status"));
        }
        let mut rows = Vec::new();
        let mut unreachable = Vec::new();
        // A service that does not answer is told beside the others, and files that cannot be read end it.
        let asked = self.what.each(context, |context, environment| {
            let asked = self.ask(context, environment);
            let rotations = asked.as_ref().map_or(&[][..], |(_, outbox)| outbox.rotations.as_slice());
            Ok((status_of(environment, rotations, asked.is_ok())?, asked.err()))
        })?;
        let count = asked.len();
        for one in asked {
            let (found, error) = one.result?;
            rows.extend(found);
            unreachable.extend(error.map(|error| (one.name, error)));
        }
        if self.format == Format::Json {
            let errors: BTreeMap<_, _> = unreachable.iter().map(|(name, error)| (name, &error.message)).collect();
            let rows: Vec<_> = rows.iter().map(Row::to_json).collect();
            context.printer.out(&format!("{:#}", json!({ "rotations": rows, "unreachable": errors })));
        } else {
            if rows.is_empty() {
                context.printer.out(&nothing_found("Nothing is being rotated", (count, unreachable.len())));
            } else {
                let cells = rows.iter().map(|row| {
                    vec![
                        row.environment.to_string(),
                        row.secret.to_string(),
                        row.profile.clone(),
                        row.stands.clone(),
                        row.note.clone(),
                    ]
                });
                context.printer.out(&table(&["environment", "secret", "profile", "next value", ""], cells));
            }
            for (name, error) in &unreachable {
                context.printer.note(&format!("{name}: its service could not be asked: {}", error.message));
            }
        }
        if unreachable.is_empty() {
            Ok(Exit::Done)
        } else {
            Err(CliError { in_json: true, ..CliError::already_told() })
        }
    }
}

/// A line of the status.
struct Row {
    environment: EnvironmentName,
    secret: SecretReference,
    profile: String,
    stands: String,
    note: String,
    rotation: Option<Rotation>,
}

impl Row {
    fn to_json(&self) -> serde_json::Value {
        json!({ "environment": self.environment, "secret": self.secret, "standing": self.stands, "rotation": self.rotation })
    }
}

/// What is staged in the files of an environment and in its service.
fn status_of(environment: &Environment, rotations: &[Rotation], was_asked: bool) -> Result<Vec<Row>, CliError> {
    let (root, name) = (environment.repository.root(), &environment.name);
    let row = |secret: &SecretReference, profile: String, stands: &str, note: String, rotation: Option<Rotation>| Row {
        environment: name.clone(),
        secret: secret.clone(),
        profile,
        stands: stands.to_owned(),
        note,
        rotation,
    };
    let next = list_files(root, name)?.next;
    let mut rows = Vec::new();
    for rotation in rotations {
        let is_staged = next.iter().any(|(reference, _)| *reference == rotation.secret);
        let note = match rotation.standing {
            _ if !is_staged => "its file is gone: plan and apply".to_owned(),
            Standing::Staged => "not tried yet".to_owned(),
            Standing::Promoted => format!("mailwright secrets rotate {name} {} --finish", rotation.secret),
            Standing::Refused => printable(&rotation.reason).into_owned(),
        };
        rows.push(row(
            &rotation.secret,
            rotation.profile.to_string(),
            rotation.standing.id(),
            note,
            Some(rotation.clone()),
        ));
    }
    for (reference, path) in &next {
        let digest = Header::read(&read_age(root, path)?).ok().map(|header| header.digest);
        let known =
            rotations.iter().any(|rotation| rotation.secret == *reference && Some(&rotation.next) == digest.as_ref());
        if !known {
            let (stands, note) = if was_asked {
                ("not applied", "plan and apply")
            } else {
                ("in the files", "its service could not be asked")
            };
            rows.push(row(reference, String::new(), stands, note.to_owned(), None));
        }
    }
    Ok(rows)
}

/// A next value: its header, and the file.
fn staged(environment: &Environment, reference: &SecretReference) -> Result<(Header, Vec<u8>), CliError> {
    let (root, name) = (environment.repository.root(), &environment.name);
    let path = Repository::next_secret_path(name, reference);
    if root.join(&path).symlink_metadata().is_err() {
        return Err(CliError::coded(Code::StagedSecretMissing, format!("`{reference}` of `{name}` has no next value"))
            .remedy(format!("Stage one: mailwright secrets rotate {name} {reference}")));
    }
    let file = read_age(root, &path)?;
    let header = Header::read(&file).map_err(|error| {
        CliError::coded(Code::NotAgeFile, format!("`{}`: {error}", path.display()))
            .remedy(format!("Seal it again: mailwright secrets rotate {name} {reference} --replace"))
    })?;
    Ok((header, file))
}

fn abandon(context: &Context, environment: &Environment, reference: &SecretReference) -> Result<Exit, CliError> {
    let (root, name) = (environment.repository.root(), &environment.name);
    let path = Repository::next_secret_path(name, reference);
    if root.join(&path).symlink_metadata().is_err() {
        // A file that is there and is no age file can be taken away all the same.
        staged(environment, reference)?;
    }
    check_inside(root, &path)?;
    std::fs::remove_file(root.join(&path))
        .map_err(|error| CliError::coded(Code::Unreadable, format!("cannot remove `{}`: {error}", path.display())))?;
    context.printer.out(&format!("removed {}", path.display()));
    context.printer.note("If it was applied, plan and apply this too: then the current value is used again.");
    Ok(Exit::Done)
}
