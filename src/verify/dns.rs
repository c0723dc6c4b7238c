//! The checks of SPF, DKIM and DMARC of a sender's domain.
//!
//! [`Resolver::check`] reads the records and evaluates them. Without a resolver there is one finding, with the verdict
//! `unknown`. Nothing here sends mail.
//!
//! Sources: RFC 7208 (SPF), RFC 6376 (DKIM), RFC 9989 and its predecessor RFC 7489 (DMARC). A name server that fails or is silent
//! makes the check that needed it `unknown`; a name is asked for once per run. An SPF record is not evaluated: only that there is
//! exactly one, and that it does not let any host send (`+all`).

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::RData,
};
use tokio::sync::{Mutex, OnceCell};

use crate::model::{
    Mailbox,
    finding::{Finding, Level},
    finding_id::FindingId,
};

const POINTER: &str = "/from/address";

/// Text records of a name; empty if the name does not exist.
type Texts = Result<Vec<String>, NoTexts>;

/// The reason why the records of a name are not known.
#[derive(Clone, Debug)]
enum NoTexts {
    /// No name server could be asked.
    NoResolver(String),
    /// The name server failed for this name, although it answers for others.
    Refused(String),
}

/// Reads text records; each name once per run.
#[derive(Debug)]
pub(super) struct Resolver {
    system: Result<TokioResolver, String>,
    /// The reason why no name server answers, so that the next name need not wait for it again.
    silent: OnceLock<String>,
    known: Mutex<HashMap<String, Arc<OnceCell<Texts>>>>,
}

impl Resolver {
    pub(super) fn new(server: Option<SocketAddr>) -> Self {
        let builder = match server {
            Some(server) => {
                let mut connection = ConnectionConfig::udp();
                connection.port = server.port();
                let server = NameServerConfig::new(server.ip(), true, vec![connection]);
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
                Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
            }
            None => TokioResolver::builder_tokio(),
        };
        let resolver = builder.and_then(|mut builder| {
            builder.options_mut().timeout = Duration::from_secs(2);
            builder.options_mut().attempts = 1;
            builder.build()
        });
        Self { system: resolver.map_err(|error| error.to_string()), silent: OnceLock::new(), known: Mutex::default() }
    }

    async fn read_texts(&self, name: &str) -> Texts {
        let cell = Arc::clone(self.known.lock().await.entry(name.to_owned()).or_default());
        cell.get_or_init(|| self.ask(name)).await.clone()
    }

