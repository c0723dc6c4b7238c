//! Webhooks: report events to other systems.
//!
//! [`Webhooks`] calls every webhook of the settings with each event that it subscribes to, at least once and in order. A new
//! webhook begins with the next event. If a call has no 2xx answer within 15 seconds, the same event is sent again after a back-off
//! of up to 5 minutes, and later events wait. Events wait for a webhook that is behind for twice `delivery.keep.delivered`; then
//! they are removed from the store, which the log and `mailwright_webhook_events_lost_total` report, and the receiver misses them.
//! The position of each webhook is in the store. Calls are signed as Standard Webhooks describes (`v1a`, Ed25519): a receiver needs
//! only the public key, so neither side keeps a secret for them.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::{
    hkdf,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::Method;
use tokio::{sync::Notify, task::AbortHandle};

use super::{back_off::doubled, recorder::Recorder};
use crate::{
    model::delivery::Webhook,
    net::{http_client::HttpClient, tls::Trust},
    secrets::ServiceIdentity,
    store::outbox::Event,
    telemetry,
    time::Clock,
};

/// The number of events that are read from the store at once.
const PAGE: u32 = 100;
/// The deadline of a call.
const CALL_DEADLINE: Duration = Duration::from_secs(15);
/// The longest back-off of a receiver.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);
/// The interval at which the store is read in case an event was missed.
const READ_INTERVAL: Duration = Duration::from_secs(30);

/// Derives the key pair from the identity of the service: it is the same after every start.
fn derive_key_pair(identity: &ServiceIdentity) -> Result<Ed25519KeyPair, String> {
    let failed = |_| "cannot derive the key of the webhooks".to_owned();
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"mailwright webhooks v1");
    let secret = salt.extract(&identity.seed());
    let expanded = secret.expand(&[b"ed25519"], hkdf::HKDF_SHA256).map_err(failed)?;
    expanded.fill(seed.as_mut_slice()).map_err(failed)?;
    Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| "cannot derive the key of the webhooks".to_owned())
}

/// Returns the public key in the notation of Standard Webhooks: `whpk_` and base64.
pub fn public_key(identity: &ServiceIdentity) -> Result<String, String> {
    Ok(format!("whpk_{}", BASE64_STANDARD.encode(derive_key_pair(identity)?.public_key().as_ref())))
}

/// The webhooks of an environment.
pub(super) struct Webhooks {
    recorder: Arc<Recorder>,
    client: HttpClient,
    key: Arc<Ed25519KeyPair>,
    clock: Clock,
    /// Notified when the settings have changed.
    changed: Arc<Notify>,
}

/// A webhook, called by a task of its own so that a slow receiver delays no other.
struct Receiver {
    recorder: Arc<Recorder>,
    client: HttpClient,
    key: Arc<Ed25519KeyPair>,
    clock: Clock,
    webhook: Webhook,
    failures: u32,
}

impl Webhooks {
    /// Creates the webhooks; fails if the key or TLS cannot be set up.
    pub(super) fn new(
        recorder: Arc<Recorder>,
        identity: &ServiceIdentity,
        trust: &Trust,
        clock: Clock,
        changed: Arc<Notify>,
    ) -> Result<Self, String> {
        let key = Arc::new(derive_key_pair(identity)?);
        let tls = trust.client_config()?;
        let client =
            HttpClient::new(move |builder| builder.timeout(CALL_DEADLINE).tls_backend_preconfigured(tls.clone()));
        Ok(Self { recorder, client, key, clock, changed })
    }

    /// Runs a task for each webhook of the settings.
    pub(super) async fn run(self) {
        let mut tasks: Vec<(Webhook, AbortHandle)> = Vec::new();
        loop {
            let wanted = self.recorder.scheduler().routes().state().settings.delivery.webhooks.clone();
            tasks.retain(|(webhook, task)| {
                let is_wanted = wanted.contains(webhook);
                if !is_wanted {
                    task.abort();
                }
                is_wanted
            });
            for webhook in wanted {
                if tasks.iter().any(|(known, _)| *known == webhook) {
                    continue;
                }
                let receiver = Receiver {
                    recorder: Arc::clone(&self.recorder),
                    client: self.client.clone(),
                    key: Arc::clone(&self.key),
                    clock: self.clock.clone(),
                    webhook: webhook.clone(),
                    failures: 0,
                };
                tasks.push((webhook, telemetry::spawn(receiver.run()).abort_handle()));
            }
            self.changed.notified().await;
        }
    }
}

impl Receiver {
    /// Calls the webhook with all events from its position on.
    async fn run(mut self) {
        let mut events = self.recorder.subscribe();
        let mut position = self.restore_position().await;
        loop {
            let wait = self.call_with_new_events(&mut position).await;
            if wait > Duration::ZERO {
                tokio::time::sleep(wait).await;
                continue;
            }
            // A subscriber that missed events reads them from the store.
            tokio::select! {
                _ = events.recv() => {}
                () = tokio::time::sleep(READ_INTERVAL) => {}
            }
        }
    }

    /// Returns the number of the last event that the webhook was called with. A new webhook starts with the next event.
    async fn restore_position(&self) -> u64 {
        let store = self.recorder.store();
        loop {
            match store.webhook_cursor(&self.webhook.url).await {
                Ok(Some(position)) => return position,
                Ok(None) => {
                    if let Ok(newest) = store.newest_event().await
                        && store.set_webhook_cursor(&self.webhook.url, newest).await.is_ok()
                    {
                        return newest;
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot read the position of a webhook"),
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    /// Calls the webhook with new events. Returns the back-off after a failure, and zero otherwise.
    async fn call_with_new_events(&mut self, position: &mut u64) -> Duration {
        let store = Arc::clone(self.recorder.store());
        let Ok(events) = store.events(*position, PAGE).await else { return Duration::from_secs(2) };
        let before = *position;
        let mut wait = Duration::ZERO;
        for event in events {
            let is_wanted = self.webhook.events.is_empty() || self.webhook.events.contains(&event.event.kind);
            if is_wanted && !self.call(&event, self.clock.now()).await {
                self.failures = self.failures.saturating_add(1);
                wait = doubled(Duration::from_secs(1), self.failures, LONGEST_BACK_OFF);
                break;
            }
            self.failures = 0;
            *position = event.number;
        }
        if *position != before
            && let Err(error) = store.set_webhook_cursor(&self.webhook.url, *position).await
        {
            tracing::warn!(%error, "cannot store the position of a webhook");
        }
        wait
    }

    /// Calls the webhook with an event. Returns true if the receiver accepted it.
    async fn call(&self, event: &Event, now: jiff::Timestamp) -> bool {
        let Ok(body) = serde_json::to_string(event) else { return true };
        let (id, at) = (format!("evt_{}", event.number), now.as_second());
        let signature = self.key.sign(format!("{id}.{at}.{body}").as_bytes());
        let url = reqwest::Url::parse(&self.webhook.url).ok();
        let request = url.and_then(|url| self.client.request(Method::POST, url).ok());
        let Some(request) = request else {
            tracing::warn!(event = event.number, "the address of a webhook cannot be called");
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
                tracing::warn!(status = answer.status().as_u16(), event = event.number, "a webhook refused an event");
                false
            }
            Err(error) => {
                tracing::warn!(error = %error.without_url(), event = event.number, "cannot reach a webhook");
                false
            }
        }
    }
}
