//! Renders the first files of an environment and of a profile, with comments that say what else is possible.
//!
//! Texts are not escaped: `${name}` is a variable, so that a profile of a layer can use them. The caller checks the files
//! with [`super::Repository`] before it writes them. Nothing here reads or writes a file.

use std::fmt::Write as _;

use serde_json::Value;

use crate::model::Function;
use crate::model::file_text::{FileKind, quote_scalar};
pub use crate::model::provider::UNREGISTERED_CLIENT;

/// A profile to write.
#[derive(Clone, Debug)]
pub struct NewProfile {
    /// Its name, which is the name of the file.
    pub name: String,
    /// Its purpose; a text that fits the provider if there is none.
    pub description: Option<String>,
    /// The way in which it sends.
    pub provider: NewProvider,
    /// Address and display name of the sender.
    pub from: Option<(String, Option<String>)>,
    /// The functions that it serves.
    pub functions: Vec<Function>,
    /// The companies that it applies to; none means all.
    pub companies: Vec<String>,
}

/// The provider of a [`NewProfile`].
#[derive(Clone, Debug)]
pub enum NewProvider {
    /// A mail server.
    Smtp {
        /// Host name or address.
        host: String,
        /// Port: a number or a variable.
        port: String,
        /// `starttls`, `tls` or `none`.
        encryption: String,
        /// User name of the login, if there is one. Its password is the secret `NAME/password`.
        username: Option<String>,
    },
    /// Microsoft Graph as the signed-in user.
    Delegate {
        /// The application.
        application: NewApplication,
        /// `native` or `spa`.
        platform: String,
        /// The redirect URI.
        redirect: String,
    },
    /// Microsoft Graph as the application itself.
    Direct {
        /// The application.
        application: NewApplication,
        /// The credential.
        credential: NewCredential,
    },
}

/// The application of a Microsoft provider.
#[derive(Clone, Debug)]
pub struct NewApplication {
    /// The cloud, if it is not the worldwide one.
    pub cloud: Option<String>,
    /// Tenant id or domain.
    pub tenant: String,
    /// Client id; [`UNREGISTERED_CLIENT`] until the application is registered.
    pub client: String,
    /// True if recipients are looked up in the address book.
    pub address_book: bool,
}

/// The credential of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewCredential {
    /// The secret `NAME/client-secret`.
    ClientSecret,
    /// The secret `NAME/certificate`.
    Certificate,
    /// A file with a token of another issuer.
    FederatedTokenFile(String),
}

/// An environment to write.
#[derive(Clone, Debug)]
pub struct NewEnvironmentFile {
    /// Its name.
    pub name: String,
    /// Its purpose.
    pub description: Option<String>,
    /// The address of its service.
    pub service: String,
    /// The ids of its companies.
    pub companies: Vec<String>,
    /// Functions that no profile serves yet, with the reason.
    pub unserved: Option<(Vec<Function>, &'static str)>,
}

fn quoted(text: &str) -> String {
    quote_scalar(&Value::from(text))
}

/// Returns a number or a variable as it is, and any other text in quotes.
fn number_or_quoted(text: &str) -> String {
    if text.parse::<u16>().is_ok() { text.to_owned() } else { quoted(text) }
}

impl NewProfile {
    /// Returns the name of the secret that the profile uses, without the profile's name.
    pub fn secret_key(&self) -> Option<&'static str> {
        match &self.provider {
            NewProvider::Smtp { username: Some(_), .. } => Some("password"),
            NewProvider::Direct { credential: NewCredential::ClientSecret, .. } => Some("client-secret"),
            NewProvider::Direct { credential: NewCredential::Certificate, .. } => Some("certificate"),
            NewProvider::Smtp { username: None, .. }
            | NewProvider::Direct { credential: NewCredential::FederatedTokenFile(_), .. }
            | NewProvider::Delegate { .. } => None,
        }
    }

    /// Returns the application, if the provider has one.
    pub fn application(&self) -> Option<&NewApplication> {
        match &self.provider {
            NewProvider::Smtp { .. } => None,
            NewProvider::Delegate { application, .. } | NewProvider::Direct { application, .. } => Some(application),
        }
    }