    async fn ask(&self, name: &str) -> Texts {
        let resolver = self.system.as_ref().map_err(|why| NoTexts::NoResolver(why.clone()))?;
        if let Some(why) = self.silent.get() {
            return Err(NoTexts::NoResolver(why.clone()));
        }
        match resolver.txt_lookup(format!("{name}.")).await {
            Ok(lookup) => Ok(lookup
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::TXT(text) => {
                        let bytes: Vec<u8> = text.txt_data.iter().flat_map(|part| part.iter().copied()).collect();
                        Some(String::from_utf8_lossy(&bytes).into_owned())
                    }
                    _ => None,
                })
                .collect()),
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            Err(error) => {
                let why: String = error.to_string().chars().take(200).collect();
                // A failure for one name does not concern the next; silence does.
                Err(if matches!(error, NetError::Timeout | NetError::NoConnections | NetError::Io(_)) {
                    NoTexts::NoResolver(self.silent.get_or_init(|| why).clone())
                } else {
                    NoTexts::Refused(why)
                })
            }
        }
    }

    /// Runs every check of a sender's domain. `server` is the mail server of the profile, if it is not Microsoft Graph.
    pub(super) async fn check(&self, from: &Mailbox, server: Option<&str>) -> Vec<Finding> {
        let domain = from.address.rsplit_once('@').map_or("", |(_, domain)| domain).to_ascii_lowercase();
        let dkim_at = from.dkim_selector.as_ref().map(|selector| format!("{selector}._domainkey.{domain}"));
        let dkim = async {
            match &dkim_at {
                Some(name) => Some(self.read_texts(name).await.map(|keys| evaluate_dkim(name, &keys))),
                None => None,
            }
        };
        let (spf, dmarc, dkim) = tokio::join!(self.read_texts(&domain), self.dmarc(&domain), dkim);
        let results = [
            Some((FindingId::DnsSpf, POINTER, domain.clone(), spf.map(|texts| evaluate_spf(&domain, server, &texts)))),
            Some((
                FindingId::DnsDmarc,
                POINTER,
                format!("_dmarc.{domain}"),
                dmarc.map(|(at, texts)| evaluate_dmarc(&domain, &at, &texts)),
            )),
            dkim.map(|result| (FindingId::DnsDkim, "/from/dkimSelector", dkim_at.clone().unwrap_or_default(), result)),
        ];
        let mut findings = Vec::new();
        let mut no_resolver = None;
        for (id, pointer, name, result) in results.into_iter().flatten() {
            match result {
                Ok(finding) => findings.push(finding),
                Err(NoTexts::NoResolver(why)) => no_resolver = Some(why),
                Err(NoTexts::Refused(why)) => findings.push(not_readable(id, pointer, &name, why)),
            }
        }
        if let Some(why) = no_resolver {
            findings.push(
                Finding::unknown(
                    FindingId::DnsResolver,
                    POINTER,
                    format!("SPF, DKIM and DMARC of {domain} were not checked: no DNS server replied"),
                )
                .seen(why)
                .expected("an answer of the resolver")
                .remedy(["Run the check where DNS is available, or name a server: `--dns-server ADDRESS`."]),
            );
        }
        findings.into_iter().map(|finding| Finding { level: Level::Anonymous, ..finding }).collect()
    }

    /// Returns the policy of the domain, or of a domain above it (one label less at a time, down to two).
    async fn dmarc(&self, domain: &str) -> Result<(String, Vec<String>), NoTexts> {
        let mut at = domain;
        loop {
            let texts = self.read_texts(&format!("_dmarc.{at}")).await?;
            let found: Vec<String> = texts.into_iter().filter(|text| has_version(text, "v=DMARC1")).collect();
            match at.split_once('.') {
                Some((_, parent)) if found.is_empty() && parent.contains('.') => at = parent,
                _ => return Ok((at.to_owned(), found)),
            }
        }
    }
}

/// Returns the finding for a name whose records the name server does not return.
fn not_readable(id: FindingId, pointer: &str, name: &str, why: String) -> Finding {
    Finding::unknown(id, pointer, format!("the records of {name} could not be read: the name server fails"))
        .seen(why)
        .expected("a text record, or that there is none")
        .remedy([
            format!("dig TXT {name}"),
            "Check the domain's own name servers; a failed DNSSEC validation has the same effect.".to_owned(),
        ])
}

fn is_absent(error: &NetError) -> bool {
    error.is_no_records_found() || error.is_nx_domain()
}

fn has_version(text: &str, version: &str) -> bool {
    let head = text.trim_start().get(..version.len()).unwrap_or_default();
    head.eq_ignore_ascii_case(version)
        && text.trim_start()[version.len()..].chars().next().is_none_or(|c| c == ' ' || c == ';')
}

fn shown(texts: &[String]) -> String {
    texts
        .iter()
        .map(|text| text.chars().filter(|c| !c.is_control()).take(150).collect::<String>())
        .collect::<Vec<_>>()
        .join(" | ")
}

/// Returns the steps that publish a record. The record of Microsoft 365 would exclude any other server.
fn spf_steps(domain: &str, server: Option<&str>) -> Vec<String> {
    let mut steps = vec![format!("dig +short TXT {domain}")];
    match server.filter(|host| !is_exchange_online(host)) {
        Some(host) => {
            steps.push(format!(
                "The record must name every server that sends mail of {domain}: ask who operates {host} for its part, `include:` with a name or `ip4:` with an address."
            ));
            steps.push(format!("If {host} itself sends to the internet: {domain}. TXT \"v=spf1 a:{host} ~all\""));
        }
        None => steps.push(format!("{domain}. TXT \"v=spf1 include:spf.protection.outlook.com -all\"")),
    }
    steps
}

