//! A person in Chromium with its virtual device: enrolment by the link, sign-in, step-up, signature of a proposal, and the pages
//! that ask for a passkey.

use serde_json::json;

use crate::support::{browser::run_script, repository::TestRepository};

#[test]
fn a_person_enrols_signs_in_confirms_its_identity_and_signs() {
    let mut repo = TestRepository::small();
    repo.serve();
    let policy = "policy:\n  approvals:\n    signers: [{ name: ann, operator: ann }]\n    rules: [{ count: 1, reasonRequired: true }]\n";
    repo.write("environments/dev/environment.yaml", format!("companies: [EDU1]\n{policy}"));
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    repo.write("environments/dev/environment.yaml", format!("companies: [EDU1, EDU2]\n{policy}"));
    let proposed = repo.run(&["plan", "dev", "--propose"]).code(0);
    let proposal = proposed.stderr.trim().rsplit_once("/console/").unwrap().1;
    let link = repo.run(&["operator", "add", "dev", "--name", "ann", "--role", "planner"]).code(0).stdout;
    let link = link.trim();
    let address = repo.address().replace("127.0.0.1", "localhost");
    let given = json!({ "address": address, "link": link, "proposal": format!("/console/{proposal}") });
    let result = run_script("operators.mjs", &given);
    // The script takes the code out of the address, and no request has it in its address or headers.
    assert_eq!(result["code"], link.split_once('#').unwrap().1);
    assert_eq!((&result["hash"], &result["sentCode"]), (&json!(""), &json!(0)));
    assert_eq!((&result["enrolled"], &result["account"]), (&json!("/console"), &json!(["Test device"])));
    assert_eq!((&result["confirmed"], &result["isNewSecret"]), (&json!("/console/account"), &json!(true)));
    assert_eq!(result["signedIn"], "/console/profiles");
    assert_eq!(result["signed"], format!("/console/{proposal}"));
    let signature = result["signature"].to_string();
    for shown in ["ann", "has approved", "with a passkey", "Ticket 4711", "sha256:"] {
        assert!(signature.contains(shown), "{shown}: {signature}");
    }
    for kind in ["accessible", "wide"] {
        for (page, problems) in result[kind].as_object().unwrap() {
            assert_eq!(problems, &json!([]), "{kind}: {page}");
        }
    }
    assert_eq!((&result["violations"], &result["errors"]), (&json!([]), &json!([])));
    assert_eq!(result["plain"][0], false);
    assert!(result["plain"][1].as_str().unwrap().contains("JavaScript"), "{}", result["plain"]);
}
