//! `mailwright secrets rotate`: replaces a secret in steps. It stages a next value, shows whether the service has accepted it,
//! and then makes it the current one (`--finish`) or removes it (`--abandon`).
//!
//! Changes age files of the repository only; plan and apply carry each step to the service, and [`crate::delivery`] decides
//! which of the two values is used.
//!
//! A secret without a current value cannot be staged, and a next value is not replaced without `--replace`. `--finish` is refused
//! until the service has promoted the next value for each enabled live profile that uses it, or that profile is named by
//! `--unconfirmed`.

use std::{collections::BTreeMap, sync::OnceLock};

use serde_json::json;

use crate::{
    api::messages::OutboxStatus,
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, ServiceArgs,
        commands::secrets::{
            environments::{describe_unreachable, nothing_found},
            files::{check_inside, list_files, read_age},
            names::SecretNames,
            ownership::{OwnershipCheck, ValueIndex},
            recipients_file::read_recipients,
            sealing::parse_reference,
            set, value,
        },
        environment::{self, Environment},
        fleet::Fleet,
        ui::{
            fleet_report::{Significance, Summary, SummaryLabels},
            outbox::describe_rotation,
            table::table,
        },
    },
    config::Repository,
    model::{
        Code, Digest, EnvironmentName, ProfileName, SecretReference, State,
        rotation::{Rotation, Standing},
    },
    secrets::Header,
    text::printable,
};

/// Rotate a secret: stage a next value, and use it once it works
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailwright secrets rotate ENV... NAME/KEY [--replace]\n       \
    mailwright secrets rotate ENV... NAME/KEY --finish | --abandon\n       \
    mailwright secrets rotate [ENV]... --status [-l LABELS]",
    after_help = "Examples:\n  \
    mailwright secrets rotate prod relay/password            asks for the next value without showing it\n  \
    pass show relay-next | mailwright secrets rotate prod relay/password\n  \
    mailwright secrets rotate prod --status                  the state of rotations\n  \
    mailwright secrets rotate prod relay/password --finish   the next value becomes the current one\n  \
    pass show relay-next | mailwright secrets rotate 'cust-*' relay/password   one value for all\n\n\
    1. The next value is sealed as NAME/KEY.next.age. Plan, review and apply it.\n\
    2. The service tries it first. Once it is accepted, only it is used; while it is\n   \
    refused, the current value is used, one alert is sent (event `next-refused`),\n   \
    and it is retried occasionally.\n\
    3. `--finish` checks with the service that it was accepted, and replaces the\n   \
    current value. Plan and apply that too."
)]
pub(super) struct Rotate {
    #[command(flatten)]
    what: SecretNames,
    /// Replace the current value by the next one, if the service has accepted it
    #[arg(long, conflicts_with_all = ["abandon", "status", "replace"])]
    finish: bool,
    /// Finish this secret without the confirmation of the service
    #[arg(long, value_name = "NAME/KEY", requires = "finish")]
    unconfirmed: Option<String>,
    /// Remove the next value
    #[arg(long, conflicts_with_all = ["status", "replace"])]
    abandon: bool,
    /// Replace a next value that is already staged
    #[arg(long, conflicts_with = "status")]
    replace: bool,
    /// Show the state of rotations
    #[arg(long)]
    status: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

impl Runnable for Rotate {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        if self.status {
            return self.show_status(context);
        }
        let (fleet, secret) = self.what.find(context, self.finish.then_some(&self.service))?;
        let several = matches!(fleet, Fleet::Many(_));
        let given = OnceLock::new();
        if several && !self.finish && !self.abandon {
            // One value for all: it is asked for once.
            drop(given.set(value::read_given(secret)?));
        }
        let labels = match (self.finish, self.abandon) {
            (true, _) => SummaryLabels { notable: ("finished", "finished"), quiet: ("unchanged", "unchanged") },
            (_, true) => SummaryLabels { notable: ("abandoned", "abandoned"), quiet: ("unchanged", "unchanged") },
            _ => SummaryLabels { notable: ("staged", "staged"), quiet: ("unchanged", "unchanged") },
        };
        let exit = fleet.run(context, self.output.format, &labels, |context, environment| {
            let reference = parse_reference(&environment.name, secret)?;
            if self.finish {
                self.finish(context, environment, &reference)
            } else if self.abandon {
                abandon(environment, &reference)
            } else {
                self.stage(context, environment, &reference, given.get().map(|given| given.as_slice()))
            }
        });
        if exit.is_ok() || several {
            let environments = self.what.describe_environments();
            context.printer.note(&match (self.finish, self.abandon) {
                (true, _) => "Plan and apply it; then the old value can be revoked.".to_owned(),
                (_, true) => "If it was applied, plan and apply the removal; then the current value is used again.".to_owned(),
                _ => format!(
                    "Plan, review and apply it. Then run:\n  mailwright secrets rotate {environments} --status\n  mailwright secrets rotate {environments} {secret} --finish"
                ),
            });
        }
        exit
    }
}

