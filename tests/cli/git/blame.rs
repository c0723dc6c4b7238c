//! `mailwright blame`: which generation set each field, from the service's own memory.

use serde_json::{Value, json};

use super::{commit, edit, git, layered, provenance::applied};

#[test]
fn each_field_with_the_generation_that_set_it() {
    let mut repo = layered();
    repo.serve();
    let first = git(&repo, &["rev-parse", "HEAD"]);
    applied(&repo, &[]);
    edit(&repo, "environments/base/profiles/reports.yaml", "smtp.example.com", "two.example.com");
    let second = commit(&repo, "two");
    applied(&repo, &[]);
    repo.patch("reports", &json!({ "description": "by hand" }));
    // There and back: the value is that of the first generation, and was set by the last.
    edit(&repo, "environments/base/profiles/reports.yaml", "[all-reports]", "[all-documents]");
    repo.write("environments/dev/profiles/reports.yaml", "description: by hand\n");
    commit(&repo, "three");
    applied(&repo, &[]);
    edit(&repo, "environments/base/profiles/reports.yaml", "[all-documents]", "[all-reports]");
    let fifth = commit(&repo, "four");
    applied(&repo, &[]);

    let document = repo.run(&["blame", "dev", "reports", "--format", "json"]).code(0).json();
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

    let text = repo.run(&["blame", "dev", "reports"]).code(0).stdout;
    let line = text.lines().find(|line| line.starts_with("description")).unwrap();
    assert!(line.contains("3 (manual)"), "{text}");
    let line = text.lines().find(|line| line.starts_with("provider.smtp.host")).unwrap();
    assert!(line.contains(&second[..12]) && line.contains("Ada Example"), "{text}");

    let output = repo.run(&["blame", "dev", "reports", "--limit", "2"]).code(0);
    assert!(
        output.stdout.contains("before 4") && output.stderr.contains("--limit 20"),
        "{}{}",
        output.stdout,
        output.stderr
    );
    let output = repo.run(&["blame", "dev", "report"]).code(1);
    assert!(output.stderr.contains("MW0214"), "{}", output.stderr);
}

#[test]
fn through_a_rename() {
    let mut repo = layered();
    repo.serve();
    applied(&repo, &[]);
    let text = repo.read("environments/base/profiles/reports.yaml");
    repo.remove("environments/base/profiles/reports.yaml");
    repo.write("environments/base/profiles/reporting.yaml", text.replace("smtp.example.com", "two.example.com"));
    repo.write("environments/dev/profiles/reporting.yaml", "renamedFrom: reports\n");
    commit(&repo, "renamed");
    applied(&repo, &[]);
    let output = repo.run(&["blame", "dev", "reporting", "--format", "json"]).code(0).json();
    let numbers: Vec<_> =
        output["fields"].as_array().unwrap().iter().map(|f| (&f["path"], &f["generation"]["number"])).collect();
    assert!(numbers.contains(&(&json!("provider.smtp.host"), &json!(2))), "{numbers:?}");
    assert!(numbers.contains(&(&json!("from.address"), &json!(1))), "{numbers:?}");
    assert_eq!(output["renamed"], json!([{ "generation": 2, "from": "reports" }]));
}
