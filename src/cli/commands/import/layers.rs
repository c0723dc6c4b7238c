//! `mailwright import --layers BASE`: writes the configuration of running services as one base layer and a short file for each
//! environment.
//!
//! The files are proposed by [`crate::import`], and are written only if plans with them have no changes; the `environment.yaml`
//! of each environment is replaced. The recipients of secrets that a service knows are written where the repository has no
//! recipients.txt. If one service cannot be read, nothing is written. Environments that already have layers or profiles are
//! refused.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use serde_json::{Map, json};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    cli::{
        CliError, Context, Exit, Format,
        commands::import::{Import, documents_by_name, report_missing_secrets, write_file, write_new},
        environment::{self, Environment},
    },
    config::{Repository, Selection},
    import::{self, LiveEnvironment, Proof, ProposedLayers},
    model::{Code, EnvironmentName, SecretReference, State},
    reconcile::render,
    secrets::render_recipients,
};

/// Maximum number of services that are queried in parallel.
const AT_ONCE: usize = 8;

impl Import {
    pub(super) fn import_layers(&self, context: &Context, base: &EnvironmentName) -> Result<Exit, CliError> {
        let repository = Arc::new(context.repository()?);
        let root = repository.root().to_owned();
        if repository.environments().contains(base) {
            return Err(CliError::coded(Code::InvalidName, format!("the environment `{base}` already exists"))
                .remedy("Name a new folder: `--layers customers`."));
        }
        let names = self.select_bare(&repository)?;
        let states = context.runtime()?.block_on(self.states(context, &repository, &names))?;
        let sites: Vec<LiveEnvironment> = names
            .into_iter()
            .zip(states)
            .map(|(name, state)| LiveEnvironment { kept: kept_keys(&repository, &name), name, state })
            .collect();
        let mut layers = import::propose_layers(&sites, base);
        for LiveEnvironment { name, state, .. } in &sites {
            let path = Repository::recipients_path(name);
            let known = &state.settings.secret_recipients;
            if !known.is_empty() && !root.join(&path).exists() {
                let lines = known.iter().map(|one| (one.name.as_deref(), one.recipient.as_str()));
                layers.files.insert(path, render_recipients(name, lines));
            }
        }
        check_plans(context, &layers, &sites, &root)?;
        if !self.dry_run {
            // Existing files come last, so that after an error they are unchanged.
            let (own, new): (Vec<_>, Vec<_>) = layers.files.iter().partition(|(path, _)| root.join(path).exists());
            new.into_iter().try_for_each(|(path, text)| write_new(&root, path, text))?;
            own.into_iter().try_for_each(|(path, text)| write_file(&root, path, text))?;
        }
        self.report(context, base, &layers, &sites, &root);
        Ok(Exit::Done)
    }

    /// Returns the environments, which must consist of an `environment.yaml`.
    fn select_bare(&self, repository: &Repository) -> Result<Vec<EnvironmentName>, CliError> {
        let names = Selection::parse(&self.environments, &self.selector)
            .and_then(
                |selection| {
                    if selection.is_empty() { Selection::parse(&["*".to_owned()], &[]) } else { Ok(selection) }
                },
            )
            .and_then(|selection| repository.select(&selection))?;
        for name in &names {
            let extends = repository.own_document(name).is_some_and(|own| own.get("extends").is_some());
            if extends || !repository.profile_names(name).is_empty() {
                return Err(CliError::coded(Code::Usage, format!("`{name}` already has layers or profiles"))
                    .detail("whole services are imported into environments that consist of an environment.yaml")
                    .remedy(format!(
                        "Omit it, or run `mailwright import {name}` for the profiles that exist only in its service."
                    )));
            }
        }
        Ok(names)
    }

    async fn states(
        &self,
        context: &Context,
        repository: &Arc<Repository>,
        names: &[EnvironmentName],
    ) -> Result<Vec<State>, CliError> {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut requests = JoinSet::new();
        for (index, name) in names.iter().enumerate() {
            let client = Environment::new(name.clone(), Arc::clone(repository)).client(context, &self.service)?;
            let (places, name) = (Arc::clone(&places), name.clone());
            requests.spawn(async move {
                let _place = places.acquire_owned().await;
                let state = environment::state(&client, &name).await;
                (index, state.map_err(|error| error.detail(format!("environment `{name}`; nothing was written"))))
            });
        }
        let mut states = Vec::new();
        while let Some(answer) = requests.join_next().await {
            let (index, state) =
                answer.map_err(|error| CliError::new(format!("cannot query the services: {error}")))?;
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
            let written: Vec<String> = layers.files.keys().map(|path| path.display().to_string()).collect();
            let document = json!({
                "base": base, "dryRun": self.dry_run, "written": written,
                "sharedValues": shared, "values": all, "variables": layers.variables,
                "environments": documents_by_name(sites.iter().map(|site| &site.name), &written, &missing),
            });
            context.printer.json(&document);
            return;
        }
        let verb = if self.dry_run { "would write" } else { "wrote" };
        for path in layers.files.keys() {
            context.printer.out(&format!("{verb} {}", path.display()));
        }
        let percent = (shared * 100).checked_div(all).unwrap_or(100);
        let mut lines =
            format!("\n{} environments share `{base}`: it has {shared} of {all} values ({percent} %).", sites.len());
        if !layers.variables.is_empty() {
            let names: Vec<&str> = layers.variables.keys().map(String::as_str).collect();
            lines = format!("{lines}\nValues that differ are variables: {}.", names.join(", "));
        }
        context.printer.out(&format!("{lines}\nChecked: a plan of these files has no changes in any of them."));
        report_missing_secrets(context, &missing);
        context.printer.note("\nThen: mailwright validate && mailwright plan '*'");
    }
}

/// Returns the keys that the new `environment.yaml` keeps because no service has them.
fn kept_keys(repository: &Repository, name: &EnvironmentName) -> Map<String, serde_json::Value> {
    let own = repository.own_document(name).and_then(|own| own.as_object().cloned()).unwrap_or_default();
    own.into_iter().filter(|(key, _)| ["description", "labels", "service", "verify"].contains(&key.as_str())).collect()
}

/// Returns an error unless the plans of all environments are empty.
fn check_plans(
    context: &Context,
    layers: &ProposedLayers,
    sites: &[LiveEnvironment],
    root: &Path,
) -> Result<(), CliError> {
    let mut error: Option<CliError> = None;
    for (name, proof) in import::prove(layers, sites, root) {
        let detail = match proof {
            Proof::Holds => continue,
            Proof::Invalid(report) => {
                context.printer.note(&report.human());
                format!("`{name}`: the contents of its service do not pass `validate`")
            }
            Proof::Differs(plan) => {
                context.printer.note(&render::render_human(&plan));
                format!("`{name}`: a plan has changes")
            }
            Proof::Failed(why) => format!("`{name}`: {why}"),
        };
        let previous = error.unwrap_or_else(|| {
            CliError::coded(Code::ImportNotVerified, "the proposed files differ from the services; nothing was written")
                .remedy("Omit these environments, or correct the problems above in the service first.")
        });
        error = Some(previous.detail(detail));
    }
    error.map_or(Ok(()), Err)
}
