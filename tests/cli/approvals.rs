//! Approvals: who must sign what, with whose keys, and everything that must not count. Signatures come from ours and
//! from the real `ssh-keygen`.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    repository::{CommandOutput, HttpResponse, TestRepository, run_command},
    tools,
};
use base64::Engine as _;
use serde_json::{Value, json};

const NAMESPACE: &str = "approval@mailwright.dev";
const TOMORROW: &str = "--expires-in=24h";

fn keygen(repo: &TestRepository, arguments: &[&str]) -> CommandOutput {
    let mut command = Command::new(tools::tool("ssh-keygen"));
    command.args(arguments).current_dir(repo.folder.path()).stdin(Stdio::null());
    run_command(command)
}

fn new_key(repo: &TestRepository, name: &str, kind: &str) -> String {
    // Large RSA keys take seconds to make.
    let size: &[&str] = if kind == "rsa" { &["-b", "2048"] } else { &[] };
    keygen(repo, &[size, &["-q", "-t", kind, "-N", "", "-C", name, "-f", name]].concat()).code(0);
    repo.read(&format!("{name}.pub")).trim().to_owned()
}

/// `dev`'s file with these signers and rules.
fn environment(repo: &TestRepository, signers: &[(&str, &str)], rules: &str) -> String {
    let signers: String = signers
        .iter()
        .map(|(name, more)| {
            let key = repo.read(&format!("{name}.pub"));
            format!("      - {{ name: {name}, key: \"{}\"{more} }}\n", key.trim())
        })
        .collect();
    format!("companies: [EDU1, EDU2]\npolicy:\n  approvals:\n    signers:\n{signers}{rules}")
}

const TWO: &str = "    rules:\n      - { count: 2 }\n";

/// A service whose `dev` wants the approvals of two of alice, bob and carol, and a plan that is saved.
fn create_repo() -> TestRepository {
    let mut repo = TestRepository::small();
    for (name, kind) in [("alice", "ed25519"), ("bob", "ecdsa"), ("carol", "rsa"), ("mallory", "ed25519")] {
        new_key(&repo, name, kind);
    }
    repo.write(
        "environments/dev/environment.yaml",
        environment(&repo, &[("alice", ""), ("bob", ""), ("carol", "")], TWO),
    );
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    change(&repo, "mx1.example.com");
    repo
}

/// Another host, planned and saved as `dev.plan`; approvals of older plans go.
fn change(repo: &TestRepository, host: &str) {
    let profile = crate::support::repository::SMALL_PROFILE.replace("smtp.example.com", host);
    repo.write("environments/dev/profiles/relay.yaml", profile);
    repo.run(&["plan", "dev", "--out", "dev.plan"]).code(0);
    drop(fs::remove_dir_all(repo.path("dev.plan.approvals")));
}

fn approve(repo: &TestRepository, name: &str) -> CommandOutput {
    with_keygen(repo, &["approve", "dev.plan", "--key", name, "--yes", "--reason", "seen", TOMORROW])
}

/// Runs ours with the real `ssh-keygen` on its path.
fn with_keygen(repo: &TestRepository, arguments: &[&str]) -> CommandOutput {
    let mut command = repo.command(arguments);
    command.env("PATH", tools::folder().join("usr/bin"));
    run_command(command)
}

fn apply(repo: &TestRepository) -> CommandOutput {
    repo.run(&["apply", "dev.plan", "--yes", "--skip-verify"])
}

/// Returns the text that a signer of `dev.plan` signs, with some lines replaced.
fn text(repo: &TestRepository, replaced: &[(&str, &str)]) -> String {
    let saved: Value = serde_json::from_str(&repo.read("dev.plan")).unwrap();
    let digest = saved["plan"]["approvals"]["digest"].as_str().unwrap();
    let now = mailwright::time::Clock::system().now();
    let expires = jiff::Timestamp::from_second(now.as_second() + 3600).unwrap();
    let mut text = format!(
        "mailwright-approval-v1\nenvironment: dev\naction: apply\nbase generation: {}\ndigest: {digest}\nexpires: {expires}\nreason: by hand\n",
        saved["plan"]["base"]
    );
    for (field, value) in replaced {
        let line = text.lines().find(|line| line.starts_with(&format!("{field}: "))).unwrap().to_owned();
        text = text.replace(&line, &format!("{field}: {value}"));
    }
    text
}

/// Signs with the real `ssh-keygen`, as a signer without Mailwright would.
fn sign_by_hand(repo: &TestRepository, name: &str, text: &str, namespace: &str) {
    let file = format!("dev.plan.approvals/{name}.txt");
    repo.write(&file, text);
    drop(fs::remove_file(repo.path(&format!("{file}.sig"))));
    keygen(repo, &["-Y", "sign", "-n", namespace, "-f", name, &file]).code(0);
}

/// Refused with this code, and nothing changed.
fn refused(repo: &TestRepository, code: &str, words: &str) {
    let before = repo.state();
    let output = apply(repo).code(1);
    assert!(output.stderr.contains(&format!("error[{code}]")), "{}", output.stderr);
    assert!(output.stderr.contains(words) && output.stderr.contains("No changes were made."), "{}", output.stderr);
    assert_eq!(repo.state(), before);
}

