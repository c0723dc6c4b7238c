//! `mailwright render`: prints the effective configuration of an environment, or of one of its profiles, with the file and
//! line that set each value.
//!
//! The origins are comments in YAML, and `places` by JSON pointer in JSON. `config::Repository::effective_environment` merges
//! the layers, interpolates the variables and masks possible secrets. Files with problems are rendered as far as they can be
//! read, and the exit code is 1. Contacts no service and changes no file.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::{
    cli::{
        CliError, Context, ErrorFormat, Exit, Runnable,
        args::environment::EnvironmentArg,
        environment::{self, Environment},
        ui::format::versioned,
    },
    config::{EffectiveEnvironment, Sourced, suggest},
    model::{Code, Place, ProfileName, file_text},
};

/// Print the effective configuration, with the origin of each value
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright render prod\n  \
    mailwright render prod invoices      one profile\n  \
    mailwright render prod --format json | jq .places\n\n\
    Needs no service and no key. Layers are merged and variables interpolated;\n\
    secrets remain names. For a value with a variable, the comment names the origins\n\
    of the text and of the variable. Files with problems are rendered as far as\n\
    possible; the problems are printed to standard error, and the exit code is 1.")]
pub(crate) struct Render {
    #[command(flatten)]
    environment: EnvironmentArg,
    /// Only this profile; the environment can be an abstract layer
    #[arg(value_name = "PROFILE")]
    profile: Vec<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Yaml, value_name = "FORMAT")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// YAML with the origins as comments
    Yaml,
    /// One JSON document: the values, and their origins by JSON pointer
    Json,
}

/// The column of the comments, unless the line is longer.
const COLUMN: usize = 56;

/// The keys of environments and profiles that come first.
const ORDER: [&str; 13] = [
    "description",
    "abstract",
    "extends",
    "enabled",
    "renamedFrom",
    "service",
    "companies",
    "labels",
    "variables",
    "provider",
    "from",
    "functions",
    "appliesTo",
];

impl Runnable for Render {
    fn error_format(&self) -> ErrorFormat {
        ErrorFormat::json_if(self.format == Format::Json)
    }

    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        // A single name that no environment has can be the name of a profile.
        let is_profile = |text: &str| self.profile.is_empty() && text.parse::<ProfileName>().is_ok();
        let (environment, profiles) = self.environment.find_before(context, &self.profile, is_profile)?;
        if let [_, more, ..] = profiles.as_slice() {
            return Err(CliError::coded(Code::Usage, format!("unexpected argument `{}`", more.escape_debug())));
        }
        let repository = &environment.repository;
        let report = repository.check(std::slice::from_ref(&environment.name));
        let effective = repository.effective_environment(&environment.name);
        let profile = profiles.first().map(|name| find_profile(&environment, &effective, name)).transpose()?;
        let text = match (self.format, &profile) {
            (Format::Yaml, None) => render_yaml(&effective),
            (Format::Yaml, Some((name, sourced))) => {
                let mut out = format!("# profile {name} of {}\n", describe_layers(&effective));
                write_block(&mut out, sourced, 0);
                out
            }
            (Format::Json, None) => render_json(&environment, &effective),
            (Format::Json, Some((name, sourced))) => {
                let mut places = Map::new();
                collect_places(sourced, "/value", &mut places);
                let document = json!({
                    "environment": environment.name, "layers": effective.layers, "profile": name,
                    "value": sourced.to_json(), "places": places,
                });
                format!("{:#}", versioned(&document))
            }
        };
        context.printer.document(&text);
        if report.has_errors() {
            // Standard output has the document already.
            let error = environment::problems(context, &report);
            return Err(CliError { in_json: true, ..error });
        }
        Ok(Exit::Done)
    }
}

fn find_profile<'a>(
    environment: &Environment,
    effective: &'a EffectiveEnvironment,
    name: &str,
) -> Result<(&'a ProfileName, &'a Sourced), CliError> {
    let found = effective.profiles.iter().find(|(known, _)| known.as_str() == name);
    found.ok_or_else(|| {
        let error = CliError::coded(
            Code::NotFound,
            format!("the environment `{}` has no profile `{}`", environment.name, name.escape_debug()),
        );
        match suggest::nearest(name, effective.profiles.keys().map(ProfileName::as_str)) {
            Some(meant) => error.remedy(format!("Did you mean `{meant}`?")),
            None => error.remedy(format!("`mailwright render {}` shows all.", environment.name)),
        }
    })
}

