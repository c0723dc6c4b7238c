//! The checks of pages find what they are for: pages with one fault each, and a sound page.

use serde_json::json;

use crate::support::browser::run_script;

#[test]
fn each_fault_of_a_page_is_found_and_a_sound_page_has_none() {
    let problems = run_script("browser_faults.mjs", &json!({}));
    let found = |page: &str| -> Vec<&str> {
        problems[page].as_array().unwrap().iter().map(|problem| problem.as_str().unwrap()).collect()
    };
    assert_eq!(found("sound"), Vec::<&str>::new());
    for (page, expected) in [
        ("label", "light: label: input: "),
        ("label", "dark: label: input: "),
        ("pale", "dark: color-contrast: p: "),
        ("wide", "narrow: the page is "),
        ("unmarked", "light: focus is not seen on a \"Another page\""),
        ("trap", "light: focus stays on input#trap"),
        ("unreachable", "light: the Tab key does not reach a#after"),
        ("unreachable", "light: the first link does not lead to the contents"),
        ("inline", "light: policy: script-src-elem: inline on /inline"),
        ("throws", "light: console: Error: a fault of the script"),
        ("missing", "light: console: Failed to load resource"),
        ("button", "plain: a button without a form: "),
        ("button", "plain: a form without a button: "),
        ("nowhere", "light: the status is 404"),
        ("nowhere", "plain: the status is 404"),
    ] {
        assert!(found(page).iter().any(|problem| problem.starts_with(expected)), "{page}: {expected}:\n{problems:#}");
    }
    assert!(!found("pale").iter().any(|problem| problem.starts_with("light")), "{problems:#}");
}
