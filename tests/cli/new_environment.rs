//! `new environment`: a short file that reads back as what was asked for, nothing overwritten, nothing wrong left behind.

use crate::support::repository::TestRepository;
use serde_json::json;

/// A base that takes variables and a secret.
fn create_repo() -> TestRepository {
    let repo = TestRepository::empty();
    repo.write(
        "environments/base/environment.yaml",
        "abstract: true\ncompanies: [EDU1]\nvariables: { domain: example.com, port: 587, code: \"0123\" }\n",
    );
    repo.write(
        "environments/base/profiles/relay.yaml",
        "provider:\n  smtp:\n    host: ${host}\n    port: ${port}\n    username: erp\n    password: { secret: relay/password }\nfrom:\n  address: erp@${domain}\nfunctions: [default]\nappliesTo: system-wide\n",
    );
    repo
}

#[test]
fn it_writes_a_short_file_and_says_what_is_missing() {
    let repo = create_repo();
    let output = repo
        .run(&[
            "new",
            "environment",
            "acme",
            "--from",
            "base",
            "--set",
            "host=smtp.acme.example",
            "--set",
            "port=25",
            "--set",
            "code=42",
            "--label",
            "region=emea",
            "--label",
            "wave=2",
            "--company",
            "ACME",
            "--company",
            "10",
            "--service",
            "https://mail.acme.example",
        ])
        .code(0);
    assert_eq!(output.stdout, "wrote environments/acme/environment.yaml\n");
    assert_eq!(
        repo.read("environments/acme/environment.yaml"),
        "# yaml-language-server: $schema=../../schema/environment.schema.json\n\
         extends: base\ncompanies: [\"ACME\", \"10\"]\n\n\
         service:\n  address: \"https://mail.acme.example\"\n\n\
         labels:\n  region: emea\n  wave: \"2\"\n\n\
         variables:\n  code: \"42\"\n  host: smtp.acme.example\n  port: 25\n"
    );
    assert!(output.stderr.contains("mailwright secrets init acme"), "{}", output.stderr);
    assert!(output.stderr.contains("mailwright secrets set acme relay/password"), "{}", output.stderr);
    assert!(!output.stderr.contains("warning") && !output.stderr.contains("service:"), "{}", output.stderr);
    // As soon as the secret is there, the environment is whole.
    let recipient = age::x25519::Identity::generate().to_public().to_string();
    repo.run(&["secrets", "init", "acme", &recipient]).code(0);
    repo.pipe(&["secrets", "set", "acme", "relay/password"], b"pass").code(0);
    repo.run(&["validate", "acme"]).code(0);
}

#[test]
fn nothing_is_overwritten() {
    let repo = create_repo();
    let before = repo.read("environments/base/environment.yaml");
    for name in ["base", "Base"] {
        let output = repo.run(&["new", "environment", name, "--format", "json"]).code(1);
        assert_eq!(output.json()["error"]["code"], "MW0271");
    }
    assert_eq!(repo.read("environments/base/environment.yaml"), before);
    std::fs::create_dir(repo.path("environments/.x")).unwrap();
    repo.write("environments/taken", "");
    assert!(repo.run(&["new", "environment", "taken"]).code(1).stderr.contains("MW0271"));
}

#[test]
fn an_invalid_request_leaves_no_files() {
    let repo = create_repo();
    for (arguments, says) in [
        (&["../x"][..], "is not an environment's name"),
        (&["x", "--from", "bsae"], "Did you mean `base`?"),
        (&["x", "--from", "base", "--company", "too-long"], "is not a company id"),
        (&["x", "--from", "base", "--label", "a=b c"], "not a label's value"),
        (&["x", "--from", "base", "--label", "_a=b"], "the name of a label is not allowed"),
        (&["x", "--from", "base", "--set", "1a=b"], "the name of a variable is not allowed"),
        (&["x", "--from", "base", "--set", "host=${domain}"], "contains another variable"),
        (&["x", "--from", "base", "--set", "host=a", "--set", "host=b"], "given twice"),
        (&["x", "--from", "base", "--set", "host"], "NAME=VALUE"),
        (&["x", "--from", "base", "--set", "host=AKa9Xq2LmZ8vBn4Rt6Yw1Cd3"], "looks like a key"),
        (&["x", "--from", "base", "--service", "ftp://x"], "not the address of a service"),
    ] {
        let all: Vec<&str> = ["new", "environment"].into_iter().chain(arguments.iter().copied()).collect();
        let output = repo.run(&all).code(1);
        assert!(output.stderr.contains(says), "{arguments:?}: {}", output.stderr);
        assert!(!output.stderr.contains("AKa9"), "{}", output.stderr);
        assert!(output.stdout.is_empty() && !repo.path("environments/x").exists(), "{arguments:?}: {}", output.stdout);
    }
}

