//! The walk of a new user, start to end: two persons make profiles for two companies in the console, one signs what the other
//! proposed, mail is sent, waits and is explained, and the files go into Git, so that a plan has nothing left to do.

use serde_json::{Value, json};

use crate::{
    console::git,
    support::{
        browser::run_script,
        repository::TestRepository,
        sandbox::{DIRECT, PASSWORD, SECRET, Sandbox, good},
    },
};

const ENVIRONMENT: &str = "\
companies: [ACME, GLOB]
unserved: [{ reason: Set up in the console, companies: [ACME, GLOB] }]
policy:
  console: propose
  approvals:
    signers: [{ name: bob, operator: bob }]
    rules: [{ count: 1, reasonRequired: true }]
";
/// ann proposes, applies what another person has signed, and sends test messages.
const ACCESS: &str = "\
roles:
  mail-desk:
    grants:
      - { areas: [changes], activities: [edit] }
      - { areas: [mail], activities: [submit] }
bindings:
  desk: { subjects: [{ operator: ann }], roles: [mail-desk, deployer] }
";

#[test]
fn two_persons_set_up_mail_for_two_companies_and_take_it_into_git() {
    let scenario = good();
    let sandbox = Sandbox::start(scenario.clone());
    let mut other_password = scenario.clone();
    other_password["smtp"]["users"]["mailer"] = json!("changed-at-the-server");

    let mut repo = TestRepository::empty();
    repo.write("ca.pem", &sandbox.running.authority);
    let (ca, dns) = (repo.path("ca.pem").display().to_string(), sandbox.running.dns.to_string());
    repo.serve_with(&["--outgoing-ca-file", &ca, "--dns-server", &dns]);
    repo.write("environments/dev/environment.yaml", ENVIRONMENT);
    repo.write("environments/dev/access.yaml", ACCESS);
    repo.write(".gitignore", ".data\n.token\n.gitconfig\nca.pem\npatches\n");
    git(&repo, &["init", "--quiet", "-b", "main"]);
    git(&repo, &["add", "."]);
    git(&repo, &["commit", "--quiet", "-m", "An environment with two companies"]);
    repo.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-rights"]).code(0);
    let link = |name: &str, role: &str| {
        let added = repo.run(&["operator", "add", "dev", "--name", name, "--role", role]).code(0);
        added.stdout.trim().to_owned()
    };
    std::fs::create_dir(repo.path("patches")).unwrap();
    let given = json!({
        "address": repo.address().replace("127.0.0.1", "localhost"),
        "ann": link("ann", "bound"), "bob": link("bob", "admin"),
        "smtp": sandbox.running.smtp.port(), "password": PASSWORD,
        "entra": sandbox.running.address, "client": DIRECT, "secret": SECRET,
        "sandbox": {
            "address": sandbox.running.address, "authority": sandbox.running.authority,
            "good": scenario, "bad": other_password,
        },
        "patches": repo.path("patches"),
    });
    let result = run_script("walk.mjs", &given);
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
    let shows = |value: &Value, wanted: &[&str]| {
        for part in wanted {
            assert!(text(value).contains(part), "{part}: {value}");
        }
    };

    // Proposed by one, signed by the other, applied by the first.
    shows(&result["first"], &["There are no profiles yet", "New profile"]);
    for verification in ["smtpVerification", "graphVerification"] {
        shows(&result[verification], &["with the credential", "checks passed"]);
        assert!(!text(&result[verification]).contains("error"), "{}", result[verification]);
    }
    shows(&result["own"], &["This is your proposal", "Missing: 1 approval of bob"]);
    for name in ["smtp", "graph"] {
        let seen = &result[name];
        shows(&seen["before"], &["I approve it", "all signatures are there"]);
        shows(&seen["signed"], &["has approved", "Checked against the order of the branch", "sha256:"]);
        shows(&seen["after"], &["bob has approved", "You have signed this proposal"]);
        assert!(!text(&seen["after"]).contains("Missing:"), "{}", seen["after"]);
    }
    shows(&result["verified"], &["complete"]);

    // What the pages of the messages say, without being loaded again.
    shows(&result["delivered"]["page"], &["Test message of the profile glob-graph (dev)", "Attempt 1"]);
    let suspended = &result["suspended"]["page"];
    shows(suspended, &["profile suspended", "535", "a new value for a refused secret", "Change the profile"]);
    let links: Vec<String> = result["links"].as_array().unwrap().iter().map(text).collect();
    for wanted in ["/console/profiles/acme-relay", "/console/profiles/acme-relay/edit"] {
        assert!(links.iter().any(|link| link == wanted), "{wanted}: {links:?}");
    }
    shows(&result["resumed"]["page"], &["Test message of the profile acme-relay (dev)"]);
    shows(&result["held"]["page"], &["The branch moves", "Release the hold", "Holds"]);
    shows(&result["released"]["page"], &["Attempt 1"]);
    for page in ["delivered", "suspended", "resumed", "held", "released"] {
        assert_eq!(result[page]["isUpdated"], true, "{page}: {}", result[page]["page"]);
    }
    let mail = sandbox.get("mail");
    let subject = |mail: &Value| mail.to_string();
    let mail: Vec<String> = mail.as_array().unwrap().iter().map(subject).collect();
    assert_eq!(mail.len(), 3, "{mail:#?}");
    let of = |profile: &str| mail.iter().filter(|mail| mail.contains(&format!("of the profile {profile}"))).count();
    assert_eq!((of("glob-graph"), of("acme-relay")), (2, 1), "{mail:#?}");

    // The files of both profiles, in Git.
    shows(&result["profile"], &["not in Git", "git am glob-graph.patch"]);
    for name in ["acme-relay", "glob-graph"] {
        git(&repo, &["am", &format!("patches/{name}.patch")]);
    }
    let plan = repo.run(&["plan", "dev"]).code(0);
    assert!(plan.stdout.contains("No changes."), "{}", plan.stdout);
    repo.run(&["apply", "dev", "--yes"]).code(0);
    let plan = repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(plan.contains("No changes.") && !plan.contains("as managed"), "{plan}");
    let audit = repo.http("GET", "/v1/audit?limit=1000", &[], b"").json()["entries"].as_array().unwrap().clone();
    let tests = audit.iter().filter(|entry| entry["action"] == "message.test" && entry["actor"] == "ann");
    assert_eq!(tests.count(), 3, "{audit:#?}");
    repo.run(&["audit", "verify", "dev"]).code(0);

    // Nothing of it broke the policy of the pages, and no secret is anywhere.
    assert_eq!(result["problems"], json!([]));
    for (page, problems) in result["accessible"].as_object().unwrap() {
        assert_eq!(problems, &json!([]), "{page}");
    }
    for secret in [PASSWORD, SECRET] {
        assert!(!result.to_string().contains(secret) && !repo.service_log().contains(secret));
    }
}
