//! From what is there to files: live environments as layers, and lists of profiles.

use std::collections::BTreeMap;

use crate::support::{generated, repository::TestRepository};
use mailwright::{
    import::{LiveEnvironment, Proof, propose_layers, prove},
    model::{ChangeKind, ChangeRecord, EnvironmentName, ProfileChange, ProfileName, Settings, State, StoredProfile},
};
use proptest::prelude::*;
use serde_json::{Map, json};

/// A live environment with these profiles.
fn site(name: &str, settings: &Settings, profiles: BTreeMap<ProfileName, StoredProfile>) -> LiveEnvironment {
    let name: EnvironmentName = name.parse().unwrap();
    let mut state = State::empty(name.clone());
    let changes: Vec<ProfileChange> =
        profiles.into_iter().map(|(name, profile)| ProfileChange::Create { name, profile }).collect();
    let record = ChangeRecord {
        generation: 1,
        at: "2026-01-01T00:00:00Z".parse().unwrap(),
        by: "operator".to_owned(),
        kind: ChangeKind::Manual,
    };
    state.change(Some(settings), &changes, &record).unwrap();
    LiveEnvironment { name, state, kept: Map::new() }
}

fn profile(document: serde_json::Value) -> StoredProfile {
    generated::stored(serde_json::from_value(document).unwrap(), "value")
}

/// A customer as a partner runs hundreds: the same set-up, another tenant, domain and company.
fn customer(number: usize) -> LiveEnvironment {
    let domain = ["acme.example", "globex.example", "initech.example", "umbrella.example"][number];
    let tenant = format!("{number}0000000-2222-3333-4444-555555555555");
    let port = if number == 2 { 25 } else { 587 };
    let mut profiles = BTreeMap::from([
        (
            "relay".parse().unwrap(),
            profile(json!({
                "description": "Everything that no other profile serves",
                "provider": { "smtp": { "host": format!("smtp.{domain}"), "port": port, "username": format!("erp@{domain}"), "password": { "secret": "relay/password" } } },
                "from": { "address": format!("erp@{domain}"), "name": "ERP" },
                "functions": ["default"], "appliesTo": "system-wide", "limits": { "perMinute": 30 },
            })),
        ),
        (
            "invoices".parse().unwrap(),
            profile(json!({
                "provider": { "microsoft-graph-direct": { "tenant": tenant, "client": "11111111-2222-3333-4444-555555555555", "credential": { "clientSecret": { "secret": "invoices/secret" } } } },
                "from": { "address": format!("invoices@{domain}") },
                "functions": ["all-documents"], "appliesTo": { "companies": [format!("C{number}")] },
            })),
        ),
    ]);
    if number != 1 {
        profiles.insert("web".parse().unwrap(), profile(json!({
            "provider": { "microsoft-graph-delegate": { "tenant": tenant, "client": "99999999-2222-3333-4444-555555555555", "platform": "spa", "redirect": format!("https://erp.{domain}/web") } },
            "functions": ["user-interface"], "appliesTo": "system-wide",
        })));
    }
    let settings =
        json!({ "companies": [format!("C{number}")], "delivery": { "retry": { "first": "2m", "longest": "1h" } } });
    let site = site(&format!("customer-{number}"), &serde_json::from_value(settings).unwrap(), profiles);
    let kept = json!({ "service": { "address": format!("https://mail.{domain}") } });
    LiveEnvironment { kept: kept.as_object().unwrap().clone(), ..site }
}

fn assert_proved(sites: &[LiveEnvironment], base: &str) -> mailwright::import::ProposedLayers {
    let layers = propose_layers(sites, &base.parse().unwrap());
    let nowhere = tempfile::tempdir().unwrap();
    for (name, proof) in prove(&layers, sites, nowhere.path()) {
        assert!(matches!(proof, Proof::Holds), "{name}: {proof:#?}\n{:#?}", layers.files);
    }
    layers
}

#[test]
fn common_settings_become_a_base_with_variables() {
    let sites: Vec<LiveEnvironment> = (0..4).map(customer).collect();
    let layers = assert_proved(&sites, "customers");
    let text: String = layers.files.iter().map(|(path, text)| format!("=== {}\n{text}\n", path.display())).collect();
    insta::assert_snapshot!("layers", text);
    assert_eq!(layers.variables.keys().collect::<Vec<_>>(), ["domain", "tenant"]);
}