impl Rotate {
    fn stage(
        &self,
        context: &Context,
        environment: &Environment,
        reference: &SecretReference,
        given: Option<&[u8]>,
    ) -> Result<Summary, CliError> {
        let (root, name) = (environment.repository.root(), &environment.name);
        if !root.join(Repository::secret_path(name, reference)).is_file() {
            return Err(CliError::coded(
                Code::SecretMissing,
                format!("cannot stage a next value: `{reference}` has no current value"),
            )
            .remedy(format!("Seal a first value: mailwright secrets set {name} {reference}")));
        }
        let uses = environment.repository.used_secrets(name).remove(reference).unwrap_or_default();
        if uses.profiles.is_empty() {
            let error = if uses.reader {
                // The service does not store this secret, so it cannot try a next value.
                CliError::coded(
                    Code::SecretUnused,
                    format!("cannot stage a next value: only `verify.reader` uses `{reference}`, and the service does not store it"),
                )
                .remedy(format!(
                    "Create a new client secret while the old one is valid, then run: mailwright secrets set {name} {reference}; mailwright verify {name}. Then delete the old one."
                ))
            } else {
                CliError::coded(Code::SecretUnused, format!("cannot stage a next value: nothing uses `{reference}`"))
                    .remedy(format!("Set the value directly: mailwright secrets set {name} {reference}"))
            };
            return Err(error);
        }
        let path = Repository::next_secret_path(name, reference);
        if !self.replace && root.join(&path).symlink_metadata().is_ok() {
            return Err(CliError::coded(Code::StagedSecretExists, format!("`{}` already exists", path.display())).remedy(
                "Finish the rotation (`--finish`), abandon it (`--abandon`), or replace the next value (`--replace`).",
            ));
        }
        let target = set::SealTarget::find(environment, reference.clone(), path)?;
        let value = match given {
            Some(given) => target.prepare(context, given)?,
            None => target.prepare(context, &value::read_given(reference.as_str())?)?,
        };
        target.seal(context, &value)?;
        Ok(target.summary())
    }

    fn finish(
        &self,
        context: &Context,
        environment: &Environment,
        reference: &SecretReference,
    ) -> Result<Summary, CliError> {
        let (root, name) = (environment.repository.root(), &environment.name);
        let path = Repository::next_secret_path(name, reference);
        let (header, file) = read_next_value(environment, reference)?;
        // The file of another secret may have been copied there; its value must not become the value of this secret.
        let recipients = read_recipients(root, name)?;
        OwnershipCheck::new(environment, &recipients)
            .check(reference, &file, true, &mut ValueIndex::default())
            .map_err(|error| {
                error.remedy(format!(
                    "Seal the next value again: mailwright secrets rotate {name} {reference} --replace"
                ))
            })?;
        match &self.unconfirmed {
            Some(named) if named == reference.as_str() => {}
            Some(named) => {
                return Err(CliError::coded(
                    Code::Usage,
                    format!("`--unconfirmed` names `{}` instead of `{reference}`", named.escape_debug()),
                )
                .remedy("Name the same secret twice, or omit `--unconfirmed`."));
            }
            None => self.check_accepted(context, environment, reference, &header)?,
        }
        let target = Repository::secret_path(name, reference);
        check_inside(root, &path)?;
        std::fs::rename(root.join(&path), root.join(&target))
            .map_err(|error| CliError::coded(Code::Unreadable, format!("cannot move `{}`: {error}", path.display())))?;
        let text = format!("moved {} over {}", path.display(), target.display());
        let document = json!({ "moved": path, "over": target });
        Ok(Summary::new(Significance::Listed, "the next value is the current one".to_owned(), text, document))
    }

