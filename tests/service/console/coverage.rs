//! The table of companies and functions: large environments, folded rows, filters, and the explanation of a cell.

use super::client::Client;
use crate::support::repository::TestRepository;

/// A company's id: a letter and three digits.
fn company(number: usize) -> String {
    format!("C{number:03}")
}

fn profile(functions: &str, applies_to: &str) -> String {
    format!(
        "description: a profile\nprovider:\n  smtp:\n    host: smtp.example.com\nfrom:\n  address: erp@example.com\n\
         functions: {functions}\nappliesTo: {applies_to}\n"
    )
}

#[test]
fn two_hundred_companies_stay_usable() {
    let mut repo = TestRepository::small();
    let companies: Vec<String> = (0..200).map(company).collect();
    repo.write(
        "environments/dev/environment.yaml",
        format!(
            "companies: [{}]\nunserved:\n  - {{ companies: [C198, C199], reason: closed }}\n",
            companies.join(", ")
        ),
    );
    // Each of the first hundred has a profile of its own; the others are alike. The last two have no sender.
    let name = |number: usize| format!("invoices-of-the-branch-with-the-number-{number:03}");
    for number in 0..100 {
        let text = profile("[documents-accounts-receivable]", &format!("{{ companies: [{}] }}", company(number)));
        repo.write(&format!("environments/dev/profiles/{}.yaml", name(number)), text);
    }
    let served = companies[..198].join(", ");
    repo.write("environments/dev/profiles/relay.yaml", profile("[default]", &format!("{{ companies: [{served}] }}")));
    repo.quiet = true;
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let mut client = Client::signed_in(&repo);
    let rows = |page: &str| page.matches("<tr data-row>").count();
    let first = client.page("/console/coverage");
    assert!(first.len() < 200_000, "{} bytes", first.len());
    assert!(first.contains("200 companies") && !first.contains("without a profile"), "{first}");
    // One row for each of the hundred, one for those that are alike, one for those without a sender.
    assert_eq!((rows(&first), first.contains("Page 1 of 3")), (50, true));
    let last = client.page("/console/coverage?page=3");
    assert_eq!(rows(&last), 2);
    assert!(last.contains("C100, C101") && last.contains("C198, C199"), "{last}");
    assert!(last.contains("class=\"fallback\"><a href=\"/console/coverage/C198/default\">none, as intended"), "{last}");
    let some = client.page("/console/coverage?company=c04%2C+c15");
    assert_eq!(rows(&some), 11);
    assert!(some.contains("20 companies"), "{some}");
    assert_eq!(rows(&client.page("/console/coverage?gaps=yes")), 1);
    assert_eq!(rows(&client.page(&format!("/console/coverage?profile={}", name(7)))), 1);
    let none = client.page("/console/coverage?company=%3Cscript%3E");
    assert!(none.contains("No company matches") && !none.contains("<script>"), "{none}");
}

#[test]
fn a_cell_is_explained_step_by_step() {
    let mut repo = TestRepository::small();
    repo.write(
        "environments/dev/profiles/off.yaml",
        profile("[documents-remittance]", "{ companies: [EDU1] }") + "enabled: false\n",
    );
    repo.serve();
    repo.run(&["apply", "--skip-verify", "dev", "--yes"]).code(0);
    let mut client = Client::signed_in(&repo);
    let table = client.page("/console/coverage");
    assert!(
        table.contains("class=\"fallback\"><a href=\"/console/coverage/EDU1/documents-remittance\">relay"),
        "{table}"
    );
    assert!(table.contains("/console/coverage/EDU1/user-interface?client=spa"), "{table}");
    let page = client.page("/console/coverage/EDU1/documents-remittance");
    assert!(page.contains("Mail is sent by") && page.contains("<strong>relay</strong>"), "{page}");
    assert!(page.contains("(off: disabled)"), "{page}");
    client.page("/console/coverage/EDU1/user-interface?client=native");
    for path in ["NONE/default", "EDU1/nothing", "%3Cscript%3E/default", "ABCD/default"] {
        let answer = client.get(&format!("/console/coverage/{path}"));
        assert!((400..500).contains(&answer.status) && !answer.body.contains("<script>"), "{path}: {}", answer.body);
    }
}
