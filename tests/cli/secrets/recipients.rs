//! `mailwright secrets recipients`: who can open what, changed over many environments at once, each whole or not at all.

use std::{collections::BTreeMap, fs, path::Path};

use crate::support::{
    tools,
    trial::{Ran, Trial, finish},
};
use mailwright::secrets::{Header, ServiceIdentity};
use secrecy::ExposeSecret as _;

const ENVIRONMENTS: [&str; 3] = ["prod-1", "prod-2", "test-1"];
const FILES: [&str; 3] = ["relay/password.age", "relay/password.next.age", "documents/secret.age"];

/// Three environments with secrets, all of them open to `key.txt`; and somebody new, `new.txt`.
struct Fleet {
    trial: Trial,
    operator: ServiceIdentity,
    service: ServiceIdentity,
    new: ServiceIdentity,
}

impl Fleet {
    fn new() -> Self {
        let trial = Trial::empty();
        let [operator, service, new] = [(); 3].map(|()| ServiceIdentity::generate());
        trial.write("key.txt", operator.to_file().expose_secret());
        trial.write("new.txt", new.to_file().expose_secret());
        for environment in ENVIRONMENTS {
            let region = if environment.starts_with("prod") { "emea" } else { "apac" };
            trial.write(
                &format!("environments/{environment}/environment.yaml"),
                format!("companies: [EDU1]\nlabels: {{ region: {region} }}\n"),
            );
            trial.write(
                &format!("environments/{environment}/profiles/relay.yaml"),
                "provider:\n  smtp:\n    host: smtp.example.com\n    username: erp\n    password: { secret: relay/password }\n\
                 from:\n  address: erp@example.com\nfunctions: [default]\nappliesTo: system-wide\n",
            );
            trial.write(
                &format!("environments/{environment}/profiles/documents.yaml"),
                "provider:\n  microsoft-graph-direct:\n    tenant: contoso.example\n    client: 0c0ffee0-0000-4000-8000-0000000000aa\n    \
                 credential: { clientSecret: { secret: documents/secret } }\n\
                 from:\n  address: erp@example.com\nfunctions: [all-documents]\nappliesTo: system-wide\n",
            );
            trial.write(
                &format!("secrets/{environment}/recipients.txt"),
                format!(
                    "# Who the secrets are sealed to.\n\n# the service\n{}\n\n# Ann\n{}\n",
                    service.recipient(),
                    operator.recipient()
                ),
            );
            trial.pipe(&["secrets", "set", environment, "relay/password"], b"a password").code(0);
            trial.pipe(&["secrets", "rotate", environment, "relay/password"], b"a next password").code(0);
            trial.pipe(&["secrets", "set", environment, "documents/secret"], b"a secret").code(0);
        }
        Self { trial, operator, service, new }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.trial.command(&[&["secrets", "recipients"], arguments].concat());
        command.env("HOME", self.trial.path("home")).env_remove("XDG_CONFIG_HOME");
        finish(command)
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        collect(&self.trial.path("secrets"), &mut found);
        found
    }

    fn header(&self, environment: &str, file: &str) -> Header {
        Header::read(&fs::read(self.trial.path(&format!("secrets/{environment}/{file}"))).unwrap()).unwrap()
    }