#[test]
fn a_variable_that_nothing_takes_is_a_warning() {
    let repo = create_repo();
    let output =
        repo.run(&["new", "environment", "a", "--from", "base", "--set", "hosst=a", "--set", "host=b"]).code(0);
    assert!(
        output.stderr.contains("warning[MW0272]: no layer defines or uses the variable `hosst`. Did you mean `host`?")
    );
    assert_eq!(output.stderr.matches("warning").count(), 1, "{}", output.stderr);
    // A variable that is used but not set is reported as missing.
    let output = repo.run(&["new", "environment", "b", "--from", "base", "--format", "json"]).code(0);
    let document = output.json();
    assert_eq!(document["problems"][0]["code"], "MW0022");
    assert_eq!(document["missing"], json!({ "secrets": ["relay/password"], "service": true }));
}

#[test]
fn texts_of_all_kinds_read_back_as_they_were() {
    let repo = create_repo();
    let values = [
        "yes",
        "null",
        "0123",
        "1e3",
        "0x1F",
        "12:30",
        "a: b",
        "# no",
        "- a",
        "\"quoted\"",
        "it's",
        "Ünï ☃",
        "a\\b",
        "{}",
        "*a",
        "&a",
        "@a",
        "`a`",
        "%a",
        "!a",
        "2026-01-01",
        "~",
        " spaced ",
        "tab\there",
    ];
    for (index, value) in values.iter().enumerate() {
        let name = format!("e{index}");
        let set = format!("text={value}");
        repo.run(&["new", "environment", &name, "--from", "base", "--set", &set, "--set", "host=h"]).code(0);
        let rendered = repo.run(&["render", &name, "--format", "json"]).json();
        assert_eq!(rendered["value"]["variables"]["text"], *value);
    }
    for (text, value) in [("5", json!(5)), ("true", json!(true)), ("1.5", json!(1.5))] {
        let name = format!("n{}", text.replace('.', "-"));
        repo.run(&["new", "environment", &name, "--set", &format!("n={text}")]).code(0);
        assert_eq!(repo.run(&["render", &name, "--format", "json"]).json()["value"]["variables"]["n"], value);
    }
}

#[test]
fn a_dry_run_prints_the_file() {
    let repo = create_repo();
    let output = repo.run(&["new", "environment", "a", "--from", "base", "--dry-run"]).code(0);
    assert!(output.stdout.ends_with("extends: base\n"), "{}", output.stdout);
    assert!(!repo.path("environments/a").exists());
}

const CUSTOMERS: &str = "\u{feff}Name;companies;Service;host;port;label:region;set:motto;description\r\n\
    acme;ACME,10;https://mail.acme.example;smtp.acme.example;25;emea;\"we; ship\";The first\r\n\
    bolt;;;smtp.bolt.example;;;;\r\n\
    ;;;;;;;\r\n\
    cork;CORK;https://mail.cork.example;0123;;apac;;\r\n";

