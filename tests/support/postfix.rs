//! Postfix with Dovecot's SASL, from Debian's packages, run from where `./test` unpacked them. They need root: Postfix
//! changes to users of its own, and takes such as every Debian has.

use std::{
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::tools::{self, tool};

pub(crate) const USER: &str = "mailer";
pub(crate) const PASSWORD: &str = "example-password";

/// The servers, each with another certificate. Everything ends with this.
pub(crate) struct Postfix {
    /// The authority that is trusted, in PEM form.
    pub(crate) authority: String,
    pub(crate) starttls: u16,
    pub(crate) tls: u16,
    pub(crate) expired: u16,
    pub(crate) misnamed: u16,
    pub(crate) unknown: u16,
    /// A server that wants a login before anything else.
    pub(crate) strict: u16,
    /// A server without TLS 1.3.
    pub(crate) older: u16,
    /// A server that ends with TLS 1.1.
    pub(crate) oldest: u16,
    children: Vec<Child>,
    folder: tempfile::TempDir,
}

/// The server that validates tokens.
pub(crate) struct Introspection {
    pub(crate) url: String,
    /// The authority of its certificate, in PEM form.
    pub(crate) authority: String,
}

impl Postfix {
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// With a server that validates tokens, they are accepted as logins as well (`XOAUTH2`).
    pub(crate) fn start_with(introspection: Option<&Introspection>) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::Builder::new().prefix("mailwright-postfix-").tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let root = folder.path();
        certificates(root);
        let ports: Vec<u16> = (0..8).map(|_| free_port()).collect();
        let mut postfix = Self {
            authority: std::fs::read_to_string(root.join("good-ca.pem")).unwrap(),
            starttls: ports[0],
            tls: ports[1],
            expired: ports[2],
            misnamed: ports[3],
            unknown: ports[4],
            strict: ports[5],
            older: ports[6],
            oldest: ports[7],
            children: Vec::new(),
            folder,
        };
        postfix.start_dovecot(introspection);
        postfix.start_postfix();
        for port in ports {
            wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok(), "Postfix to listen");
        }
        postfix
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the logs of the servers.
    pub(crate) fn log(&self) -> String {
        let logs = ["mail.log", "dovecot.log"].map(|name| std::fs::read(self.root().join(name)).unwrap_or_default());
        String::from_utf8_lossy(&logs.concat()).into_owned()
    }

    fn start_dovecot(&mut self, introspection: Option<&Introspection>) {
        let (root, tools) = (self.root().display(), tools());
        std::fs::create_dir(self.root().join("dovecot")).unwrap();
        let libraries = libraries();
        let (mut mechanisms, mut by_token) = ("plain login", String::new());
        if let Some(introspection) = introspection {
            std::fs::write(self.root().join("introspection-ca.pem"), &introspection.authority).unwrap();
            let oauth = format!(
                "introspection_mode = post\nintrospection_url = {}\nactive_attribute = active\nactive_value = true\n\
                 username_attribute = username\nusername_format = %Ld\n\
                 tls_ca_cert_file = {root}/introspection-ca.pem\n",
                introspection.url
            );
            std::fs::write(self.root().join("oauth2.conf"), oauth).unwrap();
            mechanisms = "plain login xoauth2";
            by_token = format!("passdb {{\n driver = oauth2\n mechanisms = xoauth2\n args = {root}/oauth2.conf\n}}\n");
        }
        let text = format!(
            "protocols =\nbase_dir = {root}/dovecot\nstate_dir = {root}/dovecot\nlog_path = {root}/dovecot.log\n\
             libexec_dir = {tools}/usr/lib/dovecot\nmail_plugin_dir = {tools}/usr/lib/dovecot/modules\n\
             default_internal_user = nobody\ndefault_internal_group = nogroup\ndefault_login_user = nobody\n\
             ssl = no\nauth_mechanisms = {mechanisms}\ndisable_plaintext_auth = no\nauth_failure_delay = 0\n{by_token}\
             passdb {{\n driver = static\n mechanisms = plain login\n args = password={PASSWORD}\n}}\n\
             userdb {{\n driver = static\n args = uid=65534 gid=65534 home=/nonexistent\n}}\n\
             service auth {{\n unix_listener auth {{\n  mode = 0666\n }}\n}}\n\
             service anvil {{\n chroot =\n}}\nservice stats {{\n chroot =\n}}\n\
             import_environment = LD_LIBRARY_PATH={libraries}\n",
            tools = tools.display(),
        );
        let path = self.root().join("dovecot.conf");
        std::fs::write(&path, text).unwrap();
        // The program would run its reader of configurations from where it is installed, so that one is run instead.
        // Its TLS is a module that it looks for where Debian has it: an overlay mount puts the unpacked files there.
        let overlay = format!("mount -t overlay overlay -o lowerdir={}/usr:/usr /usr && exec \"$@\"", tools.display());
        let child = Command::new("unshare")
            .args(["-m", "sh", "-c", &overlay, "sh"])
            .arg(tools.join("usr/bin/doveconf"))
            .args(["-f", "service=master", "-c"])
            .arg(&path)
            .args(["-m", "master", "-p", "-e"])
            .arg(tools.join("usr/sbin/dovecot"))
            .args(["-F", "-c"])
            .arg(&path)
            .env("LD_LIBRARY_PATH", &libraries)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.children.push(child);
        let socket = self.root().join("dovecot/auth");
        wait_for(|| std::os::unix::net::UnixStream::connect(&socket).is_ok(), "Dovecot to listen");
    }

    fn start_postfix(&mut self) {
        let root = self.root().to_owned();
        let (shown, tools) = (root.display(), tools());
        let conf = root.join("postfix");
        std::fs::create_dir(&conf).unwrap();
        let postfix = tools.join("usr/lib/postfix");
        let main = format!(
            "compatibility_level = 3.6\nmail_owner = proxy\nsetgid_group = operator\ndefault_privs = nobody\n\
             queue_directory = {shown}/queue\ndata_directory = {shown}/data\ncommand_directory = {bin}/usr/sbin\n\
             daemon_directory = {lib}/sbin\nshlib_directory = {lib}\nmeta_directory = {shown}/postfix\n\
             import_environment = MAIL_CONFIG MAIL_LOGTAG TZ LD_LIBRARY_PATH\n\
             maillog_file = {shown}/mail.log\nmaillog_file_prefixes = {shown}\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = localhost\nmydestination = localhost\n\
             smtpd_tls_cert_file = {shown}/good.pem\nsmtpd_tls_key_file = {shown}/good.key\n\
             smtpd_tls_security_level = may\nsmtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\n\
             smtpd_sasl_path = {shown}/dovecot/auth\nsmtpd_tls_auth_only = yes\nmessage_size_limit = 20480000\n\
             smtpd_delay_reject = no\nsmtpd_sender_restrictions = reject_non_fqdn_sender\n\
             alias_maps =\nalias_database =\nlocal_recipient_maps =\n",
            bin = tools.display(),
            lib = postfix.display(),
        );
        std::fs::write(conf.join("main.cf"), main).unwrap();
        std::fs::copy(tools.join("usr/share/postfix/makedefs.out"), conf.join("makedefs.out")).unwrap();
        std::fs::write(conf.join("dynamicmaps.cf"), "").unwrap();
        let with =
            |name: &str| format!("-o smtpd_tls_cert_file={shown}/{name}.pem -o smtpd_tls_key_file={shown}/{name}.key");
        let services = [
            (self.starttls, String::new()),
            (self.tls, "-o smtpd_tls_wrappermode=yes".to_owned()),
            (self.expired, with("expired")),
            (self.misnamed, with("misnamed")),
            (self.unknown, with("unknown")),
            (self.older, "-o smtpd_tls_protocols=<=TLSv1.2".to_owned()),
            // OpenSSL has it no more at its usual level of security.
            (self.oldest, "-o smtpd_tls_protocols=<=TLSv1.1 -o tls_medium_cipherlist=ALL:@SECLEVEL=0".to_owned()),
            (self.strict, "-o smtpd_sender_restrictions=permit_sasl_authenticated,reject".to_owned()),
        ];
        let mut master: String =
            services.iter().map(|(port, more)| format!("127.0.0.1:{port} inet n - n - - smtpd {more}\n")).collect();
        master.push_str(
            "tlsmgr unix - - n 1000? 1 tlsmgr\nrewrite unix - - n - - trivial-rewrite\nanvil unix - - n - 1 anvil\n\
             proxymap unix - - n - - proxymap\ncleanup unix n - n - 0 cleanup\npostlog unix-dgram n - n - 1 postlogd\n",
        );
        std::fs::write(conf.join("master.cf"), master).unwrap();
        let queue = root.join("queue");
        std::fs::create_dir(root.join("data")).unwrap();
        for part in [
            "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "public",
            "maildrop", "pid", "saved", "trace",
        ] {
            std::fs::create_dir_all(queue.join(part)).unwrap();
        }
        sh(&format!(
            "chown -R proxy {shown}/data {shown}/queue && chown root {shown}/queue {shown}/queue/pid && \
             chgrp operator {shown}/queue/public {shown}/queue/maildrop"
        ));
        let child = Command::new(postfix.join("sbin/master"))
            .args(["-d", "-c"])
            .arg(&conf)
            .env("MAIL_CONFIG", &conf)
            .env("LD_LIBRARY_PATH", libraries())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.children.push(child);
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Their own children end when they are asked to, and not when they are killed.
            sh(&format!("kill {} 2>/dev/null || true", child.id()));
            drop(child.wait());
        }
    }
}