#[test]
fn two_see_it_and_the_history_keeps_who_and_why() {
    let repo = create_repo();
    let planned = repo.run(&["plan", "dev", "--format", "json"]).code(0).json();
    let need = &planned["approvals"]["needs"][0];
    assert_eq!((&need["count"], need["signers"].as_array().unwrap().len()), (&json!(2), 3));
    assert_eq!(need["because"], json!(["updates `relay`"]));
    refused(&repo, "MW0310", "2 approvals of alice, bob or carol");
    approve(&repo, "alice").code(0);
    refused(&repo, "MW0310", "(approved by alice)");
    // The same signer again is still one.
    let again = repo.read("dev.plan.approvals/alice.txt");
    repo.write("dev.plan.approvals/second.txt", again);
    repo.write("dev.plan.approvals/second.txt.sig", repo.read("dev.plan.approvals/alice.txt.sig"));
    refused(&repo, "MW0310", "(approved by alice)");
    approve(&repo, "bob").code(0);
    apply(&repo).code(0);
    assert!(apply(&repo).code(0).stdout.contains("Already applied as generation 2"));

    let generation = repo.http("GET", "/v1/generations/2", &[], b"").json()["generation"].clone();
    let signers: Vec<&str> =
        generation["approvals"].as_array().unwrap().iter().map(|a| a["signer"].as_str().unwrap()).collect();
    assert_eq!(signers, ["alice", "bob"]);
    let audit = repo.http("GET", "/v1/audit?limit=100", &[], b"").json();
    let entry = audit["entries"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(entry["detail"]["approvals"][0]["signer"], "alice");
    assert_eq!(entry["detail"]["approvals"][0]["reason"], "seen");
    assert!(repo.run(&["audit", "list", "dev"]).code(0).stdout.contains("approved by alice (seen), bob (seen)"));
    assert!(repo.run(&["history", "dev"]).code(0).stdout.contains("first-admin, approved by alice, bob"));
    // Years later, stock tools still confirm that alice signed this.
    let approval = &generation["approvals"][0]["approval"];
    repo.write("kept.txt", approval["message"].as_str().unwrap());
    repo.write("kept.sig", approval["signature"].as_str().unwrap());
    repo.write("allowed", format!("alice {}", repo.read("alice.pub")));
    let verify = format!(
        "{} -Y verify -f allowed -I alice -n {NAMESPACE} -s kept.sig < kept.txt",
        tools::tool("ssh-keygen").display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &verify]).current_dir(repo.folder.path());
    assert!(run_command(command).code(0).stdout.contains("Good"));
}

#[test]
fn signatures_work_with_ssh_keygen_in_both_directions() {
    for (name, other) in [("alice", "bob"), ("bob", "carol"), ("carol", "alice")] {
        let repo = create_repo();
        // Ours signs (RSA by way of ssh-keygen), theirs verifies; theirs signs, ours verifies.
        approve(&repo, name).code(0);
        let file = format!("dev.plan.approvals/{name}.txt");
        let check = format!(
            "{} -Y check-novalidate -n {NAMESPACE} -s {file}.sig < {file}",
            tools::tool("ssh-keygen").display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &check]).current_dir(repo.folder.path());
        run_command(command).code(0);
        sign_by_hand(&repo, other, &text(&repo, &[]), NAMESPACE);
        apply(&repo).code(0);
    }
}

/// A real agent, and the keys that were given to it. It ends with the test.
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    fn new(repo: &TestRepository) -> Self {
        let socket = repo.path(".agent");
        let child = Command::new(tools::tool("ssh-agent"))
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(120);
        // The file is there before the agent listens.
        while std::os::unix::net::UnixStream::connect(&socket).is_err() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, socket }
    }

    fn add(&self, repo: &TestRepository, arguments: &[&str]) {
        let mut command = Command::new(tools::tool("ssh-add"));
        command.args(arguments).current_dir(repo.folder.path()).env("SSH_AUTH_SOCK", &self.socket);
        run_command(command).code(0);
    }

    fn approve(&self, repo: &TestRepository, name: &str) -> CommandOutput {
        let public = format!("{name}.pub");
        let mut command = repo.command(&["approve", "dev.plan", "--key", &public, "--yes", "--reason", "seen"]);
        command.env("PATH", tools::folder().join("usr/bin")).env("SSH_AUTH_SOCK", &self.socket);
        run_command(command)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn an_agent_signs_with_keys_whose_files_are_gone() {
    for (one, other) in [("alice", "bob"), ("carol", "alice")] {
        let repo = create_repo();
        let agent = Agent::new(&repo);
        for name in [one, other] {
            agent.add(&repo, &["-q", name]);
            repo.remove(name);
        }
        agent.approve(&repo, one).code(0);
        refused(&repo, "MW0310", &format!("(approved by {one})"));
        // The agent has forgotten the other one.
        agent.add(&repo, &["-q", "-d", &format!("{other}.pub")]);
        let output = agent.approve(&repo, other).code(1);
        assert!(output.stderr.contains("error[MW0319]") && output.stderr.contains("ssh-add -l"), "{}", output.stderr);
        assert!(!repo.path(&format!("dev.plan.approvals/{other}.txt")).exists(), "nothing was left behind");
        drop(agent);
        let output = repo.run(&["approve", "dev.plan", "--key", &format!("{one}.pub"), "--yes"]).code(1);
        assert!(output.stderr.contains("error[MW0319]"), "{}", output.stderr);
        refused(&repo, "MW0310", &format!("(approved by {one})"));
    }
}

#[test]
fn an_agent_and_a_file_approve_together() {
    let repo = create_repo();
    let agent = Agent::new(&repo);
    agent.add(&repo, &["-q", "alice"]);
    repo.remove("alice");
    agent.approve(&repo, "alice").code(0);
    approve(&repo, "bob").code(0);
    apply(&repo).code(0);
}

#[test]
fn a_signature_that_names_another_key_is_a_forgery() {
    let repo = create_repo();
    approve(&repo, "alice").code(0);
    // Mallory signs, and writes alice's key into the signature.
    let raw = |name: &str| {
        let text = repo.read(&format!("{name}.pub"));
        base64::prelude::BASE64_STANDARD.decode(text.split(' ').nth(1).unwrap()).unwrap()
    };
    sign_by_hand(&repo, "mallory", &text(&repo, &[]), NAMESPACE);
    let armoured = repo.read("dev.plan.approvals/mallory.txt.sig");
    let body: String = armoured.lines().filter(|line| !line.starts_with("-----")).collect();
    let signed = base64::prelude::BASE64_STANDARD.decode(body).unwrap();
    let (alice, mallory) = (raw("alice"), raw("mallory"));
    let at = signed.windows(mallory.len()).position(|part| part == mallory).unwrap();
    let forged = [&signed[..at], &alice, &signed[at + mallory.len()..]].concat();
    let lines = base64::prelude::BASE64_STANDARD.encode(forged);
    let lines = lines.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap());
    let forged = format!(
        "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
        lines.collect::<Vec<_>>().join("\n")
    );
    repo.write("dev.plan.approvals/mallory.txt.sig", &forged);
    refused(&repo, "MW0311", "alice has an invalid signature");
}