#[test]
fn one_environment_and_none() {
    assert_proved(&[customer(0)], "customers");
    assert_proved(&[site("empty", &Settings::default(), BTreeMap::new())], "base");
    assert_proved(&[], "base");
}

#[test]
fn a_text_that_looks_like_a_variable_stays_what_it_is() {
    let strange = |number: usize, description: &str| {
        let relay = profile(
            json!({ "description": description, "provider": { "smtp": { "host": format!("h{number}.example") } }, "from": { "address": "a@b.example" }, "functions": ["default"], "appliesTo": "system-wide" }),
        );
        site(
            &format!("s{number}"),
            &Settings { companies: ["A".parse().unwrap()].into(), ..Settings::default() },
            BTreeMap::from([("relay".parse().unwrap(), relay)]),
        )
    };
    assert_proved(&[strange(1, "for ${host}"), strange(2, "for ${host}"), strange(3, "$${x} ${")], "base");
    assert_proved(&[strange(1, "a ${x}"), strange(2, "b ${x}"), strange(3, "c ${x}")], "base");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever is live: what is proposed amounts to it, or says why it cannot.
    #[test]
    fn the_proposal_always_amounts_to_what_is_live(states in prop::collection::vec((generated::any_settings(), generated::any_profiles()), 1..5)) {
        let sites: Vec<LiveEnvironment> = states.into_iter().enumerate().map(|(number, (settings, profiles))| {
            // Disabled ones may overlap, and keep the rules out of the way.
            let profiles = profiles.into_iter().map(|(name, mut stored)| { stored.profile.enabled = false; (name, stored) }).collect();
            site(&format!("site-{number}"), &Settings { unserved: vec![mailwright::model::settings::Unserved { reason: "all".to_owned(), ..Default::default() }], ..settings }, profiles)
        }).collect();
        let layers = propose_layers(&sites, &"base".parse().unwrap());
        let nowhere = tempfile::tempdir().unwrap();
        for (name, proof) in prove(&layers, &sites, nowhere.path()) {
            match proof {
                Proof::Holds => {}
                // A generated profile may break a rule of files, as a live one may; it is then named, and not misread.
                Proof::Invalid(report) => for diagnostic in report.diagnostics {
                    prop_assert!(diagnostic.code.id() >= "MW0100" || ["MW0011", "MW0032", "MW0033"].contains(&diagnostic.code.id()), "{:?}\n{:#?}", diagnostic, layers.files);
                },
                other => prop_assert!(false, "{name}: {other:#?}\n{:#?}", layers.files),
            }
        }
    }
}

#[test]
fn a_whole_service_is_imported_and_the_plan_is_empty() {
    let mut repo = TestRepository::examples();
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let address = repo.address().to_owned();
    repo.remove("rollouts/development-first.yaml");
    for folder in ["base", "office", "prod", "dev"] {
        std::fs::remove_dir_all(repo.path(&format!("environments/{folder}"))).unwrap();
    }
    repo.write(
        "environments/dev/environment.yaml",
        format!("description: Here\nlabels: {{ region: emea }}\nservice: {{ address: '{address}' }}\n"),
    );
    let dry = repo.run(&["import", "dev", "--layers", "shared", "--dry-run", "--format", "json"]).code(0).json();
    assert!(!repo.path("environments/shared").exists());
    assert_eq!(dry["environments"]["dev"]["secretsToSet"], json!([]), "the age files are still there");
    let output = repo.run(&["import", "dev", "--layers", "shared"]).code(0);
    assert!(output.stdout.contains("Checked: a plan of these files has no changes"), "{}", output.stdout);
    assert!(repo.read("environments/dev/environment.yaml").contains("region: emea"));
    repo.run(&["validate"]).code(0);
    let plan = repo.run(&["plan", "dev", "--detailed-exitcode"]).code(0);
    assert!(plan.stdout.contains("No changes."), "{}", plan.stdout);
    // An environment that has files already is not overwritten.
    let again = repo.run(&["import", "dev", "--layers", "other"]).code(1);
    assert!(again.stderr.contains("`dev` already has layers or profiles"), "{}", again.stderr);
    let taken = repo.run(&["import", "dev", "--layers", "shared"]).code(1);
    assert!(taken.stderr.contains("the environment `shared` already exists"), "{}", taken.stderr);
}

