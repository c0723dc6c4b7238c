//! A repository with several environments, and a real service for some of them.

use std::process::Command;

use super::repository::{CommandOutput, SMALL_PROFILE, TestRepository, run_command};

/// A repository, and services for its environments.
pub(crate) struct Fleet {
    pub(crate) repo: TestRepository,
    /// A service each, in a folder of its own.
    pub(crate) services: Vec<TestRepository>,
}

impl Fleet {
    /// An abstract `base` with one profile that serves everything, and no environment yet.
    pub(crate) fn new() -> Self {
        let repo = TestRepository::empty();
        repo.write(
            "environments/base/environment.yaml",
            "abstract: true\ncompanies: [EDU1]\nvariables: { domain: example.com }\n",
        );
        repo.write("environments/base/profiles/relay.yaml", SMALL_PROFILE.replace("erp@example.com", "erp@${domain}"));
        std::fs::create_dir(repo.path("tokens")).unwrap();
        Self { repo, services: Vec::new() }
    }

    /// An environment; `rest` follows `extends` in its file.
    pub(crate) fn environment(&self, name: &str, rest: &str) {
        self.repo.write(&format!("environments/{name}/environment.yaml"), format!("extends: base\n{rest}\n"));
    }

    /// An environment with its service and its token.
    pub(crate) fn served(&mut self, name: &str, rest: &str) {
        let mut service = TestRepository::for_environment(name);
        service.serve();
        self.environment(name, &format!("service: {{ address: {} }}\n{rest}", service.address()));
        self.repo.write(&format!("tokens/{name}"), service.token());
        self.services.push(service);
    }

    /// An environment whose service does not run.
    pub(crate) fn dead(&self, name: &str, rest: &str) {
        self.environment(name, &format!("service: {{ address: 'http://127.0.0.1:1' }}\n{rest}"));
        self.repo.write(&format!("tokens/{name}"), "mw_000000000000_x");
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.repo.command(arguments);
        command.env("MAILWRIGHT_TOKEN_FILE", "tokens/{environment}");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> CommandOutput {
        run_command(self.command(arguments))
    }

    /// The generation of the service that was started as this one.
    pub(crate) fn generation(&self, index: usize) -> u64 {
        self.services[index].state()["generation"].as_u64().unwrap()
    }
}
