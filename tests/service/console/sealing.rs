//! Recipients of the secrets that a page of the console encrypts: the operators of `recipients.txt`, those that a browser cannot
//! encrypt to, and the files that the service refuses.

use mailwright::{
    model::{Destination, Encryption, EnvironmentName},
    secrets::{Header, NoCallbacks, Recipients, ServiceIdentity, ValueId, fingerprint, seal, seal_for},
};
use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::json;

use super::{
    client::Client,
    edit::{NEW, assert_plan_is_empty, commit_files, git, plan, send_on, with},
};
use crate::support::repository::{HttpResponse, TestRepository};

const VALUE: &str = "Canary-Sealing-b5Wm83Kd";
/// A recipient of a plugin that no test has.
const PLUGIN: &str = "age1yubikey1q2w7u3vpya839jxxuq8g0sedh3d740d4xvn639sqhr95ejj8vu3hyfumptt";

/// A service whose environment has these recipients next to its own: lines of `recipients.txt`.
fn repository(recipients: &str) -> TestRepository {
    let mut repo = TestRepository::small();
    repo.serve();
    let own = own_recipient(&repo);
    repo.write("secrets/dev/demo-identity.txt", include_str!("../../../secrets/dev/demo-identity.txt"));
    repo.write("secrets/dev/recipients.txt", format!("# the service\n{own}\n\n{recipients}"));
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    repo
}

fn own_recipient(repo: &TestRepository) -> String {
    repo.http("GET", "/v1/service", &[], b"").json()["recipient"].as_str().unwrap().to_owned()
}

/// Returns the list that the page gives to its script.
fn listed(page: &str) -> Vec<&str> {
    page.split("data-seal-recipients=\"").nth(1).unwrap().split('"').next().unwrap().split('\n').collect()
}

fn destination() -> mailwright::model::Digest {
    let environment: EnvironmentName = "dev".parse().unwrap();
    let host = "mail.example.com".to_owned();
    Destination::Smtp { host, port: 587, encryption: Encryption::Starttls }.digest(&environment)
}

/// Seals a value for lines of recipients, as the browser does.
fn sealed(recipients: &[&str]) -> String {
    let recipients = Recipients::parse(&recipients.join("\n"), &NoCallbacks).unwrap();
    let value = SecretSlice::from(VALUE.as_bytes().to_vec());
    String::from_utf8(seal_for(&value, &recipients, &ValueId::from_random([9; 16]), &destination()).unwrap()).unwrap()
}

/// The fields of a profile that logs in, with an age file.
fn fields(file: &str) -> Vec<(&str, &str)> {
    with(NEW, &[("login", "password"), ("username", "erp"), ("sealed-password", file)])
}

fn post(client: &mut Client, file: &str) -> HttpResponse {
    client.post("/console/plan", &fields(file))
}

