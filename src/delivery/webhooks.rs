//! Tells others what happened. Each webhook hears every event that it asked for at least once and in order; how far it
//! was told is in the store. A call is signed as Standard Webhooks describes (`v1a`, Ed25519): the receiver needs the
//! public key alone, so there is no secret to keep on either side.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::{
    hkdf,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::Method;

use crate::{
    delivery::dispatcher::Engine,
    model::delivery::Webhook,
    net::http_client::{HttpClient, describe_error},
    secrets::ServiceIdentity,
    store::outbox::Event,
    telemetry,
};

/// How many events are read at once.
const PAGE: u32 = 100;
/// How long a receiver may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest that a receiver which does not answer is left alone.
const LONGEST: Duration = Duration::from_secs(300);
/// How often the store is read for events that were not heard of.
const LOOK_AFTER: Duration = Duration::from_secs(30);

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
    engine: Arc<Engine>,
    client: HttpClient,
    key: Arc<Ed25519KeyPair>,
    webhook: Webhook,
    failures: u32,
}

/// Sees to it that every webhook of the settings is told, each by a task of its own: one that is slow holds up no other.
pub(super) async fn run(engine: Arc<Engine>) {
    let Ok(key) = key_pair(&engine.identity).map(Arc::new) else {
        tracing::error!("the webhooks' key could not be made; nobody is told");
        return;
    };
    let Ok(tls) = engine.http.trust().client_config() else { return };
    let client = HttpClient::new(move |builder| builder.timeout(PATIENCE).tls_backend_preconfigured(tls.clone()));
    let mut tasks: Vec<(Webhook, tokio::task::AbortHandle)> = Vec::new();
    loop {
        let wanted = engine.board().routes.state().settings.delivery.webhooks.clone();
        tasks.retain(|(webhook, task)| {
            let stays = wanted.contains(webhook);
            if !stays {
                task.abort();
            }
            stays
        });
        for webhook in wanted {
            if tasks.iter().any(|(known, _)| *known == webhook) {
                continue;
            }
            let (engine, client, key) = (Arc::clone(&engine), client.clone(), Arc::clone(&key));
            let receiver = Receiver { engine, client, key, webhook: webhook.clone(), failures: 0 };
            tasks.push((webhook, telemetry::spawn(receiver.follow()).abort_handle()));
        }
        engine.webhooks.notified().await;
    }
}

impl Receiver {
    /// Tells what happens, from where it was told last, for as long as it is wanted.
    async fn follow(mut self) {
        let mut events = self.engine.events.subscribe();
        let mut told = self.begin().await;
        loop {
            let wait = self.catch_up(&mut told).await;
            if wait > Duration::ZERO {
                tokio::time::sleep(wait).await;
                continue;
            }
            // A receiver that missed some of them reads the store anyway.
            tokio::select! {
                _ = events.recv() => {}
                () = tokio::time::sleep(LOOK_AFTER) => {}
            }
        }
    }

    /// How far it was told. A new one hears what happens from now on.
    async fn begin(&self) -> u64 {
        loop {
            match self.engine.store.webhook_cursor(&self.webhook.url).await {
                Ok(Some(told)) => return told,
                Ok(None) => {
                    if let Ok(newest) = self.engine.store.newest_event().await
                        && self.engine.store.set_webhook_cursor(&self.webhook.url, newest).await.is_ok()
                    {
                        return newest;
                    }
                }
                Err(error) => tracing::warn!(%error, "how far a webhook was told could not be read"),
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    /// Tells what is new. Says how long the receiver is left alone if it does not listen.
    async fn catch_up(&mut self, told: &mut u64) -> Duration {
        let Ok(events) = self.engine.store.events(*told, PAGE).await else { return Duration::from_secs(2) };
        let before = *told;
        let mut wait = Duration::ZERO;
        for event in events {
            let wanted = self.webhook.events.is_empty() || self.webhook.events.contains(&event.event.kind);
            if wanted && !self.call(&event, self.engine.clock.now()).await {
                self.failures += 1;
                wait = Duration::from_secs(1 << self.failures.min(9)).min(LONGEST);
                break;
            }
            self.failures = 0;
            *told = event.number;
        }
        if *told != before
            && let Err(error) = self.engine.store.set_webhook_cursor(&self.webhook.url, *told).await
        {
            tracing::warn!(%error, "how far a webhook was told could not be kept");
        }
        wait
    }

    async fn call(&self, event: &Event, now: jiff::Timestamp) -> bool {
        let Ok(body) = serde_json::to_string(event) else { return true };
        let (id, at) = (format!("evt_{}", event.number), now.as_second());
        let signature = self.key.sign(format!("{id}.{at}.{body}").as_bytes());
        let url = reqwest::Url::parse(&self.webhook.url).ok();
        let request = url.and_then(|url| self.client.request(Method::POST, url).ok());
        let Some(request) = request else {
            tracing::warn!(event = event.number, "a webhook's address cannot be asked");
            return false;
        };
        let sent = request
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
                tracing::warn!(error = describe_error(&error), event = event.number, "a webhook could not be reached");
                false
            }
        }
    }
}
