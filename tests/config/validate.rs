//! Diagnostics of `validate`: each documented behaviour of the format, as a small tree of files and its diagnostics.

use crate::support::repository::{SMALL_PROFILE, TestRepository};

/// `CODE place` of every problem.
fn problems(repo: &TestRepository) -> Vec<String> {
    let output = repo.run(&["validate", "--format", "json"]);
    let report = output.json();
    let found: Vec<String> = report["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| {
            let file = d["file"].as_str().unwrap().trim_start_matches("environments/dev/").to_owned();
            format!("{} {file}:{}:{}", d["code"].as_str().unwrap(), d["line"], d["column"])
        })
        .collect();
    assert_eq!(output.code, i32::from(report["errors"] != 0), "{}", output.stdout);
    found
}

/// With this as the profile `relay`.
fn profile(text: impl AsRef<[u8]>) -> Vec<String> {
    let repo = TestRepository::small();
    repo.write("environments/dev/profiles/relay.yaml", text);
    problems(&repo)
}

fn environment(text: &str) -> Vec<String> {
    let repo = TestRepository::small();
    repo.write("environments/dev/environment.yaml", text);
    problems(&repo)
}

fn with(line: &str) -> String {
    format!("{SMALL_PROFILE}{line}\n")
}

#[test]
fn the_examples_have_no_problems() {
    let output = TestRepository::examples().run(&["validate"]).code(0);
    assert_eq!(output.stdout, "No problems in 4 environments, 27 files.\n");
}

#[test]
fn ways_to_write_the_same() {
    let json = r#"{ "provider": { "smtp": { "host": "smtp.example.com" } }, "from": { "address": "erp@example.com" }, "functions": ["default"], "appliesTo": "system-wide" }"#;
    for text in [
        SMALL_PROFILE,
        &SMALL_PROFILE.replace('\n', "\r\n"),
        &format!("\u{feff}{SMALL_PROFILE}"),
        json,
        &json.replace(' ', "\t"),
        &format!("---\n{SMALL_PROFILE}...\n"),
        &SMALL_PROFILE.replace("[default]", "&f [default]"),
    ] {
        assert_eq!(profile(text), Vec::<String>::new(), "{text}");
    }
    let repo = TestRepository::small();
    repo.remove("environments/dev/profiles/relay.yaml");
    repo.write("environments/dev/profiles/relay.json", json);
    assert_eq!(problems(&repo), Vec::<String>::new());
}

#[test]
fn yaml_that_is_not_well_formed_or_not_supported() {
    let at = |place: &str, code: &str| vec![format!("{code} profiles/relay.yaml:{place}")];
    assert_eq!(profile("provider: [\n"), at("2:1", "MW0001"));
    assert_eq!(profile("provider:\n\tsmtp: {}\n")[0][..6], *"MW0001");
    assert_eq!(profile(with("enabled: true\nenabled: false")), at("9:1", "MW0003"));
    assert_eq!(profile(with("\"functions\": [all-reports]")), at("8:1", "MW0003"));
    assert_eq!(profile(""), at("1:1", "MW0005"));
    assert_eq!(profile("# nothing but a comment\n")[0][..6], *"MW0005");
    assert_eq!(profile("---\n")[0][..6], *"MW0005");
    assert_eq!(profile(with("description:")), at("8:1", "MW0004"));
    assert_eq!(profile(with("---\nenabled: true"))[0][..6], *"MW0013");
    assert_eq!(profile(with("enabled: !!bool true"))[0][..6], *"MW0013");
    assert_eq!(profile("base: &b { enabled: true }\n<<: *b\n")[0], "MW0013 profiles/relay.yaml:2:1");
    assert_eq!(profile(with("? [a, b]\n: c"))[0][..6], *"MW0013");
    assert_eq!(profile("- a\n- b\n"), at("1:1", "MW0010"));
    assert_eq!(profile(format!("description: {}{}", "[".repeat(40), "]".repeat(40)))[0][..6], *"MW0012");
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        laughs.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", ")));
    }
    assert_eq!(profile(laughs)[0], "MW0012 profiles/relay.yaml:5:10");
    assert_eq!(profile("a: &a [*a]\n")[0][..6], *"MW0013");
}

