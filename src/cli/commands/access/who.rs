//! `mailwright access who`: the subjects that may change a field of a profile.

use serde_json::json;

use super::SourceArgs;
use crate::{
    changes::{access::NeededRight, access_report::activities_of},
    cli::{CliError, Context, Exit, Format, args::environment::EnvironmentArg, environment},
    config::suggest,
    model::{
        Code, ProfileName,
        access::{Activity, Area},
    },
    text::printable,
};

/// Show who may change a field of a profile
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright access who prod provider.smtp.host invoices\n  \
    mailwright access who prod enabled invoices --live\n\n\
    A change of a profile also needs a way to make it: `edit` in `changes` for a\n\
    change by hand, `apply` for a changeset of Git.")]
pub(super) struct Who {
    #[command(flatten)]
    environment: EnvironmentArg,
    /// Field, then profile
    #[arg(value_name = "FIELD PROFILE")]
    names: Vec<String>,
    #[command(flatten)]
    pub(super) source: SourceArgs,
}

impl Who {
    pub(super) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let (environment, names) = self.environment.find_before(context, &self.names, |_| self.names.len() < 2)?;
        let [field, profile] = names.as_slice() else {
            return Err(CliError::coded(Code::Usage, "a field and a profile are required")
                .remedy("mailwright access who ENV FIELD PROFILE"));
        };
        let field = known_field(field)?;
        let name = environment::profile_name(profile)?;
        let source = self.source.read(context, &environment)?;
        let Some(profile) = source.profiles.get(&name) else {
            let error = CliError::coded(Code::NotFound, format!("unknown profile `{name}`"));
            return Err(match suggest::nearest(name.as_str(), source.profiles.keys().map(ProfileName::as_str)) {
                Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
                None => error,
            });
        };
        let now = context.clock.now();
        let answers: Vec<(Activity, Vec<String>)> = activities_of(field)
            .iter()
            .map(|activity| {
                let right = NeededRight::of_field(&name, profile, *activity, field);
                (*activity, right.holders(&source.settings.access, now))
            })
            .collect();
        if self.source.output.format == Format::Json {
            let list = answers.iter().map(|(activity, who)| json!({ "activity": activity, "who": who }));
            context.printer.json(&json!({
                "environment": environment.name, "generation": source.generation,
                "field": field, "profile": name, "answers": list.collect::<Vec<_>>(),
            }));
            return Ok(Exit::Done);
        }
        for (activity, who) in answers {
            context.printer.out(&format!("{activity} `{field}` of `{name}`:"));
            for holder in who {
                context.printer.out(&format!("  {}", printable(&holder)));
            }
        }
        Ok(Exit::Done)
    }
}

fn known_field(text: &str) -> Result<&str, CliError> {
    let fields = Area::Profiles.fields();
    if fields.contains(&text) {
        return Ok(text);
    }
    let error = CliError::coded(Code::UnknownValue, format!("unknown field `{}`", printable(text)));
    Err(match suggest::nearest(text, fields.iter().copied()) {
        Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
        None => error.remedy(format!("Fields are: {}.", fields.join(", "))),
    })
}