#[test]
fn an_approval_ends_while_the_plan_waits() {
    let repo = create_repo();
    approve(&repo, "alice").code(0);
    let soon = mailwright::time::Clock::system().now() + Duration::from_secs(2);
    sign_by_hand(&repo, "bob", &text(&repo, &[("expires", &soon.to_string())]), NAMESPACE);
    std::thread::sleep(Duration::from_millis(2100));
    refused(&repo, "MW0313", "bob approved until");
}

#[test]
fn a_text_is_written_to_be_signed_elsewhere() {
    let repo = create_repo();
    let output =
        repo.run(&["approve", "dev.plan", "--key", "bob.pub", "--unsigned", "--reason", "Ticket 4711"]).code(0);
    assert!(output.stdout.contains(&format!("ssh-keygen -Y sign -n {NAMESPACE}")), "{}", output.stdout);
    // A text without a signature does not count as an approval, and is not an error.
    refused(&repo, "MW0310", "no approval so far");
    keygen(&repo, &["-Y", "sign", "-n", NAMESPACE, "-f", "bob", "dev.plan.approvals/bob.txt"]).code(0);
    approve(&repo, "alice").code(0);
    apply(&repo).code(0);
}

#[test]
fn an_invalid_approval_is_reported_and_changes_nothing() {
    let repo = create_repo();
    approve(&repo, "alice").code(0);

    // The text was edited after it was signed.
    sign_by_hand(&repo, "bob", &text(&repo, &[]), NAMESPACE);
    let edited = text(&repo, &[("reason", "something else")]);
    repo.write("dev.plan.approvals/bob.txt", &edited);
    refused(&repo, "MW0311", "bob has an invalid signature");
    // Signed for another purpose.
    sign_by_hand(&repo, "bob", &text(&repo, &[]), "file");
    refused(&repo, "MW0311", "another namespace");
    // Of another environment, generation, deed or digest.
    let other = format!("sha256:{}", "0".repeat(64));
    for (field, value) in
        [("environment", "prod"), ("base generation", "7"), ("action", "rollback to generation 1"), ("digest", &other)]
    {
        sign_by_hand(&repo, "bob", &text(&repo, &[(field, value)]), NAMESPACE);
        refused(&repo, "MW0312", "bob approved another plan");
    }
    sign_by_hand(&repo, "bob", &text(&repo, &[("expires", "2026-01-01T00:00:00Z")]), NAMESPACE);
    refused(&repo, "MW0313", "bob approved until 2026-01-01T00:00:00Z");
    sign_by_hand(&repo, "bob", &text(&repo, &[("expires", "2999-01-01T00:00:00Z")]), NAMESPACE);
    refused(&repo, "MW0315", "30 days");
    // A key that the environment does not list, under the name of a listed signer.
    fs::remove_dir_all(repo.path("dev.plan.approvals")).unwrap();
    approve(&repo, "alice").code(0);
    sign_by_hand(&repo, "mallory", &text(&repo, &[]), NAMESPACE);
    fs::rename(repo.path("dev.plan.approvals/mallory.txt"), repo.path("dev.plan.approvals/bob.txt")).unwrap();
    fs::rename(repo.path("dev.plan.approvals/mallory.txt.sig"), repo.path("dev.plan.approvals/bob.txt.sig")).unwrap();
    refused(&repo, "MW0314", "is not the key of an allowed signer");
    let output = approve(&repo, "mallory").code(1);
    assert!(
        output.stderr.contains("MW0314") && output.stderr.contains("may not approve this plan"),
        "{}",
        output.stderr
    );
    // Every refusal is on record.
    let audit = repo.http("GET", "/v1/audit?limit=100", &[], b"").json();
    for code in ["MW0311", "MW0312", "MW0313", "MW0314", "MW0315"] {
        assert!(audit["entries"].as_array().unwrap().iter().any(|entry| entry["detail"]["code"] == code), "{code}");
    }
}

/// The saved changeset, with approvals, past our client.
fn send(repo: &TestRepository, approvals: &Value) -> HttpResponse {
    let saved: Value = serde_json::from_str(&repo.read("dev.plan")).unwrap();
    let mut changeset = saved["changeset"].clone();
    changeset["approvals"] = approvals.clone();
    repo.http("POST", "/v1/changesets?dryRun=false", &[], changeset.to_string().as_bytes())
}