    /// Renders the file. `environment` is the environment or layer that it is for.
    pub fn render(&self, environment: &str) -> String {
        let mut out = FileKind::Profile.modeline().to_owned();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "description: {}", quoted(self.description.as_deref().unwrap_or(self.purpose())));
        out.push_str("provider:\n");
        match &self.provider {
            NewProvider::Smtp { host, port, encryption, username } => {
                self.write_smtp(environment, (host, port, encryption, username.as_deref()), &mut out);
            }
            NewProvider::Delegate { application, platform, redirect } => {
                out.push_str("  microsoft-graph-delegate:\n");
                self.write_application(environment, application, &mut out);
                let _ = writeln!(out, "    platform: {} # `native` (desktop) or `spa` (web)", quoted(platform));
                let _ = writeln!(out, "    redirect: {} # registered for this platform, exactly so", quoted(redirect));
                write_address_book(application, &mut out);
            }
            NewProvider::Direct { application, credential } => {
                out.push_str("  microsoft-graph-direct:\n");
                self.write_application(environment, application, &mut out);
                self.write_credential(environment, credential, &mut out);
                write_address_book(application, &mut out);
            }
        }
        self.write_rest(&mut out);
        out
    }

    fn purpose(&self) -> &'static str {
        match &self.provider {
            NewProvider::Smtp { .. } => "Through the mail server",
            NewProvider::Delegate { platform, .. } if platform == "spa" => "From the web client, as the signed-in user",
            NewProvider::Delegate { .. } => "From the desktop client, as the signed-in user",
            NewProvider::Direct { .. } => "Through Microsoft 365, as the application",
        }
    }

    fn write_smtp(
        &self,
        environment: &str,
        (host, port, encryption, username): (&str, &str, &str, Option<&str>),
        out: &mut String,
    ) {
        let name = &self.name;
        let _ = writeln!(out, "  smtp:\n    host: {}\n    port: {}", quoted(host), number_or_quoted(port));
        let _ = writeln!(
            out,
            "    encryption: {} # `starttls`, `tls` (usually port 465), or `none` without a login",
            quoted(encryption)
        );
        if let Some(username) = username {
            let _ = writeln!(out, "    username: {}", quoted(username));
            let _ = writeln!(out, "    # mailwright secrets set {environment} {name}/password");
            let _ = writeln!(out, "    password: {{ secret: {name}/password }}");
        } else {
            out.push_str("    # With a login:\n    # username: erp@example.com\n");
            let _ = writeln!(out, "    # password: {{ secret: {name}/password }}");
        }
    }

    fn write_application(&self, environment: &str, application: &NewApplication, out: &mut String) {
        if let Some(cloud) = &application.cloud {
            let _ = writeln!(out, "    cloud: {}", quoted(cloud));
        }
        let _ = writeln!(out, "    tenant: {} # domain or tenant id", quoted(&application.tenant));
        if application.client == UNREGISTERED_CLIENT {
            let _ =
                writeln!(out, "    # mailwright microsoft register {environment} {} writes the client id", self.name);
        }
        let _ = writeln!(out, "    client: {:?}", application.client);
    }

    fn write_credential(&self, environment: &str, credential: &NewCredential, out: &mut String) {
        let name = &self.name;
        match credential {
            NewCredential::ClientSecret => {
                let _ = writeln!(out, "    # mailwright secrets set {environment} {name}/client-secret");
                let _ = writeln!(out, "    credential:\n      clientSecret: {{ secret: {name}/client-secret }}");
                let _ = writeln!(out, "      # or: certificate: {{ secret: {name}/certificate }}");
            }
            NewCredential::Certificate => {
                let _ = writeln!(
                    out,
                    "    # mailwright secrets set {environment} {name}/certificate < certificate-and-key.pem"
                );
                let _ = writeln!(out, "    credential:\n      certificate: {{ secret: {name}/certificate }}");
            }
            NewCredential::FederatedTokenFile(path) => {
                out.push_str("    # The service must be started with --federated-token-file for this file.\n");
                let _ = writeln!(out, "    credential:\n      federatedTokenFile: {}", quoted(path));
            }
        }
    }

    fn write_rest(&self, out: &mut String) {
        if let Some((address, name)) = &self.from {
            let _ = writeln!(out, "from:\n  address: {}", quoted(address));
            match name {
                Some(name) => {
                    let _ = writeln!(out, "  name: {}", quoted(name));
                }
                None => out.push_str("  # name: Example Ltd\n"),
            }
        }
        out.push_str("functions: # `mailwright functions` lists them\n");
        for function in &self.functions {
            let _ = writeln!(out, "  - {}", function.id());
        }
        if self.companies.is_empty() {
            out.push_str("appliesTo: system-wide # or { companies: [EDU1] }\n");
        } else {
            let companies: Vec<String> = self.companies.iter().map(|id| Value::from(id.as_str()).to_string()).collect();
            let _ = writeln!(out, "appliesTo: # or system-wide\n  companies: [{}]", companies.join(", "));
        }
        if !matches!(self.provider, NewProvider::Delegate { .. }) {
            out.push_str("# limits: { perMinute: 30, concurrency: 2 } # of this mailbox\n");
        }
    }
}

fn write_address_book(application: &NewApplication, out: &mut String) {
    out.push_str(if application.address_book {
        "    addressBook: true # needs permissions to read users, groups and contacts\n"
    } else {
        "    # addressBook: true # look up recipients; needs more permissions\n"
    });
}

impl NewEnvironmentFile {
    /// Renders the file.
    pub fn render(&self) -> String {
        let mut out = FileKind::Environment.modeline().to_owned();
        let description = self.description.clone().unwrap_or_else(|| format!("The environment {}", self.name));
        let _ = writeln!(out, "description: {}", quoted(&description));
        let _ = writeln!(out, "\nservice:\n  address: {}", quoted(&self.service));
        let companies: Vec<String> = self.companies.iter().map(|id| Value::from(id.as_str()).to_string()).collect();
        let _ = writeln!(out, "\ncompanies: [{}] # 1 to 4 characters of A-Z and 0-9, in quotes", companies.join(", "));
        if let Some((functions, reason)) = &self.unserved {
            let functions: Vec<&str> = functions.iter().map(|function| function.id()).collect();
            let _ = writeln!(
                out,
                "\n# Remove a function when a profile serves it.\nunserved:\n  - reason: {}\n    functions:\n      - {}",
                quoted(reason),
                functions.join("\n      - ")
            );
        }
        out.push_str("\n# Values for ${domain} in profiles:\n# variables:\n#   domain: example.com\n");
        out
    }
}