#[test]
fn a_list_makes_all_of_them() {
    let repo = create_repo();
    repo.write("customers.csv", CUSTOMERS);
    let all = ["new", "environment", "--from", "base", "--from-csv", "customers.csv", "--label", "region=none"];
    let dry = repo.run(&[&all[..], &["--dry-run"]].concat()).code(0);
    assert!(dry.stdout.contains("# environments/bolt/environment.yaml\n# yaml-language-server"), "{}", dry.stdout);
    assert!(!repo.path("environments/acme").exists());
    let output = repo.run(&all).code(0);
    assert_eq!(
        output.stdout,
        "wrote environments/acme/environment.yaml\nwrote environments/bolt/environment.yaml\nwrote environments/cork/environment.yaml\n"
    );
    assert_eq!(output.stderr.matches("warning").count(), 1, "{}", output.stderr);
    assert!(
        output.stderr.contains("secrets of acme, bolt, cork") && output.stderr.contains("in bolt\n"),
        "{}",
        output.stderr
    );
    // The commands are complete.
    for command in [
        "mailwright secrets init '*' --from-service \"$(mailwright secrets keygen)\"\n",
        "mailwright secrets set '*' relay/password\n",
        "mailwright validate && mailwright plan '*'\n",
    ] {
        assert!(output.stderr.contains(command), "{}", output.stderr);
    }
    // Just what a line by itself would have made.
    assert_eq!(
        repo.read("environments/acme/environment.yaml"),
        "# yaml-language-server: $schema=../../schema/environment.schema.json\n\
         description: \"The first\"\nextends: base\ncompanies: [\"ACME\", \"10\"]\n\n\
         service:\n  address: \"https://mail.acme.example\"\n\n\
         labels:\n  region: emea\n\n\
         variables:\n  host: smtp.acme.example\n  motto: \"we; ship\"\n  port: 25\n"
    );
    assert_eq!(
        repo.read("environments/bolt/environment.yaml"),
        "# yaml-language-server: $schema=../../schema/environment.schema.json\n\
         extends: base\n\nlabels:\n  region: none\n\nvariables:\n  host: smtp.bolt.example\n"
    );
    // A list that has grown is refused as long as it has what is there.
    let output = repo.run(&[&all[..], &["--format", "json"]].concat()).code(1);
    assert_eq!(output.json()["error"]["code"], "MW0237");
    repo.write("more.csv", "name,host,from\nduct,h.example,base\nedge,h.example,\n");
    let output = repo.run(&["new", "environment", "--from-csv", "more.csv", "--format", "json"]).code(0).json();
    assert_eq!(output["environments"]["duct"]["missing"], json!({ "secrets": ["relay/password"], "service": true }));
    assert_eq!((&output["environments"]["edge"]["line"], &output["dryRun"]), (&json!(3), &json!(false)));
    assert!(repo.read("environments/edge/environment.yaml").contains("description: \"The environment edge\""));
}

