//! `mailwright secrets recipients`: who can open what, changed over many environments at once, each whole or not at all.

use std::{collections::BTreeMap, fs, path::Path};

use crate::support::{
    repository::{CommandOutput, TestRepository, run_command},
    tools,
};
use mailwright::secrets::{Header, ServiceIdentity};
use secrecy::ExposeSecret as _;

const ENVIRONMENTS: [&str; 3] = ["prod-1", "prod-2", "test-1"];
const FILES: [&str; 3] = ["relay/password.age", "relay/password.next.age", "documents/secret.age"];

/// Three environments with secrets, all of them open to `key.txt`; and a new recipient, `new.txt`.
struct RecipientsFixture {
    repo: TestRepository,
    operator: ServiceIdentity,
    service: ServiceIdentity,
    new: ServiceIdentity,
}

impl RecipientsFixture {
    fn new() -> Self {
        let repo = TestRepository::empty();
        let [operator, service, new] = [(); 3].map(|()| ServiceIdentity::generate());
        repo.write("key.txt", operator.to_file().expose_secret());
        repo.write("new.txt", new.to_file().expose_secret());
        for environment in ENVIRONMENTS {
            let region = if environment.starts_with("prod") { "emea" } else { "apac" };
            repo.write(
                &format!("environments/{environment}/environment.yaml"),
                format!("companies: [EDU1]\nlabels: {{ region: {region} }}\n"),
            );
            repo.write(
                &format!("environments/{environment}/profiles/relay.yaml"),
                "provider:\n  smtp:\n    host: smtp.example.com\n    username: erp\n    password: { secret: relay/password }\n\
                 from:\n  address: erp@example.com\nfunctions: [default]\nappliesTo: system-wide\n",
            );
            repo.write(
                &format!("environments/{environment}/profiles/documents.yaml"),
                "provider:\n  microsoft-graph-direct:\n    tenant: contoso.example\n    client: 0c0ffee0-0000-4000-8000-0000000000aa\n    \
                 credential: { clientSecret: { secret: documents/secret } }\n\
                 from:\n  address: erp@example.com\nfunctions: [all-documents]\nappliesTo: system-wide\n",
            );
            repo.write(
                &format!("secrets/{environment}/recipients.txt"),
                format!(
                    "# Who the secrets are sealed to.\n\n# the service\n{}\n\n# Ann\n{}\n",
                    service.recipient(),
                    operator.recipient()
                ),
            );
            repo.pipe(&["secrets", "set", environment, "relay/password"], b"a password").code(0);
            repo.pipe(&["secrets", "rotate", environment, "relay/password"], b"a next password").code(0);
            repo.pipe(&["secrets", "set", environment, "documents/secret"], b"a secret").code(0);
        }
        Self { repo, operator, service, new }
    }

    fn run(&self, arguments: &[&str]) -> CommandOutput {
        let mut command = self.repo.command(&[&["secrets", "recipients"], arguments].concat());
        command.env("HOME", self.repo.path("home")).env_remove("XDG_CONFIG_HOME");
        run_command(command)
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        collect(&self.repo.path("secrets"), &mut found);
        found
    }

    fn header(&self, environment: &str, file: &str) -> Header {
        Header::read(&fs::read(self.repo.path(&format!("secrets/{environment}/{file}"))).unwrap()).unwrap()
    }

    fn opens(&self, key: &ServiceIdentity, environment: &str, file: &str) -> bool {
        key.open(&fs::read(self.repo.path(&format!("secrets/{environment}/{file}"))).unwrap()).is_ok()
    }
}