/// Lists the layers: `prod, over office, over base`.
fn describe_layers(effective: &EffectiveEnvironment) -> String {
    let names: Vec<String> = effective.layers.iter().rev().map(ToString::to_string).collect();
    names.join(", over ")
}

fn render_yaml(effective: &EffectiveEnvironment) -> String {
    let mut out = format!("# {}\nenvironment:\n", describe_layers(effective));
    write_block(&mut out, &effective.environment, 1);
    if effective.profiles.is_empty() {
        let _ = writeln!(out, "profiles: {{}}");
        return out;
    }
    let _ = writeln!(out, "profiles:");
    for (name, sourced) in &effective.profiles {
        let _ = writeln!(out, "  {}:", file_text::quote_key(name.as_str()));
        write_block(&mut out, sourced, 2);
    }
    out
}

/// Writes a map's entries or a list's items, each on its own line.
fn write_block(out: &mut String, sourced: &Sourced, depth: usize) {
    let indent = "  ".repeat(depth);
    match sourced {
        Sourced::Leaf { value, place, variables } => {
            write_line(out, &format!("{indent}{}", file_text::display_scalar(value)), place, variables);
        }
        Sourced::Map(entries) => {
            // Known keys in the usual order of a file, then the others in the order of the files.
            let rank = |key: &str| ORDER.iter().position(|known| *known == key).unwrap_or(ORDER.len());
            let mut entries: Vec<&(String, Sourced)> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| rank(key));
            for (key, value) in entries {
                write_entry(out, &format!("{indent}{}:", file_text::quote_key(key)), value, depth + 1);
            }
        }
        Sourced::List(items) => items.iter().for_each(|item| write_entry(out, &format!("{indent}-"), item, depth + 1)),
    }
}

/// Writes the value after a key or a dash.
fn write_entry(out: &mut String, head: &str, value: &Sourced, depth: usize) {
    match value {
        Sourced::Leaf { value, place, variables } => {
            write_line(out, &format!("{head} {}", file_text::display_scalar(value)), place, variables);
        }
        Sourced::Map(entries) if entries.is_empty() => out.push_str(&format!("{head} {{}}\n")),
        Sourced::List(items) if items.is_empty() => out.push_str(&format!("{head} []\n")),
        Sourced::Map(_) if head.ends_with('-') => {
            // The first key is on the line of the dash.
            let mut inner = String::new();
            write_block(&mut inner, value, depth);
            out.push_str(&format!("{head} {}", inner.trim_start()));
        }
        _ => {
            out.push_str(&format!("{head}\n"));
            write_block(out, value, depth);
        }
    }
}

/// Writes a line with the origin of its value.
fn write_line(out: &mut String, text: &str, place: &Place, variables: &[(String, Place)]) {
    let mut from = format!("{}:{}", place.file, place.line);
    for (name, place) in variables {
        let _ = write!(from, ", ${{{name}}} {}:{}", place.file, place.line);
    }
    let width = text.chars().count();
    let pad = " ".repeat(COLUMN.saturating_sub(width).max(1));
    let _ = writeln!(out, "{text}{pad}# {from}");
}

fn render_json(environment: &Environment, effective: &EffectiveEnvironment) -> String {
    let mut places = Map::new();
    collect_places(&effective.environment, "/value", &mut places);
    let profiles: Map<String, Value> =
        effective.profiles.iter().map(|(name, sourced)| (name.to_string(), sourced.to_json())).collect();
    for (name, sourced) in &effective.profiles {
        collect_places(sourced, &format!("/profiles/{name}"), &mut places);
    }
    let document = json!({
        "environment": environment.name, "layers": effective.layers, "value": effective.environment.to_json(),
        "profiles": profiles, "places": places,
    });
    format!("{:#}", versioned(&document))
}

/// Collects the places of all values by their JSON pointers in the document.
fn collect_places(sourced: &Sourced, pointer: &str, places: &mut Map<String, Value>) {
    match sourced {
        Sourced::Leaf { place, variables, .. } => {
            let mut entry = json!(place);
            if !variables.is_empty() {
                let variables: Vec<Value> =
                    variables.iter().map(|(name, place)| json!({ "name": name, "place": place })).collect();
                entry["variables"] = json!(variables);
            }
            places.insert(pointer.to_owned(), entry);
        }
        Sourced::List(items) => {
            items.iter().enumerate().for_each(|(at, item)| collect_places(item, &format!("{pointer}/{at}"), places));
        }
        Sourced::Map(entries) => {
            for (key, value) in entries {
                let key = key.replace('~', "~0").replace('/', "~1");
                collect_places(value, &format!("{pointer}/{key}"), places);
            }
        }
    }
}