#[test]
fn malformed_and_oversized_approvals_are_refused_whole() {
    let repo = create_repo();
    approve(&repo, "alice").code(0);
    approve(&repo, "bob").code(0);
    let read = |name: &str| {
        json!({ "message": repo.read(&format!("dev.plan.approvals/{name}.txt")),
            "signature": repo.read(&format!("dev.plan.approvals/{name}.txt.sig")) })
    };
    let (alice, bob) = (read("alice"), read("bob"));
    let with = |key: &str, value: &str| {
        let mut approval = bob.clone();
        approval[key] = json!(value);
        json!([alice, approval])
    };
    let before = repo.state();
    let message = bob["message"].as_str().unwrap();
    let wrong = [
        with("message", ""),
        with("message", &message.replace('\n', "\r\n")),
        with("message", &format!("{message}\n")),
        with("message", &message.replace("reason: ", "reason:  ")),
        with("message", &"x".repeat(3000)),
        with("signature", ""),
        with("signature", "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"),
        with("signature", &"x".repeat(9000)),
        json!(vec![alice.clone(); 21]),
    ];
    for approvals in wrong {
        let answer = send(&repo, &approvals);
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("MW0315")), "{}", answer.body);
    }
    // A dry run lists the missing approvals and does not refuse.
    let saved: Value = serde_json::from_str(&repo.read("dev.plan")).unwrap();
    let mut changeset = saved["changeset"].clone();
    changeset["approvals"] = json!([alice]);
    let answer = repo.http("POST", "/v1/changesets?dryRun=true", &[], changeset.to_string().as_bytes());
    assert_eq!((answer.status, &answer.json()["missingApprovals"][0]["count"]), (200, &json!(2)), "{}", answer.body);
    changeset["approvals"] = json!([alice, bob]);
    let answer = repo.http("POST", "/v1/changesets?dryRun=true", &[], changeset.to_string().as_bytes());
    assert_eq!((answer.status, &answer.json()["missingApprovals"]), (200, &Value::Null));
    assert_eq!(repo.state(), before);
    assert_eq!(send(&repo, &json!([alice, bob])).status, 201);
}

#[test]
fn an_approval_is_good_for_one_plan_from_one_generation() {
    let repo = create_repo();
    approve(&repo, "alice").code(0);
    approve(&repo, "bob").code(0);
    fs::copy(repo.path("dev.plan"), repo.path("first.plan")).unwrap();
    copy_approvals(&repo, "dev.plan.approvals", "first.plan.approvals");
    apply(&repo).code(0);
    // Back at the old host, and forward again to what was approved once.
    change(&repo, "smtp.example.com");
    approve(&repo, "alice").code(0);
    approve(&repo, "carol").code(0);
    apply(&repo).code(0);
    change(&repo, "mx1.example.com");
    copy_approvals(&repo, "first.plan.approvals", "dev.plan.approvals");
    refused(&repo, "MW0312", "approved another plan");
    // The first plan itself was taken, and is not taken twice.
    let state = repo.state();
    assert!(repo.run(&["apply", "first.plan", "--yes", "--skip-verify"]).code(0).stdout.contains("Already applied"));
    assert_eq!(repo.state(), state);
    // Approving a plan that the service has left behind is refused before anything is signed.
    let output = repo.run(&["approve", "first.plan", "--key", "alice", "--yes"]).code(1);
    assert!(output.stderr.contains("MW0231"), "{}", output.stderr);
}

fn copy_approvals(repo: &TestRepository, from: &str, to: &str) {
    fs::create_dir_all(repo.path(to)).unwrap();
    for entry in fs::read_dir(repo.path(from)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), repo.path(to).join(entry.file_name())).unwrap();
    }
}

#[test]
fn the_rules_are_changed_by_the_signers_that_there_are() {
    let repo = create_repo();
    // Removing the rules needs the approvals that they require; so does adding a signer.
    for environment in [
        "companies: [EDU1, EDU2]\n".to_owned(),
        environment(&repo, &[("alice", ""), ("bob", ""), ("mallory", "")], "    rules:\n      - { count: 1 }\n"),
    ] {
        repo.write("environments/dev/environment.yaml", environment);
        change(&repo, "mx1.example.com");
        refused(&repo, "MW0310", "changes the rules about approvals");
        sign_by_hand(&repo, "mallory", &text(&repo, &[]), NAMESPACE);
        refused(&repo, "MW0314", "not the key of an allowed signer");
    }
    // Bob leaves, and what he signs afterwards counts no more.
    let left = environment(&repo, &[("alice", ""), ("carol", "")], TWO);
    repo.write("environments/dev/environment.yaml", left);
    change(&repo, "mx1.example.com");
    approve(&repo, "alice").code(0);
    approve(&repo, "bob").code(0);
    apply(&repo).code(0);
    change(&repo, "mx2.example.com");
    approve(&repo, "alice").code(0);
    sign_by_hand(&repo, "bob", &text(&repo, &[]), NAMESPACE);
    refused(&repo, "MW0314", "not the key of an allowed signer");
    approve(&repo, "carol").code(0);
    apply(&repo).code(0);
}

#[test]
fn a_signer_counts_until_the_last_day() {
    let mut repo = TestRepository::small();
    new_key(&repo, "alice", "ed25519");
    repo.write(
        "environments/dev/environment.yaml",
        environment(&repo, &[("alice", ", until: \"2026-01-31\"")], "    rules:\n      - { count: 1 }\n"),
    );
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    change(&repo, "mx1.example.com");
    approve(&repo, "alice").code(0);
    refused(&repo, "MW0314", "alice was an allowed signer until 2026-01-31");
}

