//! Every rule between profiles and settings: one state that breaks it, one that just keeps it.

use std::collections::BTreeMap;

use mailwright::model::{Profile, ProfileName, Settings, rules};
use serde_json::{Value, json};

fn base() -> Value {
    json!({
        "provider": { "smtp": { "host": "mail.example.com", "username": "mailer", "password": { "secret": "relay/password" } } },
        "from": { "address": "mail@example.com", "name": "Example" },
        "functions": ["default"],
        "appliesTo": "system-wide",
    })
}

fn graph(provider: &str, settings: &Value) -> Value {
    let mut graph = json!({ "tenant": "contoso.example", "client": "11111111-2222-3333-4444-555555555555" });
    graph.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let mut profile = base();
    profile["provider"] = json!({ provider: graph });
    profile
}

fn delegate(settings: &Value) -> Value {
    let mut profile = graph("microsoft-graph-delegate", settings);
    profile["functions"] = json!(["user-interface"]);
    profile.as_object_mut().unwrap().remove("from");
    profile
}

/// The codes and pointers of what is broken, with companies EDU1 and EDU2.
fn broken(profiles: &[(&str, Value)]) -> Vec<String> {
    let settings: Settings = serde_json::from_value(json!({ "companies": ["EDU1", "EDU2"] })).unwrap();
    let profiles: Vec<(ProfileName, Profile)> = profiles
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), serde_json::from_value(value.clone()).unwrap()))
        .collect();
    let profiles: BTreeMap<&ProfileName, &Profile> = profiles.iter().map(|(n, p)| (n, p)).collect();
    rules::Check::new(&settings, &profiles)
        .run()
        .into_iter()
        .map(|v| format!("{} {}{}", v.problem.code, v.profile.map(|p| p.to_string()).unwrap_or_default(), v.pointer))
        .collect()
}

#[test]
fn the_path_of_a_federated_token_has_no_parent() {
    let of = |path: &str| {
        let settings = json!({ "credential": { "federatedTokenFile": path } });
        let mut profile = graph("microsoft-graph-direct", &settings);
        profile["functions"] = json!(["all-documents"]);
        violations_with_default(profile)
    };
    for path in ["/run/../token", "/run/..", "run/token", "/run/a\nb"] {
        let pointer = "/provider/microsoft-graph-direct/credential/federatedTokenFile";
        assert!(of(path).iter().any(|found| found.ends_with(pointer)), "{path}: {:?}", of(path));
    }
    assert_eq!(of("/run/..token"), [""; 0]);
}

/// The same with a further profile that serves everything.
fn violations_with_default(value: Value) -> Vec<String> {
    broken(&[("a", value), ("z", base())])
}

fn changed(mut value: Value, pointer: &str, to: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap()[key] = to;
    value
}

#[test]
fn a_good_state_breaks_nothing() {
    let spa = delegate(&json!({ "platform": "spa", "redirect": "https://erp.example.com/web" }));
    let native = delegate(&json!({ "platform": "native", "redirect": "https://localhost" }));
    let direct = json!({ "credential": { "clientSecret": { "secret": "g/s" } } });
    let direct = changed(graph("microsoft-graph-direct", &direct), "/functions", json!(["all-documents"]));
    assert_eq!(broken(&[("a", base()), ("b", spa), ("c", native), ("d", direct)]), Vec::<String>::new());
}

#[test]
fn a_delegate_serves_the_user_interface_alone() {
    let native = delegate(&json!({ "platform": "native", "redirect": "https://localhost" }));
    let more = changed(native, "/functions", json!(["user-interface", "all-reports"]));
    assert_eq!(violations_with_default(more), ["MW0100 a/functions/all-reports"]);
}