#[test]
fn files_that_are_not_text_or_not_files() {
    assert_eq!(profile(b"provider: \xff\xfe\n"), ["MW0002 profiles/relay.yaml:1:11"]);
    assert_eq!(
        profile("provider:\n".encode_utf16().flat_map(u16::to_le_bytes).fold(vec![0xff, 0xfe], |mut all, byte| {
            all.push(byte);
            all
        })),
        ["MW0002 profiles/relay.yaml:1:1"]
    );
    assert_eq!(profile("#".repeat(10 * 1024 * 1024)), ["MW0006 profiles/relay.yaml:1:1"]);
    let repo = TestRepository::small();
    repo.write("environments/dev/profiles/relay.yml", SMALL_PROFILE);
    repo.write("environments/dev/profiles/old.yaml.bak", SMALL_PROFILE);
    repo.write("environments/dev/profiles/README.md", "about");
    repo.write("environments/dev/profiles/.hidden", "x");
    repo.write("environments/dev/profiles/a b.yaml", SMALL_PROFILE);
    repo.write("environments/dev/notes.txt", "x");
    repo.write("environments/stray.yaml", "x: 1\n");
    assert_eq!(
        problems(&repo),
        [
            "MW0014 notes.txt:1:1",
            "MW0106 profiles/a b.yaml:1:1",
            "MW0014 profiles/old.yaml.bak:1:1",
            "MW0014 profiles/relay.yml:1:1",
            "MW0014 environments/stray.yaml:1:1"
        ]
    );
    let repo = TestRepository::small();
    repo.remove("environments/dev/environment.yaml");
    assert_eq!(problems(&repo)[0], "MW0016 environment.yaml:1:1");
}

#[cfg(unix)]
#[test]
fn links_stay_in_the_repository() {
    let repo = TestRepository::small();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), SMALL_PROFILE).unwrap();
    std::os::unix::fs::symlink(outside.path(), repo.path("environments/dev/profiles/linked.yaml")).unwrap();
    assert_eq!(problems(&repo), ["MW0015 profiles/linked.yaml:1:1"]);
    repo.remove("environments/dev/profiles/linked.yaml");
    // A link inside is an ordinary file.
    repo.remove("environments/dev/profiles/relay.yaml");
    repo.write("shared.yaml", SMALL_PROFILE);
    std::os::unix::fs::symlink("../../../shared.yaml", repo.path("environments/dev/profiles/relay.yaml")).unwrap();
    assert_eq!(problems(&repo), Vec::<String>::new());
    // So is one that leads nowhere: refused. A pipe is never opened.
    repo.remove("environments/dev/profiles/relay.yaml");
    std::os::unix::fs::symlink("nowhere.yaml", repo.path("environments/dev/profiles/relay.yaml")).unwrap();
    assert_eq!(problems(&repo)[0], "MW0015 profiles/relay.yaml:1:1");
    repo.remove("environments/dev/profiles/relay.yaml");
    let made =
        std::process::Command::new("mkfifo").arg(repo.path("environments/dev/profiles/relay.yaml")).status().unwrap();
    assert!(made.success());
    assert_eq!(problems(&repo)[0], "MW0014 profiles/relay.yaml:1:1");
}

#[test]
fn plain_words_that_are_read_differently() {
    for word in [
        "no",
        "yes",
        "On",
        "OFF",
        "y",
        "1e3",
        "0123",
        "0x1F",
        "0o17",
        "1_000",
        "12:30",
        "2026-11-23",
        "2026-11-23T10:00:00Z",
        "+1",
        ".5",
        "1.",
        ".inf",
        ".NaN",
        "99999999999999999999",
    ] {
        assert_eq!(profile(with(&format!("description: {word}"))), ["MW0004 profiles/relay.yaml:8:14"], "{word}");
        assert_eq!(profile(with(&format!("description: \"{word}\""))), Vec::<String>::new(), "{word}");
    }
    // Read the same by all, and of the wrong type.
    for word in ["10", "true", "1.5", "-3", "[a]", "{ a: b }"] {
        assert_eq!(profile(with(&format!("description: {word}")))[0][..6], *"MW0010", "{word}");
    }
    for company in ["NO", "0123", "1e3", "ON"] {
        assert_eq!(
            environment(&format!("companies: [EDU1, {company}]\n")),
            ["MW0004 environment.yaml:1:19"],
            "{company}"
        );
        assert_eq!(environment(&format!("companies: [EDU1, \"{}\"]\n", company.to_uppercase())), Vec::<String>::new());
    }
    assert_eq!(environment("companies: [EDU1, 10]\n"), ["MW0010 environment.yaml:1:19"]);
    assert_eq!(
        environment("companies: [EDU1]\nvariables: { on: a, 0123: b }\n"),
        ["MW0004 environment.yaml:2:14", "MW0004 environment.yaml:2:21"]
    );
}

#[test]
fn unknown_keys_and_values_are_reported_with_suggestions() {
    let repo = TestRepository::small();
    repo.write(
        "environments/dev/profiles/relay.yaml",
        "provider:\n  smtp:\n    hots: smtp.example.com\n    encryption: tsl\nfrom:\n  adress: erp@example.com\nfunctions: [default, documents-account-receivable, documents-remitance]\nappliesTo: systemwide\n",
    );
    let output = repo.run(&["validate", "--color", "never"]).code(1);
    insta::assert_snapshot!("near_misses", output.stdout);
}

