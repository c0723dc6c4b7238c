//! A person in Chromium with its virtual device: enrolment by the link, sign-in, step-up, and the pages that ask for a passkey.

use serde_json::json;

use crate::support::{browser::run_script, repository::TestRepository};

#[test]
fn a_person_enrols_signs_in_and_confirms_its_identity() {
    let mut repo = TestRepository::examples();
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let link = repo.run(&["operator", "add", "dev", "--name", "ann", "--role", "viewer"]).code(0).stdout;
    let link = link.trim();
    let address = repo.address().replace("127.0.0.1", "localhost");
    let result = run_script("operators.mjs", &json!({ "address": address, "link": link }));
    // The script takes the code out of the address, and no request has it in its address or headers.
    assert_eq!(result["code"], link.split_once('#').unwrap().1);
    assert_eq!((&result["hash"], &result["sentCode"]), (&json!(""), &json!(0)));
    assert_eq!((&result["enrolled"], &result["account"]), (&json!("/console"), &json!(["Test device"])));
    assert_eq!((&result["confirmed"], &result["isNewSecret"]), (&json!("/console/account"), &json!(true)));
    assert_eq!(result["signedIn"], "/console/profiles");
    for kind in ["accessible", "wide"] {
        for (page, problems) in result[kind].as_object().unwrap() {
            assert_eq!(problems, &json!([]), "{kind}: {page}");
        }
    }
    assert_eq!((&result["violations"], &result["errors"]), (&json!([]), &json!([])));
    assert_eq!(result["plain"][0], false);
    assert!(result["plain"][1].as_str().unwrap().contains("JavaScript"), "{}", result["plain"]);
}
