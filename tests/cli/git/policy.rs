//! `policy.source`: from which branch, committed, signed. The service holds to it, whoever asks.

use serde_json::{Value, json};

use super::{
    commit, edit, git, layered,
    provenance::{Gpg, applied, sign_with_ssh},
};
use crate::support::trial::{Answer, Trial};

const FILE: &str = "environments/dev/environment.yaml";

/// `dev` under a policy, applied once from `main`.
fn under(policy: &str) -> Trial {
    let mut trial = layered();
    trial.serve();
    trial.write(FILE, format!("{}policy: {{ source: {policy} }}\n", trial.read(FILE)));
    commit(&trial, "a policy");
    applied(&trial, &[]);
    trial
}

/// A changeset by hand: the client stands not in between, and may claim anything.
fn by_hand(trial: &Trial, provenance: &Value, settings: Option<Value>, dry_run: bool) -> Answer {
    let mut changeset = json!({
        "id": "01890000-0000-8000-8000-000000000000", "environment": "dev",
        "base": trial.state()["generation"], "provenance": provenance,
        "changes": [{ "action": "delete", "name": "reports" }],
    });
    if let Some(settings) = settings {
        changeset["settings"] = settings;
    }
    trial.http("POST", &format!("/v1/changesets?dryRun={dry_run}"), &[], changeset.to_string().as_bytes())
}

#[test]
fn only_from_a_branch() {
    let trial = under("{ branches: [main, 'release/*'] }");
    git(&trial, &["checkout", "--quiet", "-b", "topic"]);
    edit(&trial, FILE, "[EDU1]", "[EDU1, EDU2]");
    commit(&trial, "two");
    // A plan is for looking: it says so, and is no error.
    let plan = trial.run(&["plan", "dev"]).code(0).stdout;
    assert!(plan.contains("! An apply from here would be refused: the files are from `topic`"), "{plan}");
    let plan = trial.run(&["plan", "dev", "--format", "json"]).code(0).json();
    assert_eq!(plan["policy"].as_array().unwrap().len(), 1);
    let refused = trial.run(&["apply", "dev", "--yes", "--skip-verify"]).code(1);
    assert!(refused.stderr.contains("MW0305") && refused.stderr.contains("`release/*`"), "{}", refused.stderr);
    for (branch, status) in [("topic", 422), ("release/a/b", 422), ("mainx", 422), ("", 422), ("release/1", 201)] {
        let answer = by_hand(&trial, &json!({ "branch": branch }), None, false);
        assert_eq!(answer.status, status, "{branch}: {answer:?}");
        if status == 422 {
            assert_eq!(answer.json()["code"], "MW0305");
            assert!(answer.json()["detail"].as_str().unwrap().ends_with("nothing was changed"));
        }
    }
    let audit = trial.http("GET", "/v1/audit?limit=1000", &[], b"").body;
    assert!(audit.contains("MW0305"), "what was refused is written down");
}

#[test]
fn no_change_lifts_the_policy_that_it_runs_into() {
    let trial = under("{ branches: [main] }");
    let open = json!({ "companies": ["EDU1"] });
    let answer = by_hand(&trial, &json!({ "branch": "topic" }), Some(open.clone()), false);
    assert_eq!((answer.status, &answer.json()["code"]), (422, &json!("MW0305")), "the live one counts: {answer:?}");
    // Nor does a rollback to before it: everything goes back but this.
    git(&trial, &["checkout", "--quiet", "main"]);
    edit(&trial, FILE, "[EDU1]", "[EDU1, EDU2]");
    edit(&trial, FILE, "branches: [main]", "branches: [main], clean: true");
    commit(&trial, "stricter");
    applied(&trial, &[]);
    let shown = trial.run(&["rollback", "dev", "--to", "1", "--yes"]).code(0).stdout;
    assert!(shown.contains("EDU2") && !shown.contains("policy.source"), "{shown}");
    let policy = &trial.state()["settings"]["policy"]["source"];
    assert_eq!(*policy, json!({ "branches": ["main"], "clean": true }));
    assert_eq!(trial.state()["settings"]["companies"], json!(["EDU1"]));
    // From where it allows it, it is a change like any other.
    let answer = by_hand(&trial, &json!({ "branch": "main", "commit": "abc" }), Some(open), false);
    assert_eq!(answer.status, 201, "{answer:?}");
    // And one that brings a policy keeps to it from the first moment.
    let brought = json!({ "companies": ["EDU1"], "policy": { "source": { "branches": ["main"] } } });
    let changeset = json!({
        "id": "01890000-0000-8000-8000-000000000001", "environment": "dev", "settings": brought,
        "base": trial.state()["generation"], "provenance": { "branch": "topic" },
    });
    let answer = trial.http("POST", "/v1/changesets", &[], changeset.to_string().as_bytes());
    assert_eq!(answer.status, 422, "{answer:?}");
}