#[test]
fn the_applier_does_not_count_as_approver() {
    let mut repo = TestRepository::small();
    new_key(&repo, "alice", "ed25519");
    let one = "    rules:\n      - { count: 1 }\n";
    repo.write("environments/dev/environment.yaml", environment(&repo, &[("alice", "")], one));
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let token = repo.run(&["token", "create", "dev", "--name", "Alice", "--role", "deployer"]).code(0).stdout;
    // Whatever the case of the letters, it is the same person.
    let by_alice = |repo: &TestRepository| {
        let mut command = repo.command(&["apply", "dev.plan", "--yes", "--skip-verify"]);
        command.env("MAILWRIGHT_TOKEN", token.trim());
        run_command(command)
    };
    change(&repo, "mx1.example.com");
    approve(&repo, "alice").code(0);
    assert!(by_alice(&repo).code(1).stderr.contains("error[MW0317]"));
    // The environment may say that it is enough; from the next apply on.
    let meant = environment(&repo, &[("alice", "")], &format!("{one}    selfApproval: true\n"));
    repo.write("environments/dev/environment.yaml", meant);
    change(&repo, "mx1.example.com");
    approve(&repo, "alice").code(0);
    assert!(by_alice(&repo).code(1).stderr.contains("error[MW0317]"));
    apply(&repo).code(0);
    change(&repo, "mx2.example.com");
    approve(&repo, "alice").code(0);
    by_alice(&repo).code(0);
}

#[test]
fn rules_are_for_functions_companies_and_actions() {
    let mut repo = TestRepository::small();
    new_key(&repo, "alice", "ed25519");
    new_key(&repo, "bob", "ed25519");
    let rules = "    rules:\n      - { count: 2, companies: [EDU2], functions: [documents-remittance], actions: [create, update, delete, rename] }\n      - { count: 1, signers: [alice], actions: [settings], reasonRequired: true }\n";
    let policy = environment(&repo, &[("alice", ""), ("bob", "")], rules);
    repo.write("environments/dev/environment.yaml", &policy);
    let of = |company: &str, function: &str, host: &str| {
        format!(
            "provider:\n  smtp:\n    host: {host}\nfrom:\n  address: erp@example.com\nfunctions: [{function}]\nappliesTo:\n  companies: [{company}]\n"
        )
    };
    repo.write("environments/dev/profiles/quotes.yaml", of("EDU2", "document-quotations", "a.example.com"));
    repo.write("environments/dev/profiles/one.yaml", of("EDU1", "documents-remittance", "a.example.com"));
    repo.write("environments/dev/profiles/documents.yaml", of("EDU2", "all-documents", "a.example.com"));
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let needs = || repo.run(&["plan", "dev", "--format", "json"]).code(0).json()["approvals"]["needs"].clone();
    // Another function, another company: no approval is required.
    repo.write("environments/dev/profiles/quotes.yaml", of("EDU2", "document-quotations", "b.example.com"));
    repo.write("environments/dev/profiles/one.yaml", of("EDU1", "documents-remittance", "b.example.com"));
    assert_eq!(needs(), Value::Null);
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    // Remittances of EDU2 fall back to `all-documents`, so that profile matters.
    repo.write("environments/dev/profiles/documents.yaml", of("EDU2", "all-documents", "b.example.com"));
    assert_eq!(needs()[0]["because"], json!(["updates `documents`"]));
    repo.write("environments/dev/profiles/documents.yaml", of("EDU2", "all-documents", "a.example.com"));
    // A new profile takes them over; it is made, and that is enough.
    repo.write("environments/dev/profiles/pay.yaml", of("EDU2", "documents-remittance", "pay.example.com"));
    assert_eq!(needs()[0]["because"], json!(["creates `pay`"]));
    repo.remove("environments/dev/profiles/pay.yaml");
    // Settings are one signer's affair, who must say why.
    repo.write("environments/dev/environment.yaml", format!("{policy}delivery:\n  keep:\n    failed: 30d\n"));
    let needed = needs();
    assert_eq!((needed.as_array().unwrap().len(), &needed[0]["count"]), (1, &json!(1)));
    assert_eq!(needed[0]["signers"][0]["name"], "alice");
    repo.run(&["plan", "dev", "--out", "dev.plan"]).code(0);
    assert!(approve(&repo, "bob").code(1).stderr.contains("error[MW0314]"));
    let output = repo.run(&["approve", "dev.plan", "--key", "alice", "--yes"]).code(1);
    assert!(output.stderr.contains("error[MW0316]"), "{}", output.stderr);
    sign_by_hand(&repo, "alice", &text(&repo, &[]).replace("reason: by hand", "reason: "), NAMESPACE);
    refused(&repo, "MW0316", "alice gave no reason");
    approve(&repo, "alice").code(0);
    apply(&repo).code(0);
}

#[test]
fn a_rule_about_fields_holds_whichever_way_they_change() {
    let mut repo = TestRepository::small();
    new_key(&repo, "alice", "ed25519");
    let rules =
        "    rules:\n      - count: 1\n        when: { fields: [provider.smtp.host], otherThan: ['*.example.com'] }\n";
    let with_rules = |rules: &str| {
        environment(&repo, &[("alice", "")], rules).replace("policy:", "unserved: [{ reason: trial }]\npolicy:")
    };
    repo.write("environments/dev/environment.yaml", with_rules(rules));
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    // Another host of the list, and another field: no signature.
    change(&repo, "mx1.EXAMPLE.com");
    apply(&repo).code(0);
    repo.write(
        "environments/dev/profiles/relay.yaml",
        crate::support::repository::SMALL_PROFILE.replace("smtp.example.com", "mx1.EXAMPLE.com") + "enabled: false\n",
    );
    repo.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-deletes", "relay"]).code(0);
    change(&repo, "mx.evil.example");
    let planned = repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(planned.contains("1 approval of alice") && planned.contains("provider.smtp.host"), "{planned}");
    refused(&repo, "MW0310", "changes `provider.smtp.host` of `relay`");
    approve(&repo, "alice").code(0);
    apply(&repo).code(0);
    // By hand, by rollback, by deletion.
    let answer = repo.patch("relay", &json!({ "provider": { "smtp": { "host": "other.evil.example" } } }));
    assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("MW0320")), "{}", answer.body);
    let output = repo.run(&["rollback", "dev", "--to", "3", "--yes", "--allow-deletes", "relay"]).code(1);
    assert!(output.stderr.contains("error[MW0310]"), "{}", output.stderr);
    assert_eq!(repo.patch("relay", &json!({ "description": "x" })).status, 200);
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    // A misspelt field is an error of the files, with the right one.
    let misspelt = rules.replace("provider.smtp.host", "provider.smtp.hots");
    repo.write("environments/dev/environment.yaml", environment(&repo, &[("alice", "")], &misspelt));
    let output = repo.run(&["validate", "dev"]).code(1);
    assert!(
        output.stdout.contains("provider.smtp.host") && output.stdout.contains("environment.yaml:"),
        "{}",
        output.stdout
    );
}

