//! `mailwright access list`: the roles of an environment with their grants, and the bindings.

use serde_json::json;

use super::SourceArgs;
use crate::{
    cli::{CliError, Context, Exit, Format, args::environment::EnvironmentArg, ui::table::table},
    model::{
        access::{AccessPolicy, Grant, Subject},
        token::Role,
    },
};

/// List roles and bindings
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright access list prod\n  \
    mailwright access list prod --live --format json   what the service holds")]
pub(super) struct List {
    #[command(flatten)]
    environment: EnvironmentArg,
    #[command(flatten)]
    pub(super) source: SourceArgs,
}

impl List {
    pub(super) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let environment = self.environment.find(context)?;
        let source = self.source.read(context, &environment)?;
        let policy = &source.settings.access;
        if self.source.output.format == Format::Json {
            context.printer.json(&json!({
                "environment": environment.name, "generation": source.generation,
                "builtIn": Role::ALL, "roles": policy.roles, "bindings": policy.bindings,
            }));
            return Ok(Exit::Done);
        }
        context.printer.out(&text(policy, environment.name.as_str()));
        Ok(Exit::Done)
    }
}

fn text(policy: &AccessPolicy, environment: &str) -> String {
    if policy.is_empty() {
        return format!(
            "{environment} has no access policy: a token has the built-in role that it was created with.\nDeclare roles and bindings in environments/{environment}/access.yaml."
        );
    }
    let roles = policy.roles.iter().flat_map(|(name, role)| {
        role.grants.iter().enumerate().map(move |(index, grant)| {
            let name = if index == 0 { name.clone() } else { String::new() };
            vec![name, join(&grant.areas), join(&grant.activities), limits(grant)]
        })
    });
    let bindings = policy.bindings.iter().map(|(name, binding)| {
        let subjects: Vec<String> = binding.subjects.iter().map(Subject::to_string).collect();
        vec![name.clone(), subjects.join(", "), binding.roles.iter().cloned().collect::<Vec<_>>().join(", ")]
    });
    let roles = table(&["role", "areas", "activities", "limits"], roles);
    let bindings = table(&["binding", "subjects", "roles"], bindings);
    format!("{roles}\n\n{bindings}")
}

fn limits(grant: &Grant) -> String {
    let limits = grant.describe_limits();
    if limits.is_empty() { "none".to_owned() } else { limits }
}

fn join<T: ToString>(items: &std::collections::BTreeSet<T>) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
