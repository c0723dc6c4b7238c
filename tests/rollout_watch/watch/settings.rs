//! The settings of reports in an environment's file.

use crate::support::repository::TestRepository;

#[test]
fn a_webhook_is_https_or_on_this_machine_and_mail_goes_to_addresses() {
    let repo = TestRepository::small();
    let validate = |notify: &str| {
        let text = format!("companies: [EDU1]\nwatch:\n  notify: {notify}\n");
        repo.write("environments/dev/environment.yaml", text);
        let output = repo.run(&["validate", "dev"]);
        (output.code, format!("{}{}", output.stdout, output.stderr))
    };
    for good in [
        "https://chat.example.com/hooks/mail?x=1",
        "https://chat.example.com:8443",
        "https://[2001:db8::1]/x",
        "http://localhost:9000/x",
        "http://127.0.0.1/x",
        "http://[::1]:80/",
    ] {
        let (code, said) = validate(&format!("{{ webhooks: [{{ url: '{good}' }}] }}"));
        assert_eq!(code, 0, "{good}: {said}");
    }
    for bad in [
        "http://chat.example.com/x",
        "http://127.0.0.1.example.com/x",
        "http://localhost@evil.example/x",
        "http://localhost\\\\@evil.example/x",
        "https://user:password@chat.example.com/",
        "https:///path",
        "https://chat.example.com:99999/",
        "https://chat example.com/",
        "ftp://chat.example.com/",
        "http://[::1",
    ] {
        let (code, said) = validate(&format!("{{ webhooks: [{{ url: \"{bad}\" }}] }}"));
        assert_eq!(code, 1, "{bad}: {said}");
        assert!(said.contains("this is not the address of a webhook"), "{bad}: {said}");
        assert!(said.contains("environments/dev/environment.yaml:3:"), "{bad}: {said}");
    }
    let mail = |company: &str, to: &str| {
        validate(&format!("{{ mail: {{ company: {company}, function: default, to: [{to}] }} }}"))
    };
    assert_eq!(mail("EDU1", "ops@example.com").0, 0);
    let (_, said) = mail("EDU9", "ops");
    assert!(said.contains("company `EDU9` does not exist in the environment"), "{said}");
    assert!(said.contains("`ops` is not an address"), "{said}");
}