#[test]
fn neither_a_change_by_hand_nor_a_rollback_is_a_way_round() {
    let repo = create_repo();
    approve(&repo, "alice").code(0);
    approve(&repo, "bob").code(0);
    apply(&repo).code(0);
    let before = repo.state();
    let answer = repo.patch("relay", &json!({ "description": "x" }));
    assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("MW0320")), "{}", answer.body);
    let output = repo.run(&["rollback", "dev", "--to", "1", "--yes"]).code(1);
    assert!(
        output.stderr.contains("error[MW0310]") && output.stderr.contains("rollback dev --to 1 --out dev.plan"),
        "{}",
        output.stderr
    );
    assert!(
        repo.run(&["rollback", "dev", "--to", "1", "--yes", "--break-glass", "now"]).code(1).stderr.contains("MW0318")
    );
    assert_eq!(repo.state(), before);
    repo.run(&["rollback", "dev", "--to", "1", "--out", "dev.plan"]).code(0);
    // Approvals of the apply do not serve for the way back.
    assert!(repo.run(&["apply", "dev.plan", "--yes"]).code(1).stderr.contains("error[MW0312]"));
    approve(&repo, "carol").code(0);
    approve(&repo, "bob").code(0);
    fs::remove_file(repo.path("dev.plan.approvals/alice.txt")).unwrap();
    assert!(repo.run(&["apply", "dev.plan", "--yes"]).code(0).stdout.contains("Rolled back to generation 1"));
    let newest = repo.http("GET", "/v1/generations?limit=1", &[], b"").json()["generations"][0].clone();
    assert_eq!((&newest["kind"], newest["approvals"].as_array().unwrap().len()), (&json!("rollback"), 2));
}

#[test]
fn glass_is_broken_by_administrators_where_the_environment_allows_it() {
    let mut repo = TestRepository::small();
    new_key(&repo, "alice", "ed25519");
    let rules = "    rules:\n      - { count: 1 }\n    breakGlass: true\n";
    repo.write("environments/dev/environment.yaml", environment(&repo, &[("alice", "")], rules));
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    change(&repo, "mx1.example.com");
    let break_glass = ["apply", "dev", "--yes", "--skip-verify", "--break-glass", "the relay burns"];
    let token = repo.run(&["token", "create", "dev", "--name", "ci", "--role", "deployer"]).code(0).stdout;
    let mut command = repo.command(&break_glass);
    command.env("MAILWRIGHT_TOKEN", token.trim());
    assert!(run_command(command).code(1).stderr.contains("error[MW0318]"));
    repo.run(&break_glass).code(0);
    assert!(repo.run(&["audit", "list", "dev"]).code(0).stdout.contains("without approvals: the relay burns"));
    assert!(repo.run(&["history", "dev"]).code(0).stdout.contains("first-admin, without approvals"));
}

#[test]
fn a_plan_that_does_something_else_than_it_shows_is_not_signed() {
    let repo = create_repo();
    // A writer of the file can make each of its digests valid, by planning another change and swapping the plans.
    let shown: Value = serde_json::from_str(&repo.read("dev.plan")).unwrap();
    change(&repo, "evil.example.net");
    let mut saved: Value = serde_json::from_str(&repo.read("dev.plan")).unwrap();
    let approvals = saved["plan"]["approvals"].clone();
    saved["plan"]["changes"] = shown["plan"]["changes"].clone();
    saved["plan"]["approvals"] = approvals;
    let typed: mailwright::reconcile::Plan = serde_json::from_value(saved["plan"].clone()).unwrap();
    let mut changeset: mailwright::model::Changeset = serde_json::from_value(saved["changeset"].clone()).unwrap();
    changeset.provenance.plan = Some(typed.digest());
    let planned = mailwright::reconcile::Planned { plan: typed, changeset };
    let forged = mailwright::reconcile::saved::SavedPlan::new(&planned, std::collections::BTreeMap::new());
    repo.write("dev.plan", forged.to_text());
    let output = approve(&repo, "alice").code(1);
    assert!(
        output.stderr.contains("error[MW0230]") && output.stderr.contains("are not the ones that it shows"),
        "{}",
        output.stderr
    );
    assert!(!repo.path("dev.plan.approvals").exists());
}

