//! One environment: its layers merged, variables put in, checked, and turned into the desired state.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;
use serde_json::{Value as Json, json};

use super::{
    Desired, DesiredProfile, Diagnostic, Places, SecretFile,
    layer::{Layer, Reporter},
    node::{Entry, Node, Value, merge},
    parse::{PROBLEM_LIMIT, ParseError, more_problems},
    schema::{self, Kind},
    selection::Labels,
    sources::{FILE_LIMIT, Files, Span, shown},
    variables::{self, Variables},
};
use crate::{
    config::recovery::{Unsound, fill_profile, take_out},
    model::{
        Code, Digest, EnvironmentName, GraphDirect, Place, Profile, ProfileName, Provider, Reader, SecretReference,
        Settings, StoredProfile, WatchSettings, rules, secret_detection,
    },
    secrets::{FILE_LIMIT as AGE_LIMIT, Header},
};

/// How many variables a remedy says the place of.
const SHOWN_VARIABLES: usize = 5;

/// What keeps Git from translating age files.
const ONLY_BYTES: &str = "Write `*.age -text` into .gitattributes, and check it out again: `git rm --cached -r secrets && git checkout HEAD -- secrets`.";

/// An environment in the making.
pub(super) struct Loading<'a> {
    pub(super) files: &'a Files,
    pub(super) name: &'a EnvironmentName,
    /// The layers, the lowest first; the environment's own last.
    pub(super) layers: Vec<Arc<Layer>>,
    pub(super) reporter: &'a Reporter,
    /// Whether all layers are there, and each says what it extends.
    pub(super) is_whole: bool,
}

/// What became of it.
pub(super) struct Loaded {
    /// None if anything is wrong, or if it is abstract.
    pub(super) desired: Option<Desired>,
    pub(super) problems: Vec<Diagnostic>,
    /// Age files that were looked at.
    pub(super) age_files: usize,
}

/// A profile as far as it is sound.
struct Typed {
    /// As the files say it, before variables were put in.
    raw: Arc<Node>,
    node: Arc<Node>,
    profile: Profile,
    renamed_from: Option<ProfileName>,
    unsound: Unsound,
}

impl Typed {
    /// Whether it is known what it claims, and for whom.
    fn claims_are_sound(&self) -> bool {
        let decide = ["/enabled", "/functions", "/appliesTo", "/provider"];
        !decide.iter().any(|pointer| self.unsound.touches(pointer))
    }
}

/// An environment's settings as far as they are sound.
struct TypedSettings {
    node: Arc<Node>,
    settings: Settings,
    unsound: Unsound,
}

/// Where the values of a document come from.
struct Origin<'a> {
    /// The document before variables were put in.
    raw: &'a Node,
    variables: &'a Variables,
}

