//! `microsoft register`: the printed script makes the registration that the profile needs, again and again, and then `verify`
//! passes. A stand-in for `az` forwards the script's requests to the sandbox's Graph.

use std::{os::unix::fs::PermissionsExt as _, process::Command};

use mailwright::secrets::ServiceIdentity;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::{
    repository::{CommandOutput, PROGRAM, TestRepository, run_command},
    sandbox::{DIRECT, Sandbox, TENANT, delegate, direct, good},
    tools,
};

/// An application that may change the directory, as an administrator may.
const ADMIN: &str = "0c0ffee0-0000-4000-8000-0000000000ad";
const NEW: &str = "00000000-0000-0000-0000-000000000000";

/// A tenant with an administrator, and a repository whose profiles belong to it.
struct Fixture {
    sandbox: Sandbox,
    repo: TestRepository,
}

impl Fixture {
    fn new() -> Self {
        let mut scenario = good();
        let administrator = json!({
            "client": ADMIN, "name": "Administrator", "secrets": [{ "value": "admin-secret" }],
            "granted": [
                "Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All", "DelegatedPermissionGrant.ReadWrite.All",
                "Directory.Read.All", "Organization.Read.All",
            ],
        });
        scenario["tenants"][0]["applications"].as_array_mut().unwrap().push(administrator);
        let sandbox = Sandbox::start(scenario);
        let repo = TestRepository::empty();
        repo.write("environments/dev/environment.yaml", "companies: [EDU1]\nunserved: [{ reason: trial }]\n");
        repo.write("ca.pem", &sandbox.running.authority);
        repo.write("secrets/dev/recipients.txt", include_str!("../../secrets/dev/recipients.txt"));
        repo.write("secrets/dev/demo-identity.txt", include_str!("../../secrets/dev/demo-identity.txt"));
        repo.write("key.txt", include_str!("../../secrets/dev/demo-identity.txt"));
        repo.write("az.py", include_str!("../fixtures/az.py"));
        let own = tools::folder().join("python/bin/python3");
        let has_module = |python: &std::path::Path| {
            Command::new(python).args(["-c", "import jmespath"]).status().is_ok_and(|status| status.success())
        };
        let python = if has_module(&own) { own.display().to_string() } else { "python3".to_owned() };
        repo.write("bin/az", format!("#!/bin/sh\nexec {python} {} \"$@\"\n", repo.path("az.py").display()));
        repo.write("bin/mailwright", format!("#!/bin/sh\nexec {PROGRAM} \"$@\"\n"));
        for name in ["az", "mailwright"] {
            std::fs::set_permissions(repo.path("bin").join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { sandbox, repo }
    }

    /// Writes a profile of Microsoft's global cloud, for which the scripts are.
    fn profile(&self, name: &str, profile: &Value) {
        let mut profile = profile.clone();
        for settings in profile["provider"].as_object_mut().unwrap().values_mut() {
            settings.as_object_mut().unwrap().remove("cloud");
        }
        self.repo.write(&profile_path(name), profile.to_string());
    }

    /// Moves a profile to the sandbox's cloud, and seals its credential again: it was sealed for Microsoft's.
    fn move_to_sandbox(&self, name: &str) {
        let mut profile: Value = serde_json::from_str(&self.repo.read(&profile_path(name))).unwrap();
        let address = &self.sandbox.running.address;
        for settings in profile["provider"].as_object_mut().unwrap().values_mut() {
            settings["cloud"] = json!({ "custom": { "signIn": address, "graph": address } });
        }
        self.repo.write(&profile_path(name), profile.to_string());
        let identity = ServiceIdentity::parse(&self.repo.read("key.txt").into()).unwrap();
        for key in ["secret", "certificate"] {
            if let Ok(sealed) = std::fs::read(self.repo.path(&format!("secrets/dev/{name}/{key}.age"))) {
                let value = identity.open(&sealed).unwrap();
                self.repo.pipe(&["secrets", "set", "dev", &format!("{name}/{key}")], value.expose_secret()).code(0);
            }
        }
    }

    /// Prints the script, and runs it.
    fn register(&self, arguments: &[&str]) -> CommandOutput {
        let script = self.repo.run(&[&["microsoft", "register", "dev"], arguments].concat()).code(0).stdout;
        self.run_script(&script)
    }

    fn run_script(&self, script: &str) -> CommandOutput {
        self.repo.write("register.sh", script);
        let mut command = Command::new("bash");
        crate::support::repository::clear_environment(&mut command);
        command
            .args(["-c", "PATH=\"$PWD/bin:$PATH\" exec bash register.sh"])
            .current_dir(self.repo.folder.path())
            .env("AZ_GRAPH", &self.sandbox.running.address)
            .env("AZ_CA", self.repo.path("ca.pem"))
            .env("AZ_TENANT", TENANT)
            .env("AZ_CLIENT", ADMIN)
            .env("AZ_SECRET", "admin-secret")
            .env("AZ_LOG", self.repo.path("az.log"));
        run_command(command)
    }

    fn verify(&self, profile: &str) -> CommandOutput {
        self.move_to_sandbox(profile);
        let dns = self.sandbox.running.dns.to_string();
        let mut command =
            self.repo.command(&["verify", "dev", profile, "--local", "-i", "key.txt", "--format", "json"]);
        command.args(["--outgoing-ca-file", "ca.pem", "--dns-server", &dns]);
        command.env("MAILWRIGHT_READER_TOKEN", self.reader_token());
        run_command(command)
    }

    /// A token of the administrator, with which `verify` reads the directory.
    fn reader_token(&self) -> String {
        let address = &self.sandbox.running.address;
        let encoded = address.replace(':', "%3A").replace('/', "%2F");
        let form = format!(
            "grant_type=client_credentials&client_id={ADMIN}&client_secret=admin-secret&scope={encoded}%2F.default"
        );
        let request = self.sandbox.http.post(format!("{address}/{TENANT}/oauth2/v2.0/token"));
        let request = request.header("Content-Type", "application/x-www-form-urlencoded").body(form);
        let answer: Value =
            self.sandbox.runtime.block_on(async { request.send().await.unwrap().json().await.unwrap() });
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// The number of changes that the script has asked for so far.
    fn changes(&self) -> usize {
        let log = self.repo.read("az.log").to_lowercase();
        ["\"post\"", "\"patch\"", "\"add\"", "\"reset\""].iter().map(|change| log.matches(change).count()).sum()
    }
}

fn profile_path(name: &str) -> String {
    format!("environments/dev/profiles/{name}.json")
}

/// The ids of findings that did not pass.
fn open_findings(report: &CommandOutput) -> Vec<String> {
    let report = report.json();
    let findings = report["profiles"][0]["findings"].as_array().unwrap_or_else(|| panic!("{report:#}"));
    let open = findings.iter().filter(|finding| finding["verdict"] != "pass");
    open.map(|finding| format!("{} {}", finding["id"].as_str().unwrap(), finding["verdict"].as_str().unwrap()))
        .collect()
}

#[test]
fn a_direct_sender_is_registered_twice_and_verified() {
    let fixture = Fixture::new();
    let mut profile = direct();
    profile["provider"]["microsoft-graph-direct"]["client"] = json!(NEW);
    fixture.profile("documents", &profile);
    let script = fixture.repo.run(&["microsoft", "register", "dev", "documents"]).code(0).stdout;
    let first = fixture.run_script(&script).code(0);
    for says in
        ["registered the application", "consented to the application permission Mail.Send", "added a client secret"]
    {
        assert!(first.stderr.contains(says), "{says}: {}", first.stderr);
    }
    let written = fixture.repo.read("environments/dev/profiles/documents.json");
    assert!(!written.contains(NEW), "{written}");
    assert!(fixture.repo.path("secrets/dev/documents/secret.age").is_file());
    // The secret went nowhere else.
    let shown = format!("{}{}{}", first.stdout, first.stderr, fixture.repo.read("az.log"));
    assert!(!shown.contains("Sbx8Q~"), "{shown}");
    let changes = fixture.changes();
    // The same script, and the one that is printed now, find what exists.
    let again = fixture.run_script(&script).code(0);
    assert!(
        again.stderr.contains("the application exists") && again.stderr.contains("kept secrets/dev"),
        "{}",
        again.stderr
    );
    fixture.register(&["documents"]).code(0);
    assert_eq!(fixture.changes(), changes, "{}", fixture.repo.read("az.log"));
    let report = fixture.verify("documents").code(0);
    let open = open_findings(&report);
    assert_eq!(open, ["GRAPH-MAIL-SEND-UNSCOPED fail"], "{}", report.stdout);
    // The remedy revokes the grant, which then is only requested.
    let document = report.json();
    let findings = document["profiles"][0]["findings"].as_array().unwrap();
    let unscoped = findings.iter().find(|finding| finding["id"] == "GRAPH-MAIL-SEND-UNSCOPED").unwrap();
    let steps = unscoped["remedy"].as_array().unwrap().iter().filter_map(Value::as_str);
    let revoke = steps.filter(|step| step.starts_with("az rest --method DELETE")).collect::<Vec<_>>().join("\n");
    assert!(!revoke.is_empty(), "{unscoped:#}");
    // The stand-in for `az` forwards the requests to Microsoft's Graph.
    let revoke = revoke
        .replace(&fixture.sandbox.running.address, "https://graph.microsoft.com")
        .replace("az rest ", "az rest --resource https://graph.microsoft.com ");
    fixture.run_script(&revoke).code(0);
    let report = fixture.verify("documents").code(3);
    assert!(open_findings(&report).contains(&"GRAPH-CONSENT unknown".to_owned()), "{}", report.stdout);
    // Nothing with this id is left.
    assert!(fixture.run_script(&revoke.replace("$(az ", "0$(az ")).stderr.contains("Request_ResourceNotFound"));
}

#[test]
fn delegates_of_both_platforms_share_one_application() {
    let fixture = Fixture::new();
    let mut native = delegate("");
    native["provider"]["microsoft-graph-delegate"]["client"] = json!(NEW);
    fixture.profile("desktop", &native);
    fixture.register(&["desktop"]).code(0);
    let written: Value = serde_json::from_str(&fixture.repo.read("environments/dev/profiles/desktop.json")).unwrap();
    let client = written["provider"]["microsoft-graph-delegate"]["client"].as_str().unwrap();
    assert_ne!(client, NEW);
    // A second profile of the same application adds its platform and its permission, and leaves the rest.
    let mut web = delegate(crate::support::sandbox::WEB);
    web["provider"]["microsoft-graph-delegate"]["client"] = json!(client);
    web["provider"]["microsoft-graph-delegate"]["addressBook"] = json!(true);
    fixture.profile("web", &web);
    let second = fixture.register(&["web"]).code(0);
    assert!(second.stderr.contains("added a redirect URI to spa"), "{}", second.stderr);
    assert!(second.stderr.contains("requested Contacts.Read"), "{}", second.stderr);
    assert!(second.stderr.contains("consented to the missing delegated permissions"), "{}", second.stderr);
    let changes = fixture.changes();
    fixture.register(&["web"]).code(0);
    fixture.register(&["desktop"]).code(0);
    assert_eq!(fixture.changes(), changes);
    // Public client flows stay off: signing in through the browser needs none.
    for (profile, open) in [("desktop", &["GRAPH-REDIRECT-DESKTOP fail", "GRAPH-PUBLIC-FLOWS fail"][..]), ("web", &[])]
    {
        let report = fixture.verify(profile).code(0);
        assert_eq!(open_findings(&report), open, "{}", report.stdout);
    }
}

#[test]
fn a_certificate_is_uploaded_and_only_its_key_is_sealed() {
    let fixture = Fixture::new();
    let mut profile = direct();
    let settings = &mut profile["provider"]["microsoft-graph-direct"];
    settings["client"] = json!(NEW);
    settings["credential"] = json!({ "certificate": { "secret": "documents/certificate" } });
    fixture.profile("documents", &profile);
    let first = fixture.register(&["documents"]).code(0);
    assert!(first.stderr.contains("added a certificate"), "{}", first.stderr);
    assert!(!fixture.repo.read("az.log").contains("PRIVATE KEY"));
    // A here-string with the key could be a temporary file.
    let script = fixture.repo.read("register.sh");
    let mut with_key = script.lines().filter(|line| line.contains("\"$pem\"")).peekable();
    assert!(with_key.peek().is_some() && with_key.all(|line| line.contains("printf '%s\\n' \"$pem\" | ")), "{script}");
    fixture.register(&["documents"]).code(0);
    fixture.verify("documents").code(0);
}

#[test]
fn mail_send_can_be_left_to_exchange() {
    let fixture = Fixture::new();
    let mut profile = direct();
    profile["provider"]["microsoft-graph-direct"]["client"] = json!(NEW);
    fixture.profile("documents", &profile);
    let scoped = fixture.register(&["documents", "--scoped"]).code(0);
    assert!(
        !scoped.stderr.contains("Mail.Send\n") && scoped.stderr.contains("New-ManagementScope"),
        "{}",
        scoped.stderr
    );
    assert!(scoped.stderr.contains("PrimarySmtpAddress -eq ''documents@contoso.example''"), "{}", scoped.stderr);
    let report = fixture.verify("documents");
    assert!(open_findings(&report).contains(&"GRAPH-MAIL-SEND unknown".to_owned()), "{}", report.stdout);
}

#[test]
fn a_federated_token_needs_its_issuer() {
    let fixture = Fixture::new();
    let mut profile = direct();
    let settings = &mut profile["provider"]["microsoft-graph-direct"];
    settings["client"] = json!(NEW);
    settings["credential"] = json!({ "federatedTokenFile": "/var/run/token" });
    fixture.profile("documents", &profile);
    let refused = fixture.repo.run(&["microsoft", "register", "dev", "documents"]).code(1);
    assert!(refused.stderr.contains("--issuer URL"), "{}", refused.stderr);
    let arguments =
        ["documents", "--issuer", "https://issuer.example/", "--subject", "it's $(touch pwned) \"the\" `pod`"];
    assert!(fixture.register(&arguments).code(0).stderr.contains("trusts the federated token"));
    let changes = fixture.changes();
    fixture.register(&arguments).code(0);
    assert_eq!(fixture.changes(), changes);
    assert!(!fixture.repo.path("pwned").exists());
}

#[test]
fn hostile_values_reach_no_shell() {
    let fixture = Fixture::new();
    let hostile = "x'\"; touch pwned; $(touch pwned) `touch pwned`\n touch pwned # %s \\n \u{2019}";
    let mut profile = delegate("");
    let settings = &mut profile["provider"]["microsoft-graph-delegate"];
    settings["client"] = json!(NEW);
    settings["redirect"] = json!(hostile);
    fixture.profile("desktop", &profile);
    fixture.register(&["desktop"]).code(0);
    settings_of(&mut profile)["tenant"] = json!(hostile);
    profile["from"] = json!({ "address": hostile });
    fixture.profile("desktop", &profile);
    let refused = fixture.register(&["desktop"]).code(1);
    assert!(refused.stderr.contains("another tenant"), "{}", refused.stderr);
    assert!(!fixture.repo.path("pwned").exists());
    // Of PowerShell, every hostile text is one literal: an even number of quotes on its lines.
    let script = fixture.repo.run(&["microsoft", "register", "dev", "desktop", "--shell", "powershell"]).code(0).stdout;
    let start = script.find("$tenant = '").unwrap();
    let literal = &script[start..script.find("\n$graph").unwrap()];
    let quotes = literal.chars().filter(|c| matches!(c, '\'' | '\u{2019}')).count();
    assert!(quotes % 2 == 0 && literal.contains("x''\"; touch") && literal.contains("\u{2019}\u{2019}'"), "{literal}");
}

fn settings_of(profile: &mut Value) -> &mut Value {
    &mut profile["provider"]["microsoft-graph-delegate"]
}

#[test]
fn what_cannot_be_registered_is_refused_with_the_reason() {
    let fixture = Fixture::new();
    fixture.profile("documents", &direct());
    let run =
        |arguments: &[&str]| fixture.repo.run(&[&["microsoft", "register", "dev"], arguments].concat()).code(1).stderr;
    assert!(run(&["nosuch"]).contains("Its profiles are: documents"), "{}", run(&["nosuch"]));
    fixture.repo.write("environments/dev/profiles/relay.yaml", crate::support::repository::SMALL_PROFILE);
    assert!(run(&["relay"]).contains("does not send through Microsoft Graph"));
    // A script for another cloud would register the application in the wrong tenant.
    fixture.move_to_sandbox("documents");
    for shell in ["bash", "powershell"] {
        let refused = run(&["documents", "--shell", shell]);
        assert!(refused.contains("the cloud of the profile is `custom`"), "{refused}");
        assert!(refused.contains("mailwright verify"), "{refused}");
    }
    // A client id that the tenant does not have is not replaced by a new application.
    let mut unknown = direct();
    unknown["provider"]["microsoft-graph-direct"]["client"] = json!("0c0ffee0-0000-4000-8000-00000000dead");
    fixture.profile("documents", &unknown);
    let failed = fixture.register(&["documents"]).code(1);
    assert!(failed.stderr.contains("no application with the client id 0c0ffee0"), "{}", failed.stderr);
    fixture.profile("documents", &direct());
    let known = fixture.register(&["documents"]).code(0);
    assert!(known.stderr.contains("the application exists") && !known.stderr.contains("consented"), "{}", known.stderr);
    assert!(fixture.repo.read("az.log").contains(DIRECT));
}