/// Returns true for the mail servers of Exchange Online, in any cloud.
fn is_exchange_online(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    ["office365.com", "office365.us", "outlook.com", "partner.outlook.cn", "outlook.office365.us"]
        .iter()
        .any(|domain| host == *domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
}

fn evaluate_spf(domain: &str, server: Option<&str>, texts: &[String]) -> Finding {
    let records: Vec<String> = texts.iter().filter(|text| has_version(text, "v=spf1")).cloned().collect();
    match records.as_slice() {
        [record] if record.split_whitespace().any(|term| matches!(term, "+all" | "all")) => {
            Finding::fail(FindingId::DnsSpf, POINTER, format!("the SPF record of {domain} lets any host send as it"))
                .seen(shown(&records))
                .expected("a record that ends with -all or ~all")
                .remedy(["End the record with -all, or with ~all for a trial."])
        }
        [_] => Finding::pass(FindingId::DnsSpf, POINTER, format!("{domain} has an SPF record")).seen(shown(&records)),
        [] => Finding::fail(
            FindingId::DnsSpf,
            POINTER,
            format!("{domain} has no SPF record: receivers do not know who may send as it"),
        )
        .seen("no text record with v=spf1")
        .expected("one")
        .remedy(spf_steps(domain, server)),
        _ => Finding::fail(
            FindingId::DnsSpf,
            POINTER,
            format!("{domain} has {} SPF records, which counts as an error (RFC 7208, 4.5)", records.len()),
        )
        .seen(shown(&records))
        .expected("one")
        .remedy(["Merge them into one record."]),
    }
}

fn evaluate_dmarc(domain: &str, at: &str, records: &[String]) -> Finding {
    match records {
        [record] => {
            let policy = record.split(';').filter_map(|part| part.split_once('=')).find(|(tag, _)| tag.trim() == "p");
            let policy = policy.map_or("none", |(_, value)| value.trim());
            Finding::pass(FindingId::DnsDmarc, POINTER, format!("{domain} has a DMARC policy ({policy})"))
                .seen(if at == domain { shown(records) } else { format!("{} (of {at})", shown(records)) })
        }
        [] => Finding::fail(
            FindingId::DnsDmarc,
            POINTER,
            format!("{domain} has no DMARC record; large receivers refuse bulk mail without one"),
        )
        .seen(format!("no v=DMARC1 at _dmarc.{domain}"))
        .expected("one")
        .remedy([format!("_dmarc.{domain}. TXT \"v=DMARC1; p=none; rua=mailto:dmarc@{domain}\"")]),
        _ => Finding::fail(
            FindingId::DnsDmarc,
            POINTER,
            format!("{at} has {} DMARC records, which counts as none", records.len()),
        )
        .seen(shown(records))
        .expected("one")
        .remedy(["Keep one of them."]),
    }
}

fn evaluate_dkim(name: &str, keys: &[String]) -> Finding {
    let key = keys
        .iter()
        .find_map(|text| text.split(';').filter_map(|part| part.split_once('=')).find(|(tag, _)| tag.trim() == "p"));
    match key {
        Some((_, key)) if !key.trim().is_empty() => {
            Finding::pass(FindingId::DnsDkim, "/from/dkimSelector", format!("a DKIM key is published at {name}"))
        }
        Some(_) => {
            Finding::fail(FindingId::DnsDkim, "/from/dkimSelector", format!("the DKIM key at {name} is revoked"))
                .seen("p= without a key")
                .expected("a public key")
                .remedy(["Publish the key, or state another selector."])
        }
        None => Finding::fail(FindingId::DnsDkim, "/from/dkimSelector", format!("no DKIM key is published at {name}"))
            .seen("no text record with p=")
            .expected("a public key")
            .remedy([
                format!("dig +short TXT {name}"),
                "Publish the key that the sending service names, or correct `dkimSelector`.".to_owned(),
            ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_microsoft_is_proposed_for_its_servers_alone() {
        for server in [None, Some("smtp.office365.com"), Some("contoso-com.mail.protection.outlook.com")] {
            assert!(spf_steps("contoso.com", server).concat().contains("spf.protection.outlook.com"), "{server:?}");
        }
        for server in ["relay.contoso.com", "notoutlook.com", "office365.com.example"] {
            let steps = spf_steps("contoso.com", Some(server)).concat();
            assert!(!steps.contains("spf.protection.outlook.com") && steps.contains(server), "{steps}");
        }
    }
}