impl Loading<'_> {
    fn own(&self) -> Option<&Layer> {
        self.layers.last().map(AsRef::as_ref)
    }

    /// `environment.yaml` with everything below it. What is not inherited is taken from the own layer only.
    pub(super) fn merged_environment(&self) -> Option<Arc<Node>> {
        let mut merged: Option<Arc<Node>> = None;
        for (index, layer) in self.layers.iter().enumerate() {
            let Some(node) = &layer.environment else { continue };
            let is_own = index + 1 == self.layers.len();
            let node = if is_own { Arc::clone(node) } else { without(node, &["extends", "abstract", "description"]) };
            merged = Some(merge(merged.as_ref(), &node));
        }
        merged
    }

    /// Every profile with everything below it, by name.
    pub(super) fn merged_profiles(&self) -> BTreeMap<ProfileName, Arc<Node>> {
        let mut profiles: BTreeMap<ProfileName, Arc<Node>> = BTreeMap::new();
        for layer in &self.layers {
            for (name, node) in &layer.profiles(self.files, self.reporter).nodes {
                if matches!(node.value, Value::Null) {
                    profiles.remove(name);
                    continue;
                }
                let merged = merge(profiles.get(name), node);
                profiles.insert(name.clone(), merged);
            }
        }
        profiles
    }

    /// The variables of the merged environment.
    pub(super) fn variables(environment: &Node) -> Variables {
        let entries = environment.get("variables").map_or(&[][..], |entry| entry.node.entries());
        entries
            .iter()
            .filter(|entry| !matches!(entry.node.value, Value::Null))
            .map(|entry| (Arc::clone(&entry.key), Arc::clone(&entry.node)))
            .collect()
    }

    /// Everything, in one run.
    pub(super) fn load(&self) -> Loaded {
        let of_layer = |layer: &Arc<Layer>| {
            [layer.problems.clone(), layer.profiles(self.files, self.reporter).problems.clone()].concat()
        };
        let mut problems: Vec<Diagnostic> = self.layers.iter().flat_map(of_layer).collect();
        let is_partial = !self.is_whole || self.own().is_some_and(|own| own.is_abstract);
        let environment = self.merged_environment();
        let variables = environment.as_deref().map(Self::variables).unwrap_or_default();
        let settings = environment.as_ref().map(|node| self.settings(node, &variables, is_partial, &mut problems));

        let unread: BTreeSet<&ProfileName> =
            self.layers.iter().flat_map(|layer| &layer.profiles(self.files, self.reporter).unread).collect();
        let merged: Vec<(ProfileName, Arc<Node>)> = self.merged_profiles().into_iter().collect();
        let checked: Vec<(ProfileName, Option<Typed>, Vec<Diagnostic>)> = merged
            .into_par_iter()
            .map(|(name, node)| {
                // Of one that is known in part nothing can be missing.
                let is_partial = is_partial || unread.contains(&name);
                let kind = if is_partial { Kind::PartialProfile } else { Kind::Profile };
                let (typed, found) = self.profile(kind, &node, &variables);
                (name, typed, found)
            })
            .collect();
        let mut profiles: BTreeMap<ProfileName, Typed> = BTreeMap::new();
        let may_lack_one = problems
            .iter()
            .any(|problem| matches!(problem.code, Code::UnexpectedFile | Code::InvalidName | Code::DuplicateKey));
        let mut is_complete = unread.is_empty() && !may_lack_one;
        for (name, typed, found) in checked {
            problems.extend(found);
            is_complete &= typed.as_ref().is_some_and(Typed::claims_are_sound);
            profiles.extend(typed.map(|typed| (name, typed)));
        }
        let Some(settings) = settings.filter(|_| !is_partial) else {
            return Loaded { desired: None, problems, age_files: 0 };
        };
        self.rules(&settings, &variables, &profiles, is_complete, &mut problems);
        self.watch(&settings, &settings.node, &mut problems);
        self.renames(&profiles, &mut problems);
        let files = self.secrets(&settings.node, &profiles, &mut problems);
        let age_files = files.count;
        let is_fine = problems.iter().all(|problem| problem.severity != crate::model::code::Severity::Error);
        let desired = is_fine.then(|| self.desired(&settings.node, settings.settings, profiles, files));
        Loaded { desired, problems, age_files }
    }

    fn settings(
        &self,
        merged: &Arc<Node>,
        variables: &Variables,
        is_partial: bool,
        problems: &mut Vec<Diagnostic>,
    ) -> TypedSettings {
        for (name, node) in variables {
            if node.below.variable {
                problems.push(self.reporter.at(
                    node.span,
                    Code::MalformedVariable,
                    format!("the variable `{name}` takes another variable"),
                    "Variables are plain values. Write it out, or put the two together where they are used.".to_owned(),
                    false,
                ));
            }
        }
        let node =
            if is_partial { Arc::clone(merged) } else { self.put_in_except_variables(merged, variables, problems) };
        let (mut document, mut unsound) =
            self.schema(Kind::Environment, &node, &Origin { raw: merged, variables }, problems);
        self.all_tripwires(&node, problems);
        if let Some(entry) = node.get("service").and_then(|entry| entry.node.get("address"))
            && let Some(address) = entry.node.as_str()
            && !(is_partial && address.contains("${"))
            && !(address.starts_with("https://") || address.starts_with("http://"))
        {
            problems.push(self.reporter.at(
                entry.node.span,
                Code::InvalidValue,
                "this is not the address of a service".to_owned(),
                "Write it as https://host or https://host:port.".to_owned(),
                address.contains('@'),
            ));
        }
        self.waivers(&node, problems);
        self.signers(&node, problems);
        if !is_partial {
            self.reader(&node, &unsound, problems);
        }
        take_out(&mut document, &unsound);
        let mut settings = serde_json::Map::new();
        if is_partial {
            return TypedSettings { node, settings: Settings::default(), unsound };
        }
        for key in ["companies", "unserved", "policy", "delivery"] {
            let Some(part) = document.get(key) else { continue };
            if serde_json::from_value::<Settings>(json!({ key: part })).is_ok() {
                settings.insert(key.to_owned(), part.clone());
                continue;
            }
            let pointer = format!("/{key}");
            if !unsound.touches(&pointer) {
                // The schema lets nothing through that the types do not take; a test holds the two together.
                problems.push(self.reporter.at(
                    node.nearest(&pointer).1.span,
                    Code::InvalidValue,
                    "the settings make no sense together".to_owned(),
                    "`mailwright schema environment` prints what belongs here.".to_owned(),
                    false,
                ));
            }
            unsound.add(pointer);
        }
        let settings = serde_json::from_value(Json::Object(settings)).unwrap_or_default();
        TypedSettings { node, settings, unsound }
    }

    /// What the schema cannot tell of a waiver: that its last day exists.
    fn waivers(&self, environment: &Node, problems: &mut Vec<Diagnostic>) {
        let waivers = environment.get("verify").and_then(|entry| entry.node.get("waivers"));
        let Some(Value::List(waivers)) = waivers.map(|entry| &entry.node.value) else { return };
        for expires in waivers.iter().filter_map(|waiver| waiver.get("expires")) {
            self.day(expires, problems);
        }
    }

    fn day(&self, entry: &Entry, problems: &mut Vec<Diagnostic>) {
        if matches!(entry.node.as_str().map(str::parse::<jiff::civil::Date>), Some(Err(_))) {
            problems.push(self.reporter.at(
                entry.node.span,
                Code::InvalidValue,
                "there is no such day".to_owned(),
                "Write the last day as year, month and day: 2027-03-31.".to_owned(),
                false,
            ));
        }
    }

    /// What the schema cannot tell of a signer: that the last day exists.
    fn signers(&self, environment: &Node, problems: &mut Vec<Diagnostic>) {
        let approvals = environment.get("policy").and_then(|entry| entry.node.get("approvals"));
        let Some(Value::List(signers)) = approvals.and_then(|entry| entry.node.get("signers")).map(|e| &e.node.value)
        else {
            return;
        };
        for until in signers.iter().filter_map(|signer| signer.get("until")) {
            self.day(until, problems);
        }
    }

    /// The application that reads the directory: its schema lets layers state parts of it, and here it must be whole.
    fn reader(&self, environment: &Node, unsound: &Unsound, problems: &mut Vec<Diagnostic>) {
        let Some(entry) = environment.get("verify").and_then(|entry| entry.node.get("reader")) else { return };
        if matches!(entry.node.value, Value::Null) {
            return;
        }
        let missing: Vec<&str> = ["tenant", "client", "credential"]
            .into_iter()
            .filter(|key| entry.node.get(key).is_none_or(|entry| matches!(entry.node.value, Value::Null)))
            .collect();
        for key in &missing {
            problems.push(self.reporter.at(
                entry.key_span,
                Code::MissingKey,
                format!("`{key}` is missing"),
                format!("Add `{key}`, here or in a layer that this one extends."),
                false,
            ));
        }
        if !missing.is_empty() || unsound.touches("/verify/reader") {
            return;
        }
        let Some(reader) = reader(environment) else {
            problems.push(self.reporter.at(
                entry.key_span,
                Code::InvalidValue,
                "the reader has not exactly one credential".to_owned(),
                "Write `credential: { clientSecret: { secret: NAME/KEY } }`, or a certificate.".to_owned(),
                false,
            ));
            return;
        };
        for violation in rules::check_reader(&reader) {
            let (_, found) = environment.nearest(&violation.pointer);
            problems.push(self.reporter.at(found.span, violation.code, violation.message, violation.remedy, false));
        }
    }

    /// Whom a watch tells. The service does not hold it, so this is the one place that looks.
    fn watch(&self, settings: &TypedSettings, environment: &Node, problems: &mut Vec<Diagnostic>) {
        let watch = watch_of(environment);
        for violation in rules::check_watch(&watch, &settings.settings.companies) {
            let is_unsure = violation.code == Code::UnknownCompany && settings.unsound.touches("/companies");
            if is_unsure || settings.unsound.explains(violation.code, &violation.pointer) {
                continue;
            }
            let (_, found) = environment.nearest(&violation.pointer);
            problems.push(self.reporter.at(found.span, violation.code, violation.message, violation.remedy, false));
        }
    }

    /// Variables are not put into variables, nor into what decides about layers.
    fn put_in_except_variables(
        &self,
        node: &Arc<Node>,
        variables: &Variables,
        problems: &mut Vec<Diagnostic>,
    ) -> Arc<Node> {
        let entries = node
            .entries()
            .iter()
            .map(|entry| {
                if ["variables", "extends"].contains(&entry.key.as_ref()) {
                    return entry.clone();
                }
                Entry { node: self.put_in(&entry.node, variables, problems), ..entry.clone() }
            })
            .collect();
        Arc::new(Node::new(node.span, Value::Map(entries)))
    }

    fn put_in(&self, node: &Arc<Node>, variables: &Variables, problems: &mut Vec<Diagnostic>) -> Arc<Node> {
        let mut wrong = Vec::new();
        let node = variables::put_in(node, variables, &mut wrong);
        let more = wrong.get(PROBLEM_LIMIT).map(|error| self.more(error.span));
        problems.extend(
            wrong
                .into_iter()
                .take(PROBLEM_LIMIT)
                .map(|error| self.reporter.at(error.span, error.code, error.message, error.remedy, false)),
        );
        problems.extend(more);
        node
    }

    /// Says that there are more problems of a kind than are told, from a place on.
    fn more(&self, span: Span) -> Diagnostic {
        let ParseError { code, span, message, remedy } = more_problems(span);
        self.reporter.at(span, code, message, remedy, false)
    }

    /// A profile as far as it is sound; none for one that is known in part.
    fn profile(&self, kind: Kind, merged: &Arc<Node>, variables: &Variables) -> (Option<Typed>, Vec<Diagnostic>) {
        let mut problems = Vec::new();
        let node = match kind {
            Kind::Profile => self.put_in(merged, variables, &mut problems),
            _ => Arc::clone(merged),
        };
        let (mut document, mut unsound) = self.schema(kind, &node, &Origin { raw: merged, variables }, &mut problems);
        self.all_tripwires(&node, &mut problems);
        if kind != Kind::Profile {
            return (None, problems);
        }
        let is_sound = problems.is_empty() && !node.below.unsure;
        if !is_sound {
            take_out(&mut document, &unsound);
            fill_profile(&mut document, &mut unsound);
        }
        let renamed_from = document.as_object_mut().and_then(|map| map.remove("renamedFrom"));
        let renamed_from = renamed_from.and_then(|name| name.as_str().and_then(|name| name.parse().ok()));
        if let Ok(profile) = serde_json::from_value(document) {
            let raw = Arc::clone(merged);
            return (Some(Typed { raw, node, profile, renamed_from, unsound }), problems);
        }
        // The schema lets nothing through that the types do not take; a test holds the two together.
        if is_sound {
            problems.push(self.reporter.at(
                node.span,
                Code::InvalidValue,
                "the profile makes no sense as a whole".to_owned(),
                "`mailwright schema profile` prints what belongs here.".to_owned(),
                false,
            ));
        }
        (None, problems)
    }

    /// The document, and which parts of it cannot be judged any further.
    fn schema(&self, kind: Kind, node: &Node, origin: &Origin<'_>, problems: &mut Vec<Diagnostic>) -> (Json, Unsound) {
        let document = node.to_json();
        let mut unsound = Unsound::default();
        node.unsure(&mut String::new(), &mut |pointer| unsound.add_unusable(pointer));
        for (count, mismatch) in schema::check(kind, &document).into_iter().enumerate() {
            if count == PROBLEM_LIMIT {
                problems.push(self.more(node.nearest(&mismatch.pointer).1.span));
                break;
            }
            let (key_span, found) = node.nearest(&mismatch.pointer);
            // What is said of something unsure, or of a list or a map because of it, has been said.
            let is_apart = mismatch.at_key || mismatch.code == Code::MissingKey;
            if matches!(found.value, Value::Unsure) || found.below.unsure && !is_apart {
                continue;
            }
            let span = match mismatch.code {
                // What is missing is missing from its parent, and a parent is best pointed at by its key.
                Code::MissingKey => key_span.unwrap_or_else(|| first_key(found)),
                _ if mismatch.at_key => key_span.unwrap_or(found.span),
                _ => found.span,
            };
            let conceal = schema::is_secret(&mismatch.pointer) && !mismatch.at_key && mismatch.code != Code::MissingKey;
            let remedy = self.with_origin(mismatch.remedy, &mismatch.pointer, origin);
            problems.push(self.reporter.at(span, mismatch.code, mismatch.message, remedy, conceal));
            match mismatch.code {
                // It is filled in.
                Code::MissingKey => {}
                // A list with an item twice, or with none, is a list all the same; so is a text that is too long.
                Code::InvalidValue if matches!(found.value, Value::List(_)) => unsound.add(mismatch.pointer),
                Code::TooLong => unsound.add(mismatch.pointer),
                _ => unsound.add_unusable(&mismatch.pointer),
            }
        }
        (document, unsound)
    }

    /// A remedy, with the place where the value is set if a variable brings it.
    fn with_origin(&self, remedy: String, pointer: &str, origin: &Origin<'_>) -> String {
        let Some(text) = origin.raw.nearest(pointer).1.as_str() else { return remedy };
        let set = |name: &str| {
            let place = self.reporter.sources.place(origin.variables.get(name)?.span);
            Some(format!("`{name}` is set at {place}."))
        };
        let names: BTreeSet<&str> = variables::names(text).take(SHOWN_VARIABLES).collect();
        names.into_iter().filter_map(set).fold(remedy, |remedy, set| format!("{remedy} {set}"))
    }

    fn all_tripwires(&self, node: &Node, problems: &mut Vec<Diagnostic>) {
        let mut found = Vec::new();
        self.tripwires(node, "", &mut found);
        problems.append(&mut found);
    }

    fn tripwires(&self, node: &Node, key: &str, problems: &mut Vec<Diagnostic>) {
        if problems.len() > PROBLEM_LIMIT {
            return;
        }
        match &node.value {
            Value::String(text) => {
                if let Some((code, message, remedy)) =
                    secret_detection::alarm(text).filter(|_| !secret_detection::is_ours(key, text))
                {
                    if problems.len() == PROBLEM_LIMIT {
                        return problems.push(self.more(node.span));
                    }
                    problems.push(self.reporter.at(node.span, code, message.to_owned(), remedy.to_owned(), true));
                }
            }
            Value::List(items) => items.iter().for_each(|item| self.tripwires(item, key, problems)),
            Value::Map(entries) => entries.iter().for_each(|entry| self.tripwires(&entry.node, &entry.key, problems)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Unsure => {}
        }
    }

    fn rules(
        &self,
        settings: &TypedSettings,
        variables: &Variables,
        profiles: &BTreeMap<ProfileName, Typed>,
        is_complete: bool,
        problems: &mut Vec<Diagnostic>,
    ) {
        let typed: BTreeMap<&ProfileName, &Profile> =
            profiles.iter().map(|(name, typed)| (name, &typed.profile)).collect();
        // The strings were searched where the files state them, before layers were merged and defaults filled in.
        let check = rules::Check::new(&settings.settings, &typed).without_search();
        // Of two profiles that claim the same, the one in the higher layer is reported.
        let violations = check.rank_claims(|name| self.declared_by(name)).run();
        let companies_are_sound = !settings.unsound.touches("/companies");
        let mut told: BTreeMap<Option<ProfileName>, usize> = BTreeMap::new();
        for violation in violations {
            let told = told.entry(violation.profile.clone()).or_default();
            if *told > PROBLEM_LIMIT {
                continue;
            }
            let known = match violation.code {
                // With a profile that is not known as a whole, or not at all, it is not known who sends.
                Code::NobodySends => is_complete && companies_are_sound && !settings.unsound.touches("/unserved"),
                Code::UnknownCompany => companies_are_sound,
                _ => true,
            };
            let profile = violation.profile.as_ref().and_then(|name| profiles.get(name));
            let unsound = profile.map_or(&settings.unsound, |typed| &typed.unsound);
            if !known || unsound.explains(violation.code, &violation.pointer) {
                continue;
            }
            let node = profile.map_or(settings.node.as_ref(), |typed| typed.node.as_ref());
            let (key_span, found) = node.nearest(&violation.pointer);
            *told += 1;
            if *told > PROBLEM_LIMIT {
                problems.push(self.more(found.span));
                continue;
            }
            let whole = violation.pointer.is_empty() || std::ptr::eq(found, node);
            let span = if whole {
                first_key(node)
            } else if matches!(found.value, Value::Map(_) | Value::List(_)) {
                key_span.unwrap_or(found.span)
            } else {
                found.span
            };
            let remedy = match profile {
                Some(Typed { raw, .. }) => {
                    self.with_origin(violation.remedy, &violation.pointer, &Origin { raw, variables })
                }
                None => violation.remedy,
            };
            problems.push(self.reporter.at(span, violation.code, violation.message, remedy, false));
        }
    }

    /// The highest layer that says something of a profile.
    fn declared_by(&self, name: &ProfileName) -> Option<usize> {
        self.layers.iter().rposition(|layer| layer.profiles(self.files, self.reporter).nodes.contains_key(name))
    }

    fn renames(&self, profiles: &BTreeMap<ProfileName, Typed>, problems: &mut Vec<Diagnostic>) {
        for (name, typed) in profiles {
            let Some(from) = typed.renamed_from.as_ref().filter(|from| profiles.contains_key(*from)) else { continue };
            let (_, found) = typed.node.nearest("/renamedFrom");
            let message = if from == name {
                "a profile cannot be renamed from itself".to_owned()
            } else {
                format!("the profile `{from}` is still declared, so this one cannot be it under a new name")
            };
            let remedy = "Remove `renamedFrom`, or the file of the old name.".to_owned();
            problems.push(self.reporter.at(found.span, Code::RenameImpossible, message, remedy, false));
        }
    }

    /// The age file of every secret that is named, read as far as it tells anything without a key.
    fn secrets(
        &self,
        environment: &Node,
        profiles: &BTreeMap<ProfileName, Typed>,
        problems: &mut Vec<Diagnostic>,
    ) -> AgeFiles {
        let mut first_use: BTreeMap<&SecretReference, Span> = BTreeMap::new();
        for typed in profiles.values() {
            if let Some((reference, pointer)) = typed.profile.provider.secret() {
                let pointer = format!("/provider{pointer}/secret");
                if typed.unsound.touches(&pointer) {
                    continue;
                }
                let (_, found) = typed.node.nearest(&pointer);
                first_use.entry(reference).or_insert(found.span);
            }
        }
        let reader = reader(environment);
        if let Some(reference) = reader.as_ref().and_then(|reader| reader.credential.secret()) {
            let (_, found) = environment.nearest("/verify/reader/credential");
            first_use.entry(reference).or_insert(first_key(found));
        }
        let wanted: Vec<(&SecretReference, Span)> = first_use.into_iter().collect();
        let mut files = AgeFiles { count: wanted.len(), ..AgeFiles::default() };
        let read: Vec<_> = wanted
            .into_par_iter()
            .map(|(reference, span)| (reference.clone(), self.secret(reference, span), self.next_secret(reference)))
            .collect();
        for (reference, current, next) in read {
            match current {
                Ok((file, warning)) => {
                    problems.extend(warning);
                    files.secrets.insert(reference.clone(), file);
                }
                Err(problem) => problems.push(problem),
            }
            match next {
                None => continue,
                Some(Ok((file, warning))) => {
                    problems.extend(warning);
                    files.next.insert(reference, file);
                }
                Some(Err(problem)) => problems.push(problem),
            }
            files.count += 1;
        }
        files
    }

    /// The next value of a secret, if one is staged.
    fn next_secret(&self, reference: &SecretReference) -> Option<Result<(SecretFile, Option<Diagnostic>), Diagnostic>> {
        let path = next_secret_path(self.name, reference);
        let is_there = self.files.exists(&path);
        let stage = format!("mailwright secrets rotate {} {reference} --replace", self.name);
        is_there.then(|| self.age_file(path, &stage))
    }

    fn secret(&self, reference: &SecretReference, span: Span) -> Result<(SecretFile, Option<Diagnostic>), Diagnostic> {
        let path = secret_path(self.name, reference);
        let set = format!("mailwright secrets set {} {reference}", self.name);
        if reference.next_of().is_some() {
            return Err(self.reporter.at(
                span,
                Code::NameOfNext,
                format!("no secret can be named `{reference}`: its file would be the next value of another"),
                "Give the secret a name that does not end in `.next`.".to_owned(),
                false,
            ));
        }
        if !self.files.exists(&path) {
            return Err(self.reporter.at(
                span,
                Code::SecretMissing,
                format!("the file {} is missing", shown(&path)),
                format!("Seal the value: {set}"),
                false,
            ));
        }
        self.age_file(path, &set)
    }

    /// An age file, and what is odd about it though it can be used.
    fn age_file(&self, path: PathBuf, seal: &str) -> Result<(SecretFile, Option<Diagnostic>), Diagnostic> {
        let bytes = self.files.read_bytes(&path, FILE_LIMIT.min(AGE_LIMIT as u64))?;
        let header = Header::read(&bytes).map_err(|error| {
            if bytes.starts_with(b"age-encryption.org/v1\r\n") {
                let message = "not an age file any more: Git has translated its line ends to CRLF".to_owned();
                return Diagnostic::file(Code::NotAgeFile, &shown(&path), message, ONLY_BYTES);
            }
            let encoding = crate::text::other_encoding(&bytes)
                .or(bytes.starts_with(b"\xef\xbb\xbf").then_some("UTF-8 with a byte order mark"));
            if let Some(encoding) = encoding {
                let message = format!("not an age file any more: it was saved as {encoding}");
                return Diagnostic::file(
                    Code::NotAgeFile,
                    &shown(&path),
                    message,
                    &format!("Take it from Git again, or seal the value: {seal}"),
                );
            }
            Diagnostic::file(
                Code::NotAgeFile,
                &shown(&path),
                error.to_string(),
                &format!("Seal the value again: {seal}"),
            )
        })?;
        let warning = bytes.starts_with(b"-----BEGIN") && bytes.windows(2).any(|pair| pair == b"\r\n");
        let warning = warning.then(|| {
            let message = "the lines of this age file end in CRLF".to_owned();
            Diagnostic::file(Code::LineEnds, &shown(&path), message, ONLY_BYTES)
        });
        let Header { digest, value_id, sealed_for, .. } = header;
        Ok((SecretFile { path, digest, value_id, sealed_for }, warning))
    }

    fn desired(
        &self,
        environment: &Arc<Node>,
        settings: Settings,
        profiles: BTreeMap<ProfileName, Typed>,
        AgeFiles { secrets, next, .. }: AgeFiles,
    ) -> Desired {
        let reader = reader(environment).map(|application| {
            let file = application.credential.secret().and_then(|reference| secrets.get(reference));
            Reader { secret: file.map(|file| file.digest.clone()), application }
        });
        let settings = Settings { reader, ..settings };
        let profiles = profiles
            .into_iter()
            .map(|(name, typed)| {
                let named = typed.profile.provider.secret();
                let digests: BTreeMap<SecretReference, Digest> = named
                    .and_then(|(reference, _)| Some((reference.clone(), secrets.get(reference)?.digest.clone())))
                    .into_iter()
                    .collect();
                let upcoming = digests
                    .keys()
                    .filter_map(|reference| Some((reference.clone(), next.get(reference)?.digest.clone())))
                    .collect();
                let profile = DesiredProfile {
                    place: self.reporter.sources.place(first_key(&typed.node)),
                    places: Places::new(Arc::clone(&typed.node), Arc::clone(&self.reporter.sources)),
                    stored: StoredProfile { profile: typed.profile, secrets: digests, next: upcoming },
                    renamed_from: typed.renamed_from,
                };
                (name, profile)
            })
            .collect();
        let address = environment.get("service").and_then(|entry| entry.node.get("address"));
        let own_span =
            self.own().and_then(|own| own.environment.as_ref()).map_or(environment.span, |node| first_key(node));
        let settings_place: Place = self.reporter.sources.place(own_span);
        Desired {
            environment: self.name.clone(),
            labels: labels_of(environment),
            service_address: address.and_then(|entry| entry.node.as_str()).map(str::to_owned),
            settings,
            settings_place,
            verify: environment
                .get("verify")
                .and_then(|entry| serde_json::from_value(entry.node.to_json()).ok())
                .unwrap_or_default(),
            watch: watch_of(environment),
            environment_places: Places::new(Arc::clone(environment), Arc::clone(&self.reporter.sources)),
            profiles,
            secrets,
            next,
        }
    }
}