#[test]
fn approving_needs_a_yes_a_key_and_a_plan() {
    let repo = create_repo();
    let output = repo.run(&["approve", "dev.plan", "--key", "alice"]).code(1);
    assert!(output.stderr.contains("error[MW0233]") && !repo.path("dev.plan.approvals").exists(), "{}", output.stderr);
    repo.write("broken", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n");
    for key in ["broken", "nowhere", "dev.plan"] {
        let output = repo.run(&["approve", "dev.plan", "--key", key, "--yes"]).code(1);
        assert!(output.stderr.contains("error[MW0319]") && !output.stderr.contains("AAAA"), "{}", output.stderr);
    }
    // A key with a passphrase needs a terminal, and standard input is not one.
    keygen(&repo, &["-q", "-p", "-f", "alice", "-P", "", "-N", "correct horse"]).code(0);
    assert!(approve(&repo, "alice").code(1).stderr.contains("has a passphrase"));
    assert!(repo.run(&["approve", "environments/dev/environment.yaml", "--yes"]).code(1).stderr.contains("MW0230"));
    let json = repo.run(&["approve", "dev.plan", "--key", "bob", "--yes", "--format", "json"]).code(0).json();
    assert_eq!(json["signer"]["name"], "bob");
}

/// An environment with these signers, written as YAML.
fn policy(signers: &str, more: &str) -> String {
    format!("companies: [EDU1]\npolicy:\n  approvals:\n    signers: {signers}\n{more}")
}

#[test]
fn a_rule_asks_for_a_meaning_and_a_group() {
    let mut repo = TestRepository::small();
    new_key(&repo, "alice", "ed25519");
    new_key(&repo, "bob", "ed25519");
    let rules = "    groups: { quality: [bob] }\n    rules:\n      - { count: 1, signers: [alice] }\n      - { count: 1, groups: [quality], meaning: reviewed, reasonRequired: true }\n";
    repo.write(
        "environments/dev/environment.yaml",
        environment(&repo, &[("alice", ""), ("bob", ", operator: bob")], rules),
    );
    repo.serve();
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    change(&repo, "mx1.example.com");
    let planned = repo.run(&["plan", "dev", "--format", "json"]).code(0).json();
    let need = &planned["approvals"]["needs"][1];
    assert_eq!((&need["meaning"], &need["signers"][0]["operator"]), (&json!("reviewed"), &json!("bob")));
    approve(&repo, "alice").code(0);
    let output = approve(&repo, "bob").code(1);
    assert!(output.stderr.contains("error[MW0314]") && output.stderr.contains("--meaning"), "{}", output.stderr);
    // An approval by hand is not a review.
    sign_by_hand(&repo, "bob", &text(&repo, &[]), NAMESPACE);
    refused(&repo, "MW0310", "1 review of bob, each with a reason");
    fs::remove_file(repo.path("dev.plan.approvals/bob.txt")).unwrap();
    let review = ["approve", "dev.plan", "--key", "bob", "--yes", "--reason", "checked", "--meaning", "reviewed"];
    with_keygen(&repo, &review).code(0);
    let file = "dev.plan.approvals/bob.reviewed.txt";
    let signed = repo.read(file);
    assert!(signed.starts_with("mailwright-approval-v2\n") && signed.contains("\nmeaning: reviewed\n"), "{signed}");
    // The meaning is signed.
    repo.write(file, signed.replace("meaning: reviewed", "meaning: authored"));
    refused(&repo, "MW0311", "bob has an invalid signature");
    repo.write(file, signed);
    apply(&repo).code(0);
    let history = repo.run(&["history", "dev"]).code(0).stdout;
    assert!(history.contains("reviewed by bob, approved by alice"), "{history}");
    assert!(history.contains("bob reviewed 20") && history.contains("by ssh: checked (sha256:"), "{history}");
    let audit = repo.run(&["audit", "list", "dev", "--action", "changeset", "--outcome", "accepted"]).code(0).stdout;
    assert!(audit.contains("reviewed by bob (checked), approved by alice (seen)"), "{audit}");
    assert!(!audit.contains("MW0310"), "{audit}");
}

#[test]
fn rules_that_make_no_sense_are_refused_at_their_place() {
    let repo = TestRepository::small();
    new_key(&repo, "alice", "ed25519");
    new_key(&repo, "bob", "ed25519");
    keygen(&repo, &["-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", "weak"]).code(0);
    let cases = [
        (
            environment(&repo, &[("alice", ""), ("bob", "")], "    rules:\n      - { count: 3 }\n"),
            "requires 3 of 2 signers",
        ),
        (
            environment(&repo, &[("alice", "")], "    rules:\n      - { count: 1, signers: [eve] }\n"),
            "unknown signer `eve`",
        ),
        (
            environment(&repo, &[("alice", "")], "    rules:\n      - { count: 1, companies: [NONE] }\n"),
            "`NONE` does not exist",
        ),
        (environment(&repo, &[("alice", ""), ("alice", "")], TWO), "two signers are called `alice`"),
        (environment(&repo, &[("weak", "")], "    rules:\n      - { count: 1 }\n"), "2048 to 4096 bits"),
        (environment(&repo, &[("alice", ", until: \"2027-02-31\"")], ""), "this day does not exist"),
        (
            "companies: [EDU1]\npolicy:\n  approvals:\n    signers: [{ name: alice, key: ssh-ed25519 }]\n".to_owned(),
            "not a public SSH key",
        ),
        (policy("[{ name: alice }]", ""), "neither `key` nor `operator`"),
        (policy("[{ name: a, operator: ann }, { name: b, operator: Ann }]", ""), "`a` is this operator already"),
        (policy("[{ name: a, operator: ann, email: nowhere }]", ""), "not an e-mail address"),
        (policy("[{ name: a, operator: ann }]", "    groups: { quality: [eve] }\n"), "unknown signer `eve`"),
        (policy("[{ name: a, operator: ann }]", "    groups: { quality: [] }\n"), "has no signers"),
        (
            policy("[{ name: a, operator: ann }]", "    rules: [{ count: 1, groups: [quality] }]\n"),
            "unknown group `quality`",
        ),
        (
            policy(
                "[{ name: a, operator: ann }, { name: b, operator: bob }]",
                "    groups: { quality: [a] }\n    rules: [{ count: 2, groups: [quality] }]\n",
            ),
            "requires 2 of 1 signers",
        ),
        (policy("[{ name: a, operator: ann }]", "    expiresIn: 5m\n"), "expires after 1h to 365d"),
        (policy("[{ name: a, role: R }]", ""), "the role of an identity provider needs its `issuer`"),
        (policy("[{ name: a, operator: ann, issuer: 'https://i' }]", ""), "`issuer` goes with"),
        (policy("[{ name: a, role: R, group: G, issuer: 'https://i' }]", ""), "one of `person`, `group` and `role`"),
        (policy("[{ name: a, operator: ann, role: R, issuer: 'https://i' }]", ""), "a role is many persons"),
        (
            policy("[{ name: a, person: p, issuer: 'https://i' }, { name: b, person: p, issuer: 'https://i' }]", ""),
            "`a` is this signer already",
        ),
        (
            policy(
                "[{ name: a, operator: ann }]",
                "    rules: [{ count: 1, actions: [update], when: { fields: [from.*] } }]\n",
            ),
            "`when` does not go with `actions`",
        ),
        (policy("[{ name: a, operator: ann }]", "    rules: [{ count: 1, when: { fields: [] } }]\n"), "fields"),
        (policy("[{ name: a, operator: ann }]", "    rules: [{ count: 1, when: { fields: [form.*] } }]\n"), "from.*"),
        (policy("[{ name: a, operator: ann }]", "    rules: [{ count: 1, passkeyAge: 5m }]\n"), "is 1h to 90d"),
    ];
    for (text, words) in cases {
        repo.write("environments/dev/environment.yaml", text);
        let output = repo.run(&["validate", "dev"]).code(1);
        assert!(
            output.stdout.contains(words) && output.stdout.contains("environment.yaml:"),
            "{words}\n{}",
            output.stdout
        );
    }
}

/// A signature as a security key makes it: over the application, flags and a counter too. One flag records the touch.
fn security_key(flags: u8) -> (String, impl Fn(&str) -> String) {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use sha2::{Digest as _, Sha256};
    use ssh_key::{Algorithm, HashAlg, LineEnding, PublicKey, Signature, SshSig, public};

    let pair = Ed25519KeyPair::generate().unwrap();
    let bytes: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
    let mut blob = Vec::new();
    for part in [b"sk-ssh-ed25519@openssh.com".as_slice(), &bytes, b"ssh:"] {
        blob.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
        blob.extend(part);
    }
    let key = PublicKey::from_bytes(&blob).unwrap();
    let data: public::KeyData = key.key_data().clone();
    let sign = move |text: &str| {
        let signed = SshSig::signed_data(NAMESPACE, HashAlg::Sha512, text.as_bytes()).unwrap();
        let trailer = [&[flags][..], &7_u32.to_be_bytes()].concat();
        let message = [&Sha256::digest(b"ssh:")[..], &trailer, &Sha256::digest(&signed)].concat();
        let bytes = [pair.sign(&message).as_ref(), &trailer].concat();
        let signature = Signature::new(Algorithm::SkEd25519, bytes).unwrap();
        SshSig::new(data.clone(), NAMESPACE, HashAlg::Sha512, signature).unwrap().to_pem(LineEnding::LF).unwrap()
    };
    (key.to_openssh().unwrap(), sign)
}

#[test]
fn a_security_key_must_have_been_touched() {
    for (flags, code) in [(1, 0), (0, 1)] {
        let mut repo = TestRepository::small();
        let (public, sign) = security_key(flags);
        repo.write("carol.pub", public);
        let policy = environment(&repo, &[("carol", "")], "    rules:\n      - { count: 1 }\n");
        repo.write("environments/dev/environment.yaml", policy);
        repo.serve();
        repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
        change(&repo, "mx1.example.com");
        let text = text(&repo, &[]);
        repo.write("dev.plan.approvals/carol.txt", &text);
        repo.write("dev.plan.approvals/carol.txt.sig", sign(&text));
        // The real program takes the signature for one of such a key, touched or not.
        let check = format!(
            "{} -Y check-novalidate -n {NAMESPACE} -s dev.plan.approvals/carol.txt.sig < dev.plan.approvals/carol.txt",
            tools::tool("ssh-keygen").display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &check]).current_dir(repo.folder.path());
        let theirs = run_command(command);
        assert!(code == 1 || theirs.code == 0, "{theirs:?}");
        let output = apply(&repo).code(code);
        assert!(code == 0 || output.stderr.contains("error[MW0311]"), "{}", output.stderr);
    }
}

