//! `policy.source`: from which branch, committed, signed. The service enforces it for each client.

use serde_json::{Value, json};

use super::{
    commit, edit, git, layered,
    provenance::{Gpg, applied, sign_with_ssh},
};
use crate::support::repository::{HttpResponse, TestRepository};

const FILE: &str = "environments/dev/environment.yaml";

/// `dev` under a policy, applied once from `main`.
fn under(policy: &str) -> TestRepository {
    let mut repo = layered();
    repo.serve();
    repo.write(FILE, format!("{}policy: {{ source: {policy} }}\n", repo.read(FILE)));
    commit(&repo, "a policy");
    applied(&repo, &[]);
    repo
}

/// Sends a changeset without the client, which may claim anything.
fn by_hand(repo: &TestRepository, provenance: &Value, settings: Option<Value>, dry_run: bool) -> HttpResponse {
    let mut changeset = json!({
        "id": "01890000-0000-8000-8000-000000000000", "environment": "dev",
        "base": repo.state()["generation"], "provenance": provenance,
        "changes": [{ "action": "delete", "name": "reports" }],
    });
    if let Some(settings) = settings {
        changeset["settings"] = settings;
    }
    repo.http("POST", &format!("/v1/changesets?dryRun={dry_run}"), &[], changeset.to_string().as_bytes())
}

#[test]
fn only_from_a_branch() {
    let repo = under("{ branches: [main, 'release/*'] }");
    git(&repo, &["checkout", "--quiet", "-b", "topic"]);
    edit(&repo, FILE, "[EDU1]", "[EDU1, EDU2]");
    commit(&repo, "two");
    // A plan only reports the violation; it does not fail.
    let plan = repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(
        plan.contains("! The service would reject an apply from this source: the files are from `topic`"),
        "{plan}"
    );
    let plan = repo.run(&["plan", "dev", "--format", "json"]).code(0).json();
    assert_eq!(plan["policy"].as_array().unwrap().len(), 1);
    let refused = repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(1);
    assert!(refused.stderr.contains("MW0305") && refused.stderr.contains("`release/*`"), "{}", refused.stderr);
    for (branch, status) in [("topic", 422), ("release/a/b", 422), ("mainx", 422), ("", 422), ("release/1", 201)] {
        let answer = by_hand(&repo, &json!({ "branch": branch }), None, false);
        assert_eq!(answer.status, status, "{branch}: {answer:?}");
        if status == 422 {
            assert_eq!(answer.json()["code"], "MW0305");
        }
    }
    let audit = repo.http("GET", "/v1/audit?limit=1000", &[], b"").body;
    assert!(audit.contains("MW0305"), "what was refused is written down");
}

#[test]
fn no_change_lifts_the_policy_that_it_runs_into() {
    let repo = under("{ branches: [main] }");
    let open = json!({ "companies": ["EDU1"] });
    let answer = by_hand(&repo, &json!({ "branch": "topic" }), Some(open.clone()), false);
    assert_eq!((answer.status, &answer.json()["code"]), (422, &json!("MW0305")), "the live one counts: {answer:?}");
    // Nor does a rollback to before it: everything goes back but this.
    git(&repo, &["checkout", "--quiet", "main"]);
    edit(&repo, FILE, "[EDU1]", "[EDU1, EDU2]");
    edit(&repo, FILE, "branches: [main]", "branches: [main], clean: true");
    commit(&repo, "stricter");
    applied(&repo, &[]);
    let shown = repo.run(&["rollback", "dev", "--to", "1", "--yes"]).code(0).stdout;
    assert!(shown.contains("EDU2") && !shown.contains("policy.source"), "{shown}");
    let policy = &repo.state()["settings"]["policy"]["source"];
    assert_eq!(*policy, json!({ "branches": ["main"], "clean": true }));
    assert_eq!(repo.state()["settings"]["companies"], json!(["EDU1"]));
    // From where it allows it, it is a change like any other.
    let answer = by_hand(&repo, &json!({ "branch": "main", "commit": "abc" }), Some(open), false);
    assert_eq!(answer.status, 201, "{answer:?}");
    // And one that brings a policy keeps to it from the first moment.
    let brought = json!({ "companies": ["EDU1"], "policy": { "source": { "branches": ["main"] } } });
    let changeset = json!({
        "id": "01890000-0000-8000-8000-000000000001", "environment": "dev", "settings": brought,
        "base": repo.state()["generation"], "provenance": { "branch": "topic" },
    });
    let answer = repo.http("POST", "/v1/changesets", &[], changeset.to_string().as_bytes());
    assert_eq!(answer.status, 422, "{answer:?}");
}

/// A rollback that is saved for approval is the one that the service computes: the source policy stays as it is.
#[test]
fn a_saved_rollback_to_before_a_policy_is_the_one_that_is_approved() {
    let mut repo = layered();
    sign_with_ssh(&repo, true);
    repo.serve();
    let key = repo.read(".key.pub");
    let signers = format!(
        "policy:\n  approvals:\n    signers:\n      - {{ name: ada, key: \"{}\" }}\n    rules:\n      - {{ count: 1, signers: [ada] }}\n    selfApproval: true\n",
        key.trim()
    );
    let before = repo.read(FILE);
    commit(&repo, "one");
    applied(&repo, &[]);
    // The second generation has another company, and a policy; the third one has rules for approvals as well.
    repo.write(
        FILE,
        format!("{}policy: {{ source: {{ branches: [main] }} }}\n", before.replace("[EDU1]", "[EDU1, EDU2]")),
    );
    commit(&repo, "two");
    applied(&repo, &[]);
    let source = "  source: { branches: [main] }\n";
    repo.write(FILE, format!("{}{signers}{source}", before.replace("[EDU1]", "[EDU1, EDU2]")));
    commit(&repo, "three");
    applied(&repo, &[]);
    repo.run(&["rollback", "dev", "--to", "1", "--out", "back.plan"]).code(0);
    let mut approve = repo.command(&["approve", "back.plan", "--key", ".key", "--yes", "--reason", "seen"]);
    approve.env("PATH", crate::support::tools::folder().join("usr/bin"));
    crate::support::repository::run_command(approve).code(0);
    // The approval is for the change that the service computes; the policy still names the branches that may be applied.
    assert!(repo.run(&["apply", "back.plan", "--yes"]).code(1).stderr.contains("MW0305"));
}

