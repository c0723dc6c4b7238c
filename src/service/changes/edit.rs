//! Edits: a person creates, changes or deletes one profile in the console.
//!
//! [`Service::plan_edit`] returns what an edit would do. [`Service::apply_edit`] applies it, only at the generation of the
//! environment that its plan was made from. An edit is a change by hand, with the checks of one; guards and the gate of `verify`
//! (see `planned`) apply as well. To a change by hand through the API they do not apply, because it has no plan that could show
//! them.
//!
//! An applied edit is drift until the files have it; [`Service::edit_patch`] and [`Service::drift_patch`] return patches for Git.
//! [`Service::find_conflict`] returns what was changed in a profile since a person opened its form or made a proposal.
//! `policy.console` decides if the console may propose or apply. An edit carries a secret as an age file, which is not decrypted
//! here.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use super::{Change, ChangeLock, ChangeSignatures, planned::PlannedChange};
use crate::{
    changes::{
        comparison::{self, FieldDifference},
        fields,
        git_patch::{self, GitPatch},
    },
    model::{
        Allowances, ChangeKind, ChangeRecord, Code, Digest, Profile, ProfileChange, ProfileName, ProfileState,
        SecretReference, State, StoredProfile,
        access::{Activity, Area},
        settings::ConsolePolicy,
    },
    service::{Service, caller::Caller, http::HttpProblem},
};

/// A change, and the age files that come with it: base64 by digest.
type ChangeWithFiles = (ProfileChange, BTreeMap<Digest, String>);

/// A change of one profile.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    pub(crate) name: ProfileName,
    pub(crate) wanted: WantedProfile,
}

/// The result of an edit.
#[derive(Clone, Debug)]
pub(crate) enum WantedProfile {
    /// The profile, with the new age file of its secret if there is one. `is_new` if it must not exist before.
    Saved { profile: Box<Profile>, age_file: Option<Vec<u8>>, is_new: bool },
    /// The profile of a proposal, with the age files that came with it: base64 by digest.
    Proposed { stored: Box<StoredProfile>, age_files: BTreeMap<Digest, String>, is_new: bool },
    /// No profile.
    Deleted,
}

/// The changes since an editor began.
#[derive(Clone, Debug)]
pub(crate) struct EditConflict {
    /// The last change; none if the profile is gone without a record.
    pub(crate) by: Option<ChangeRecord>,
    /// True if the profile does not exist any more.
    pub(crate) is_deleted: bool,
    pub(crate) fields: Vec<FieldDifference>,
}

/// The terms on which a planned change is applied.
#[derive(Clone, Debug, Default)]
pub(crate) struct EditTerms {
    /// The generation of the plan.
    pub(crate) base: u64,
    pub(crate) allowances: Allowances,
    pub(crate) signatures: ChangeSignatures,
    /// The reason of the person who applies it.
    pub(crate) reason: String,
    /// The text that the audit log has before that reason.
    pub(crate) recorded: Option<String>,
}