#[test]
fn rights_are_added_with_the_approval_of_others_whoever_applies() {
    let repo = create_repo();
    repo.write(
        "environments/dev/access.yaml",
        "bindings:\n  ann: { subjects: [{ operator: ann }], roles: [viewer] }\n",
    );
    let plan = |more: &[&str]| {
        drop(fs::remove_dir_all(repo.path("dev.plan.approvals")));
        repo.run(&[&["plan", "dev", "--out", "dev.plan"][..], more].concat()).code(0).stdout
    };
    let shown = plan(&["--allow-rights"]);
    assert!(shown.contains("changes the access policy"), "{shown}");
    // An administrator cannot do it alone where there are rules.
    assert!(apply(&repo).code(1).stderr.contains("MW0310"));
    let created = repo.run(&["token", "create", "dev", "--name", "Alice", "--role", "deployer"]).code(0);
    let mut command = repo.command(&["apply", "dev.plan", "--yes", "--skip-verify"]);
    command.env("MAILWRIGHT_TOKEN", created.stdout.trim());
    // The one who applies is one of the signers, whose own approval does not count.
    for name in ["alice", "bob"] {
        approve(&repo, name).code(0);
    }
    assert_eq!(run_command(command).code, 1);
    approve(&repo, "carol").code(0);
    let mut command = repo.command(&["apply", "dev.plan", "--yes", "--skip-verify"]);
    command.env("MAILWRIGHT_TOKEN", created.stdout.trim());
    run_command(command).code(0);
    assert_eq!(repo.state()["settings"]["access"]["bindings"]["ann"]["roles"], json!(["viewer"]));
}