/// What a merged environment says of a watch.
fn watch_of(environment: &Node) -> WatchSettings {
    let watch = environment.get("watch").and_then(|entry| serde_json::from_value(entry.node.to_json()).ok());
    watch.unwrap_or_default()
}

/// The labels of a merged environment, as far as they are texts.
pub(super) fn labels_of(environment: &Node) -> Labels {
    let text = |entry: &Entry| Some((entry.key.to_string(), entry.node.as_str()?.to_owned()));
    environment.get("labels").map(|labels| labels.node.entries().iter().filter_map(text).collect()).unwrap_or_default()
}

/// The age files that an environment's files name.
#[derive(Default)]
struct AgeFiles {
    secrets: BTreeMap<SecretReference, SecretFile>,
    next: BTreeMap<SecretReference, SecretFile>,
    /// How many there are, readable or not.
    count: usize,
}

/// The application that reads the directory, if the environment names one that is whole.
fn reader(environment: &Node) -> Option<GraphDirect> {
    reader_of(&environment.get("verify")?.node)
}

/// The same, of what stands under `verify`.
pub(super) fn reader_of(verify: &Node) -> Option<GraphDirect> {
    serde_json::from_value(verify.get("reader")?.node.to_json()).ok()
}

/// The provider of a merged profile, if it is whole.
pub(super) fn provider_of(profile: &Node) -> Option<Provider> {
    serde_json::from_value(profile.get("provider")?.node.to_json()).ok()
}

