//! Equal changes read as one, and exceptions stand out.

use crate::rollout::fixture::RolloutFixture;

#[test]
fn equal_changes_are_listed_once() {
    let fleet = RolloutFixture::new(6);
    fleet.rollout(
        "port",
        "description: The relay moves\nwaves:\n  - { name: canary, selector: ring=canary, soak: 10m }\n  - { name: rest, environments: ['*'], parallel: 4 }\n",
    );
    fleet.change_port(587);
    // The same new profile everywhere, with each one's own address.
    fleet.repo.write(
        "environments/base/profiles/reports.yaml",
        "provider: { smtp: { host: 'smtp.${domain}' } }\nfrom: { address: 'reports@${domain}', name: 'Reports of c' }\nfunctions: [all-reports]\nappliesTo: system-wide\n",
    );
    // One that differs, one that was changed by hand, and one that is so already.
    fleet.repo.write("environments/c-04/profiles/relay.yaml", "provider: { smtp: { port: 465, encryption: tls } }\n");
    fleet.meddle("c-05", "by hand");
    fleet.repo.write("environments/c-06/profiles/reports.yaml", "null\n");
    fleet.repo.write("environments/c-06/profiles/relay.yaml", "provider: { smtp: { port: 25 } }\n");
    let output = fleet.run(&["rollout", "plan", "port"]).code(0);
    insta::assert_snapshot!(output.stdout);
    let document = fleet.run(&["rollout", "plan", "port", "--format", "json"]).code(0).json();
    assert_eq!(document["groups"][0]["environments"], serde_json::json!(["c-01", "c-02", "c-03"]));
    let markdown = fleet.run(&["rollout", "plan", "port", "--format", "markdown", "--color", "always"]).code(0).stdout;
    assert!(markdown.starts_with("```\nport: ") && !markdown.contains('\x1b'), "{markdown}");
}