fn tools() -> PathBuf {
    // `tool` says what to do if it is not there.
    tool("../lib/postfix/sbin/master");
    tools::folder()
}

fn libraries() -> String {
    let tools = tools();
    let parts = ["usr/lib/postfix", "usr/lib/dovecot", "usr/lib/dovecot/modules/old-stats", "usr/lib/x86_64-linux-gnu"];
    parts.map(|part| tools.join(part).display().to_string()).join(":")
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn wait_for(mut ready: impl FnMut() -> bool, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !ready() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn sh(script: &str) {
    let ended = Command::new("sh").args(["-c", script]).output().unwrap();
    assert!(ended.status.success(), "{script}: {}", String::from_utf8_lossy(&ended.stderr));
}

/// Two authorities, and certificates that are good, expired, for another name, and of the other authority.
fn certificates(root: &Path) {
    let openssl = tool("openssl");
    let (openssl, root) = (openssl.display(), root.display());
    let request = |name: &str, host: &str| {
        format!(
            "{openssl} req -newkey rsa:2048 -nodes -subj /CN={host} -addext subjectAltName=DNS:{host} \
             -keyout {name}.key -out {name}.csr 2>/dev/null"
        )
    };
    let sign = |name: &str, authority: &str, from: &str, to: &str| {
        format!(
            "{openssl} ca -batch -config ca.cnf -name {authority} -notext -startdate {from} -enddate {to} \
             -in {name}.csr -out {name}.pem 2>/dev/null"
        )
    };
    let authority = |name: &str| {
        format!(
            "mkdir {name} && : > {name}/index.txt && echo 01 > {name}/serial && \
             {openssl} req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN={name} -keyout {name}-ca.key -out {name}-ca.pem 2>/dev/null"
        )
    };
    let section = |name: &str| {
        format!(
            "[{name}]\ndatabase = {name}/index.txt\nserial = {name}/serial\nnew_certs_dir = {name}\n\
             certificate = {name}-ca.pem\nprivate_key = {name}-ca.key\ndefault_md = sha256\npolicy = any\n\
             copy_extensions = copy\nunique_subject = no\n"
        )
    };
    let config = format!("{}{}[any]\ncommonName = supplied\n", section("good"), section("other"));
    let (now, later) = ("20240101000000Z", "20990101000000Z");
    let steps = [
        format!("cd {root} && cat > ca.cnf <<'END'\n{config}END"),
        authority("good"),
        authority("other"),
        request("good", "localhost"),
        sign("good", "good", now, later),
        request("expired", "localhost"),
        sign("expired", "good", "20200101000000Z", "20210101000000Z"),
        request("misnamed", "mail.elsewhere.example"),
        sign("misnamed", "good", now, later),
        request("unknown", "localhost"),
        sign("unknown", "other", now, later),
    ];
    sh(&steps.join("\n"));
}