/// The recipients of secrets are public keys, so that they can be read back.
#[test]
fn recipients_are_imported_where_there_is_no_file() {
    let mut repo = TestRepository::small();
    repo.serve();
    let recipients = include_str!("../../secrets/dev/recipients.txt");
    let ann = mailwright::secrets::ServiceIdentity::generate().recipient();
    repo.write("secrets/dev/recipients.txt", format!("{recipients}\n# Ann\n{ann}\n"));
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    std::fs::remove_dir_all(repo.path("environments/dev")).unwrap();
    repo.remove("secrets/dev/recipients.txt");
    repo.write("environments/dev/environment.yaml", "description: Here\n");
    repo.run(&["import", "dev", "--layers", "shared"]).code(0);
    assert!(repo.read("secrets/dev/recipients.txt").contains(&format!("\n\n# Ann\n{ann}\n")));
    let plan = repo.run(&["plan", "dev", "--detailed-exitcode"]).code(0);
    assert!(plan.stdout.contains("No changes."), "{}", plan.stdout);
}

#[test]
fn a_rotation_in_progress_is_reported_and_goes_on() {
    let mut repo = TestRepository::examples();
    repo.serve();
    repo.pipe(&["secrets", "rotate", "dev", "relay/password"], b"the next one").code(0);
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let next = "secrets/dev/relay/password.next.age";
    let sealed = std::fs::read(repo.path(next)).unwrap();
    for folder in ["base", "office", "prod", "dev"] {
        std::fs::remove_dir_all(repo.path(&format!("environments/{folder}"))).unwrap();
    }
    repo.remove(next);
    let own = format!("service: {{ address: '{}' }}\n", repo.address());
    repo.write("environments/dev/environment.yaml", own);
    let output = repo.run(&["import", "dev", "--layers", "shared"]).code(0);
    assert!(output.stdout.contains("Checked: a plan of these files has no changes"), "{}", output.stdout);
    assert!(output.stderr.contains("mailwright secrets rotate dev relay/password"), "{}", output.stderr);
    assert!(!output.stderr.contains("secrets set"), "{}", output.stderr);
    // Without the file, the plan lists a change of the rotation; with it, the plan is empty.
    let plan = repo.run(&["plan", "dev", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("(next secret withdrawn)"), "{}", plan.stdout);
    repo.write(next, sealed);
    repo.run(&["plan", "dev", "--detailed-exitcode"]).code(0);
}

#[test]
fn a_service_that_holds_what_files_may_not_say_is_not_imported() {
    // The age file was replaced: it exists, but holds another value than the one that the service has.
    let mut foreign = TestRepository::examples();
    foreign.serve();
    foreign.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let before = std::fs::read_dir(foreign.path("environments")).unwrap().count();
    foreign.pipe(&["secrets", "set", "dev", "relay/password"], b"another").code(0);
    std::fs::remove_dir_all(foreign.path("environments/dev")).unwrap();
    foreign.write("environments/dev/environment.yaml", "description: Here\n");
    let output = foreign.run(&["import", "dev", "--layers", "shared"]).code(1);
    assert!(output.stderr.contains("error[MW0235]") && output.stderr.contains("(secret rotated)"), "{}", output.stderr);
    assert_eq!(std::fs::read_dir(foreign.path("environments")).unwrap().count(), before);
}

/// A spreadsheet in the words of its owner.
const LIST: &str = "\
Profile;Type;SMTP server;SMTP port;Security;User name;From address;Display name;Functions;Companies;Active;Tenant ID;Application ID
relay;SMTP;smtp.example.com;587;STARTTLS;erp@example.com;erp@example.com;ERP, Example Ltd;\"Default; System Administration\";;yes;;
invoices;Graph (application);;;;;invoices@example.com;;Documents Accounts Receivable|all-documents;EDU1 0123;;contoso.example;11111111-2222-3333-4444-555555555555
old;SMTP;old.example.com;25;none;;old@example.com;;All Reports;*;no;;
";

fn with_list(list: impl AsRef<[u8]>, name: &str) -> TestRepository {
    let repo = TestRepository::empty();
    repo.write("environments/dev/environment.yaml", "companies: [EDU1, '0123']\n");
    repo.write(name, list);
    repo
}

#[test]
fn a_spreadsheet_becomes_profiles() {
    let repo = with_list(LIST, "list.csv");
    repo.run(&["import", "dev", "--from", "list.csv", "--dry-run"]).code(0);
    assert!(!repo.path("environments/dev/profiles").exists());
    let output = repo.run(&["import", "dev", "--from", "list.csv"]).code(0);
    assert_eq!(
        output.stdout,
        "wrote environments/dev/profiles/invoices.yaml\nwrote environments/dev/profiles/old.yaml\nwrote environments/dev/profiles/relay.yaml\n"
    );
    assert!(
        output.stderr.contains("mailwright secrets set dev invoices/client-secret")
            && output.stderr.contains("mailwright secrets set dev relay/password"),
        "{}",
        output.stderr
    );
    let files = ["invoices", "old", "relay"]
        .map(|name| repo.read(&format!("environments/dev/profiles/{name}.yaml")))
        .join("\n");
    insta::assert_snapshot!("list", files);
    let report = repo.run(&["validate", "--format", "json"]).code(1).json();
    let codes: std::collections::BTreeSet<_> =
        report["diagnostics"].as_array().unwrap().iter().map(|d| d["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["MW0031"].into(), "only the secrets are missing: {report:#}");
    let again = repo.run(&["import", "dev", "--from", "list.csv"]).code(1);
    assert!(
        again.stderr.contains("line 2: `dev` already has a profile `relay`; nothing was written"),
        "{}",
        again.stderr
    );
}

#[test]
fn lists_come_in_many_encodings() {
    let read = |bytes: Vec<u8>, name: &str| {
        let repo = with_list(bytes, name);
        repo.run(&["import", "dev", "--from", name]).code(0);
        repo.read("environments/dev/profiles/relay.yaml")
    };
    let plain = read(LIST.into(), "list.csv");
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(LIST.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    assert_eq!(read(utf16, "list.txt"), plain);
    assert_eq!(read(format!("\u{feff}{}", LIST.replace('\n', "\r\n")).into(), "list.csv"), plain);
    let json = json!([
        { "name": "relay", "smtp server": "smtp.example.com", "port": 587, "security": "starttls", "user name": "erp@example.com",
          "from": "erp@example.com", "from name": "ERP, Example Ltd", "functions": ["default", "system-administration"], "enabled": true },
        { "name": "whole", "enabled": false, "provider": { "smtp": { "host": "a.example" } }, "from": { "address": "a@example.com" }, "functions": ["default"], "appliesTo": "system-wide" },
    ]);
    assert_eq!(read(json.to_string().into(), "list.json"), plain);
}

/// The names that the ERP's own screen has for the fields.
#[test]
fn the_words_of_the_erps_own_screen_are_understood() {
    let head = "Profile name;Description;Provider;Apply to;Select companies;Enabled;Functions;SMTP Host name;Outgoing email address;User name;Port;SSL;Tenant ID;Client ID;Redirect URL\n";
    let id = "0f6e2b1c-2a4d-4c55-9a43-1c2d3e4f5a6b";
    let list = format!(
        "{head}relay;Everything;SMTP;System-wide;;Yes;Default;smtp.example.com;erp@example.com;erp;465;Yes;;;\n\
         docs;;Microsoft Graph Direct;Selected companies;EDU1;Yes;All Documents;;docs@example.com;;;;{id};{id};\n\
         desk;;Delegate sender;;EDU1;No;User Interface;;;;;;{id};{id};https://localhost\n\
         plain;;SMTP;EDU1;;checked;All Reports;smtp.example.com;r@example.com;;587;Yes;;;\n"
    );
    let repo = with_list(&list, "list.csv");
    repo.run(&["import", "dev", "--from", "list.csv"]).code(0);
    let read = |name: &str| repo.read(&format!("environments/dev/profiles/{name}.yaml"));
    for (name, parts) in [
        (
            "relay",
            &["host: smtp.example.com", "encryption: tls", "port: 465", "address: erp@example.com", "system-wide"][..],
        ),
        ("docs", &["microsoft-graph-direct", "\"EDU1\"", "all-documents"]),
        ("desk", &["microsoft-graph-delegate", "enabled: false", "https://localhost", "platform: native", "\"EDU1\""]),
        ("plain", &["\"EDU1\"", "all-reports"]),
    ] {
        for part in parts {
            assert!(read(name).contains(part), "{name}: no {part} in {}", read(name));
        }
    }
    // A password is refused with the reason, however the column is called.
    for column in ["Password", "Client Secret", "SMTP password", "Secret value"] {
        let repo = with_list(format!("name,{column}\nrelay,hunter2\n"), "list.csv");
        let output = repo.run(&["import", "dev", "--from", "list.csv"]).code(1);
        assert!(
            output.stderr.contains("holds secrets") && !output.stderr.contains("hunter2"),
            "{column}: {}",
            output.stderr
        );
    }
    // Two columns that say who a profile is for must agree.
    for (scope, companies, words) in [
        ("System-wide", "EDU1", "contradict each other"),
        ("Selected companies", "", "none is named"),
        ("EDU1", "EDU2", "contradict each other"),
    ] {
        let list = format!(
            "name,host,from,functions,Apply to,Select companies\nrelay,h,a@b.example,default,{scope},{companies}\n"
        );
        let repo = with_list(list, "list.csv");
        let output = repo.run(&["import", "dev", "--from", "list.csv"]).code(1);
        assert!(
            output.stderr.contains("column `Apply to`") && output.stderr.contains(words),
            "{scope}: {}",
            output.stderr
        );
    }
}

#[test]
fn errors_of_a_list_are_reported_with_their_lines_and_write_nothing() {
    for (list, expected) in [
        (
            "name,from,functions,host,Password\nrelay,a@b.example,default,h,hunter2\n",
            "line 1, column `Password`: the column `Password` holds secrets",
        ),
        ("name,from,functions,hots\n", "Did you mean `host`?"),
        ("name,from,sender\n", "duplicates another one"),
        (
            "name,from,functions,host\nrelay,a@b.example,Defualt,h\n",
            "line 2, column `functions`: unknown function `Defualt`",
        ),
        ("name,from,functions,host\n,a@b.example,default,h\n", "line 2, column `name`: the profile has no name"),
        (
            "name,from,functions,host,port\nrelay,a@b.example,default,h,many\n",
            "line 2, column `port`: this is not a port",
        ),
        (
            "name,from,functions,host\nrelay,a@b.example,default,h\nRelay,a@b.example,all-reports,h\n",
            "line 3, column `name`: the profile `Relay` is already in line 2",
        ),
        ("name,from,functions\nrelay,a@b.example,default\n", "the profile has no provider"),
        ("name,functions,host\na,b,c,d,e\n", "the line has 5 values, and there are 3 columns"),
        ("name,from\n", "the list has no profiles"),
        ("[1]", "this item is not an object"),
        ("{", "this is not well-formed JSON"),
    ] {
        let repo = with_list(list, "list.csv");
        let output = repo.run(&["import", "dev", "--from", "list.csv"]).code(1);
        assert!(
            output.stderr.contains("error[MW0236]") && output.stderr.contains(expected),
            "{list}\n{}",
            output.stderr
        );
        assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
        assert!(!repo.path("environments/dev/profiles").exists());
    }
    // Violations of rules between profiles are reported as for any file.
    let repo = with_list("name,from,functions,host,companies\nrelay,a@b.example,default,h,EDU1 NOPE\n", "list.csv");
    let output = repo.run(&["import", "dev", "--from", "list.csv"]).code(1);
    assert!(output.stderr.contains("MW0105") && output.stderr.contains("error[MW0235]"), "{}", output.stderr);
    assert!(!repo.path("environments/dev/profiles").exists());
}

#[test]
fn no_message_about_a_list_quotes_a_cell_that_can_be_a_secret() {
    let head = "name,environment,from,functions,host,companies\n";
    let row = |cells: [&str; 6]| format!("{head}{}\n", cells.map(|cell| format!("\"{cell}\"")).join(","));
    let good = ["relay", "dev", "a@b.example", "default", "h", "EDU1"];
    let mut lists = Vec::new();
    for value in ["hunter2!", "Tr0ub4dor&3", "AKa9Xq2LmZ8vBn4Rt6Yw1Cd3", "\u{1b}[2Jhunter2", "hun\u{202e}ter2"] {
        // Each column in turn has the value of a password.
        for (index, column) in ["name", "environment", "from", "functions", "host", "companies"].iter().enumerate() {
            let mut cells = good;
            cells[index] = value;
            lists.push((value, column.to_string(), row(cells)));
        }
        // A list without a first line: its values are where the names of columns belong.
        lists.push((value, "2".to_owned(), format!("relay,{value},default\n")));
        lists.push((value, "1".to_owned(), format!("[{{ {}: \"x\" }}]", serde_json::to_string(value).unwrap())));
        let item = serde_json::json!([{ "name": value, "environment": value, "provider": {} }]);
        lists.push((value, "name".to_owned(), item.to_string()));
    }
    for (value, column, list) in lists {
        let repo = with_list(&list, "list.csv");
        for format in ["human", "json"] {
            let output = repo.run(&["import", "--from", "list.csv", "--dry-run", "--format", format]);
            let text = format!("{}{}", output.stdout, output.stderr);
            // A host and an address can have almost any form; only what is wrong is reported.
            let is_free = matches!(column.as_str(), "host" | "from") && output.code == 0;
            let has_place = text.contains(&format!("column `{column}`")) || text.contains(&format!("column {column}"));
            let names_place = has_place || text.contains("line 2 of the list");
            assert!(is_free || output.code == 1 && names_place, "{value:?} in {column}: {text}");
            let shown = value.trim_start_matches("\u{1b}[2J");
            assert!(!text.contains(shown) && !text.contains('\u{202e}'), "{value:?} in {column}: {text}");
        }
    }
}

#[test]
fn a_list_for_many_environments_names_them() {
    let repo = with_list(
        "environment,name,from,functions,host\ndev,relay,a@b.example,default,h\ntest,relay,t@b.example,default,h\n",
        "list.csv",
    );
    let output = repo.run(&["import", "--from", "list.csv"]).code(1);
    assert!(output.stderr.contains("line 3: unknown environment `test`"), "{}", output.stderr);
    repo.write("environments/test/environment.yaml", "companies: [EDU1]\n");
    repo.run(&["import", "--from", "list.csv"]).code(0);
    repo.run(&["validate"]).code(0);
    std::fs::remove_dir_all(repo.path("environments/dev/profiles")).unwrap();
    let other = repo.run(&["import", "dev", "--from", "list.csv"]).code(1);
    assert!(other.stderr.contains("line 3 is for `test`, not for `dev`"), "{}", other.stderr);
}

/// Values in a list in JSON or CSV that do not name a company: a profile for all of them would send the mail of one company
/// from the address of another.
#[test]
fn nothing_in_a_list_is_left_out_and_no_profile_becomes_system_wide_by_it() {
    let item = |more: &str| {
        format!(
            r#"[{{ "name": "relay", "host": "smtp.example.com", "from": "a@b.example", "functions": ["default"], {more} }}]"#
        )
    };
    let whole = |more: &str| {
        format!(
            r#"[{{ "name": "relay", "provider": {{ "smtp": {{ "host": "h.example" }} }}, "from": {{ "address": "a@b.example" }}, "functions": ["default"], {more} }}]"#
        )
    };
    let wide = r#""appliesTo": "system-wide""#;
    for (list, expected) in [
        (item(r#""companies": [100]"#), "line 1, column `companies`: item 1 of the list is a number"),
        (item(r#""companies": ["EDU1", 100]"#), "item 2 of the list is a number"),
        (item(r#""companies": [null]"#), "item 1 of the list is null"),
        (item(r#""companies": [true]"#), "item 1 of the list is true or false"),
        (item(r#""companies": [["EDU1"]]"#), "item 1 of the list is a list"),
        (item(r#""companies": [{ "id": "EDU1" }]"#), "item 1 of the list is an object"),
        (item(r#""companies": [" "]"#), "item 1 of the list is an empty text"),
        (item(r#""companies": []"#), "this names no company"),
        (item(r#""companies": """#), "this names no company"),
        (item(r#""companies": null"#), "this names no company"),
        (item(r#""companies": 100"#), "column `companies`: this is a number"),
        (item(r#""companies": false"#), "this is true or false"),
        (item(r#""companies": { "EDU1": true }"#), "this is an object"),
        (item(r#""appliesTo": { "companies": ["EDU1"] }"#), "column `appliesTo`: this is an object"),
        (item(r#""appliesTo": null"#), "this names no company"),
        (item(r#""companies": ["EDU1"], "companies": null"#), "an object has the same key twice"),
        (item(r#""companies": ";""#), "the cell has separators and names no company"),
        (item(r#""port": [587]"#), "column `port`: this is a list"),
        (item(r#""port": true"#), "column `port`: this is true or false"),
        (item(r#""username": 7"#), "column `username`: this is a number"),
        (item(r#""description": { "en": "x" }"#), "column `description`: this is an object"),
        (item(r#""enabled": [false]"#), "column `enabled`: this is a list"),
        (item(r#""environment": 3"#), "column `environment`: this is a number"),
        (whole(&format!(r#""environment": 3, {wide}"#)), "column `environment`: this is a number"),
        (whole(&format!(r#""environment": ["dev"], {wide}"#)), "column `environment`: this is a list"),
        (whole(wide).replace("\"relay\"", "[\"relay\"]"), "column `name`: this is a list"),
        (format!(r#"{{ "environment": "prod", "profiles": {} }}"#, item(wide)), "other keys next to `profiles`"),
        ("name,host,from,functions,companies\nrelay,h,a@b.example,default,;\n".replace(',', "\t"), "names no company"),
        (
            "name,host,from,functions,companies\nrelay,h,a@b.example,default\n".to_owned(),
            "the line ends before this column",
        ),
        ("name,host,from name,functions\nrelay,h,The ERP,default\n".to_owned(), "the sender has a name and no address"),
    ] {
        let repo = with_list(&list, "list.json");
        let output = repo.run(&["import", "dev", "--from", "list.json"]).code(1);
        let stderr = output.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(stderr.contains("error[MW0236]") && stderr.contains(expected), "{list}\n{stderr}");
        assert!(!repo.path("environments/dev/profiles").exists(), "{list}");
    }
    // In the format of the file, the schema of the file decides; a cell of signs alone is a company that does not exist.
    for list in [
        whole(r#""appliesTo": null"#),
        whole(r#""appliesTo": {}"#),
        whole(r#""appliesTo": { "companies": [] }"#),
        whole(r#""appliesTo": { "companies": [100] }"#),
        whole(r#""companies": ["EDU1"]"#),
        "name,host,from,functions,companies\nrelay,h,a@b.example,default,-\n".to_owned(),
    ] {
        let repo = with_list(&list, "list.json");
        let output = repo.run(&["import", "dev", "--from", "list.json"]).code(1);
        assert!(output.stderr.contains("error[MW0235]"), "{list}\n{}", output.stderr);
        assert!(!repo.path("environments/dev/profiles").exists(), "{list}");
    }
    // What is documented: null is an empty cell, flags and the port have types of their own, and lists are lists of texts.
    let typed = item(r#""companies": ["EDU1", "0123"], "port": 465, "ssl": true, "enabled": false, "username": null"#);
    let other =
        r#", { "name": "other", "host": "smtp.example.com", "from": "a@b.example", "functions": ["default"] }]"#;
    let repo = with_list(format!("{}{other}", typed.trim_end_matches(']')), "list.json");
    repo.run(&["import", "dev", "--from", "list.json"]).code(0);
    let written = repo.read("environments/dev/profiles/relay.yaml");
    for part in ["enabled: false", "port: 465", "encryption: tls", "\"EDU1\"", "\"0123\""] {
        assert!(written.contains(part), "{part}: {written}");
    }
}
