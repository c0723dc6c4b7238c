//! `mailwright demo`: runs every step on this machine and shows the command of each.
//!
//! Each step runs this program as a separate process, so the demo shows the real behaviour. The files are those of `example`, in a
//! temporary folder, unless `--project` names a repository. A step that fails ends the demo with exit code 1; service and sandbox
//! are stopped with it.

mod example;

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    cli::{CliError, Context, Exit, Runnable, args::values::parse_listen_address, variables},
    model::Code,
    net::http_client::describe_error,
    text::shell::{quote_path, quote_posix},
};

/// Demonstrate every step on this machine: serve, validate, plan, apply, send, plan again
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailwright demo          keeps the service running until Ctrl-C\n  \
    mailwright demo --once   exits after the last step\n\n\
    It works in any folder: the example's files and the service's data are in a\n\
    temporary folder. The service listens on 127.0.0.1 only, and uses the public key\n\
    of the examples. `--project DIR` uses the files of a repository instead.")]
pub(crate) struct Demo {
    /// Exit after the last step instead of keeping the service running
    #[arg(long)]
    once: bool,
    /// Environment to apply
    #[arg(long, default_value = "dev", value_name = "ENV")]
    environment: String,
    /// Address on which the service listens; port 0 selects a free port [default: 127.0.0.1:8470, or a free port if that
    /// is in use]
    #[arg(long, value_name = "ADDRESS", value_parser = parse_listen_address)]
    listen: Option<std::net::SocketAddr>,
    /// Port of the sandbox's Entra and Graph, as in the environment's files
    #[arg(long, default_value_t = 8471, value_name = "PORT", hide = true)]
    sandbox_port: u16,
    /// Port of the sandbox's mail server
    #[arg(long, default_value_t = 8487, value_name = "PORT", hide = true)]
    smtp_port: u16,
}

impl Runnable for Demo {
    fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let folder = tempfile::Builder::new()
            .prefix("mailwright-demo-")
            .tempdir()
            .map_err(|error| CliError::new(format!("cannot make a temporary folder: {error}")))?;
        let project = match context.named_project() {
            Some(_) => context.project()?,
            None => self.write_example(context, folder.path())?,
        };
        let sandbox = Sandbox::start(context, self, folder.path())?;
        let demo = Running::start(context, self, &sandbox, project, folder.path())?;
        let environment = &self.environment;
        demo.step(context, "Check the files", &["validate"])?;
        demo.step(context, "Show what would change", &["plan", environment])?;
        // The plan was shown.
        let apply = ["apply", environment, "--yes", "--summary"];
        if !demo.try_step(context, "Apply the change: the service verifies first", &apply)? {
            sandbox.consent(context, environment)?;
            demo.step(context, "Verify again", &["verify", environment])?;
            demo.step(context, "Apply the change", &apply)?;
        }
        demo.step(context, "Show the status", &["status", environment])?;
        demo.step(
            context,
            "Show which profile sends remittances for EDU1",
            &["resolve", environment, "EDU1", "documents-remittance"],
        )?;
        demo.step(
            context,
            "Send a message and wait for its delivery",
            &[
                "send",
                environment,
                "--company",
                "EDU1",
                "--function",
                "documents-remittance",
                "--to",
                "supplier@example.com",
                "--subject",
                "Remittance for November",
                "--text",
                "Your invoices are paid.",
                "--document",
                "remittance/2026-11",
                "--wait",
            ],
        )?;
        demo.step(context, "List the mail", &["outbox", "list", environment])?;
        demo.step(context, "Plan again: no changes", &["plan", environment])?;
        if self.once {
            context.printer.out("Demo finished. `mailwright demo` without `--once` keeps the service running.");
            return Ok(Exit::Done);
        }
        demo.keep_running(context, environment);
        Ok(Exit::Done)
    }
}

impl Demo {
    /// Writes the files of the example, with the ports of the stand-ins, and returns their folder.
    fn write_example(&self, context: &Context, folder: &Path) -> Result<PathBuf, CliError> {
        let project = folder.join("repository");
        example::write(&project, self.sandbox_port, self.smtp_port)
            .map_err(|error| CliError::new(format!("cannot write the files of the example: {error}")))?;
        context.printer.out(&format!("The files of the example are in {}.\n", project.display()));
        Ok(project)
    }

    fn listen(&self) -> String {
        match self.listen {
            Some(address) => address.to_string(),
            // The port in the examples, so that their commands work unchanged; if it is in use, any free port.
            None if std::net::TcpListener::bind("127.0.0.1:8470").is_ok() => "127.0.0.1:8470".to_owned(),
            None => "127.0.0.1:0".to_owned(),
        }
    }
}

/// Returns an error if a port is in use. The files name the ports of the stand-ins, so another port would not work.
fn check_port(demo: &Demo, port: u16, what: &str) -> Result<(), CliError> {
    std::net::TcpListener::bind(("127.0.0.1", port)).map(drop).map_err(|error| {
        let message =
            format!("cannot use port {port}, on which the files of `{}` expect {what}: {error}", demo.environment);
        CliError::coded(Code::CannotListen, message).remedy(format!(
            "Stop the program that uses the port, usually another demo or sandbox, and start again. `ss -ltnp sport = :{port}` or `lsof -i :{port}` shows it."
        ))
    })
}