    fn opens(&self, key: &ServiceIdentity, environment: &str, file: &str) -> bool {
        key.open(&fs::read(self.trial.path(&format!("secrets/{environment}/{file}"))).unwrap()).is_ok()
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
fn somebody_comes_and_goes_everywhere_at_once() {
    let fleet = Fleet::new();
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
    fleet.trial.run(&["secrets", "check"]).code(0);
    let again = fleet.run(&["add", &new, "-i", "key.txt"]).code(0);
    assert!(again.stdout.contains("prod-1: nothing to change, 3 secrets are as they must be"), "{}", again.stdout);

    // age itself reads what was written.
    let age = |key: &str| {
        let mut command = std::process::Command::new(tools::tool("age"));
        command
            .args(["-d", "-i", key, "secrets/test-1/relay/password.next.age"])
            .current_dir(fleet.trial.folder.path());
        finish(command)
    };
    assert_eq!(age("new.txt").code(0).stdout, "a next password");

    // Out of some of them; nobody is asked for what cannot be the service's.
    let removed =
        fleet.run(&["remove", &new, "-l", "region=emea", "-i", "key.txt", "--even-the-service", &new]).code(0);
    assert!(removed.stderr.contains("8 files changed in 2 environments"), "{}", removed.stderr);
    assert!(!fleet.opens(&fleet.new, "prod-1", FILES[0]) && fleet.opens(&fleet.new, "test-1", FILES[0]));
    let text = fleet.trial.read("secrets/prod-1/recipients.txt");
    assert_eq!(
        text.as_bytes(),
        before[&fleet.trial.path("secrets/prod-1/recipients.txt").display().to_string()],
        "as it was"
    );
    let list = fleet.run(&["list"]).code(0).stdout;
    assert!(list.lines().any(|line| line.ends_with("prod-1, prod-2, test-1")), "{list}");
    assert!(list.lines().any(|line| line.ends_with("  test-1")), "{list}");
}

#[test]
fn an_environment_that_fails_is_left_as_it_was_and_keeps_no_other_back() {
    let fleet = Fleet::new();
    // A file that the operator cannot open.
    let stranger = ServiceIdentity::generate();
    fleet.trial.write("stranger.txt", stranger.to_file().expose_secret());
    fleet.trial.write("value", "sealed by somebody else");
    let mut command = std::process::Command::new(tools::tool("age"));
    let file = "secrets/prod-2/relay/password.age";
    command.args(["-a", "-r", &stranger.recipient(), "-o", file, "value"]).current_dir(fleet.trial.folder.path());
    finish(command).code(0);
    let before = fleet.files();
    let ran = fleet.run(&["add", &fleet.new.recipient(), "-i", "key.txt"]).code(1);
    assert!(ran.stderr.contains("prod-2 was not changed") && ran.stderr.contains("MW0038"), "{}", ran.stderr);
    for (path, bytes) in fleet.files() {
        assert_eq!(bytes == before[&path], path.contains("/prod-2/"), "{path}");
    }
    let json = fleet.run(&["add", &fleet.new.recipient(), "-i", "key.txt", "--format", "json"]).code(1);
    let document = json.json();
    assert_eq!(document["failed"][0]["environment"], "prod-2");
    assert_eq!(document["failed"][0]["code"], "MW0038");
}

#[test]
fn the_services_own_recipient_and_the_last_one_stay() {
    let fleet = Fleet::new();
    let before = fleet.files();
    // Nobody can be asked, so it might be the service's.
    let ran = fleet.run(&["remove", &fleet.service.recipient(), "-i", "key.txt"]).code(1);
    assert!(ran.stderr.contains("MW0364") && ran.stderr.contains("could not be asked"), "{}", ran.stderr);
    assert_eq!(fleet.files(), before);
    let service = fleet.service.recipient();
    fleet.run(&["remove", &service, "-i", "key.txt", "--even-the-service", &service]).code(0);
    let operator = fleet.operator.recipient();
    let last = fleet.run(&["remove", &operator, "-i", "key.txt", "--even-the-service", &operator]).code(1);
    assert!(last.stderr.contains("MW0364") && last.stderr.contains("the only one"), "{}", last.stderr);
    // A private key is refused, and not echoed.
    let secret = fleet.new.to_file().expose_secret().lines().last().unwrap().to_owned();
    let ran = fleet.run(&["add", &secret, "-i", "key.txt"]).code(1);
    assert!(ran.stderr.contains("it is an identity") && !ran.stderr.contains(&secret[20..40]), "{}", ran.stderr);
}

#[test]
fn the_service_is_asked_whether_it_is_its_own() {
    let mut trial = Trial::examples();
    trial.serve();
    let recipients = trial.read("secrets/dev/recipients.txt");
    let service = recipients.lines().find(|line| line.starts_with("age1")).unwrap().to_owned();
    let new = ServiceIdentity::generate().recipient();
    let key = ["-i", "secrets/dev/demo-identity.txt"];
    trial.run(&[&["secrets", "recipients", "add", &new, "dev"][..], &key].concat()).code(0);
    let no = trial.run(&[&["secrets", "recipients", "remove", &service, "dev"][..], &key].concat()).code(1);
    assert!(no.stderr.contains("it is the service's own"), "{}", no.stderr);
    trial.run(&[&["secrets", "recipients", "remove", &new, "dev"][..], &key].concat()).code(0);
}

#[test]
fn a_name_that_ends_in_next_is_no_secrets() {
    let fleet = Fleet::new();
    let set = fleet.trial.pipe(&["secrets", "set", "prod-1", "relay/password.next"], b"value").code(1);
    assert!(set.stderr.contains("MW0360") && set.stderr.contains("rotate prod-1 relay/password"), "{}", set.stderr);
    let profile = "environments/prod-1/profiles/relay.yaml";
    let text = fleet.trial.read(profile).replace("relay/password", "relay/password.next");
    fleet.trial.write(profile, text);
    let validate = fleet.trial.run(&["validate", "prod-1"]).code(1);
    assert!(format!("{}{}", validate.stdout, validate.stderr).contains("MW0360"), "{validate:?}");
}
