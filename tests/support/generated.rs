//! Generated profiles, settings and desired states. They are well formed; they need not pass the rules.

use std::collections::{BTreeMap, BTreeSet};

use mailwright::{
    config::{Desired, DesiredProfile, Places, SecretFile},
    model::{
        AppliesTo, CompanyId, Digest, EnvironmentName, Function, Mailbox, Place, Profile, ProfileName, SecretReference,
        Settings, StoredProfile,
    },
};
use proptest::prelude::*;
use serde_json::json;

/// The environment that everything is generated for.
pub(crate) fn environment() -> EnvironmentName {
    "generated".parse().unwrap()
}

/// A place in a file that need not exist.
pub(crate) fn place(file: &str) -> Place {
    Place { file: file.to_owned(), line: 1, column: 1 }
}

/// A profile of the provider `smtp`.
pub(crate) fn smtp(host: &str, functions: &[&str], secret: Option<&str>) -> Profile {
    let login = secret.map(|secret| json!({ "username": "mailer", "password": { "secret": secret } }));
    let mut smtp = json!({ "host": host });
    if let Some(login) = login {
        smtp.as_object_mut().unwrap().extend(login.as_object().unwrap().clone());
    }
    serde_json::from_value(json!({
        "provider": { "smtp": smtp },
        "from": { "address": "mail@example.com" },
        "functions": functions,
        "appliesTo": "system-wide",
    }))
    .unwrap()
}

/// A profile with digests for the secrets that it names; the digest follows from `value`. With a `-` at its end there is
/// a next value too.
pub(crate) fn stored(profile: Profile, value: &str) -> StoredProfile {
    let digest = |value: &str| {
        let named = profile.provider.secret().into_iter();
        named
            .map(|(reference, _)| (reference.clone(), Digest::of_bytes(format!("{reference} {value}").as_bytes())))
            .collect()
    };
    let (secrets, next) = match value.strip_suffix('-') {
        Some(current) => (digest(current), digest(value)),
        None => (digest(value), BTreeMap::new()),
    };
    StoredProfile { profile, secrets, next }
}

/// Returns the desired state that the files of these profiles would have.
pub(crate) fn desired(settings: Settings, profiles: BTreeMap<ProfileName, StoredProfile>) -> Desired {
    let secrets: BTreeMap<SecretReference, SecretFile> = profiles
        .values()
        .flat_map(|stored| &stored.secrets)
        .map(|(reference, digest)| {
            let file = SecretFile {
                path: format!("secrets/generated/{reference}.age").into(),
                digest: digest.clone(),
                value_id: None,
                sealed_for: None,
            };
            (reference.clone(), file)
        })
        .collect();
    let next = profiles.values().flat_map(|stored| &stored.next).map(|(reference, digest)| {
        let path = format!("secrets/generated/{reference}.next.age").into();
        (reference.clone(), SecretFile { path, digest: digest.clone(), value_id: None, sealed_for: None })
    });
    let next = next.collect();
    let profiles = profiles
        .into_iter()
        .map(|(name, stored)| {
            let place = place(&format!("environments/generated/profiles/{name}.yaml"));
            (name, DesiredProfile { stored, renamed_from: None, place, places: Places::default() })
        })
        .collect();
    Desired {
        next,
        environment: environment(),
        labels: mailwright::config::Labels::new(),
        service_address: None,
        settings,
        settings_place: place("environments/generated/environment.yaml"),
        verify: mailwright::model::VerifySettings::default(),
        watch: mailwright::model::WatchSettings::default(),
        environment_places: Places::default(),
        profiles,
        secrets,
    }
}

/// Any of a few names, so that generated states overlap.
pub(crate) fn any_name() -> impl Strategy<Value = ProfileName> {
    prop::sample::select(vec!["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"])
        .prop_map(|name| name.parse().unwrap())
}

fn any_companies() -> impl Strategy<Value = BTreeSet<CompanyId>> {
    prop::collection::btree_set(
        prop::sample::select(vec!["A", "B", "C1", "D222"]).prop_map(|id| id.parse::<CompanyId>().unwrap()),
        1..4,
    )
}

/// Any settings.
pub(crate) fn any_settings() -> impl Strategy<Value = Settings> {
    any_companies().prop_map(|companies| Settings { companies, ..Settings::default() })
}

/// Any profile, with digests.
pub(crate) fn any_stored() -> impl Strategy<Value = StoredProfile> {
    let functions = prop::collection::btree_set(prop::sample::select(Function::all().collect::<Vec<_>>()), 1..5);
    let applies_to = prop_oneof![Just(AppliesTo::SystemWide), any_companies().prop_map(AppliesTo::Companies)];
    let provider = prop_oneof![
        (prop::sample::select(vec!["a.example", "b.example"]), 1u16..1000, prop::option::of(Just("relay/password")))
            .prop_map(|(host, port, secret)| {
                let mut smtp = json!({ "host": host, "port": port });
                if let Some(secret) = secret {
                    smtp["username"] = json!("mailer");
                    smtp["password"] = json!({ "secret": secret });
                }
                json!({ "smtp": smtp })
            }),
        Just(json!({ "microsoft-graph-direct": {
            "tenant": "contoso.example", "client": "11111111-2222-3333-4444-555555555555",
            "credential": { "clientSecret": { "secret": "graph/client-secret" } },
        } })),
        Just(json!({ "microsoft-graph-delegate": {
            "tenant": "contoso.example", "client": "11111111-2222-3333-4444-555555555555",
            "platform": "native", "redirect": "https://localhost",
        } })),
    ];
    let limits = prop_oneof![Just(json!({})), Just(json!({ "perMinute": 30, "messageSize": 2048 }))];
    let rest = ("[a-c]-?", prop::option::of("[a-z]{1,8}"), limits);
    (".{0,20}", any::<bool>(), provider, functions, applies_to, rest).prop_map(
        |(description, enabled, provider, functions, applies_to, (value, from, limits))| {
            let profile = Profile {
                limits: serde_json::from_value(limits).unwrap(),
                description,
                enabled,
                provider: serde_json::from_value(provider).unwrap(),
                from: from.map(|local| Mailbox {
                    address: format!("{local}@example.com"),
                    name: None,
                    dkim_selector: None,
                }),
                functions,
                applies_to,
            };
            stored(profile, &value)
        },
    )
}

/// Any set of profiles.
pub(crate) fn any_profiles() -> impl Strategy<Value = BTreeMap<ProfileName, StoredProfile>> {
    prop::collection::btree_map(any_name(), any_stored(), 0..7)
}