    /// Returns an error unless every profile that uses the secret has logged in with the next value.
    fn check_accepted(
        &self,
        context: &Context,
        environment: &Environment,
        reference: &SecretReference,
        header: &Header,
    ) -> Result<(), CliError> {
        let name = &environment.name;
        let refuse = |why: String| {
            CliError::coded(Code::StagedSecretNotPromoted, format!("cannot finish `{reference}` of `{name}`: {why}"))
                .remedy(format!("Run `mailwright secrets rotate {name} --status` to see the state. If the value is known to work: --unconfirmed {reference}"))
        };
        let (state, outbox) = self.query(context, environment).map_err(|error| CliError {
            code: error.code,
            details: vec![format!("nothing was changed; to finish without the service: --unconfirmed {reference}")],
            ..error
        })?;
        let users: Vec<(&ProfileName, Option<&Digest>)> = state
            .live_stored()
            .filter(|(_, stored)| stored.profile.enabled && stored.secrets.contains_key(reference))
            .map(|(profile, stored)| (profile, stored.next.get(reference)))
            .collect();
        if users.is_empty() {
            return Err(refuse("no enabled live profile uses it".to_owned()));
        }
        // After the file was sealed again its digest differs, but the value's id is the same.
        let is_same_value = |digest: &Digest| {
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
                (Some(next), Some(rotation)) if is_same_value(next) && rotation.next == *next => {
                    if rotation.standing != Standing::Promoted {
                        lacking.push(describe_rotation(rotation));
                    }
                }
                (Some(_), _) => {
                    lacking.push(format!("{profile}: the service has another next value; run plan and apply"));
                }
                (None, _) => lacking.push(format!("{profile}: the service does not have it; run plan and apply")),
            }
        }
        if lacking.is_empty() {
            return Ok(());
        }
        Err(lacking.into_iter().fold(
            refuse("not all profiles that use it have logged in with the next value".to_owned()),
            CliError::detail,
        ))
    }

    fn query(&self, context: &Context, environment: &Environment) -> Result<(State, OutboxStatus), CliError> {
        let client = environment.client(context, &self.service)?;
        context.runtime()?.block_on(async {
            let state = environment::state(&client, &environment.name).await?;
            Ok((state, client.outbox().await?))
        })
    }

    fn show_status(&self, context: &Context) -> Result<Exit, CliError> {
        let what = self.what.filter();
        if what.environments.iter().any(|name| name.contains('/')) {
            return Err(CliError::coded(Code::Usage, "`--status` does not accept a secret's name")
                .remedy("Use: mailwright secrets rotate [ENV]... --status"));
        }
        let mut rows = Vec::new();
        let mut unreachable = Vec::new();
        // An unreachable service is reported with the others; unreadable files end the command.
        let answers = what.query_each(context, |context, environment| {
            let answer = self.query(context, environment);
            let rotations = answer.as_ref().map_or(&[][..], |(_, outbox)| outbox.rotations.as_slice());
            Ok((list_rotations(environment, rotations, answer.is_ok())?, answer.err()))
        })?;
        let count = answers.len();
        for one in answers {
            let (found, error) = one.result?;
            rows.extend(found);
            unreachable.extend(error.map(|error| (one.name, error)));
        }
        if self.output.format == Format::Json {
            let errors: BTreeMap<_, _> = unreachable.iter().map(|(name, error)| (name, &error.message)).collect();
            let rows: Vec<_> = rows.iter().map(RotationRow::to_json).collect();
            context.printer.json(&json!({ "rotations": rows, "unreachable": errors }));
        } else {
            if rows.is_empty() {
                context.printer.out(&nothing_found("No rotation is in progress", (count, unreachable.len())));
            } else {
                let cells = rows.iter().map(|row| {
                    vec![
                        row.environment.to_string(),
                        row.secret.to_string(),
                        row.profile.clone(),
                        row.state.clone(),
                        row.note.clone(),
                    ]
                });
                context.printer.out(&table(&["environment", "secret", "profile", "next value", ""], cells));
            }
            for line in describe_unreachable(unreachable.iter().map(|(name, error)| (name, error))) {
                context.printer.note(&line);
            }
        }
        if unreachable.is_empty() {
            Ok(Exit::Done)
        } else {
            Err(CliError { in_json: true, ..CliError::already_printed() })
        }
    }
}

/// A line of the status.
struct RotationRow {
    environment: EnvironmentName,
    secret: SecretReference,
    profile: String,
    state: String,
    note: String,
    rotation: Option<Rotation>,
}

impl RotationRow {
    fn to_json(&self) -> serde_json::Value {
        json!({ "environment": self.environment, "secret": self.secret, "standing": self.state, "rotation": self.rotation })
    }
}

/// Returns the rotations in the files of an environment and in its service.
fn list_rotations(
    environment: &Environment,
    rotations: &[Rotation],
    is_reachable: bool,
) -> Result<Vec<RotationRow>, CliError> {
    let (root, name) = (environment.repository.root(), &environment.name);
    let row = |secret: &SecretReference, profile: String, state: &str, note: String, rotation: Option<Rotation>| {
        RotationRow {
            environment: name.clone(),
            secret: secret.clone(),
            profile,
            state: state.to_owned(),
            note,
            rotation,
        }
    };
    let next = list_files(root, name)?.next;
    let mut rows = Vec::new();
    for rotation in rotations {
        let is_staged = next.iter().any(|(reference, _)| *reference == rotation.secret);
        let note = match rotation.standing {
            _ if !is_staged => "its file was removed: run plan and apply".to_owned(),
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
            let (state, note) = if is_reachable {
                ("not applied", "run plan and apply")
            } else {
                ("in the files", "cannot query its service")
            };
            rows.push(row(reference, String::new(), state, note.to_owned(), None));
        }
    }
    Ok(rows)
}

/// Reads a next value: its header, and the file.
fn read_next_value(environment: &Environment, reference: &SecretReference) -> Result<(Header, Vec<u8>), CliError> {
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

fn abandon(environment: &Environment, reference: &SecretReference) -> Result<Summary, CliError> {
    let (root, name) = (environment.repository.root(), &environment.name);
    let path = Repository::next_secret_path(name, reference);
    if root.join(&path).symlink_metadata().is_err() {
        // An existing file is removed even if it is not an age file.
        read_next_value(environment, reference)?;
    }
    check_inside(root, &path)?;
    std::fs::remove_file(root.join(&path))
        .map_err(|error| CliError::coded(Code::Unreadable, format!("cannot remove `{}`: {error}", path.display())))?;
    let (text, document) = (format!("removed {}", path.display()), json!({ "removed": path }));
    Ok(Summary::new(Significance::Listed, "the next value is removed".to_owned(), text, document))
}