#[test]
fn only_what_is_committed() {
    let trial = under("{ clean: true }");
    edit(&trial, FILE, "[EDU1]", "[EDU1, EDU2]");
    let refused = trial.run(&["apply", "dev", "--yes", "--skip-verify"]).code(1);
    assert!(refused.stderr.contains("not committed"), "{}", refused.stderr);
    assert_eq!(by_hand(&trial, &json!({ "commit": "abc", "dirty": true }), None, false).status, 422);
    assert_eq!(by_hand(&trial, &json!({}), None, false).status, 422, "no commit at all");
    let asked = by_hand(&trial, &json!({}), None, true);
    assert_eq!((asked.status, &asked.json()["warnings"][0]["code"]), (200, &json!("MW0305")), "a question is answered");
    commit(&trial, "two");
    applied(&trial, &[]);
}

#[test]
fn only_signed_commits() {
    let trial = layered();
    sign_with_ssh(&trial, true);
    trial.write(FILE, format!("{}policy: {{ source: {{ signed: true }} }}\n", trial.read(FILE)));
    commit(&trial, "not signed");
    let mut trial = trial;
    trial.serve();
    let refused = trial.run(&["apply", "dev", "--yes", "--skip-verify"]).code(1);
    assert!(refused.stderr.contains("the commit is not signed"), "{}", refused.stderr);
    git(&trial, &["commit", "--quiet", "--amend", "-S", "-m", "signed"]);
    applied(&trial, &[]);
    // Signed by a key that nobody vouches for.
    std::fs::write(trial.path(".signers"), "").unwrap();
    edit(&trial, FILE, "[EDU1]", "[EDU1, EDU2]");
    git(&trial, &["commit", "--quiet", "-aS", "-m", "two"]);
    let refused = trial.run(&["apply", "dev", "--yes", "--skip-verify"]).code(1);
    assert!(refused.stderr.contains("not good (unknown-key)"), "{}", refused.stderr);
    for signature in ["bad", "unknown-key", "expired", "revoked", "unchecked", "none"] {
        let answer = by_hand(&trial, &json!({ "commit": "abc", "signature": signature }), None, false);
        assert_eq!(answer.status, 422, "{signature}");
    }
    assert_eq!(by_hand(&trial, &json!({ "commit": "abc", "signature": "good" }), None, false).status, 201);
}

#[test]
fn only_commits_that_gnupg_finds_good() {
    let trial = layered();
    let gpg = Gpg::new(&trial);
    let key = gpg.key(&trial, "ada@example.com", "never");
    trial.write(FILE, format!("{}policy: {{ source: {{ signed: true }} }}\n", trial.read(FILE)));
    commit(&trial, "not signed");
    let mut trial = trial;
    trial.serve();
    let refused = |trial: &Trial, words: &str| {
        let before = trial.state();
        let ran = trial.run(&["apply", "dev", "--yes", "--skip-verify"]).code(1);
        assert!(ran.stderr.contains("MW0305") && ran.stderr.contains(words), "{words}: {}", ran.stderr);
        assert_eq!(trial.state(), before);
    };
    refused(&trial, "the commit is not signed");
    git(&trial, &["commit", "--quiet", "--amend", "-S", "-m", "signed"]);
    let told = applied(&trial, &[]);
    assert_eq!((&told["signature"], &told["signer"]), (&json!("good"), &json!("ada@example.com")));

    // The same commit in other words, under the signature of the first.
    edit(&trial, FILE, "[EDU1]", "[EDU1, EDU2]");
    git(&trial, &["commit", "--quiet", "-aS", "-m", "two"]);
    let signed = git(&trial, &["cat-file", "commit", "HEAD"]) + "\n";
    trial.write(".forged", signed.replace("\ntwo", "\nthree"));
    let forged = git(&trial, &["hash-object", "-t", "commit", "-w", ".forged"]);
    git(&trial, &["reset", "--quiet", "--soft", &forged]);
    refused(&trial, "not good (bad)");
    git(&trial, &["reset", "--quiet", "--soft", "ORIG_HEAD"]);

    // A key that nobody vouches for, one that was revoked, and one that is not there.
    gpg.run(&["--import-ownertrust"], &format!("{key}:2:\n"));
    refused(&trial, "not good (unknown-key)");
    gpg.run(&["--import-ownertrust"], &format!("{key}:6:\n"));
    // GnuPG makes the certificate with the key, and a colon in it keeps anybody from using it by mistake.
    let revocation = trial.read(&format!(".gnupg/openpgp-revocs.d/{key}.rev")).replace(":-----BEGIN", "-----BEGIN");
    gpg.run(&["--import"], &revocation);
    refused(&trial, "not good (revoked)");
    gpg.run(&["--delete-secret-and-public-key", &key], "");
    refused(&trial, "not good (unchecked)");

    // A key that has expired since it signed.
    gpg.at(Some("20260101T000000"));
    gpg.key(&trial, "bob@example.com", "1d");
    git(&trial, &["commit", "--quiet", "--amend", "-S", "-m", "by bob"]);
    gpg.at(None);
    refused(&trial, "not good (expired)");
    gpg.key(&trial, "carol@example.com", "never");
    git(&trial, &["commit", "--quiet", "--amend", "-S", "-m", "by carol"]);
    assert_eq!(applied(&trial, &[])["signer"], "carol@example.com");
}