#[test]
fn all_of_a_list_or_none() {
    let repo = create_repo();
    let refused = |text: &str| {
        repo.write("list.csv", text);
        let output = repo.run(&["new", "environment", "--from", "base", "--from-csv", "list.csv"]).code(1);
        assert!(output.stderr.contains("error[MW0237]") && output.stdout.is_empty(), "{}", output.stderr);
        let there = std::fs::read_dir(repo.path("environments")).unwrap();
        assert_eq!(there.count(), 1, "only the base");
        output.stderr
    };
    // Every problem of every line in one run, each with the column that it comes from.
    let said = refused(
        "name,companies,label:region,host,service,port\n\
         good,ACME,emea,h.example,https://x.example,1\n\
         ../bad,ACME,emea,h.example,,1\n\
         BASE,ACME,emea,h.example,,1\n\
         worse,too-long,emea,h.example,,1\n",
    );
    for line in [
        "line 3, column `name`: this is not an environment's name",
        "line 4, column `name`: ",
        "line 5, column `companies`: ",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let said = refused(
        "name,label:region,host,service\na,b c,h.example,\nb,emea,AKa9Xq2LmZ8vBn4Rt6Yw1Cd3,\nc,emea,${domain},ftp://x\n",
    );
    for line in [
        "line 2, column `label:region`: ",
        "line 3, column `host`: ",
        "line 4, column `host`: ",
        "line 4, column `service`: ",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("AKa9"), "{said}");
    for (text, says) in [
        ("name,hosst\na,b\n", "line 1, column `hosst`: no layer defines or uses a variable `hosst`"),
        ("name,hosst\na,b\n", "Did you mean `host`? Write label:hosst"),
        ("name,smtp password\na,b\n", "holds secrets"),
        ("name,set:password\na,b\n", "holds secrets"),
        ("name,label:\na,b\n", "no name after the colon"),
        ("name,customer\na,b\n", "duplicates another one"),
        ("host\nb\n", "no column has the environments' names"),
        ("name,host\na,b\nA,c\n", "line 3, column `name`: the environment `A` is already in line 2"),
        ("name,host\n,b\n", "has no name"),
        ("name,host\na,b,c\n", "line 2: the line has 3 values"),
        ("name,from,host\na,bsae,b\n", "line 2, column `from`: the folder `environments/bsae` does not exist"),
        ("name,companies\na,;\n", "line 2, column `companies`: the cell has separators and names no company"),
        ("name,host\n", "the list has no environments"),
    ] {
        let said = refused(text);
        assert!(said.contains(says), "{says}: {said}");
    }
    // One or the other.
    assert_eq!(repo.run(&["new", "environment"]).code, 1);
    assert_eq!(repo.run(&["new", "environment", "x", "--from-csv", "list.csv"]).code, 1);
    assert!(repo.run(&["new", "environment", "--from-csv", "none.csv"]).code(1).stderr.contains("none.csv"));
}

#[test]
fn no_message_about_a_list_quotes_a_cell_that_can_be_a_secret() {
    let repo = create_repo();
    for value in ["hunter2!", "Tr0ub4dor&3", "AKa9Xq2LmZ8vBn4Rt6Yw1Cd3", "\u{1b}[2Jhunter2", "hun\u{202e}ter2"] {
        for (index, column) in ["name", "from", "companies", "label:region", "set:host"].into_iter().enumerate() {
            let mut cells = ["good", "base", "ACME", "emea", "h.example"];
            cells[index] = value;
            let list = format!("name,from,companies,label:region,set:host\n{}\n", cells.join(","));
            repo.write("list.csv", list);
            let output = repo.run(&["new", "environment", "--from-csv", "list.csv", "--dry-run", "--format", "json"]);
            let text = format!("{}{}", output.stdout, output.stderr);
            assert!(output.code == 1 && text.contains(&format!("column `{column}`")) || column == "set:host", "{text}");
            let shown = value.trim_start_matches("\u{1b}[2J");
            assert!(!text.contains(shown) && !text.contains('\u{202e}'), "{value:?} in {column}: {text}");
        }
        repo.write("list.csv", format!("name,from\n{value},base\n{value},base\n"));
        let text = repo.run(&["new", "environment", "--from-csv", "list.csv"]).code(1).stderr;
        assert!(text.contains("is already in line 2") && !text.contains(value), "{text}");
        // A list without a first line.
        repo.write("list.csv", format!("acme,{value},base\n"));
        let text = repo.run(&["new", "environment", "--from-csv", "list.csv"]).code(1).stderr;
        assert!(text.contains("column 2: unknown column") && !text.contains("ter2"), "{text}");
        assert!(!text.contains(value), "{text}");
    }
}

#[test]
fn hundreds_of_customers() {
    let repo = create_repo();
    let lines: String = (0..400).map(|n| format!("cust-{n:03},smtp{n}.example.com\n")).collect();
    repo.write("customers.csv", format!("name,host\n{lines}"));
    let output = repo.run(&["new", "environment", "--from", "base", "--from-csv", "customers.csv"]).code(0);
    assert!(
        output.stderr.contains("cust-004 and 395 more")
            && output.stderr.contains("400 environments created")
            && output.stderr.contains("mailwright plan 'cust-*'\n"),
        "{}",
        output.stderr
    );
    let rendered = repo.run(&["render", "cust-399", "relay", "--format", "json"]).json();
    assert_eq!(rendered["value"]["provider"]["smtp"]["host"], "smtp399.example.com", "{rendered:#}");
}