impl EditTerms {
    /// Returns the reason for the audit log, if there is one.
    pub(super) fn reason_to_record(&self) -> Option<String> {
        let own = Some(self.reason.clone()).filter(|reason| !reason.is_empty());
        let parts: Vec<String> = self.recorded.clone().into_iter().chain(own).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

impl Service {
    /// Returns what the environment lets the console do.
    pub(crate) fn console_policy(&self) -> ConsolePolicy {
        self.state().settings.policy.console
    }

    /// Returns true if a caller may at least plan changes of profiles in the console.
    pub(crate) fn may_change_profiles(&self, caller: &Caller) -> bool {
        self.console_policy() > ConsolePolicy::ReadOnly && caller.may_at_all(Area::Changes, Activity::Plan)
    }

    /// Refuses what the environment does not let the console do.
    pub(crate) fn check_console_policy(&self, needed: ConsolePolicy) -> Result<(), HttpProblem> {
        let allowed = self.console_policy();
        if allowed >= needed {
            return Ok(());
        }
        let message = match allowed {
            ConsolePolicy::ReadOnly => "the environment's console is read-only",
            ConsolePolicy::Propose | ConsolePolicy::Apply => {
                "the environment's console makes proposals, and does not apply changes that were not proposed"
            }
        };
        Err(HttpProblem::new(Code::ConsoleRestricted, message).remedy(format!(
            "Change the files and apply them, or set `policy.console` in the environment.yaml of `{}`.",
            self.store.environment()
        )))
    }

    /// Plans an edit; none if it changes nothing. Broken rules and secrets that cannot be accepted are problems.
    pub(crate) async fn plan_edit(
        self: &Arc<Self>,
        caller: &Caller,
        edit: &Edit,
        signatures: ChangeSignatures,
    ) -> Result<Option<PlannedChange>, HttpProblem> {
        let state = self.state();
        let Some((change, age_files)) = self.edit_change(&state, edit)? else { return Ok(None) };
        let change = Change {
            changes: vec![change],
            age_files,
            signatures,
            ..Change::new(ChangeKind::Manual, "console.edit", state.generation)
        };
        let mut planned = self.plan_change(caller, change).await?;
        if !caller.sees_all(Area::Profiles) {
            planned.routing.retain(|change| caller.sees_cell(&change.cell.company, change.cell.function));
        }
        Ok(Some(planned))
    }

    /// Applies an edit as a change by hand. Returns the generation.
    pub(crate) async fn apply_edit(
        self: &Arc<Self>,
        caller: &Caller,
        edit: &Edit,
        terms: EditTerms,
    ) -> Result<u64, HttpProblem> {
        let one_at_a_time = self.changing.lock().await;
        self.apply_edit_locked(caller, edit, terms, &one_at_a_time).await
    }

    /// Applies an edit, for a caller that holds the lock for changes.
    pub(in crate::service) async fn apply_edit_locked(
        self: &Arc<Self>,
        caller: &Caller,
        edit: &Edit,
        terms: EditTerms,
        _: &ChangeLock<'_>,
    ) -> Result<u64, HttpProblem> {
        let state = self.state();
        let checked = async {
            if terms.base != state.generation {
                return Err(HttpProblem::stale(state.generation, terms.base));
            }
            let Some((change, age_files)) = self.edit_change(&state, edit)? else { return Ok(None) };
            self.check_gate(std::slice::from_ref(&change), &terms).await?;
            let reason = terms.reason_to_record();
            let change = Change {
                changes: vec![change],
                age_files,
                allowances: terms.allowances,
                signatures: terms.signatures,
                is_guarded: true,
                reason,
                ..Change::new(ChangeKind::Manual, "console.edit", state.generation)
            };
            self.check(caller, change).await.map(Some)
        };
        match checked.await {
            Ok(Some(checked)) => self.commit(caller, checked).await.map(|(generation, _)| generation),
            Ok(None) => Ok(state.generation),
            Err(problem) => {
                self.refuse_change(caller, "console.edit", json!({ "profile": edit.name }), problem, false).await
            }
        }
    }

    /// Returns what was changed in a profile since a generation; none if it was not.
    pub(crate) async fn find_conflict(
        &self,
        name: &ProfileName,
        base: u64,
    ) -> Result<Option<EditConflict>, HttpProblem> {
        let state = self.state();
        let found = state.profiles.get(name);
        let live = found.and_then(|found| found.live.as_ref());
        if live.is_some() && found.is_some_and(|found| found.changed.generation <= base) {
            return Ok(None);
        }
        let earlier = self.store.generation(base).await?.and_then(|mut detail| detail.profiles.remove(name));
        if earlier.is_none() && live.is_none() {
            return Ok(None);
        }
        let table = |stored: Option<&StoredProfile>| stored.map(fields::profile_fields).unwrap_or_default();
        let (fields, _) = comparison::compare(&table(earlier.as_ref()), &table(live), &|_, _| None);
        Ok(Some(EditConflict { by: found.map(|found| found.changed.clone()), is_deleted: live.is_none(), fields }))
    }

    /// Returns the files of an edit as a patch for Git. It starts from what the last apply left, as Git does.
    pub(crate) async fn edit_patch(
        &self,
        caller: &Caller,
        edit: &Edit,
        planned: &PlannedChange,
        reason: &str,
    ) -> Result<GitPatch, HttpProblem> {
        let text = |(digest, file): (&Digest, &String)| {
            let file = BASE64_STANDARD.decode(file).ok()?;
            Some((digest.clone(), String::from_utf8(file).ok()?))
        };
        let sent = planned.age_files.iter().filter_map(text).collect();
        let profile = planned.changes.first().and_then(ProfileChange::profile);
        self.patch(caller, &edit.name, profile, sent, reason).await
    }

    /// Returns what is live of a profile as a patch for Git; none if Git has it.
    pub(crate) async fn drift_patch(&self, caller: &Caller, name: &ProfileName) -> Result<GitPatch, HttpProblem> {
        let state = self.state();
        let live = state.profiles.get(name).and_then(|found| found.live.as_ref());
        self.patch(caller, name, live, BTreeMap::new(), "").await
    }

    async fn patch(
        &self,
        caller: &Caller,
        name: &ProfileName,
        after: Option<&StoredProfile>,
        mut texts: BTreeMap<Digest, String>,
        reason: &str,
    ) -> Result<GitPatch, HttpProblem> {
        let state = self.state();
        let before = state.profiles.get(name).and_then(ProfileState::applied);
        // Profiles can share a secret, so its file can be in Git for another one.
        let in_git = |file: &SecretReference| {
            let others = state.profiles.values().filter_map(ProfileState::applied);
            before.into_iter().chain(others).find_map(|stored| git_patch::file_digest(stored, file))
        };
        let files = before.into_iter().chain(after).flat_map(StoredProfile::file_names);
        let files_in_git: BTreeMap<SecretReference, Digest> =
            files.filter_map(|file| in_git(&file).cloned().map(|digest| (file, digest))).collect();
        let later = after.into_iter().flat_map(StoredProfile::age_files).map(|(_, digest)| digest);
        let digests: BTreeSet<&Digest> = files_in_git.values().chain(later).collect();
        for digest in digests {
            if !texts.contains_key(digest)
                && let Some(file) = self.store.age_file(digest).await?
                && let Ok(text) = String::from_utf8(file)
            {
                texts.insert(digest.clone(), text);
            }
        }
        let environment = self.store.environment();
        let age_text = |digest: &Digest| texts.get(digest).cloned();
        let files = git_patch::profile_changes(environment, name, (before, after), &files_in_git, &age_text);
        let sealed = files
            .iter()
            .filter(|file| Path::new(&file.path).extension().is_some_and(|ending| ending == "age"))
            .filter_map(|file| file.after.as_ref());
        let note = self.remaining_sealing(sealed);
        let verb = match (before, after) {
            (None, _) => "add",
            (_, None) => "remove",
            _ => "change",
        };
        Ok(GitPatch {
            author: caller.name.clone(),
            at: self.clock.now(),
            subject: format!("{environment}: {verb} profile {name}"),
            reason: reason.to_owned(),
            note,
            files,
        })
    }

    /// Computes the change that an edit makes, and the age files that come with it; none if it changes nothing.
    fn edit_change(&self, state: &State, edit: &Edit) -> Result<Option<ChangeWithFiles>, HttpProblem> {
        let name = edit.name.clone();
        let live = state.profiles.get(&name).and_then(|state| state.live.as_ref());
        let (profile, age_file) = match &edit.wanted {
            WantedProfile::Deleted if live.is_none() => {
                return Err(HttpProblem::not_found(format!("profile `{name}` does not exist")));
            }
            WantedProfile::Deleted => return Ok(Some((ProfileChange::Delete { name }, BTreeMap::new()))),
            WantedProfile::Saved { is_new: true, .. } | WantedProfile::Proposed { is_new: true, .. }
                if live.is_some() =>
            {
                return Err(HttpProblem::new(Code::ProfileExists, format!("profile `{name}` exists already"))
                    .remedy("Choose another name, or change that profile."));
            }
            WantedProfile::Proposed { stored, age_files, .. } => {
                self.check_proposed_files(age_files)?;
                let new = age_files.iter().filter(|(digest, _)| !state.secrets.contains_key(*digest));
                let age_files = new.map(|(digest, file)| (digest.clone(), file.clone())).collect();
                return Ok(set(name, live, (**stored).clone()).map(|change| (change, age_files)));
            }
            WantedProfile::Saved { profile, age_file, .. } => ((**profile).clone(), age_file),
        };
        let Some(file) = age_file else {
            return Ok(replacement(state, name, live, profile)?.map(|change| (change, BTreeMap::new())));
        };
        let Some((reference, _)) = profile.provider.secret() else {
            return Err(HttpProblem::malformed("the profile names no secret, and an age file was sent"));
        };
        let digest = self.check_sealed(reference, file)?;
        let secrets = BTreeMap::from([(reference.clone(), digest.clone())]);
        let stored = StoredProfile { profile, secrets, next: BTreeMap::new() };
        let age_files = if state.secrets.contains_key(&digest) {
            BTreeMap::new()
        } else {
            BTreeMap::from([(digest, BASE64_STANDARD.encode(file))])
        };
        Ok(set(name, live, stored).map(|change| (change, age_files)))
    }
}

/// Computes the change that replaces the live profile. The digests of its secrets are those that the service has.
pub(in crate::service) fn replacement(
    state: &State,
    name: ProfileName,
    live: Option<&StoredProfile>,
    profile: Profile,
) -> Result<Option<ProfileChange>, HttpProblem> {
    let (mut secrets, mut next) = (BTreeMap::new(), BTreeMap::new());
    if let Some((reference, _)) = profile.provider.secret() {
        let digest = find_digest(state, live, reference).ok_or_else(|| {
            HttpProblem::new(Code::SecretNotSent, format!("the service has no secret `{reference}`"))
                .remedy("Send the secret with an apply: `mailwright secrets set`, then `mailwright apply`.")
        })?;
        secrets.insert(reference.clone(), digest);
        // A rotation in progress continues.
        let staged = live.and_then(|live| live.next.get(reference)).cloned();
        next.extend(staged.map(|digest| (reference.clone(), digest)));
    }
    Ok(set(name, live, StoredProfile { profile, secrets, next }))
}

/// Returns the change that sets a profile; none if it is the same.
fn set(name: ProfileName, live: Option<&StoredProfile>, profile: StoredProfile) -> Option<ProfileChange> {
    match live {
        Some(live) if *live == profile => None,
        Some(_) => Some(ProfileChange::Update { name, profile }),
        None => Some(ProfileChange::Create { name, profile }),
    }
}

fn find_digest(state: &State, live: Option<&StoredProfile>, reference: &SecretReference) -> Option<Digest> {
    let own = live.and_then(|live| live.secrets.get(reference));
    let any = || state.live_stored().find_map(|(_, stored)| stored.secrets.get(reference));
    own.or_else(any).cloned()
}