#[test]
fn a_literal_in_place_of_a_secret_is_reported_and_never_shown() {
    let repo = TestRepository::small();
    let canary = "Correct-Horse-7-Battery";
    for literal in [
        format!("password: {canary}"),
        format!("password: \"{canary}\""),
        format!("password: {{ value: {canary} }}"),
        format!("password: {{ secret: {canary} }}"),
        format!("password: [ {canary} ]"),
        format!("pasword: {canary}"),
        format!("password: \"{canary}"),
        format!("password: {canary}: x"),
        format!("password:\n      {canary}"),
    ] {
        let text = format!(
            "provider:\n  smtp:\n    host: smtp.example.com\n    username: erp\n    {literal}\nfrom: {{ address: erp@example.com }}\nfunctions: [default]\nappliesTo: system-wide\n"
        );
        repo.write("environments/dev/profiles/relay.yaml", text);
        for format in ["human", "json", "github", "sarif"] {
            let output = repo.run(&["validate", "--format", format]).code(1);
            assert!(
                !output.stdout.contains(canary) && !output.stderr.contains(canary),
                "{literal} as {format}:\n{}",
                output.stdout
            );
        }
    }
    repo.write("environments/dev/profiles/relay.yaml", "provider: { smtp: { host: smtp.example.com, username: erp, password: hunter2 } }\nfrom: { address: erp@example.com }\nfunctions: [default]\nappliesTo: system-wide\n");
    let output = repo.run(&["validate", "--color", "never"]).code(1);
    insta::assert_snapshot!("literal_secret", output.stdout);
}

#[test]
fn one_problem_hides_no_other() {
    // In one file: an ambiguous plain value, an unknown key, a wrong word, a function, an address, a host, a
    // company, a secret that is not there.
    let text = "provider:\n  smtp:\n    host: not a host\n    port: 1e3\n    hots: x\n    username: erp\n    password: { secret: relay/password }\n    encryption: tsl\nfrom:\n  address: not-an-address\nfunctions: [all-reprots, all-documents]\nappliesTo: { companies: [NOPE, EDU1] }\nlimits: { perMinute: 0 }\n";
    let all = [
        "MW0011 profiles/relay.yaml:3:11",
        "MW0004 profiles/relay.yaml:4:11",
        "MW0008 profiles/relay.yaml:5:5",
        "MW0031 profiles/relay.yaml:7:25",
        "MW0007 profiles/relay.yaml:8:17",
        "MW0110 profiles/relay.yaml:10:12",
        "MW0007 profiles/relay.yaml:11:13",
        "MW0105 profiles/relay.yaml:12:26",
        "MW0011 profiles/relay.yaml:13:22",
    ];
    assert_eq!(profile(text), all);
    // In the environment's file too, and then what it does not say is not held against the profiles.
    let repo = TestRepository::small();
    repo.write("environments/dev/environment.yaml", "companies: [EDU1, NO]\nvariables: { a: [1] }\npolicey: {}\n");
    repo.write("environments/dev/profiles/relay.yaml", text.replace("not a host", "${a}"));
    let found = problems(&repo);
    let expected = [
        "MW0004 environment.yaml:1:19",
        "MW0010 environment.yaml:2:17",
        "MW0008 environment.yaml:3:1",
        "MW0004 profiles/relay.yaml:4:11",
    ];
    assert_eq!(found[..4], expected, "{found:?}");
    assert!(!found.iter().any(|problem| problem.contains("12:26") || problem.contains("3:11")), "{found:?}");
    // Nor does it hide what other files say, whatever is wrong with it.
    for broken in
        ["provider: [\n", "<<: {}\n", "extends: nowhere\n", "", "extends: no\n", "abstract: yes\n", "companies: 7\n"]
    {
        let file = if broken.starts_with(['p', '<']) { "profiles/other.yaml" } else { "environment.yaml" };
        let repo = TestRepository::small();
        repo.write(&format!("environments/dev/{file}"), broken);
        repo.write("environments/dev/profiles/relay.yaml", with("enabeld: true"));
        let found = problems(&repo);
        assert_eq!(found.len(), 2, "{broken:?}: {found:?}");
        assert!(found.contains(&"MW0008 profiles/relay.yaml:8:1".to_owned()), "{broken:?}: {found:?}");
    }
}

