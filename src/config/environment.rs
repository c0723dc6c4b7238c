//! One environment: its layers merged, variables put in, checked, and turned into the desired state.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;
use serde_json::{Value as Json, json};

use super::{
    Desired, DesiredProfile, Diagnostic, Place, Places, SecretFile,
    layer::{Layer, Reporter},
    node::{Entry, Node, Value, merge},
    schema::{self, Kind},
    selection::Labels,
    sources::{FILE_LIMIT, Files, Span, shown},
    tripwire,
    variables::{self, Variables},
};
use crate::{
    model::{
        Code, Digest, EnvironmentName, GraphDirect, Profile, ProfileName, SecretReference, Settings, StoredProfile,
        rules,
    },
    secrets::{FILE_LIMIT as AGE_LIMIT, Header},
};

/// What keeps Git from translating age files.
const ONLY_BYTES: &str = "Write `*.age -text` into .gitattributes, and check it out again: `git rm --cached -r secrets && git checkout HEAD -- secrets`.";

/// An environment in the making.
pub(super) struct Loading<'a> {
    pub(super) files: &'a Files,
    pub(super) name: &'a EnvironmentName,
    /// The layers, the lowest first; the environment's own last.
    pub(super) layers: Vec<Arc<Layer>>,
    pub(super) reporter: &'a Reporter,
}

/// What became of it.
pub(super) struct Loaded {
    /// None if anything is wrong, or if it is abstract.
    pub(super) desired: Option<Desired>,
    pub(super) problems: Vec<Diagnostic>,
    /// Age files that were looked at.
    pub(super) age_files: usize,
}

/// A profile that passed the schema.
struct Typed {
    node: Arc<Node>,
    profile: Profile,
    renamed_from: Option<ProfileName>,
}

