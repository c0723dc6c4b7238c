//! `mailwright blame`: which generation set each field, from the service's own memory.

use serde_json::{Value, json};

use super::{commit, edit, git, layered, provenance::applied};

#[test]
fn each_field_with_the_generation_that_set_it() {
    let mut trial = layered();
    trial.serve();
    let first = git(&trial, &["rev-parse", "HEAD"]);
    applied(&trial, &[]);
    edit(&trial, "environments/base/profiles/reports.yaml", "smtp.example.com", "two.example.com");
    let second = commit(&trial, "two");
    applied(&trial, &[]);
    trial.patch("reports", &json!({ "description": "by hand" }));
    // There and back: the value is that of the first generation, and was set by the last.
    edit(&trial, "environments/base/profiles/reports.yaml", "[all-reports]", "[all-documents]");
    trial.write("environments/dev/profiles/reports.yaml", "description: by hand\n");
    commit(&trial, "three");
    applied(&trial, &[]);
    edit(&trial, "environments/base/profiles/reports.yaml", "[all-documents]", "[all-reports]");
    let fifth = commit(&trial, "four");
    applied(&trial, &[]);

    let document = trial.run(&["blame", "dev", "reports", "--format", "json"]).code(0).json();
    let field = |path: &str| {
        let fields = document["fields"].as_array().unwrap();
        fields.iter().find(|field| field["path"] == path).unwrap_or_else(|| panic!("{path}: {document:#}")).clone()
    };
    let set_by = |path: &str| field(path)["generation"]["number"].clone();
    let commit_of = |path: &str| field(path)["generation"]["provenance"]["commit"].clone();
    assert_eq!((set_by("from.address"), commit_of("from.address")), (json!(1), json!(first)));
    assert_eq!((set_by("provider.smtp.host"), commit_of("provider.smtp.host")), (json!(2), json!(second)));
    assert_eq!((set_by("description"), commit_of("description")), (json!(3), Value::Null), "by hand: no commit");
    assert_eq!((set_by("functions"), commit_of("functions")), (json!(5), json!(fifth)));
    assert_eq!(field("provider.smtp.host")["place"], "environments/base/profiles/reports.yaml:3:11");
    assert_eq!(field("description")["place"], "environments/dev/profiles/reports.yaml:1:14");

    let text = trial.run(&["blame", "dev", "reports"]).code(0).stdout;
    let line = text.lines().find(|line| line.starts_with("description")).unwrap();
    assert!(line.contains("3 (manual)"), "{text}");
    let line = text.lines().find(|line| line.starts_with("provider.smtp.host")).unwrap();
    assert!(line.contains(&second[..12]) && line.contains("Ada Example"), "{text}");

    let ran = trial.run(&["blame", "dev", "reports", "--limit", "2"]).code(0);
    assert!(ran.stdout.contains("before 4") && ran.stderr.contains("--limit 20"), "{}{}", ran.stdout, ran.stderr);
    let ran = trial.run(&["blame", "dev", "report"]).code(1);
    assert!(ran.stderr.contains("MW0214"), "{}", ran.stderr);
}

#[test]
fn through_a_rename() {
    let mut trial = layered();
    trial.serve();
    applied(&trial, &[]);
    let text = trial.read("environments/base/profiles/reports.yaml");
    trial.remove("environments/base/profiles/reports.yaml");
    trial.write("environments/base/profiles/reporting.yaml", text.replace("smtp.example.com", "two.example.com"));
    trial.write("environments/dev/profiles/reporting.yaml", "renamedFrom: reports\n");
    commit(&trial, "renamed");
    applied(&trial, &[]);
    let ran = trial.run(&["blame", "dev", "reporting", "--format", "json"]).code(0).json();
    let numbers: Vec<_> =
        ran["fields"].as_array().unwrap().iter().map(|f| (&f["path"], &f["generation"]["number"])).collect();
    assert!(numbers.contains(&(&json!("provider.smtp.host"), &json!(2))), "{numbers:?}");
    assert!(numbers.contains(&(&json!("from.address"), &json!(1))), "{numbers:?}");
    assert_eq!(ran["renamed"], json!([{ "generation": 2, "from": "reports" }]));
}