#[test]
fn one_problem_is_reported_once_and_without_consequences() {
    for (line, instead, code) in [
        ("host: smtp.example.com", "host: smtp.example.com\n    encryption: tsl\n    port: 465", "MW0007"),
        ("host: smtp.example.com", "host: 0x1F", "MW0004"),
        ("host: smtp.example.com", "host:", "MW0004"),
        ("host: smtp.example.com", "hots: smtp.example.com", "MW0008 MW0009"),
        ("host: smtp.example.com", "host: ${unknown}\n    username: x\n    password: { secret: 7 }", "MW0022 MW0030"),
        ("host: smtp.example.com", "host: a.example\n    username: erp\n    password: hunter2", "MW0030"),
        ("  address: erp@example.com", "  address: [erp]", "MW0010"),
        ("  address: erp@example.com", "  name: ERP", "MW0009"),
        ("functions: [default]", "functions: [dflt]", "MW0007"),
        ("functions: [default]", "functions: []", "MW0011"),
        ("functions: [default]", "functions: [default, default]", "MW0011"),
        ("functions: [default]", "functions: [default]\nenabled: maybe", "MW0010"),
        ("appliesTo: system-wide", "appliesTo: systemwide", "MW0007"),
        ("appliesTo: system-wide", "appliesTo: { companies: [edu1] }", "MW0011"),
        ("appliesTo: system-wide", "appliesTo: { companies: [no] }", "MW0004"),
        (
            "provider:\n  smtp:",
            "provider:\n  microsoft-graph-direct: { tenant: a.example }\n  smtp:",
            "MW0009 MW0009 MW0011",
        ),
        ("provider:\n  smtp:", "provider:\n  mail:", "MW0008"),
    ] {
        let text = SMALL_PROFILE.replace(line, instead);
        assert_ne!(text, SMALL_PROFILE);
        let found = profile(&text);
        let mut codes: Vec<&str> = found.iter().map(|problem| &problem[..6]).collect();
        codes.sort_unstable();
        assert_eq!(codes.join(" "), code, "{instead}: {found:?}");
    }
}

#[test]
fn a_problem_that_a_variable_brings_says_where_the_variable_is_set() {
    let repo = TestRepository::examples();
    let text = repo.read("environments/dev/environment.yaml");
    let line = 1 + text.lines().position(|line| line.contains("relayPort:")).unwrap();
    repo.write("environments/dev/environment.yaml", text.replace("relayPort: 8487", "relayPort: abc"));
    let output = repo.run(&["validate", "dev", "--color", "never"]).code(1);
    let note = format!("`relayPort` is set at environments/dev/environment.yaml:{line}:14.");
    assert!(output.stdout.contains(&note), "{}", output.stdout);
}

#[test]
fn of_two_that_claim_the_same_the_one_that_was_laid_over_is_pointed_at() {
    let repo = TestRepository::small();
    repo.write("environments/base/environment.yaml", "abstract: true\n");
    repo.write("environments/base/profiles/zebra.yaml", SMALL_PROFILE);
    repo.remove("environments/dev/profiles/relay.yaml");
    repo.write("environments/dev/profiles/ant.yaml", SMALL_PROFILE);
    repo.write("environments/dev/environment.yaml", "extends: base\ncompanies: [EDU1]\n");
    assert_eq!(problems(&repo), ["MW0104 profiles/ant.yaml:6:13"]);
}