fn collect(folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else {
            found.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
}

#[test]
fn a_recipient_is_added_and_removed_everywhere_at_once() {
    let fleet = RecipientsFixture::new();
    let (new, before) = (fleet.new.recipient(), fleet.files());
    let ids: Vec<_> = FILES.map(|file| fleet.header("prod-1", file).value_id).to_vec();

    let dry = fleet.run(&["add", &new, "--dry-run", "-i", "key.txt"]).code(0);
    assert_eq!(dry.stdout.matches("would change").count(), 12, "{}", dry.stdout);
    assert_eq!(fleet.files(), before, "a dry run writes nothing");

    let added = fleet.run(&["add", &new, "--comment", "Bob", "-i", "key.txt"]).code(0);
    assert!(added.stderr.contains("12 files changed in 3 environments"), "{}", added.stderr);
    assert!(added.stdout.contains("changed secrets/prod-2/recipients.txt"), "{}", added.stdout);
    for environment in ENVIRONMENTS {
        for file in FILES {
            assert!(fleet.opens(&fleet.new, environment, file), "{environment} {file}");
        }
    }
    let after: Vec<_> = FILES.map(|file| fleet.header("prod-1", file).value_id).to_vec();
    assert_eq!(after, ids, "no value has changed");
    fleet.repo.run(&["secrets", "check"]).code(0);
    let again = fleet.run(&["add", &new, "-i", "key.txt"]).code(0);
    assert!(again.stdout.contains("prod-1: no changes, 3 secrets are up to date"), "{}", again.stdout);

    // age itself reads what was written.
    let age = |key: &str| {
        let mut command = std::process::Command::new(tools::tool("age"));
        command.args(["-d", "-i", key, "secrets/test-1/relay/password.next.age"]).current_dir(fleet.repo.folder.path());
        run_command(command)
    };
    assert_eq!(age("new.txt").code(0).stdout, "a next password");

    // Removed from some of them; no confirmation is needed for a key that cannot be the service's.
    let removed =
        fleet.run(&["remove", &new, "-l", "region=emea", "-i", "key.txt", "--even-the-service", &new]).code(0);
    assert!(removed.stderr.contains("8 files changed in 2 environments"), "{}", removed.stderr);
    assert!(!fleet.opens(&fleet.new, "prod-1", FILES[0]) && fleet.opens(&fleet.new, "test-1", FILES[0]));
    let text = fleet.repo.read("secrets/prod-1/recipients.txt");
    assert_eq!(
        text.as_bytes(),
        before[&fleet.repo.path("secrets/prod-1/recipients.txt").display().to_string()],
        "as it was"
    );
    let list = fleet.run(&["list"]).code(0).stdout;
    assert!(list.lines().any(|line| line.ends_with("prod-1, prod-2, test-1")), "{list}");
    assert!(list.lines().any(|line| line.ends_with("  test-1")), "{list}");
}

#[test]
fn an_environment_that_fails_is_left_as_it_was_and_keeps_no_other_back() {
    let fleet = RecipientsFixture::new();
    // A file that the operator cannot open.
    let stranger = ServiceIdentity::generate();
    fleet.repo.write("stranger.txt", stranger.to_file().expose_secret());
    fleet.repo.write("value", "sealed by another operator");
    let mut command = std::process::Command::new(tools::tool("age"));
    let file = "secrets/prod-2/relay/password.age";
    command.args(["-a", "-r", &stranger.recipient(), "-o", file, "value"]).current_dir(fleet.repo.folder.path());
    run_command(command).code(0);
    let before = fleet.files();
    let output = fleet.run(&["add", &fleet.new.recipient(), "-i", "key.txt"]).code(1);
    assert!(output.stderr.contains("prod-2 was not changed") && output.stderr.contains("MW0038"), "{}", output.stderr);
    for (path, bytes) in fleet.files() {
        assert_eq!(bytes == before[&path], path.contains("/prod-2/"), "{path}");
    }
    let json = fleet.run(&["add", &fleet.new.recipient(), "-i", "key.txt", "--format", "json"]).code(1);
    let document = json.json();
    assert_eq!(document["environments"]["prod-2"]["environment"], "prod-2");
    assert_eq!(document["environments"]["prod-2"]["error"]["code"], "MW0038");
}

#[test]
fn the_services_own_recipient_and_the_last_one_stay() {
    let fleet = RecipientsFixture::new();
    let before = fleet.files();
    // Without a terminal to ask at, the key might be the service's.
    let output = fleet.run(&["remove", &fleet.service.recipient(), "-i", "key.txt"]).code(1);
    assert!(
        output.stderr.contains("MW0364") && output.stderr.contains("cannot query the service"),
        "{}",
        output.stderr
    );
    assert_eq!(fleet.files(), before);
    let service = fleet.service.recipient();
    fleet.run(&["remove", &service, "-i", "key.txt", "--even-the-service", &service]).code(0);
    let operator = fleet.operator.recipient();
    let last = fleet.run(&["remove", &operator, "-i", "key.txt", "--even-the-service", &operator]).code(1);
    assert!(last.stderr.contains("MW0364") && last.stderr.contains("the only recipient"), "{}", last.stderr);
    // A private key is refused, and not echoed.
    let secret = fleet.new.to_file().expose_secret().lines().last().unwrap().to_owned();
    let output = fleet.run(&["add", &secret, "-i", "key.txt"]).code(1);
    assert!(
        output.stderr.contains("it is an identity") && !output.stderr.contains(&secret[20..40]),
        "{}",
        output.stderr
    );
}

#[test]
fn the_service_is_asked_whether_it_is_its_own() {
    let mut repo = TestRepository::examples();
    repo.serve();
    let recipients = repo.read("secrets/dev/recipients.txt");
    let service = recipients.lines().find(|line| line.starts_with("age1")).unwrap().to_owned();
    let new = ServiceIdentity::generate().recipient();
    let key = ["-i", "secrets/dev/demo-identity.txt"];
    repo.run(&[&["secrets", "recipients", "add", &new, "dev"][..], &key].concat()).code(0);
    let no = repo.run(&[&["secrets", "recipients", "remove", &service, "dev"][..], &key].concat()).code(1);
    assert!(no.stderr.contains("it is the recipient of the service"), "{}", no.stderr);
    repo.run(&[&["secrets", "recipients", "remove", &new, "dev"][..], &key].concat()).code(0);
}

#[test]
fn a_name_that_ends_in_next_is_not_a_secret() {
    let fleet = RecipientsFixture::new();
    let set = fleet.repo.pipe(&["secrets", "set", "prod-1", "relay/password.next"], b"value").code(1);
    assert!(set.stderr.contains("MW0360") && set.stderr.contains("rotate prod-1 relay/password"), "{}", set.stderr);
    let profile = "environments/prod-1/profiles/relay.yaml";
    let text = fleet.repo.read(profile).replace("relay/password", "relay/password.next");
    fleet.repo.write(profile, text);
    let validate = fleet.repo.run(&["validate", "prod-1"]).code(1);
    assert!(format!("{}{}", validate.stdout, validate.stderr).contains("MW0360"), "{validate:?}");
}