#[test]
fn a_delegates_redirect_fits_its_platform() {
    let redirect = "MW0101 a/provider/microsoft-graph-delegate/redirect";
    for wrong in [
        "https://localhost/",
        "http://localhost",
        "https://LOCALHOST",
        "https://localhost:8080",
        "https://erp.example.com",
    ] {
        assert_eq!(
            violations_with_default(delegate(&json!({ "platform": "native", "redirect": wrong }))),
            [redirect],
            "{wrong}"
        );
    }
    let redirect = "MW0102 a/provider/microsoft-graph-delegate/redirect";
    for wrong in [
        "http://erp.example.com",
        "https://",
        "https://*.example.com",
        "https://erp.example.com/#home",
        "https://user@erp.example.com",
        "erp.example.com",
        "https://erp .example.com",
    ] {
        assert_eq!(
            violations_with_default(delegate(&json!({ "platform": "spa", "redirect": wrong }))),
            [redirect],
            "{wrong}"
        );
    }
    for right in ["https://erp.example.com", "https://erp.example.com:8443/web/", "https://erp/web?x=1"] {
        assert!(
            violations_with_default(delegate(&json!({ "platform": "spa", "redirect": right }))).is_empty(),
            "{right}"
        );
    }
}

#[test]
fn a_profile_that_sends_by_itself_needs_a_from_address() {
    let mut without = changed(base(), "/functions", json!(["all-reports"]));
    without.as_object_mut().unwrap().remove("from");
    assert_eq!(violations_with_default(without), ["MW0103 a"]);
    for wrong in [
        "mail",
        "mail@",
        "@example.com",
        "Mail <mail@example.com>",
        "a b@example.com",
        "mail@example.com\r\nBcc: x@example.com",
    ] {
        let wrong = changed(changed(base(), "/functions", json!(["all-reports"])), "/from/address", json!(wrong));
        assert_eq!(violations_with_default(wrong), ["MW0110 a/from/address"]);
    }
}

#[test]
fn two_enabled_profiles_never_claim_the_same() {
    assert_eq!(broken(&[("a", base()), ("b", base())]), ["MW0104 b/functions/default"]);
    assert!(broken(&[("a", base()), ("b", changed(base(), "/enabled", json!(false)))]).is_empty());
    let of = |companies| changed(base(), "/appliesTo", json!({ "companies": companies }));
    assert!(broken(&[("a", base()), ("b", of(["EDU1"]))]).is_empty());
    assert_eq!(broken(&[("a", of(["EDU1"])), ("b", of(["EDU1"])), ("c", base())]), ["MW0104 b/functions/default"]);
    let native = || delegate(&json!({ "platform": "native", "redirect": "https://localhost" }));
    assert_eq!(broken(&[("a", base()), ("b", native()), ("c", native())]), ["MW0104 c/functions/user-interface"]);
    let smtp = changed(base(), "/functions", json!(["user-interface"]));
    assert_eq!(broken(&[("a", base()), ("b", native()), ("c", smtp)]), ["MW0104 c/functions/user-interface"]);
}

#[test]
fn companies_exist_and_names_differ_by_more_than_case() {
    let of = changed(base(), "/appliesTo", json!({ "companies": ["EDU1", "EDU9"] }));
    assert_eq!(violations_with_default(of), ["MW0105 a/appliesTo/companies/EDU9"]);
    let other = changed(base(), "/functions", json!(["all-reports"]));
    assert_eq!(broken(&[("A", other), ("a", base())]), ["MW0112 a"]);
}

#[test]
fn no_password_travels_in_clear_except_to_this_machine() {
    let clear = |host: &str| {
        let value = changed(base(), "/functions", json!(["all-reports"]));
        changed(changed(value, "/provider/smtp/encryption", json!("none")), "/provider/smtp/host", json!(host))
    };
    assert_eq!(violations_with_default(clear("mail.example.com")), ["MW0107 a/provider/smtp/encryption"]);
    assert_eq!(violations_with_default(clear("127.0.0.1.example.com")), ["MW0107 a/provider/smtp/encryption"]);
    for here in ["localhost", "127.0.0.1", "127.9.9.9", "::1"] {
        assert!(violations_with_default(clear(here)).is_empty(), "{here}");
    }
}