/// The sandbox of the demo. Stopped when dropped.
struct Sandbox {
    child: Child,
    address: String,
    dns: String,
    authority: PathBuf,
}

impl Sandbox {
    fn start(context: &Context, demo: &Demo, folder: &Path) -> Result<Self, CliError> {
        let program = std::env::current_exe()
            .map_err(|error| CliError::new(format!("cannot find this program's file: {error}")))?;
        let authority = folder.join("sandbox.pem");
        heading(
            context,
            "Start stand-ins for Microsoft Entra, Microsoft Graph and a mail server",
            "mailwright sandbox --ca-file DATA/sandbox.pem &",
        );
        check_port(demo, demo.sandbox_port, "Entra and Graph")?;
        check_port(demo, demo.smtp_port, "the mail server")?;
        let (port, smtp_port) = (demo.sandbox_port.to_string(), demo.smtp_port.to_string());
        let mut child = Command::new(&program)
            .args(["sandbox", "--stop-at-end-of-input", "--port", &port, "--smtp-port", &smtp_port])
            .args(["--smtps-port", "0", "--dns-port", "0", "--ca-file"])
            .arg(&authority)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| CliError::new(format!("cannot start the sandbox: {error}")))?;
        let mut lines = child.stdout.take().map(BufReader::new).into_iter().flat_map(std::io::BufRead::lines);
        let mut value = |label: &str| -> Option<String> {
            lines.by_ref().map_while(Result::ok).find_map(|line| Some(line.strip_prefix(label)?.trim().to_owned()))
        };
        let found = value("Entra and Graph").zip(value("DNS (UDP)"));
        let Some((address, dns)) = found else {
            let mut output = String::new();
            if let Some(stderr) = child.stderr.take() {
                drop(stderr.take(8 * 1024).read_to_string(&mut output));
            }
            drop(child.kill());
            drop(child.wait());
            return Err(CliError::new("the sandbox did not start").detail(output.trim().to_owned()));
        };
        context
            .printer
            .out(&format!("Entra and Graph listen at {address}, the mail server at localhost:{smtp_port}.\n"));
        Ok(Self { child, address, dns, authority })
    }

    /// Consents to the permissions as the remedy of the finding states: an administrator opens the consent address.
    fn consent(&self, context: &Context, environment: &str) -> Result<(), CliError> {
        let address = format!(
            "{}/contoso.onmicrosoft.com/adminconsent?client_id=6f1d2c3b-0a4e-4c59-9d0b-1f2e3a4b5c6d",
            self.address
        );
        heading(
            context,
            &format!("Follow the remedy of the finding in `{environment}`: an administrator consents"),
            &format!("curl --cacert DATA/sandbox.pem \"{address}\""),
        );
        let failed = |error: &dyn std::fmt::Display| CliError::new(format!("cannot consent: {error}"));
        let pem = std::fs::read(&self.authority).map_err(|error| failed(&error))?;
        let authority = reqwest::Certificate::from_pem(&pem).map_err(|error| failed(&error))?;
        // The sandbox is on this machine, so no proxy is used. The result is the page after the consent.
        let client = reqwest::Client::builder().no_proxy().add_root_certificate(authority).build();
        let client = client.map_err(|error| failed(&error))?;
        let page = context.runtime()?.block_on(async { client.get(&address).send().await?.text().await });
        context.printer.out(&page.map_err(|error| failed(&describe_error(&error)))?);
        context.printer.out("");
        Ok(())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The service of the demo. Stopped when dropped.
struct Running {
    program: PathBuf,
    project: PathBuf,
    service: Child,
    address: String,
    token_file: PathBuf,
}

impl Running {
    fn start(
        context: &Context,
        demo: &Demo,
        sandbox: &Sandbox,
        project: PathBuf,
        folder: &Path,
    ) -> Result<Self, CliError> {
        let program = std::env::current_exe()
            .map_err(|error| CliError::new(format!("cannot find this program's file: {error}")))?;
        let token_file = folder.join("token");
        let (data, listen) = (folder.join("data"), demo.listen());
        let arguments = ["serve", "--demo", "--environment", &demo.environment, "--listen", &listen];
        heading(
            context,
            "Start the service",
            &format!(
                "mailwright {} --data DATA --token-file DATA/token --outgoing-ca-file DATA/sandbox.pem --dns-server {} &",
                arguments.join(" "),
                sandbox.dns
            ),
        );
        let mut service = Command::new(&program)
            .args(arguments)
            .arg("--data")
            .arg(&data)
            .arg("--token-file")
            .arg(&token_file)
            .arg("--outgoing-ca-file")
            .arg(&sandbox.authority)
            .args(["--dns-server", &sandbox.dns])
            // The pipe closes when this process ends for any reason, and the service stops.
            .arg("--stop-at-end-of-input")
            .env_remove(variables::TOKEN)
            .env_remove(variables::SERVICE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| CliError::new(format!("cannot start the service: {error}")))?;
        let address = wait_for_address(&mut service);
        // The log is read and discarded, so that the service does not block on a full pipe.
        if let Some(mut log) = service.stderr.take() {
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        }
        let mut running = Self { program, project, service, address: String::new(), token_file };
        running.address = address?;
        context.printer.out(&format!("It listens at {}.\n", running.address));
        context.printer.out(&format!("$ {}\n", running.export()));
        Ok(running)
    }

    /// Returns the shell command that sets the variables for the service.
    fn export(&self) -> String {
        let (address, token_file) = (quote_posix(&self.address), quote_path(&self.token_file));
        format!("export {}={address} {}={token_file}", variables::SERVICE, variables::TOKEN_FILE)
    }

    fn step(&self, context: &Context, title: &str, arguments: &[&str]) -> Result<(), CliError> {
        if self.try_step(context, title, arguments)? {
            Ok(())
        } else {
            Err(CliError::new(format!("the step `mailwright {}` failed", arguments.join(" "))))
        }
    }

    /// Runs a step that may fail. Returns true if it succeeded.
    fn try_step(&self, context: &Context, title: &str, arguments: &[&str]) -> Result<bool, CliError> {
        let shown: Vec<String> = arguments.iter().map(|argument| quote_posix(argument)).collect();
        heading(context, title, &format!("mailwright {}", shown.join(" ")));
        let status = Command::new(&self.program)
            .args(arguments)
            .current_dir(&self.project)
            .env(variables::SERVICE, &self.address)
            .env(variables::TOKEN_FILE, &self.token_file)
            .env_remove(variables::TOKEN)
            .stdin(Stdio::null())
            .status()
            .map_err(|error| CliError::new(format!("cannot run this program again: {error}")))?;
        context.printer.out("");
        Ok(status.success())
    }

    fn keep_running(mut self, context: &Context, environment: &str) {
        let export = self.export();
        context.printer.out(&format!(
            "The service runs until Ctrl-C. Its console is at {0}/console; sign in with the token in {1}.\n\nIn another terminal:\n\n  {export}\n  cd {2}\n\n\
             Change something by hand, show the drift, revert it:\n\n  \
             curl -sS -X PATCH \"$MAILWRIGHT_SERVICE\"/v1/profiles/relay -H \"Authorization: Bearer $(cat \"$MAILWRIGHT_TOKEN_FILE\")\" \\\n    \
             -H 'If-Match: *' -H 'Content-Type: application/merge-patch+json' -d '{{\"description\":\"changed by hand\"}}'\n  \
             mailwright outbox status {environment}\n  mailwright drift {environment}\n  mailwright plan {environment}\n  mailwright history {environment}\n  \
             mailwright rollback {environment} --to 1",
            self.address,
            self.token_file.display(),
            quote_path(&self.project)
        ));
        let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = waiting {
            runtime.block_on(async {
                let interrupted = tokio::signal::ctrl_c();
                let mut interrupted = std::pin::pin!(interrupted);
                loop {
                    tokio::select! {
                        _ = &mut interrupted => break,
                        () = tokio::time::sleep(Duration::from_millis(500)) => {
                            if matches!(self.service.try_wait(), Ok(Some(_))) {
                                context.printer.note("The service has stopped.");
                                break;
                            }
                        }
                    }
                }
            });
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The service stops when its standard input ends.
        drop(self.service.stdin.take());
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(2) && !matches!(self.service.try_wait(), Ok(Some(_))) {
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.service.kill());
        drop(self.service.wait());
    }
}

fn heading(context: &Context, title: &str, command: &str) {
    let (bold, cyan) = (anstyle::Style::new().bold(), anstyle::AnsiColor::Cyan.on_default());
    context.printer.out(&format!("{bold}== {title}{bold:#}\n{cyan}$ {command}{cyan:#}"));
}

/// Reads the output of the service until it prints its address. If it exits first, the error contains its output.
fn wait_for_address(service: &mut Child) -> Result<String, CliError> {
    let stdout = service.stdout.take().ok_or_else(|| CliError::new("the service has no output"))?;
    let (sender, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(stdout);
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|read| read > 0) {
            if let Some(at) = line.find("http") {
                drop(sender.send(line[at..].split_whitespace().next().unwrap_or_default().to_owned()));
                break;
            }
            line.clear();
        }
        drop(std::io::copy(&mut output, &mut std::io::sink()));
    });
    if let Ok(address) = address.recv_timeout(Duration::from_secs(20)) {
        Ok(address.trim_end_matches(['.', ',']).to_owned())
    } else {
        drop(service.kill());
        let mut output = String::new();
        if let Some(stderr) = service.stderr.take() {
            drop(stderr.take(8 * 1024).read_to_string(&mut output));
        }
        Err(CliError::new("the service did not start").detail(output.trim().to_owned()))
    }
}
