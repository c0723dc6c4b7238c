//! A profile is made in a browser: form, plan, apply, and a password that is encrypted before it leaves the page.

use serde_json::json;

use crate::support::{browser::run_script, repository::TestRepository};

const CANARY: &str = "Canary-Browser-q3Yb70Lk";

#[test]
fn a_password_leaves_the_form_as_an_age_file() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let address = repo.address().replace("127.0.0.1", "localhost");
    let result = run_script("profile_form.mjs", &json!({ "address": address, "token": repo.token(), "value": CANARY }));
    assert_eq!(result["hidden"], json!([false, false, false]), "{result:#}");
    assert_eq!(result["offered"], true);
    assert_eq!(result["oauth"], json!([true, true, false]), "{result:#}");
    assert!(result["plan"].as_str().unwrap().contains("new secret"), "{result:#}");
    assert!(result["profile"].as_str().unwrap().contains("invoices/password"), "{result:#}");
    for empty in ["violations", "errors", "axe"] {
        assert_eq!(result[empty], json!([]), "{empty}: {result:#}");
    }
    let everything = result.to_string();
    assert!(everything.contains("BEGIN+AGE+ENCRYPTED+FILE"), "{everything}");
    assert!(!everything.contains(CANARY) && !repo.service_log().contains(CANARY), "{everything}");
    let state = repo.state();
    let live = &state["profiles"]["invoices"]["live"]["profile"];
    assert_eq!(live["provider"]["smtp"]["password"]["secret"], "invoices/password");
    assert_eq!(live["provider"]["smtp"]["username"], "erp");
}
