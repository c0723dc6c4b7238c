//! This repository's own rollout, with its own environments.

use crate::support::repository::{TestRepository, run_command};

#[test]
fn it_is_planned_against_both_environments() {
    let repo = TestRepository::examples();
    let (mut dev, mut prod) = (TestRepository::for_environment("dev"), TestRepository::for_environment("prod"));
    for (name, service, declared) in
        [("dev", &mut dev, "http://127.0.0.1:8470"), ("prod", &mut prod, "https://mail.example.com")]
    {
        service.serve();
        let file = format!("environments/{name}/environment.yaml");
        let text = repo.read(&file);
        assert!(text.contains(declared), "{text}");
        repo.write(&file, text.replace(declared, service.address()));
        repo.write(&format!("tokens/{name}"), service.token());
    }
    repo.run(&["validate"]).code(0);
    let mut command = repo.command(&["rollout", "plan", "development-first"]);
    command.env("MAILWRIGHT_TOKEN_FILE", "tokens/{environment}");
    let shown = run_command(command).code(0).stdout;
    for line in [
        "development-first: 2 environments in 2 waves",
        "development (1 environment, 8 at once, soaks 1h)",
        "production (1 environment, 8 at once, soaks 15m)",
        "2 different changes, in 2 environments.",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let names: Vec<_> = std::fs::read_dir(repo.path("rollouts")).unwrap().collect();
    assert_eq!(names.len(), 1, "each example is planned here");
}
