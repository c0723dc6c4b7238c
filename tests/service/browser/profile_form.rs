//! A profile is made in a browser: form, plan, patch, apply, and a password that is encrypted before it leaves the page, for the
//! service and for the operators.

use std::{fs, process::Command};

use mailwright::secrets::ServiceIdentity;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::{
    console::{assert_plan_is_empty, commit_files, git},
    support::{browser::run_script, repository::TestRepository, tools::tool},
};

const CANARY: &str = "Canary-Browser-q3Yb70Lk";
/// A recipient of a plugin, which a browser cannot encrypt to.
const PLUGIN: &str = "age1yubikey1q2w7u3vpya839jxxuq8g0sedh3d740d4xvn639sqhr95ejj8vu3hyfumptt";

fn make_profile(repo: &TestRepository, screenshot: &str) -> Value {
    let address = repo.address().replace("127.0.0.1", "localhost");
    let given = json!({ "address": address, "token": repo.token(), "value": CANARY, "screenshot": screenshot });
    let result = run_script("profile_form.mjs", &given);
    assert_eq!(result["hidden"], json!([false, false, false]), "{result:#}");
    assert_eq!(result["offered"], true);
    assert_eq!(result["oauth"], json!([true, true, false]), "{result:#}");
    assert!(result["plan"].as_str().unwrap().contains("new secret"), "{result:#}");
    assert!(result["profile"].as_str().unwrap().contains("invoices/password"), "{result:#}");
    for empty in ["violations", "errors", "axe", "form"] {
        assert_eq!(result[empty], json!([]), "{empty}: {result:#}");
    }
    let everything = result.to_string();
    assert!(everything.contains("BEGIN+AGE+ENCRYPTED+FILE"), "{everything}");
    assert!(!everything.contains(CANARY) && !repo.service_log().contains(CANARY), "{everything}");
    let state = repo.state();
    let live = &state["profiles"]["invoices"]["live"]["profile"];
    assert_eq!(live["provider"]["smtp"]["password"]["secret"], "invoices/password");
    assert_eq!(live["provider"]["smtp"]["username"], "erp");
    result
}

#[test]
fn a_password_leaves_the_form_as_an_age_file() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let result = make_profile(&repo, "profile");
    assert_eq!(result["recipients"].as_array().map(Vec::len), Some(1), "the service alone: {result:#}");
}

/// From the browser to the file of an operator: the patch is what `secrets set` would have made.
#[test]
fn operators_open_what_the_browser_sealed() {
    let ann = ServiceIdentity::generate();
    let ssh = |name: &str| format!("{}/tests/fixtures/ssh/{name}", env!("CARGO_MANIFEST_DIR"));
    let [ed25519, rsa] = ["ed25519.pub", "rsa.pub"].map(|name| fs::read_to_string(ssh(name)).unwrap());
    let mut repo = TestRepository::small();
    repo.serve();
    let own = repo.http("GET", "/v1/service", &[], b"").json()["recipient"].as_str().unwrap().to_owned();
    repo.write("secrets/dev/demo-identity.txt", include_str!("../../../secrets/dev/demo-identity.txt"));
    let recipients =
        format!("# the service\n{own}\n\n# Ann Meyer\n{}\n\n# Bob\n{ed25519}\n# Carol\n{rsa}", ann.recipient());
    repo.write("secrets/dev/recipients.txt", recipients);
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    commit_files(&repo);
    let result = make_profile(&repo, "sealed-for-operators");
    let shown = result["recipients"].to_string();
    assert!(["this service", "Ann Meyer", "Bob", "Carol"].iter().all(|name| shown.contains(name)), "{shown}");
    let patch = result["patch"].as_str().unwrap();
    assert!(!patch.contains("Note:"), "{patch}");
    repo.write("one.patch", patch);
    git(&repo, &["am", "one.patch"]);
    repo.run(&["validate", "dev"]).code(0);
    let check = repo.run(&["secrets", "check", "dev"]).code(0);
    assert!(check.stdout.contains("0 errors, 0 warnings"), "{}", check.stdout);
    assert_plan_is_empty(&repo);
    // The age program, with the identity of each operator.
    repo.write("ann.txt", ann.to_operator_file().expose_secret());
    let file = repo.path("secrets/dev/invoices/password.age");
    for key in [repo.path("ann.txt"), ssh("ed25519").into(), ssh("rsa").into()] {
        let output = Command::new(tool("age")).arg("-d").arg("-i").arg(&key).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}: {}", key.display(), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stdout, CANARY.as_bytes(), "{}", key.display());
    }
    // An operator has left: the others encrypt it again, and the service has the same value.
    repo.write("secrets/dev/recipients.txt", format!("{own}\n\n# Ann Meyer\n{}\n", ann.recipient()));
    repo.run(&["secrets", "rekey", "dev", "--identity", "ann.txt"]).code(0);
    repo.run(&["secrets", "check", "dev"]).code(0);
    let plan = repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(plan.contains("(secret resealed, same value)"), "{plan}");
}

#[test]
fn an_operator_with_a_plugin_is_named_and_gets_the_secret_by_rekey() {
    let ann = ServiceIdentity::generate();
    let mut repo = TestRepository::small();
    repo.serve();
    let own = repo.http("GET", "/v1/service", &[], b"").json()["recipient"].as_str().unwrap().to_owned();
    repo.write(
        "secrets/dev/recipients.txt",
        format!("{own}\n# Ann\n{}\n# Dora (YubiKey)\n{PLUGIN}\n", ann.recipient()),
    );
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    commit_files(&repo);
    let result = make_profile(&repo, "sealed-without-plugin");
    let shown = result["recipients"].to_string();
    assert!(shown.contains("Dora (YubiKey)"), "{shown}");
    assert!(result["plan"].as_str().unwrap().contains("mailwright secrets rekey dev"), "{result:#}");
    repo.write("one.patch", result["patch"].as_str().unwrap());
    git(&repo, &["am", "one.patch"]);
    assert!(git(&repo, &["log", "-1", "--format=%b"]).contains("mailwright secrets rekey dev"));
    assert_plan_is_empty(&repo);
    let check = repo.run(&["secrets", "check", "dev"]).code(1);
    assert!(
        check.stdout.contains("MW0036") && check.stdout.contains("mailwright secrets rekey dev"),
        "{}",
        check.stdout
    );
}
