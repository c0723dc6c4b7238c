//! Third-party receivers: Exim and `OpenSMTPD`, in addition to Postfix. Each runs from where `./test` unpacked it, in a
//! mount namespace that has the users and folders that it insists on; nothing of the machine is changed.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::json;

use crate::{
    mail_service::{MailService, QUICK},
    support::{
        postfix::{free_port, wait_for},
        tools::folder,
    },
};

struct MailReceiver {
    port: u16,
    child: Child,
    place: tempfile::TempDir,
}

impl MailReceiver {
    /// `package` is where it was unpacked; `configuration` and `run` may name `{place}` and `{port}`.
    fn start(package: &str, configuration: &str, run: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let place = tempfile::Builder::new().prefix("mailwright-receiver-").tempdir().unwrap();
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let port = free_port();
        let fill = |text: &str| {
            text.replace("{place}", &place.path().display().to_string()).replace("{port}", &port.to_string())
        };
        for part in ["mail", "spool", "log"] {
            std::fs::create_dir(place.path().join(part)).unwrap();
            std::fs::set_permissions(place.path().join(part), std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        let users = |file: &str, more: &str| {
            std::fs::write(place.path().join(file), std::fs::read_to_string(format!("/etc/{file}")).unwrap() + more)
                .unwrap();
        };
        users(
            "passwd",
            "Debian-exim:x:65001:65001::/nonexistent:/bin/false\nopensmtpd:x:65002:65002::/nonexistent:/bin/false\nopensmtpq:x:65003:65003::/nonexistent:/bin/false\n",
        );
        users("group", "Debian-exim:x:65001:\nopensmtpd:x:65002:\nopensmtpq:x:65003:\n");
        std::fs::write(place.path().join("conf"), fill(configuration)).unwrap();
        let tools = folder().join(package);
        assert!(tools.is_dir(), "{} is missing; run the tests with ./test", tools.display());
        let script = format!(
            "set -e; mount --bind {{place}}/passwd /etc/passwd; mount --bind {{place}}/group /etc/group
             mount -t overlay overlay -o lowerdir={tools}/usr:/usr /usr
             mount -t tmpfs none /var/lib; mount -t tmpfs none /var/spool; mount -t tmpfs none /run
             mkdir -p /var/lib/opensmtpd/empty; mkdir -m 711 /var/spool/smtpd
             exec {run}",
            tools = tools.display()
        );
        let child = Command::new("unshare")
            .args(["-m", "sh", "-c", &fill(&script)])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(place.path().join("log/errors")).unwrap())
            .spawn()
            .unwrap();
        wait_for(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(), package);
        Self { port, child, place }
    }

    /// Returns everything that it has stored.
    fn stored(&self) -> String {
        fn read(path: &Path, all: &mut String) {
            for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    read(&entry.path(), all);
                } else {
                    all.push_str(&String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap_or_default()));
                }
            }
        }
        let mut all = String::new();
        read(&PathBuf::from(self.place.path()).join("mail"), &mut all);
        all
    }
}

impl Drop for MailReceiver {
    fn drop(&mut self) {
        // They end their own children when they are asked to.
        drop(Command::new("kill").arg(self.child.id().to_string()).status());
        drop(self.child.wait());
    }
}

fn delivers(receiver: &MailReceiver) {
    let service = MailService::new(receiver.port, QUICK, "");
    service.repo.run(&["verify", "dev", "--local", "--dns-server", "127.0.0.1:1"]).code(0);
    let ids: Vec<String> = (0..10)
        .map(|number| service.send(json!({ "to": [format!("customer-{number}@example.org")], "subject": format!("Rechnung {number} für Sie"), "text": format!("Zeile\n.\n..\nFrom here {number}\n") })))
        .collect();
    let refused = service.send(json!({ "to": ["customer@elsewhere.example", "customer-99@example.org"] }));
    for id in &ids {
        service.wait(id, "delivered");
    }
    let message = service.wait(&refused, "failed");
    assert_eq!(message["recipients"][0]["status"], "failed", "relaying is denied: {message:#}");
    assert_eq!(message["recipients"][1]["status"], "delivered");
    for id in &ids {
        let message_id = service.message(id)["messageId"].as_str().unwrap().to_owned();
        wait_for(|| receiver.stored().contains(&message_id), "the mail to be stored");
    }
    let stored = receiver.stored().replace("\r\n", "\n");
    assert!(
        (0..10).all(|number| stored.contains(&format!("\nZeile\n.\n..\nFrom here {number}\n"))
            || stored.contains(&format!("\nZeile\n.\n..\n>From here {number}\n"))),
        "dots are as they were:\n{stored}"
    );
}

#[test]
fn exim_accepts_every_message() {
    let configuration = "primary_hostname = receiver.example.org\nspool_directory = {place}/spool\nlog_file_path = {place}/log/%slog\nexim_user = nobody\nexim_group = nogroup\nnever_users =\ndomainlist local_domains = example.org\nacl_smtp_rcpt = rcpt\nlocal_interfaces = 127.0.0.1\ndaemon_smtp_ports = {port}\ntls_advertise_hosts =\nbegin acl\nrcpt:\n  accept domains = +local_domains\n  deny message = relay not permitted\nbegin routers\nall:\n  driver = accept\n  transport = file\nbegin transports\nfile:\n  driver = appendfile\n  file = {place}/mail/inbox\n  user = nobody\n  group = nogroup\n  create_file = anywhere\nbegin retry\n* * F,1h,1m\n";
    let receiver = MailReceiver::start("exim", configuration, "exim4 -C {place}/conf -bdf -q1m");
    delivers(&receiver);
}

#[test]
fn opensmtpd_accepts_every_message() {
    let configuration = "listen on 127.0.0.1 port {port}\ntable users { \"@example.org\" = \"nobody\" }\naction \"keep\" maildir \"{place}/mail\" virtual <users>\nmatch from any for domain \"example.org\" action \"keep\"\n";
    let receiver = MailReceiver::start("opensmtpd", configuration, "smtpd -d -f {place}/conf");
    delivers(&receiver);
}