#[test]
fn every_cell_has_a_sender_or_is_marked_unserved() {
    let reports = changed(base(), "/functions", json!(["all-reports"]));
    assert_eq!(broken(&[("a", reports.clone())]), ["MW0108 /companies"]);
    let settings: Settings = serde_json::from_value(json!({
        "companies": ["EDU1"],
        "unserved": [{ "reason": "not in use" }],
    }))
    .unwrap();
    let (name, profile): (ProfileName, Profile) = ("a".parse().unwrap(), serde_json::from_value(reports).unwrap());
    assert!(rules::Check::new(&settings, &[(&name, &profile)].into()).run().is_empty());
}

#[test]
fn a_login_has_both_halves_and_a_usual_port() {
    let mut half = changed(base(), "/functions", json!(["all-reports"]));
    half.pointer_mut("/provider/smtp").unwrap().as_object_mut().unwrap().remove("password");
    assert_eq!(violations_with_default(half), ["MW0109 a/provider/smtp/username"]);
    let mut half = changed(base(), "/functions", json!(["all-reports"]));
    half.pointer_mut("/provider/smtp").unwrap().as_object_mut().unwrap().remove("username");
    assert_eq!(violations_with_default(half), ["MW0109 a/provider/smtp/password"]);
    let port = changed(changed(base(), "/functions", json!(["all-reports"])), "/provider/smtp/port", json!(465));
    assert_eq!(violations_with_default(port), ["MW0111 a/provider/smtp/port"]);
}

#[test]
fn ids_and_hosts_are_what_they_say() {
    let direct = json!({ "credential": { "clientSecret": { "secret": "g/s" } } });
    let direct = changed(graph("microsoft-graph-direct", &direct), "/functions", json!(["all-documents"]));
    let at = |key: &str, to: &str| {
        violations_with_default(changed(direct.clone(), &format!("/provider/microsoft-graph-direct/{key}"), json!(to)))
    };
    assert_eq!(at("tenant", "common"), ["MW0011 a/provider/microsoft-graph-direct/tenant"]);
    assert_eq!(at("tenant", "not a tenant"), ["MW0011 a/provider/microsoft-graph-direct/tenant"]);
    assert_eq!(at("client", "my-app"), ["MW0011 a/provider/microsoft-graph-direct/client"]);
    assert!(at("tenant", "11111111-2222-3333-4444-555555555555").is_empty());
    for wrong in ["https://mail.example.com", "mail.example.com:25", "mail example", "", "-a.example"] {
        let value = changed(changed(base(), "/functions", json!(["all-reports"])), "/provider/smtp/host", json!(wrong));
        assert_eq!(violations_with_default(value), ["MW0011 a/provider/smtp/host"], "{wrong}");
    }
}

#[test]
fn each_text_comes_with_its_place() {
    let document = json!({
        "a": "plain",
        "b/~c": { "list": ["one", { "key": "two\n\"\\\u{1}é" }, [["three"]], 4] },
        "n": null, "t": true, "empty": [],
        "z": ["last"],
    });
    let mut found = Vec::new();
    mailwright::model::strings::visit_strings(&document, |pointer, key, text| {
        assert_eq!(document.pointer(pointer).and_then(|value| value.as_str()), Some(text), "{pointer}");
        found.push(format!("{pointer} {key}"));
    });
    assert_eq!(found, ["/a a", "/b~1~0c/list/0 list", "/b~1~0c/list/1/key key", "/b~1~0c/list/2/0/0 list", "/z/0 z"]);
}

#[test]
fn the_path_of_a_file_is_not_taken_for_a_key() {
    let path = "/var/run/kT9xQ2vLr8Zm/Token4WbY7cHs1";
    assert!(mailwright::model::secret_detection::detect(path).is_some());
    assert!(mailwright::model::secret_detection::is_exempt("federatedTokenFile", path));
    assert!(!mailwright::model::secret_detection::is_exempt("federatedTokenFile", &path[1..]));
    assert!(!mailwright::model::secret_detection::is_exempt("description", path));
}