#[test]
fn keys_tokens_and_masks_in_ordinary_texts() {
    let key = "-----BEGIN PRIVATE KEY-----";
    for (text, code) in [
        (format!("\"{key}\""), "MW0033"),
        ("AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQ".to_owned(), "MW0033"),
        ("kX8~Q7abcD.9zPq2LmN4rStU6vWxYz1A".to_owned(), "MW0033"),
        ("\"use kX8~Q7abcD.9zPq2LmN4rStU6vWxYz1A here\"".to_owned(), "MW0033"),
        ("\"*****\"".to_owned(), "MW0032"),
        ("\"[masked]\"".to_owned(), "MW0032"),
        ("(sensitive value)".to_owned(), "MW0032"),
    ] {
        assert_eq!(
            profile(with(&format!("description: {text}"))),
            [format!("{code} profiles/relay.yaml:8:14")],
            "{text}"
        );
    }
    for fine in [
        "Relay for EDU1 and EDU2, see https://wiki.example.com/Mail/Relay2026SetupGuide",
        "11111111-2222-3333-4444-555555555555",
        "InternationalDocumentsDepartment",
    ] {
        assert_eq!(profile(with(&format!("description: \"{fine}\""))), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn the_spot_is_underlined_where_it_is_and_only_secrets_are_masked() {
    let underlined = |text: &str| {
        let repo = TestRepository::small();
        repo.write("environments/dev/profiles/relay.yaml", text);
        let report = repo.run(&["validate", "--format", "json"]).code(1).json();
        let excerpt = &report["diagnostics"][0]["excerpt"];
        let line = excerpt["text"].as_str().unwrap().to_owned();
        let number = |key: &str| usize::try_from(excerpt[key].as_u64().unwrap()).unwrap();
        let (from, to) = (number("from"), number("to"));
        let spot: String = line.chars().skip(from).take(to - from).collect();
        (line, spot)
    };
    let rest = "from: { address: erp@example.com }\nfunctions: [default]\nappliesTo: system-wide\n";
    let (line, spot) = underlined(&format!(
        "provider:\n  microsoft-graph-direct:\n    tenant: contoso.com\n    client: contoso\n    credential: {{ clientSecret: {{ secret: a/b }} }}\n{rest}"
    ));
    assert_eq!((line.as_str(), spot.as_str()), ("    client: contoso", "contoso"));
    let (line, spot) =
        underlined(&format!("provider: {{ smtp: {{ password: hunter2, host: a.example, prot: 25 }} }}\n{rest}"));
    assert_eq!(line, "provider: { smtp: { password: *****, host: a.example, prot: 25 } }");
    assert!(["*****", "prot"].contains(&spot.as_str()), "{spot}");
    // A value whose end is not certain is masked to the end of the line.
    for secret in ["hunter2, horse", "hunter2} horse", "hunter2 # horse", "\"hunter2, horse: x\""] {
        let (line, _) =
            underlined(&format!("provider: {{ smtp: {{ prot: 25, password: {secret}, host: a }} }}\n{rest}"));
        assert!(!line.contains("hunter2") && !line.contains("horse"), "{line}");
    }
}

#[test]
fn layers_and_variables() {
    let repo = TestRepository::small();
    let said = |environment: &str| {
        repo.write("environments/dev/environment.yaml", environment);
        problems(&repo)
    };
    assert_eq!(said("extends: bsae\ncompanies: [EDU1]\n"), ["MW0020 environment.yaml:1:10"]);
    repo.write("environments/base/environment.yaml", "abstract: true\nextends: dev\n");
    assert_eq!(
        said("extends: base\ncompanies: [EDU1]\n"),
        ["MW0021 environments/base/environment.yaml:2:10", "MW0021 environment.yaml:1:10"]
    );
    repo.write(
        "environments/base/environment.yaml",
        "abstract: true\nvariables: { host: smtp.example.com, port: 2525 }\n",
    );
    repo.write(
        "environments/dev/profiles/relay.yaml",
        SMALL_PROFILE.replace("smtp.example.com", "\"${hots}.x$${y}\"\n    port: ${port}"),
    );
    assert_eq!(said("extends: base\ncompanies: [EDU1]\n"), ["MW0022 profiles/relay.yaml:3:11"]);
    repo.write(
        "environments/dev/profiles/relay.yaml",
        SMALL_PROFILE
            .replace("smtp.example.com", "${host}\n    port: ${port}")
            .replace("[default]", "[default]\ndescription: \"costs $${5}, ${ port}\""),
    );
    assert_eq!(said("extends: base\ncompanies: [EDU1]\n"), ["MW0023 profiles/relay.yaml:8:14"]);
    repo.write(
        "environments/dev/profiles/relay.yaml",
        SMALL_PROFILE
            .replace("smtp.example.com", "${host}\n    port: ${port}")
            .replace("[default]", "[default]\ndescription: costs $${5}"),
    );
    assert_eq!(said("extends: base\ncompanies: [EDU1]\n"), Vec::<String>::new());
    assert_eq!(
        said("extends: base\ncompanies: [EDU1]\nvariables: { host: \"x${port}\" }\n")[0],
        "MW0023 environment.yaml:3:20"
    );
    let wrong = repo.run(&["plan", "base"]).code(1);
    assert!(wrong.stderr.contains("MW0025"), "{}", wrong.stderr);
    assert!(repo.run(&["validate", "deb"]).code(1).stderr.contains("Did you mean `dev`?"));
}

#[test]
fn an_inherited_problem_is_reported_once_and_partial_layers_may_be_incomplete() {
    let repo = TestRepository::small();
    repo.write("environments/base/environment.yaml", "abstract: true\n");
    repo.write("environments/base/profiles/half.yaml", "provider: { smtp: { host: \"${later}\", prot: 25 } }\n");
    repo.write(
        "environments/dev/environment.yaml",
        "extends: base\ncompanies: [EDU1]\nvariables: { later: a.example }\n",
    );
    repo.write("environments/two/environment.yaml", "extends: dev\n");
    let found = problems(&repo);
    assert_eq!(found.iter().filter(|problem| problem.contains("half.yaml:1:39")).count(), 1, "{found:?}");
}

#[test]
fn rules_are_pointed_at_the_value_that_breaks_them() {
    assert_eq!(profile(SMALL_PROFILE.replace("erp@example.com", "no-address")), ["MW0110 profiles/relay.yaml:5:12"]);
    assert_eq!(
        profile(SMALL_PROFILE.replace("system-wide", "{ companies: [EDU1, EDU7] }")),
        ["MW0105 profiles/relay.yaml:7:32"]
    );
    // One missing sender is one problem, however many functions it leaves without.
    assert_eq!(profile(SMALL_PROFILE.replace("[default]", "[all-reports]")), ["MW0108 environment.yaml:1:1"]);
    assert_eq!(
        profile(SMALL_PROFILE.replace("from:\n  address: erp@example.com\n", "")),
        ["MW0103 profiles/relay.yaml:1:1"]
    );
    assert_eq!(
        profile(SMALL_PROFILE.replace(
            "host: smtp.example.com",
            "host: smtp.example.com\n    username: erp\n    password: { secret: a/b }"
        )),
        ["MW0031 profiles/relay.yaml:5:25"]
    );
    assert_eq!(
        profile(SMALL_PROFILE.replace("provider:\n  smtp:\n    host: smtp.example.com\n", "")),
        ["MW0009 profiles/relay.yaml:1:1"]
    );
    assert_eq!(profile(with(&format!("description: {}", "x ".repeat(60)))), ["MW0017 profiles/relay.yaml:8:14"]);
    let repo = TestRepository::small();
    repo.write("environments/dev/profiles/second.yaml", SMALL_PROFILE);
    assert_eq!(problems(&repo), ["MW0104 profiles/second.yaml:6:13"]);
    repo.write("environments/dev/profiles/second.yaml", format!("enabled: false\nrenamedFrom: relay\n{SMALL_PROFILE}"));
    assert_eq!(problems(&repo), ["MW0113 profiles/second.yaml:2:14"]);
}

#[test]
fn reports_for_machines() {
    let repo = TestRepository::small();
    repo.write("environments/dev/profiles/relay.yaml", SMALL_PROFILE.replace("[default]", "[defualt]"));
    let github = repo.run(&["validate", "--format", "github"]).code(1).stdout;
    assert!(github.starts_with("::error file=environments/dev/profiles/relay.yaml,line=6,col=13,endColumn=20,title=MW0007 unknown value::unknown function. Did you mean `default`?\n"), "{github}");
    let sarif = repo.run(&["validate", "--format", "sarif"]).code(1).json();
    assert_eq!(sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"], 6);
    assert_eq!(sarif["runs"][0]["tool"]["driver"]["rules"][0]["id"], "MW0007");
}

/// Names that no file may have where Windows is to check the repository out.
#[test]
fn names_that_windows_reserves_are_refused_wherever_a_name_is_that_of_a_file() {
    let profile = |name: &str| ("profile", format!("environments/dev/profiles/{name}.yaml"), "null\n");
    let environment = |name: &str| ("environment", format!("environments/{name}/environment.yaml"), "abstract: true\n");
    let rollout = |name: &str| ("rollout", format!("rollouts/{name}.yaml"), "waves: []\n");
    for name in ["CON", "nul", "Aux.old", "com1", "LPT9", "prn.tar.gz", "com0"] {
        for (kind, path, text) in [profile(name), environment(name), rollout(name)] {
            let repo = TestRepository::small();
            repo.write(&path, text);
            let output = repo.run(&["validate"]).code(1);
            let shown = format!("{}{}", output.stdout, output.stderr);
            assert!(shown.contains("MW0106") && shown.contains("Windows reserves"), "{kind} {name}: {shown}");
        }
        let repo = TestRepository::small();
        for reference in [format!("{name}/password"), format!("relay/{name}")] {
            let login = format!("host: smtp.example.com\n    username: erp\n    password: {{ secret: {reference} }}");
            let text = SMALL_PROFILE.replace("host: smtp.example.com", &login);
            assert!(text.contains(&reference), "{text}");
            repo.write("environments/dev/profiles/relay.yaml", text);
            let output = repo.run(&["validate"]).code(1);
            assert!(output.stdout.contains("MW0106"), "{reference}: {}", output.stdout);
            let set = repo.pipe(&["secrets", "set", "dev", &reference], b"hunter2-hunter2").code(1);
            assert!(set.stderr.contains("MW0106"), "{reference}: {}", set.stderr);
        }
    }
    // Names that only resemble a reserved one are accepted.
    let repo = TestRepository::small();
    for name in ["console", "com10", "nul-1", "a.con"] {
        repo.write(&format!("environments/dev/profiles/{name}.yaml"), "null\n");
    }
    repo.run(&["validate"]).code(0);
}

/// Files of 1 MB in which some work could grow with the square of a size. Nothing here measures time: with such work,
/// this would not end before the runner gives up.
#[test]
fn the_work_for_a_file_grows_with_its_size_and_no_faster() {
    const SIZE: usize = 1_000_000;
    let fill = |unit: &str| unit.repeat(SIZE / unit.len());
    let numbered = |line: &dyn Fn(usize) -> String, count: usize| (0..count).map(line).collect::<String>();
    let profile = |functions: &str, companies: &str| {
        format!(
            "provider: {{ smtp: {{ host: smtp.example.com }} }}\nfrom: {{ address: erp@example.com }}\n\
             functions: [{functions}]\nappliesTo: {companies}\n"
        )
    };
    let small = |more: &str| format!("{SMALL_PROFILE}{more}\n");
    let companies = numbered(&|n| format!("{n:04X}, "), 19_000);
    let shapes: Vec<(&str, String)> = vec![
        ("one key", fill("k") + ": 1\n"),
        ("colons in a text", small(&format!("description: \"{}\"", fill("a: b= ")))),
        ("colons in braces", format!("{{{}}}", fill("a: 1, "))),
        ("keys of secrets", small(&format!("description: \"{}\"", fill("password: x, ")))),
        ("a secret", small(&format!("password: {}", fill("x")))),
        ("unknown keys on one line", format!("{{{}}}", numbered(&|n| format!("k{n}: 1, "), 19_000))),
        ("unknown keys", numbered(&|n| format!("pasword{n}: 1\n"), 19_000)),
        ("ambiguous values", numbered(&|n| format!("k{n}: yes\n"), 19_000)),
        ("one key again and again", numbered(&|_| "k: 1\n".to_owned(), 19_000)),
        ("open brackets", fill("[")),
        ("open braces", fill("{a: ")),
        ("brackets as deep as may be", "[".repeat(60) + &fill("a, ") + &"]".repeat(60)),
        ("aliases", format!("a: &a [1, 2]\n{}", numbered(&|n| format!("k{n}: *a\n"), 6000))),
        ("a quote that is not closed", format!("description: \"{}", fill("x\n "))),
        ("variables", small(&format!("description: \"{}\"", fill("${domain}")))),
        ("variables that do not end", small(&format!("description: \"{}\"", fill("${")))),
        ("unknown variables", small(&format!("x:\n{}", numbered(&|n| format!("  k{n}: \"${{no{n}}}\"\n"), 15_000)))),
        ("texts like keys", small(&format!("x:\n{}", fill("  - \"AbCdEfGh01234567IjKlMnOp89qRsTuV\"\n")))),
        ("unknown companies", profile("default", &format!("{{ companies: [{companies}] }}"))),
        ("unknown functions", profile(&numbered(&|n| format!("defaul{n}, "), 19_000), "system-wide")),
        ("comments", fill("#\n") + SMALL_PROFILE),
        ("lines that end in CR", fill("a: 1\r")),
    ];
    for (name, text) in shapes {
        for place in ["environments/dev/profiles/relay.yaml", "environments/dev/environment.yaml"] {
            let repo = TestRepository::small();
            repo.write("environments/dev/environment.yaml", "companies: [EDU1]\nvariables: { domain: example.com }\n");
            repo.write(place, &text);
            let output = repo.run(&["validate", "--format", "json"]);
            assert!(matches!(output.code, 0 | 1), "{name}: {}", output.stderr);
            let problems = output.json()["diagnostics"].as_array().unwrap().len();
            // Of each kind so many, and one that says that there are more.
            assert!(problems <= 4 * 101, "{name}: {problems} problems");
            assert!(output.stdout.len() < 400_000, "{name}: {} bytes", output.stdout.len());
        }
    }
}

#[test]
fn problems_beyond_the_limit_are_counted() {
    let repo = TestRepository::small();
    let keys: String = (0..150).map(|n| format!("k{n}: 1\n")).collect();
    repo.write("environments/dev/profiles/relay.yaml", format!("{SMALL_PROFILE}{keys}"));
    let report = repo.run(&["validate", "--format", "json"]).code(1).json();
    let count = |code: &str| report["diagnostics"].as_array().unwrap().iter().filter(|d| d["code"] == code).count();
    assert_eq!((count("MW0008"), count("MW0018")), (100, 1), "{report:#}");
    let ambiguous: String = (0..150).map(|n| format!("k{n}: yes\n")).collect();
    repo.write("environments/dev/profiles/relay.yaml", ambiguous);
    let text = repo.run(&["validate", "--format", "json"]).code(1).stdout;
    assert!(text.contains("MW0018") && text.matches("\"MW0004\"").count() <= 101, "{text}");
}

/// Every file that is read: as an editor or a shell of Windows may have saved it, it is read or refused by name.
#[test]
fn encodings_of_windows_are_read_or_named_at_every_door() {
    let wide = |text: &str, mark: bool| -> Vec<u8> {
        let mark = mark.then_some(0xfeff_u16);
        mark.into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    let crlf = |text: &str| text.replace('\n', "\r\n");
    let environment = "companies: [EDU1]\n";
    for (path, text) in [
        ("environments/dev/environment.yaml", environment),
        ("environments/dev/profiles/relay.yaml", SMALL_PROFILE),
        ("rollouts/all.yaml", "description: all\nwaves: [{ name: one, environments: [dev] }]\n"),
    ] {
        let repo = TestRepository::small();
        for bytes in [crlf(text).into_bytes(), format!("\u{feff}{}", crlf(text)).into_bytes()] {
            repo.write(path, bytes);
            repo.run(&["validate"]).code(0);
        }
        for (bytes, named) in [
            (wide(text, true), "the file is UTF-16\n"),
            (wide(text, false), "the file is UTF-16 without a byte order mark"),
            ([text.as_bytes(), b"# caf\xe9\n"].concat(), "Windows-1252"),
        ] {
            repo.write(path, bytes);
            let output = repo.run(&["validate"]).code(1);
            assert!(
                output.stdout.contains("MW0005") || output.stdout.contains(named.trim_end()),
                "{path}: {}",
                output.stdout
            );
            assert!(output.stdout.contains(named.trim_end()), "{path}: {}", output.stdout);
        }
    }
    // The recipients of secrets.
    let repo = TestRepository::small();
    let login = "host: smtp.example.com\n    username: erp\n    password: { secret: relay/password }";
    repo.write("environments/dev/profiles/relay.yaml", SMALL_PROFILE.replace("host: smtp.example.com", login));
    let recipients = include_str!("../../secrets/dev/recipients.txt");
    repo.write("secrets/dev/demo-identity.txt", include_str!("../../secrets/dev/demo-identity.txt"));
    for bytes in [crlf(recipients).into_bytes(), format!("\u{feff}{recipients}").into_bytes(), wide(recipients, true)] {
        repo.write("secrets/dev/recipients.txt", bytes);
        repo.pipe(&["secrets", "set", "dev", "relay/password"], b"a value of some length").code(0);
    }
    repo.write("secrets/dev/recipients.txt", wide(recipients, false));
    let output = repo.pipe(&["secrets", "set", "dev", "relay/password"], b"a value of some length").code(1);
    assert!(output.stderr.contains("it is UTF-16 without a byte order mark"), "{}", output.stderr);
    let output = repo.run(&["validate"]).code(1);
    assert!(output.stdout.contains("MW0035") && output.stdout.contains("UTF-16"), "{}", output.stdout);
    for (text, place) in [
        (format!("{recipients}\n\n  age1wrong\n"), "secrets/dev/recipients.txt:7:3"),
        ("# empty\n".to_owned(), "secrets/dev/recipients.txt:1:1"),
        (format!("{recipients}\nAGE-SECRET-KEY-1CANARY\n"), "secrets/dev/recipients.txt:6:1"),
    ] {
        repo.write("secrets/dev/recipients.txt", text);
        let output = repo.run(&["validate"]).code(1);
        assert!(output.stdout.contains("MW0035") && output.stdout.contains(place), "{place}: {}", output.stdout);
        assert!(!output.stdout.contains("CANARY"), "{}", output.stdout);
    }
    repo.write("secrets/dev/recipients.txt", recipients);
    // An age file that an editor saved.
    let sealed = std::fs::read_to_string(repo.path("secrets/dev/relay/password.age")).unwrap();
    for (bytes, named) in [
        (wide(&sealed, true), "it was saved as UTF-16"),
        (format!("\u{feff}{sealed}").into_bytes(), "it was saved as UTF-8 with a byte order mark"),
    ] {
        repo.write("secrets/dev/relay/password.age", bytes);
        let output = repo.run(&["validate"]).code(1);
        assert!(output.stdout.contains("MW0034") && output.stdout.contains(named), "{}", output.stdout);
    }
    // A variable out of a file with such line ends.
    let mut repo = TestRepository::small();
    repo.serve();
    let address = repo.service.as_ref().unwrap().address.clone();
    let mut command = repo.command(&["status", "dev"]);
    command.env("MAILWRIGHT_SERVICE", format!("{address}\r\n"));
    crate::support::repository::run_command(command).code(0);
}