#[test]
fn a_page_seals_for_the_operators_and_the_patch_needs_no_rekey() {
    let ann = ServiceIdentity::generate();
    let ssh = include_str!("../../fixtures/ssh/ed25519.pub").trim();
    let repo = repository(&format!("# Ann <b>Meyer</b>\n{}\n\n{ssh} bob@laptop\n", ann.recipient()));
    let stored = repo.state()["settings"]["secretRecipients"].clone();
    assert_eq!(stored.as_array().unwrap().len(), 3, "{stored:#}");
    commit_files(&repo);
    assert_plan_is_empty(&repo);
    let mut client = Client::signed_in(&repo);
    let form = client.page("/console/profiles/new?provider=smtp");
    let bare_ssh: Vec<&str> = ssh.split_whitespace().take(2).collect();
    let (own, bare_ssh) = (own_recipient(&repo), bare_ssh.join(" "));
    let mut wanted = vec![ann.recipient(), bare_ssh.clone()];
    wanted.sort();
    // A `+` and a `/` of base64 are as they are.
    assert_eq!(listed(&form)[0], own, "{form}");
    assert_eq!(listed(&form)[1..], wanted, "{form}");
    let prints = [&own, &ann.recipient(), &bare_ssh].map(|recipient| fingerprint(recipient));
    for text in ["this service", "Ann &#60;b&#62;Meyer&#60;/b&#62;", "bob@laptop"]
        .into_iter()
        .chain(prints.iter().map(String::as_str))
    {
        assert!(form.contains(text), "{text}: {form}");
    }
    assert!(!form.contains("plugin of age") && !form.contains("does not know the operators"), "{form}");

    let file = sealed(&[&own, &ann.recipient(), &bare_ssh]);
    let page = plan(&mut client, &fields(&file));
    assert!(!page.contains("secrets rekey"), "{page}");
    let patch = send_on(&mut client, "/console/plan/patch", &page, &[("reason", "a login")]);
    assert!(!patch.body.contains("Note:") && patch.body.contains("Reason: a login"), "{}", patch.body);
    repo.write("one.patch", &patch.body);
    assert_eq!(send_on(&mut client, "/console/plan/apply", &page, &[("accept-unverified", "yes")]).status, 303);
    git(&repo, &["am", "one.patch"]);
    repo.run(&["validate", "dev"]).code(0);
    let check = repo.run(&["secrets", "check", "dev"]).code(0);
    assert!(check.stdout.contains("1 secret in 1 environment checked, 0 errors, 0 warnings"), "{}", check.stdout);
    assert_plan_is_empty(&repo);
    let opened = ann.open(repo.read("secrets/dev/invoices/password.age").as_bytes()).unwrap();
    assert_eq!(opened.expose_secret(), VALUE.as_bytes());
    // An operator encrypts it again, and it is the same value.
    repo.write("ann.txt", ann.to_operator_file().expose_secret());
    repo.run(&["secrets", "rekey", "dev", "--all", "--identity", "ann.txt"]).code(0);
    let plan = repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(plan.contains("(secret resealed, same value)"), "{plan}");
    assert!(!repo.service_log().contains(VALUE));
}

#[test]
fn a_file_for_other_recipients_is_refused() {
    let [ann, eve] = [(); 2].map(|()| ServiceIdentity::generate().recipient());
    let repo = repository(&format!("# Ann\n{ann}\n"));
    let own = own_recipient(&repo);
    let mut client = Client::signed_in(&repo);
    let of_age = {
        let output = std::process::Command::new(crate::support::tools::tool("age"))
            .args(["-a", "-r", &own, "-r", &ann, "-o"])
            .arg(repo.path("of-age.age"))
            .arg(repo.path("environments/dev/environment.yaml"))
            .output()
            .unwrap();
        assert!(output.status.success());
        repo.read("of-age.age")
    };
    for (file, code, text) in [
        // Only the service, as a page that does not know the operators would seal.
        (sealed(&[&own]), "MW0036", "it is not sealed for"),
        (sealed(&[&own, &eve]), "MW0036", "(Ann, fingerprint"),
        (sealed(&[&own, &ann, &eve]), "MW0036", "which this environment does not have"),
        (sealed(&[&ann, &eve]), "MW0216", "not sealed for this service"),
        (of_age, "MW0036", "it does not state its recipients"),
    ] {
        let answer = post(&mut client, &file);
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert!(answer.body.contains("problem-secret") && answer.body.contains(code), "{code}: {}", answer.body);
        assert!(answer.body.contains(text), "{text}: {}", answer.body);
        // The file is not kept for the next try.
        assert!(answer.body.contains("name=\"sealed-password\" value=\"\""), "{}", answer.body);
    }
    // A header that names all, with a key less.
    let (whole, less) = (sealed(&[&own, &ann]), sealed(&[&own]));
    let forged = forge(&less, &Header::read(whole.as_bytes()).unwrap().recipients.unwrap());
    let answer = post(&mut client, &forged);
    assert!(answer.body.contains("names 2 recipients and has keys for 1"), "{}", answer.body);
    assert_eq!(post(&mut client, &whole).status, 200);
    assert!(repo.state()["profiles"].get("invoices").is_none());
}