/// Where the file of a secret lies, relative to the repository.
pub(super) fn secret_path(environment: &EnvironmentName, reference: &SecretReference) -> PathBuf {
    let (name, key) = reference.parts();
    Path::new("secrets").join(environment.as_str()).join(name).join(format!("{key}.age"))
}

/// Where the file of a secret's next value lies, relative to the repository.
pub(super) fn next_secret_path(environment: &EnvironmentName, reference: &SecretReference) -> PathBuf {
    secret_path(environment, reference).with_extension("next.age")
}

/// The span of a map's first key: where a reader would look for the map.
fn first_key(node: &Node) -> Span {
    node.entries().first().map_or(node.span, |entry| entry.key_span)
}

/// A map without some of its keys.
fn without(node: &Arc<Node>, keys: &[&str]) -> Arc<Node> {
    if !keys.iter().any(|key| node.get(key).is_some()) {
        return Arc::clone(node);
    }
    let kept = node.entries().iter().filter(|entry| !keys.contains(&entry.key.as_ref())).cloned().collect();
    Arc::new(Node::new(node.span, Value::Map(kept)))
}

/// The secrets that a merged profile names, each with the key of its field, without asking whether it is a good profile.
pub(super) fn named_secrets(node: &Node) -> Vec<(String, SecretReference)> {
    let document = json!({ "": node.to_json() });
    let mut found = Vec::new();
    collect("", &document, &mut found);
    found
}

fn collect(key: &str, document: &Json, found: &mut Vec<(String, SecretReference)>) {
    match document {
        Json::Object(map) => {
            if let (1, Some(Json::String(name))) = (map.len(), map.get("secret"))
                && let Ok(reference) = name.parse()
            {
                found.push((key.to_owned(), reference));
            }
            map.iter().for_each(|(key, value)| collect(key, value, found));
        }
        Json::Array(items) => items.iter().for_each(|item| collect(key, item, found)),
        _ => {}
    }
}
