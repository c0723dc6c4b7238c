//! Tells others what happened. Each webhook hears every event that it asked for at least once and in order; how far it
//! was told is in the store. A call is signed as Standard Webhooks describes (`v1a`, Ed25519): the receiver needs the
//! public key alone, so there is no secret to keep on either side.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::{
    hkdf,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::redirect;

use super::engine::Engine;
use crate::{model::delivery::Webhook, secrets::ServiceIdentity, store::outbox::Event};

/// How many events are read at once.
const PAGE: u32 = 100;
/// How long a receiver may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest that a receiver which does not answer is left alone.
const LONGEST: Duration = Duration::from_secs(300);

/// The key pair, made from the service's identity: the same after every start.
fn key_pair(identity: &ServiceIdentity) -> Result<Ed25519KeyPair, String> {
    let failed = |_| "the webhooks' key could not be made".to_owned();
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"mailwright webhooks v1");
    let secret = salt.extract(&identity.seed());
    let expanded = secret.expand(&[b"ed25519"], hkdf::HKDF_SHA256).map_err(failed)?;
    expanded.fill(seed.as_mut_slice()).map_err(failed)?;
    Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| "the webhooks' key could not be made".to_owned())
}

/// The public key, as Standard Webhooks writes it: `whpk_` and base64.
pub fn public_key(identity: &ServiceIdentity) -> Result<String, String> {
    Ok(format!("whpk_{}", BASE64_STANDARD.encode(key_pair(identity)?.public_key().as_ref())))
}

/// One receiver, as far as it was told.
struct Receiver {
    webhook: Webhook,
    told: u64,
    failures: u32,
    not_before: std::time::Instant,
}

/// Tells every webhook of the settings, until the process ends.
pub(super) async fn run(engine: Arc<Engine>) {
    let Ok(key) = key_pair(&engine.identity) else {
        tracing::error!("the webhooks' key could not be made; nobody is told");
        return;
    };
    let mut builder = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .timeout(PATIENCE)
        .user_agent(concat!("mailwright/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = &engine.outgoing.authorities
        && let Ok(authorities) = reqwest::Certificate::from_pem_bundle(pem)
    {
        builder = authorities.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
    }
    let Ok(client) = builder.build() else { return };
    let mut events = engine.events.subscribe();
    let mut receivers: Vec<Receiver> = Vec::new();
    loop {
        let wanted = engine.board().routes.state().settings.delivery.webhooks.clone();
        receivers.retain(|receiver| wanted.contains(&receiver.webhook));
        for webhook in wanted {
            if receivers.iter().any(|receiver| receiver.webhook == webhook) {
                continue;
            }
            // A new one hears what happens from now on.
            let told = match engine.store.told(&webhook.url).await {
                Ok(Some(told)) => told,
                Ok(None) => {
                    let newest = engine.store.newest_event().await.unwrap_or_default();
                    drop(engine.store.set_told(&webhook.url, newest).await);
                    newest
                }
                Err(_) => continue,
            };
            receivers.push(Receiver { webhook, told, failures: 0, not_before: std::time::Instant::now() });
        }
        for receiver in &mut receivers {
            receiver.catch_up(&engine, &client, &key).await;
        }
        // Whoever missed some of them reads the store anyway.
        tokio::select! {
            _ = events.recv() => {}
            () = engine.webhooks.notified() => {}
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
        }
    }
}

impl Receiver {
    async fn catch_up(&mut self, engine: &Engine, client: &reqwest::Client, key: &Ed25519KeyPair) {
        if self.not_before > std::time::Instant::now() {
            return;
        }
        let Ok(events) = engine.store.events(self.told, PAGE).await else { return };
        let before = self.told;
        for event in events {
            let wanted = self.webhook.events.is_empty() || self.webhook.events.contains(&event.event.kind);
            if wanted && !self.call(client, key, &event, engine.clock.now()).await {
                self.failures += 1;
                let wait = Duration::from_secs(1 << self.failures.min(9)).min(LONGEST);
                self.not_before = std::time::Instant::now() + wait;
                break;
            }
            self.failures = 0;
            self.told = event.number;
        }
        if self.told != before
            && let Err(error) = engine.store.set_told(&self.webhook.url, self.told).await
        {
            tracing::warn!(%error, "how far a webhook was told could not be kept");
        }
    }

    async fn call(&self, client: &reqwest::Client, key: &Ed25519KeyPair, event: &Event, now: jiff::Timestamp) -> bool {
        let Ok(body) = serde_json::to_string(event) else { return true };
        let (id, at) = (format!("evt_{}", event.number), now.as_second());
        let signature = key.sign(format!("{id}.{at}.{body}").as_bytes());
        let sent = client
            .post(&self.webhook.url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", at.to_string())
            .header("webhook-signature", format!("v1a,{}", BASE64_STANDARD.encode(signature.as_ref())))
            .body(body)
            .send()
            .await;
        match sent {
            Ok(answer) if answer.status().is_success() => true,
            Ok(answer) => {
                tracing::warn!(
                    status = answer.status().as_u16(),
                    event = event.number,
                    "a webhook did not take an event"
                );
                false
            }
            Err(error) => {
                tracing::warn!(error = %error.without_url(), event = event.number, "a webhook could not be reached");
                false
            }
        }
    }
}