/// Replaces the fingerprints in the header of an age file.
fn forge(file: &str, fingerprints: &[String]) -> String {
    let mut binary = Vec::new();
    std::io::Read::read_to_end(&mut age::armor::ArmoredReader::new(file.as_bytes()), &mut binary).unwrap();
    let start = binary.windows(14).position(|part| part == b"-> mailwright-").unwrap();
    let end = start + binary[start..].iter().position(|byte| *byte == b'\n').unwrap();
    let line = String::from_utf8(binary[start..end].to_vec()).unwrap();
    let kept: Vec<&str> = line.split(' ').take(4).collect();
    let line = format!("{} {}", kept.join(" "), fingerprints.join(" "));
    binary.splice(start..end, line.into_bytes());
    let mut out = Vec::new();
    let mut writer = age::armor::ArmoredWriter::wrap_output(&mut out, age::armor::Format::AsciiArmor).unwrap();
    std::io::Write::write_all(&mut writer, &binary).unwrap();
    writer.finish().unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn keys_that_a_browser_cannot_use_are_named_and_the_patch_says_what_is_left() {
    let ann = ServiceIdentity::generate();
    let repo = repository(&format!("# Ann\n{}\n\n# Carol's YubiKey\n{PLUGIN}\n", ann.recipient()));
    commit_files(&repo);
    let mut client = Client::signed_in(&repo);
    let form = client.page("/console/profiles/new?provider=smtp");
    let own = own_recipient(&repo);
    assert_eq!(listed(&form), [own.as_str(), &ann.recipient()], "{form}");
    for text in ["plugin of age", "Carol&#39;s YubiKey", "mailwright secrets rekey dev"] {
        assert!(form.contains(text), "{text}: {form}");
    }
    let page = plan(&mut client, &fields(&sealed(&[&own, &ann.recipient()])));
    assert!(page.contains("Not every operator can read the new value"), "{page}");
    let patch = send_on(&mut client, "/console/plan/patch", &page, &[]);
    assert!(
        patch.body.contains(
            "Note: A secret is not sealed for all recipients of this environment. Run: mailwright secrets rekey dev\n"
        ),
        "{}",
        patch.body
    );
    repo.write("one.patch", &patch.body);
    git(&repo, &["am", "one.patch"]);
    let check = repo.run(&["secrets", "check", "dev"]).code(1);
    assert!(check.stdout.contains("MW0036") && check.stdout.contains("age1yubikey1"), "{}", check.stdout);
    // German pages say so as well.
    let path = "/console/profiles/new?provider=smtp";
    let form = client.send("GET", path, &[("Accept-Language", "de")], "").body;
    assert!(form.contains("Erweiterung von age") && form.contains("mailwright secrets rekey dev"), "{form}");

    // Holders of plugins alone: no operator could encrypt it again.
    let alone = repository(&format!("{PLUGIN}\n"));
    let form = Client::signed_in(&alone).page("/console/profiles/new?provider=smtp");
    assert!(form.contains("mailwright secrets set dev") && !form.contains("secrets rekey"), "{form}");
}

/// The store of an earlier version, or an environment without a recipients file.
#[test]
fn a_service_that_knows_no_operators_says_so() {
    let mut repo = TestRepository::small();
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let mut client = Client::signed_in(&repo);
    let own = own_recipient(&repo);
    let form = client.page("/console/profiles/new?provider=smtp");
    assert_eq!(listed(&form), [own.as_str()]);
    assert!(form.contains("does not know the operators") && form.contains("mailwright apply dev"), "{form}");
    let page = plan(&mut client, &fields(&sealed(&[&own])));
    assert!(page.contains("No operator can read the new value"), "{page}");
    let patch = send_on(&mut client, "/console/plan/patch", &page, &[]).body;
    assert!(patch.contains("Note: A secret is sealed for the service alone"), "{patch}");
    // An apply sends the recipients. The first ones are not guarded.
    let ann = ServiceIdentity::generate().recipient();
    repo.write("secrets/dev/demo-identity.txt", include_str!("../../../secrets/dev/demo-identity.txt"));
    repo.write("secrets/dev/recipients.txt", format!("{own}\n# Ann\n{ann}\n"));
    let plan = repo.run(&["plan", "dev"]).code(0).stdout;
    assert!(plan.contains("secretRecipients") && !plan.contains("--allow-rights"), "{plan}");
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    assert_eq!(listed(&client.page("/console/profiles/new?provider=smtp")), [own.as_str(), &ann]);
    // What was sealed before is not accepted any more: the page is loaded again.
    let answer = post(&mut client, &sealed(&[&own]));
    assert!(answer.status == 422 && answer.body.contains("MW0036"), "{}", answer.body);
}

#[test]
fn a_proposal_with_a_secret_for_a_removed_operator_is_not_applied() {
    let [ann, bob] = [(); 2].map(|()| ServiceIdentity::generate().recipient());
    let repo = repository(&format!("# Ann\n{ann}\n\n# Bob\n{bob}\n"));
    let own = own_recipient(&repo);
    let mut client = Client::signed_in(&repo);
    let page = plan(&mut client, &fields(&sealed(&[&own, &ann, &bob])));
    let address = send_on(&mut client, "/console/plan/propose", &page, &[]).header("location").unwrap().to_owned();
    let token = repo.run(&["token", "create", "dev", "--name", "carol", "--role", "admin"]).code(0).stdout;
    let mut carol = Client::new(&repo);
    carol.sign_in(token.trim());
    assert!(carol.page(&address).contains(">Apply</button>"));
    // Another operator is added: the value can be read by fewer than now, which is not dangerous.
    let dan = ServiceIdentity::generate().recipient();
    let write = |more: &str| repo.write("secrets/dev/recipients.txt", format!("{own}\n# Ann\n{ann}\n{more}"));
    write(&format!("{bob}\n{dan}\n"));
    repo.run(&["apply", "dev", "--yes", "--skip-verify", "--allow-rights"]).code(0);
    assert!(carol.page(&address).contains(">Apply</button>"));
    // Bob has left.
    write("");
    repo.run(&["apply", "dev", "--yes", "--skip-verify"]).code(0);
    let page = carol.get(&address).body;
    assert!(page.contains("MW0036") && page.contains("which this environment does not have any more"), "{page}");
    let refused =
        carol.post(&format!("{address}/apply"), &[("planned", "3"), ("accept-unverified", "yes"), ("reason", "x")]);
    assert!(refused.status == 422 && refused.body.contains("MW0036"), "{}", refused.body);
    assert!(repo.state()["profiles"].get("invoices").is_none());
}

/// A seal without a destination is bound by the service at first sight; a page never makes one.
#[test]
fn the_form_of_an_older_version_is_accepted_for_the_same_recipients_alone() {
    let ann = ServiceIdentity::generate().recipient();
    let repo = repository(&format!("{ann}\n"));
    let own = own_recipient(&repo);
    let mut client = Client::signed_in(&repo);
    let old = |lines: String| {
        let recipients = Recipients::parse(&lines, &NoCallbacks).unwrap();
        let value = SecretSlice::from(VALUE.as_bytes().to_vec());
        String::from_utf8(seal(&value, &recipients, &ValueId::from_random([3; 16])).unwrap()).unwrap()
    };
    assert_eq!(post(&mut client, &old(own.clone())).status, 422);
    assert_eq!(post(&mut client, &old(format!("{own}\n{ann}"))).status, 200);
    assert_eq!(repo.state()["settings"]["secretRecipients"].as_array().map(Vec::len), Some(2));
    assert_eq!(json!(null), repo.state()["profiles"]["invoices"]);
}
