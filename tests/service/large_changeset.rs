//! A changeset that is larger than a request may be: refused before anything is sent, with the way out; and the way out
//! leads out.

use crate::support::repository::TestRepository;
use mailwright::secrets::{Recipients, ServiceIdentity, ValueId, seal};

/// With a secret of 16 KiB each, which is 29 KiB in a request.
const PROFILES: usize = 1140;

/// A service, and files of more than 32 MiB.
fn create_repo() -> TestRepository {
    let repo = TestRepository::without_profiles();
    repo.write("environments/dev/environment.yaml", "companies: [EDU1]\n");
    let service = ServiceIdentity::demo().unwrap().recipient();
    let recipients = Recipients::parse(&service, &age::NoCallbacks).unwrap();
    for number in 0..PROFILES {
        let name = format!("{}-{number:04}", if number % 2 == 0 { "even" } else { "odd" });
        let enabled = number == 0;
        repo.write(
            &format!("environments/dev/profiles/{name}.yaml"),
            format!(
                "enabled: {enabled}\nprovider:\n  smtp:\n    host: mail.example.com\n    username: erp\n    password: {{ secret: {name}/password }}\n\
                 from: {{ address: erp@example.com }}\nfunctions: [default]\nappliesTo: {{ companies: [EDU1] }}\n"
            ),
        );
        let value = format!("{number:04}{}", "x".repeat(16 * 1024 - 4)).into_bytes();
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        let file = seal(&value.into(), &recipients, &ValueId::from_random(id)).unwrap();
        repo.write(&format!("secrets/dev/{name}/password.age"), file);
    }
    repo
}

#[test]
fn a_large_changeset_goes_in_parts() {
    let mut repo = create_repo();
    repo.serve();
    let apply = ["apply", "dev", "--skip-verify", "--yes"];
    let refused = repo.run(&apply).code(1);
    for part in [
        "MW0213",
        "the 1140 changes and 1140 secrets are 3",
        "the limit of a service is 32.0 MiB",
        "mailwright apply dev --only NAME",
        "--only 'EDU1-*'",
        "--with-settings",
    ] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    assert_eq!(repo.state()["generation"], 0);
    // As it says: in parts, by pattern, and the last time everything that is left.
    let unmatched = repo.run(&[&apply[..], &["--only", "none-*"]].concat()).code(1);
    assert!(unmatched.stderr.contains("`--only none-*`: no profile has such a name"), "{}", unmatched.stderr);
    let first = repo.run(&[&apply[..], &["--only", "even-*", "--with-settings"]].concat()).code(0);
    assert!(first.stdout.contains("570 added"), "{}", first.stdout);
    let rest = repo.run(&apply).code(0);
    assert!(rest.stdout.contains("570 added"), "{}", rest.stdout);
}