#[test]
fn only_what_is_committed() {
    let repo = under("{ clean: true }");
    edit(&repo, FILE, "[EDU1]", "[EDU1, EDU2]");
    let refused = repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(1);
    assert!(refused.stderr.contains("not committed"), "{}", refused.stderr);
    assert_eq!(by_hand(&repo, &json!({ "commit": "abc", "dirty": true }), None, false).status, 422);
    assert_eq!(by_hand(&repo, &json!({}), None, false).status, 422, "no commit at all");
    let asked = by_hand(&repo, &json!({}), None, true);
    assert_eq!((asked.status, &asked.json()["warnings"][0]["code"]), (200, &json!("MW0305")), "a question is answered");
    commit(&repo, "two");
    applied(&repo, &[]);
}

#[test]
fn only_signed_commits() {
    let repo = layered();
    sign_with_ssh(&repo, true);
    repo.write(FILE, format!("{}policy: {{ source: {{ signed: true }} }}\n", repo.read(FILE)));
    commit(&repo, "not signed");
    let mut repo = repo;
    repo.serve();
    let refused = repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(1);
    assert!(refused.stderr.contains("the commit is not signed"), "{}", refused.stderr);
    git(&repo, &["commit", "--quiet", "--amend", "-S", "-m", "signed"]);
    applied(&repo, &[]);
    // Signed by a key that is not a trusted one.
    std::fs::write(repo.path(".signers"), "").unwrap();
    edit(&repo, FILE, "[EDU1]", "[EDU1, EDU2]");
    git(&repo, &["commit", "--quiet", "-aS", "-m", "two"]);
    let refused = repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(1);
    assert!(refused.stderr.contains("not good (unknown-key)"), "{}", refused.stderr);
    for signature in ["bad", "unknown-key", "expired", "revoked", "unchecked", "none"] {
        let answer = by_hand(&repo, &json!({ "commit": "abc", "signature": signature }), None, false);
        assert_eq!(answer.status, 422, "{signature}");
    }
    assert_eq!(by_hand(&repo, &json!({ "commit": "abc", "signature": "good" }), None, false).status, 201);
}

#[test]
fn only_commits_that_gnupg_finds_good() {
    let repo = layered();
    let gpg = Gpg::new(&repo);
    let key = gpg.key(&repo, "ada@example.com", "never");
    repo.write(FILE, format!("{}policy: {{ source: {{ signed: true }} }}\n", repo.read(FILE)));
    commit(&repo, "not signed");
    let mut repo = repo;
    repo.serve();
    let refused = |repo: &TestRepository, words: &str| {
        let before = repo.state();
        let output = repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(1);
        assert!(output.stderr.contains("MW0305") && output.stderr.contains(words), "{words}: {}", output.stderr);
        assert_eq!(repo.state(), before);
    };
    refused(&repo, "the commit is not signed");
    git(&repo, &["commit", "--quiet", "--amend", "-S", "-m", "signed"]);
    let recorded = applied(&repo, &[]);
    assert_eq!((&recorded["signature"], &recorded["signer"]), (&json!("good"), &json!("ada@example.com")));

    // The same commit in other words, under the signature of the first.
    edit(&repo, FILE, "[EDU1]", "[EDU1, EDU2]");
    git(&repo, &["commit", "--quiet", "-aS", "-m", "two"]);
    let signed = git(&repo, &["cat-file", "commit", "HEAD"]) + "\n";
    repo.write(".forged", signed.replace("\ntwo", "\nthree"));
    let forged = git(&repo, &["hash-object", "-t", "commit", "-w", ".forged"]);
    git(&repo, &["reset", "--quiet", "--soft", &forged]);
    refused(&repo, "not good (bad)");
    git(&repo, &["reset", "--quiet", "--soft", "ORIG_HEAD"]);

    // A key that is not trusted, one that was revoked, and one that is missing.
    gpg.run(&["--import-ownertrust"], &format!("{key}:2:\n"));
    refused(&repo, "not good (unknown-key)");
    gpg.run(&["--import-ownertrust"], &format!("{key}:6:\n"));
    // GnuPG makes the certificate with the key, and a colon in it prevents its use by mistake.
    let revocation = repo.read(&format!(".gnupg/openpgp-revocs.d/{key}.rev")).replace(":-----BEGIN", "-----BEGIN");
    gpg.run(&["--import"], &revocation);
    refused(&repo, "not good (revoked)");
    gpg.run(&["--delete-secret-and-public-key", &key], "");
    refused(&repo, "not good (unchecked)");

    // A key that has expired since it signed.
    gpg.at(Some("20260101T000000"));
    gpg.key(&repo, "bob@example.com", "1d");
    git(&repo, &["commit", "--quiet", "--amend", "-S", "-m", "by bob"]);
    gpg.at(None);
    refused(&repo, "not good (expired)");
    gpg.key(&repo, "carol@example.com", "never");
    git(&repo, &["commit", "--quiet", "--amend", "-S", "-m", "by carol"]);
    assert_eq!(applied(&repo, &[])["signer"], "carol@example.com");
}
