//! `mailwright blame`: shows which generation and commit last changed each field of a live profile.
//!
//! Reads the service's generations from the newest backwards, and compares the values with the files to name their places.
//! [`crate::reconcile::blame`] decides; the history of Git is not read. At most `--limit` generations are read (200 by default); a
//! field that is older is shown as such.

use serde_json::{Value, json};

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Format, OutputArgs, Runnable, ServiceArgs,
        args::environment::EnvironmentArg,
        environment::{self, Environment},
        ui::{
            table::table,
            wording::{short_author, short_commit},
        },
    },
    client::Client,
    config::DesiredProfile,
    model::{ChangeKind, Code, GenerationDetail, ProfileName},
    reconcile::{
        blame::{Blame as Walk, BlamedField},
        render,
    },
    time::local::format_time,
};

/// Show which commit last changed each field
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright blame prod invoices\n  \
    mailwright blame prod invoices --limit 1000\n  \
    mailwright blame prod invoices --format json\n\n\
    Reads the service's generations from the newest backwards, so no Git history is\n\
    needed. Commit and author are those that the client sent with the generation.\n\
    PLACE is the line of the present files with the same value.")]
pub(crate) struct Blame {
    #[command(flatten)]
    environment: EnvironmentArg,
    /// Profile
    #[arg(value_name = "PROFILE")]
    profile: Vec<String>,
    /// Number of generations to read
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

impl Runnable for Blame {
    fn error_format(&self) -> ErrorFormat {
        self.output.format.into()
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (environment, profile) = self.environment.find_before_one(context, &self.profile, "a profile")?;
        let name = environment::profile_name(&profile)?;
        let client = environment.client(context, &self.service)?;
        let (walk, oldest) = context.runtime()?.block_on(self.read_generations(&client, &environment, &name))?;
        // Without valid files the places are missing.
        let desired = environment.repository.load(&environment.name).ok();
        let desired = desired.as_ref().and_then(|desired| desired.profiles.get(&name));
        let fields = walk.fields();
        if self.output.format == Format::Json {
            let fields: Vec<Value> = fields.iter().map(|field| with_place(field, desired)).collect();
            let renamed = walk.renamed().iter().map(|(at, from)| json!({ "generation": at, "from": from }));
            let document = json!({
                "environment": environment.name, "profile": name, "fields": fields,
                "renamed": renamed.collect::<Vec<_>>(), "oldest": oldest,
            });
            context.printer.json(&document);
            return Ok(Exit::Done);
        }
        let head = ["field", "value", "generation", "at", "by", "commit", "author", "place"];
        let rows = fields.iter().map(|field| row(field, desired, oldest));
        context.printer.out(&table(&head, rows));
        for (at, from) in walk.renamed() {
            context.printer.note(&format!("Generation {at} renamed it from {from}."));
        }
        if !walk.is_done() {
            context.printer.note(&format!(
                "Some fields are older than generation {oldest}; read more with `--limit {}`.",
                u64::from(self.limit) * 10
            ));
        }
        Ok(Exit::Done)
    }
}

impl Blame {
    /// Reads generations backwards until every field is explained. Returns the oldest generation that was read as well.
    async fn read_generations(
        &self,
        client: &Client,
        environment: &Environment,
        name: &ProfileName,
    ) -> Result<(Walk, u64), CliError> {
        let state = environment::state(client, &environment.name).await?;
        let Some((profile, live)) = state.profiles.get(name).and_then(|p| Some((p, p.live.as_ref()?))) else {
            return Err(CliError::coded(Code::NotFound, format!("the service has no profile `{name}`"))
                .remedy(format!("`mailwright status {}` lists the live ones.", environment.name)));
        };
        let mut walk = Walk::new(name, live);
        // The profile has not changed since the generation that the service recorded.
        let mut number = profile.changed.generation.min(state.generation);
        let mut after: GenerationDetail = client.generation(number).await?;
        let mut oldest = number;
        for _ in 0..self.limit {
            oldest = number;
            let before = match number {
                0 | 1 => None,
                _ => Some(client.generation(number - 1).await?),
            };
            walk.visit_generation(&after.generation, before.as_ref(), &after);
            match before {
                Some(before) if !walk.is_done() => (number, after) = (number - 1, before),
                _ => break,
            }
        }
        Ok((walk, oldest))
    }
}

/// Returns the place of the same value in the present files.
fn find_place(field: &BlamedField, desired: Option<&DesiredProfile>) -> Option<String> {
    let pointer = format!("/{}", field.path.replace('.', "/"));
    let desired = desired?;
    let document = serde_json::to_value(&desired.stored.profile).ok()?;
    let declared = document.pointer(&pointer)?;
    let same = *declared == field.value || declared.get("secret") == Some(&field.value);
    Some(desired.place_of(&pointer)).filter(|place| same && place.is_in_a_file()).map(|place| place.to_string())
}

fn with_place(field: &BlamedField, desired: Option<&DesiredProfile>) -> Value {
    let mut document = serde_json::to_value(field).unwrap_or_default();
    document["place"] = json!(find_place(field, desired));
    document
}

fn row(field: &BlamedField, desired: Option<&DesiredProfile>, oldest: u64) -> Vec<String> {
    let value = match &field.digest {
        Some(digest) => format!("{} ({})", field.value.as_str().unwrap_or_default(), digest.short()),
        None => render::display_value(&field.value),
    };
    let value = if value.chars().count() > 60 { value.chars().take(57).chain("...".chars()).collect() } else { value };
    let place = find_place(field, desired).unwrap_or_default();
    let Some(generation) = &field.generation else {
        return [field.path.clone(), value, format!("before {oldest}")]
            .into_iter()
            .chain(vec![String::new(); 4])
            .chain([place])
            .collect();
    };
    let how = match generation.kind {
        ChangeKind::Apply => String::new(),
        other => format!(" ({})", other.id()),
    };
    vec![
        field.path.clone(),
        value,
        format!("{}{how}", generation.number),
        format_time(generation.at),
        generation.by.clone(),
        short_commit(&generation.provenance),
        short_author(&generation.provenance),
        place,
    ]
}