/// A profile that passed the schema; none for one of an abstract layer, which need not be complete.
type Checked = Result<Option<Typed>, Vec<Diagnostic>>;

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
        for (index, layer) in self.layers.iter().enumerate() {
            let is_own = index + 1 == self.layers.len();
            for (name, node) in &layer.profiles(self.files, self.reporter).nodes {
                if matches!(node.value, Value::Null) {
                    profiles.remove(name);
                    continue;
                }
                let node = if is_own { Arc::clone(node) } else { without(node, &["renamedFrom"]) };
                let merged = merge(profiles.get(name), &node);
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
            .filter(|entry| matches!(entry.node.value, Value::String(_) | Value::Number(_) | Value::Bool(_)))
            .map(|entry| (Arc::clone(&entry.key), Arc::clone(&entry.node)))
            .collect()
    }

    /// Everything, in one run.
    pub(super) fn load(&self) -> Loaded {
        let of_layer = |layer: &Arc<Layer>| {
            [layer.problems.clone(), layer.profiles(self.files, self.reporter).problems.clone()].concat()
        };
        let mut problems: Vec<Diagnostic> = self.layers.iter().flat_map(of_layer).collect();
        let is_abstract = self.own().is_some_and(|own| own.is_abstract);
        let environment = self.merged_environment();
        let variables = environment.as_deref().map(Self::variables).unwrap_or_default();
        let settings =
            environment.as_ref().and_then(|node| self.settings(node, &variables, is_abstract, &mut problems));

        let merged: Vec<(ProfileName, Arc<Node>)> = self.merged_profiles().into_iter().collect();
        let kind = if is_abstract { Kind::PartialProfile } else { Kind::Profile };
        let checked: Vec<(ProfileName, Checked)> = merged
            .into_par_iter()
            .map(|(name, node)| {
                let result = self.profile(kind, &node, &variables);
                (name, result)
            })
            .collect();
        let mut profiles: BTreeMap<ProfileName, Typed> = BTreeMap::new();
        for (name, result) in checked {
            match result {
                Ok(typed) => profiles.extend(typed.map(|typed| (name, typed))),
                Err(found) => problems.extend(found),
            }
        }
        if is_abstract {
            return Loaded { desired: None, problems, age_files: 0 };
        }
        let complete = problems.is_empty();
        if let Some((node, settings)) = &settings {
            self.rules(node, settings, &profiles, complete, &mut problems);
        }
        self.renames(&profiles, &mut problems);
        let files = self.secrets(settings.as_ref().map(|(node, _)| node.as_ref()), &profiles, &mut problems);
        let age_files = files.count;
        let desired = match settings {
            Some((node, settings))
                if problems.iter().all(|problem| problem.severity != crate::model::code::Severity::Error) =>
            {
                Some(self.desired(&node, settings, profiles, files))
            }
            _ => None,
        };
        Loaded { desired, problems, age_files }
    }

    fn settings(
        &self,
        merged: &Arc<Node>,
        variables: &Variables,
        is_abstract: bool,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<(Arc<Node>, Settings)> {
        let before = problems.len();
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
            if is_abstract { Arc::clone(merged) } else { self.put_in_except_variables(merged, variables, problems) };
        self.schema(Kind::Environment, &node, problems);
        self.tripwires(&node, "", problems);
        if let Some(entry) = node.get("service").and_then(|entry| entry.node.get("address"))
            && let Some(address) = entry.node.as_str()
            && !(is_abstract && address.contains("${"))
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
        if !is_abstract {
            self.reader(&node, problems);
        }
        if problems.len() > before {
            return None;
        }
        let document = node.to_json();
        let part = |key: &str| document.get(key).cloned().unwrap_or(Json::Null);
        let mut settings = serde_json::Map::new();
        for key in ["companies", "unserved", "policy", "delivery"] {
            if !part(key).is_null() {
                settings.insert(key.to_owned(), part(key));
            }
        }
        if let Ok(settings) = serde_json::from_value(Json::Object(settings)) {
            Some((node, settings))
        } else {
            problems.push(self.reporter.at(
                node.span,
                Code::InvalidValue,
                "the settings make no sense together".to_owned(),
                "`mailwright schema environment` prints what belongs here.".to_owned(),
                false,
            ));
            None
        }
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
    fn reader(&self, environment: &Node, problems: &mut Vec<Diagnostic>) {
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
        if !missing.is_empty() {
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
        problems.extend(
            wrong.into_iter().map(|error| self.reporter.at(error.span, error.code, error.message, error.remedy, false)),
        );
        node
    }

    fn profile(&self, kind: Kind, merged: &Arc<Node>, variables: &Variables) -> Checked {
        let mut problems = Vec::new();
        let node = match kind {
            Kind::Profile => self.put_in(merged, variables, &mut problems),
            _ => Arc::clone(merged),
        };
        let mut document = self.schema(kind, &node, &mut problems);
        self.tripwires(&node, "", &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        if kind != Kind::Profile {
            return Ok(None);
        }
        let renamed_from = document.as_object_mut().and_then(|map| map.remove("renamedFrom"));
        let renamed_from = renamed_from.and_then(|name| name.as_str().and_then(|name| name.parse().ok()));
        match serde_json::from_value(document) {
            Ok(profile) => Ok(Some(Typed { node, profile, renamed_from })),
            // The schema lets nothing through that the types do not take; a test holds the two together.
            Err(_) => Err(vec![self.reporter.at(
                node.span,
                Code::InvalidValue,
                "the profile makes no sense as a whole".to_owned(),
                "`mailwright schema profile` prints what belongs here.".to_owned(),
                false,
            )]),
        }
    }

    fn schema(&self, kind: Kind, node: &Arc<Node>, problems: &mut Vec<Diagnostic>) -> Json {
        let document = node.to_json();
        for mismatch in schema::check(kind, &document) {
            let (key_span, found) = node.nearest(&mismatch.pointer);
            let span = match mismatch.code {
                // What is missing is missing from its parent, and a parent is best pointed at by its key.
                Code::MissingKey => key_span.unwrap_or_else(|| first_key(found)),
                _ if mismatch.at_key => key_span.unwrap_or(found.span),
                _ => found.span,
            };
            let conceal = schema::is_secret(&mismatch.pointer) && !mismatch.at_key && mismatch.code != Code::MissingKey;
            problems.push(self.reporter.at(span, mismatch.code, mismatch.message, mismatch.remedy, conceal));
        }
        document
    }

    fn tripwires(&self, node: &Node, key: &str, problems: &mut Vec<Diagnostic>) {
        match &node.value {
            Value::String(text) => {
                // The names of secrets and the schema's own words are no secrets.
                let is_name = matches!(key, "secret" | "functions" | "extends" | "renamedFrom")
                    // A public key is no secret, and looks like one.
                    || (key == "key" && ssh_key::PublicKey::from_openssh(text.trim()).is_ok());
                if let Some((code, message, remedy)) = tripwire::alarm(text).filter(|_| !is_name) {
                    problems.push(self.reporter.at(node.span, code, message.to_owned(), remedy.to_owned(), true));
                }
            }
            Value::List(items) => items.iter().for_each(|item| self.tripwires(item, key, problems)),
            Value::Map(entries) => entries.iter().for_each(|entry| self.tripwires(&entry.node, &entry.key, problems)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn rules(
        &self,
        environment: &Node,
        settings: &Settings,
        profiles: &BTreeMap<ProfileName, Typed>,
        complete: bool,
        problems: &mut Vec<Diagnostic>,
    ) {
        let typed: BTreeMap<&ProfileName, &Profile> =
            profiles.iter().map(|(name, typed)| (name, &typed.profile)).collect();
        for violation in rules::check(settings, &typed) {
            // With a profile missing that cannot be read, it is not known who sends.
            if violation.code == Code::NobodySends && !complete {
                continue;
            }
            let node = violation
                .profile
                .as_ref()
                .and_then(|name| profiles.get(name))
                .map_or(environment, |typed| typed.node.as_ref());
            let (key_span, found) = node.nearest(&violation.pointer);
            let whole = violation.pointer.is_empty() || std::ptr::eq(found, node);
            let span = if whole {
                first_key(node)
            } else if matches!(found.value, Value::Map(_) | Value::List(_)) {
                key_span.unwrap_or(found.span)
            } else {
                found.span
            };
            problems.push(self.reporter.at(span, violation.code, violation.message, violation.remedy, false));
        }
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
        environment: Option<&Node>,
        profiles: &BTreeMap<ProfileName, Typed>,
        problems: &mut Vec<Diagnostic>,
    ) -> AgeFiles {
        let mut first_use: BTreeMap<&SecretReference, Span> = BTreeMap::new();
        for typed in profiles.values() {
            if let Some((reference, pointer)) = typed.profile.provider.secret() {
                let (_, found) = typed.node.nearest(&format!("/provider{pointer}/secret"));
                first_use.entry(reference).or_insert(found.span);
            }
        }
        let reader = environment.and_then(reader);
        if let (Some(environment), Some(reference)) = (environment, reader.as_ref().and_then(|r| r.credential.secret()))
        {
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
            Diagnostic::file(
                Code::NotAgeFile,
                &shown(&path),
                error.to_string(),
                &format!("Seal the value again: {seal}"),
            )
        })?;
        let warning = bytes.starts_with(b"-----BEGIN") && bytes.windows(2).any(|pair| pair == b"\r\n");
        let warning = warning.then(|| {
            let message = "the lines of this age file end in CRLF, and its digest is that of its bytes".to_owned();
            Diagnostic::file(Code::LineEnds, &shown(&path), message, ONLY_BYTES)
        });
        Ok((SecretFile { path, digest: header.digest, value_id: header.value_id }, warning))
    }

    fn desired(
        &self,
        environment: &Arc<Node>,
        settings: Settings,
        profiles: BTreeMap<ProfileName, Typed>,
        AgeFiles { secrets, next, .. }: AgeFiles,
    ) -> Desired {
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
            watch: environment
                .get("watch")
                .and_then(|entry| serde_json::from_value(entry.node.to_json()).ok())
                .unwrap_or_default(),
            environment_places: Places::new(Arc::clone(environment), Arc::clone(&self.reporter.sources)),
            profiles,
            secrets,
            next,
        }
    }
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
    serde_json::from_value(environment.get("verify")?.node.get("reader")?.node.to_json()).ok()
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

/// The secrets that a merged profile names, without asking whether it is a good profile.
pub(super) fn named_secrets(node: &Node) -> Vec<SecretReference> {
    let document = json!({ "": node.to_json() });
    let mut found = Vec::new();
    collect(&document, &mut found);
    found
}

fn collect(document: &Json, found: &mut Vec<SecretReference>) {
    match document {
        Json::Object(map) => {
            if let (1, Some(Json::String(name))) = (map.len(), map.get("secret"))
                && let Ok(reference) = name.parse()
            {
                found.push(reference);
            }
            map.values().for_each(|value| collect(value, found));
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}
