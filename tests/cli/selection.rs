//! Selection of environments by pattern or selector.

use crate::support::repository::TestRepository;
use mailwright::config::{Repository, Selection};

/// An abstract layer, and five environments that extend it.
fn create_repo() -> TestRepository {
    let repo = TestRepository::empty();
    repo.write(
        "environments/base/environment.yaml",
        "abstract: true\nvariables: { area: emea }\nlabels: { region: '${area}' }\n",
    );
    for (name, rest) in [
        ("prod-1", "labels: { wave: canary }"),
        ("prod-2", "labels: { wave: '2' }"),
        ("prod-3", "variables: { area: apac }"),
        ("test-1", "labels: { region: null }"),
        ("test-2", "labels: { wave: '2', frozen: 'yes' }"),
    ] {
        repo.write(&format!("environments/{name}/environment.yaml"), format!("extends: base\n{rest}\n"));
    }
    repo
}

fn select(patterns: &[&str], selectors: &[&str]) -> Result<Vec<String>, String> {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let repo = create_repo();
    let repository = Repository::open(repo.folder.path()).unwrap();
    Selection::parse(&owned(patterns), &owned(selectors))
        .and_then(|selection| repository.select(&selection))
        .map(|names| names.iter().map(ToString::to_string).collect())
        .map_err(|error| format!("{} {}. {}", error.code, error.message, error.remedy))
}

fn selected(patterns: &[&str], selectors: &[&str]) -> String {
    select(patterns, selectors).unwrap_or_else(|error| panic!("{error}")).join(" ")
}

#[test]
fn names_and_patterns() {
    assert_eq!(selected(&[], &[]), "base prod-1 prod-2 prod-3 test-1 test-2");
    assert_eq!(selected(&["base"], &[]), "base");
    assert_eq!(selected(&["*"], &[]), "prod-1 prod-2 prod-3 test-1 test-2");
    assert_eq!(selected(&["test-*", "prod-[12]", "prod-1"], &[]), "prod-1 prod-2 test-1 test-2");
    assert_eq!(selected(&["{prod,test}-1"], &[]), "prod-1 test-1");
}

#[test]
fn labels() {
    assert_eq!(selected(&[], &["region=emea"]), "prod-1 prod-2 test-2");
    assert_eq!(selected(&[], &["region==emea,wave"]), "prod-1 prod-2 test-2");
    assert_eq!(selected(&[], &["region!=emea"]), "prod-3 test-1");
    assert_eq!(selected(&[], &["wave in (canary, 2)", "!frozen"]), "prod-1 prod-2");
    assert_eq!(selected(&[], &["wave notin (canary,2),region"]), "prod-3");
    assert_eq!(selected(&["prod-*"], &["wave=2"]), "prod-2");
}

#[test]
fn a_selection_that_selects_nothing_is_an_error() {
    let error = |patterns: &[&str], selectors: &[&str]| select(patterns, selectors).unwrap_err();
    assert_eq!(error(&["prod1"], &[]), "MW0024 unknown environment `prod1`. Did you mean `prod-1`?");
    assert_eq!(
        error(&["prod-1", "qa-*"], &[]),
        "MW0024 no environment's name matches `qa-*`. There are: base, prod-1, prod-2, prod-3, test-1, test-2."
    );
    assert!(
        error(&["b*"], &[]).starts_with("MW0024 no environment's name matches `b*`"),
        "abstract layers do not count"
    );
    assert!(error(&[], &["region=mars"]).starts_with("MW0024 no environment has the labels `region=mars`"));
    for wrong in ["", "a=", "=b", "a in b", "a in ()", "a in (b", "a b", "!", "a=b c", "a,,b"] {
        assert!(error(&[], &[wrong]).starts_with("MW0255 "), "{wrong}");
    }
    assert!(error(&["prod-["], &[]).starts_with("MW0255 `prod-[` is not a pattern"));
}

#[test]
fn labels_are_checked() {
    let repo = create_repo();
    repo.write("environments/prod-1/environment.yaml", "extends: base\nlabels: { wave: 1, 'a b': c, d: '-' }\n");
    let report = repo.run(&["validate", "prod-1", "--format", "json"]).code(1).json();
    let mut places: Vec<_> =
        report["diagnostics"].as_array().unwrap().iter().map(|d| d["column"].as_u64().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, [9, 17, 33], "{report:#}");
}
