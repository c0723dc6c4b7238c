//! `mailwright import --layers BASE`: whole services as one base and a short folder each.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use serde_json::{Map, json};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    cli::{
        CliError, Context, Exit, Format,
        commands::import::{Import, tell_secrets, write_new, write_over},
        environment::{self, Environment},
    },
    config::{Repository, Selection},
    import::{self, LiveEnvironment, Proof, ProposedLayers},
    model::{Code, EnvironmentName, SecretReference, State},
    reconcile::render,
};

/// How many services are asked at once.
const AT_ONCE: usize = 8;

impl Import {
    pub(super) fn import_layers(&self, context: &Context, base: &EnvironmentName) -> Result<Exit, CliError> {
        let repository = context.repository()?;
        let root = repository.root().to_owned();
        if repository.environments().contains(base) {
            return Err(CliError::coded(Code::InvalidName, format!("there is an environment `{base}` already"))
                .remedy("Name a folder that does not exist yet: `--layers customers`."));
        }
        let names = self.bare(&repository)?;
        let states = context.runtime()?.block_on(self.states(context, &names))?;
        let sites: Vec<LiveEnvironment> = names
            .into_iter()
            .zip(states)
            .map(|(name, state)| LiveEnvironment { kept: kept(&repository, &name), name, state })
            .collect();
        let layers = import::propose_layers(&sites, base);
        prove(context, &layers, &sites, &root)?;
        if !self.dry_run {
            // The environments' own files come last: until then they are what they were.
            let (own, new): (Vec<_>, Vec<_>) = layers.files.iter().partition(|(path, _)| root.join(path).exists());
            new.into_iter().try_for_each(|(path, text)| write_new(&root, path, text))?;
            own.into_iter().try_for_each(|(path, text)| write_over(&root, path, text))?;
        }
        self.report(context, base, &layers, &sites, &root);
        Ok(Exit::Done)
    }

    /// The environments, which must have no more than an `environment.yaml`.
    fn bare(&self, repository: &Repository) -> Result<Vec<EnvironmentName>, CliError> {
        let names = Selection::parse(&self.environments, &self.selector)
            .and_then(
                |selection| {
                    if selection.is_empty() { Selection::parse(&["*".to_owned()], &[]) } else { Ok(selection) }
                },
            )
            .and_then(|selection| repository.select(&selection))
            .map_err(|error| CliError::coded(error.code, error.message).remedy(error.remedy))?;
        for name in &names {
            let extends = repository.own_document(name).is_some_and(|own| own.get("extends").is_some());
            if extends || !repository.profile_names(name).is_empty() {
                return Err(CliError::coded(Code::Usage, format!("`{name}` has layers or profiles already"))
                    .detail("whole services are imported into environments that have nothing but an environment.yaml")
                    .remedy(format!(
                        "Leave it out, or `mailwright import {name}` for the profiles that only its service has."
                    )));
            }
        }
        Ok(names)
    }

    async fn states(&self, context: &Context, names: &[EnvironmentName]) -> Result<Vec<State>, CliError> {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut asked = JoinSet::new();
        for (index, name) in names.iter().enumerate() {
            let client = Environment::find(context, name.as_str())?.client(context, &self.service)?;
            let (places, name) = (Arc::clone(&places), name.clone());
            asked.spawn(async move {
                let _place = places.acquire_owned().await;
                let state = environment::state(&client, &name).await;
                (
                    index,
                    state.map_err(|error| error.detail(format!("of the environment `{name}`; nothing was written"))),
                )
            });
        }
        let mut states = Vec::new();
        while let Some(answer) = asked.join_next().await {
            let (index, state) = answer.map_err(|error| CliError::new(format!("cannot ask the services: {error}")))?;
            states.push((index, state?));
        }
        states.sort_by_key(|(index, _)| *index);
        Ok(states.into_iter().map(|(_, state)| state).collect())
    }

    fn report(
        &self,
        context: &Context,
        base: &EnvironmentName,
        layers: &ProposedLayers,
        sites: &[LiveEnvironment],
        root: &Path,
    ) {
        let missing: BTreeSet<(EnvironmentName, SecretReference)> = sites
            .iter()
            .flat_map(|site| {
                let named = site.state.live_stored().flat_map(|(_, stored)| stored.file_names());
                named.map(|reference| (site.name.clone(), reference))
            })
            .filter(|(name, reference)| !root.join(Repository::secret_path(name, reference)).exists())
            .collect();
        let (shared, all) = layers.shared;
        if self.format == Format::Json {
            let document = json!({
                "base": base, "environments": sites.iter().map(|site| &site.name).collect::<Vec<_>>(), "dryRun": self.dry_run,
                "written": layers.files.keys().map(|path| path.display().to_string()).collect::<Vec<_>>(),
                "sharedValues": shared, "values": all, "variables": layers.variables,
                "secretsToSet": missing.iter().map(|(name, reference)| json!({ "environment": name, "secret": reference })).collect::<Vec<_>>(),
            });
            context.printer.out(&format!("{document:#}"));
            return;
        }
        let verb = if self.dry_run { "would write" } else { "wrote" };
        for path in layers.files.keys() {
            context.printer.out(&format!("{verb} {}", path.display()));
        }
        let percent = (shared * 100).checked_div(all).unwrap_or(100);
        let mut lines = format!(
            "\n{} environments share `{base}`: {shared} of {all} values ({percent} %) stand there.",
            sites.len()
        );
        if !layers.variables.is_empty() {
            let names: Vec<&str> = layers.variables.keys().map(String::as_str).collect();
            lines = format!("{lines}\nWhat differs from one to the next is a variable: {}.", names.join(", "));
        }
        context.printer.out(&format!("{lines}\nProved: a plan of these files would change nothing in any of them."));
        tell_secrets(context, &missing);
        context.printer.note("\nThen: mailwright validate && mailwright plan '*'");
    }
}

/// What the new `environment.yaml` keeps: what no service knows.
fn kept(repository: &Repository, name: &EnvironmentName) -> Map<String, serde_json::Value> {
    let own = repository.own_document(name).and_then(|own| own.as_object().cloned()).unwrap_or_default();
    own.into_iter().filter(|(key, _)| ["description", "labels", "service", "verify"].contains(&key.as_str())).collect()
}

/// Nothing is written that would change anything.
fn prove(context: &Context, layers: &ProposedLayers, sites: &[LiveEnvironment], root: &Path) -> Result<(), CliError> {
    let mut error: Option<CliError> = None;
    for (name, proof) in import::prove(layers, sites, root) {
        let detail = match proof {
            Proof::Holds => continue,
            Proof::Invalid(report) => {
                context.printer.note(&report.human());
                format!("`{name}`: what its service holds does not pass `validate`")
            }
            Proof::Differs(plan) => {
                context.printer.note(&render::render_human(&plan));
                format!("`{name}`: a plan would change something")
            }
            Proof::Failed(why) => format!("`{name}`: {why}"),
        };
        let so_far = error.unwrap_or_else(|| {
            CliError::coded(
                Code::ImportNotVerified,
                "the proposed files are not what the services hold; nothing was written",
            )
            .remedy("Leave these environments out, or mend what stands above in the service first.")
        });
        error = Some(so_far.detail(detail));
    }
    error.map_or(Ok(()), Err)
}
