//! A lease in a service: keeps other processes that ask for it, on any machine, from doing the same work in an environment.
//!
//! [`Lease::acquire`] acquires it and renews it in the background; [`LeaseMonitor`] answers from this machine's clock alone whether
//! it can still be held. If another client holds it, acquiring fails and names the holder. It counts as lost when 70 % of its
//! duration have passed without a renewal; the holder must then start nothing more. A lease that is dropped expires by itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    api::leases::NewLease,
    client::Client,
    model::{Code, Problem},
};

/// A lease that is held, and renewed for as long as this value lives.
pub struct Lease {
    client: Arc<Client>,
    name: String,
    token: u64,
    monitor: LeaseMonitor,
    renewing: tokio::task::JoinHandle<()>,
    /// True after the lease was lost.
    lost: watch::Receiver<bool>,
}

/// Decides from the time of the last renewal, without a request, whether a lease is certainly held. A process or machine that
/// was suspended for a while finds out here that its lease may have expired.
#[derive(Clone, Debug)]
pub struct LeaseMonitor {
    acquired: Instant,
    /// The last renewal, in milliseconds since `acquired`: the time before the request was sent, so that the lease never
    /// expires earlier in the service than here.
    renewed: Arc<AtomicU64>,
    duration: Duration,
}

impl LeaseMonitor {
    /// Returns true while at most 70 % of the lease's duration have passed since its last renewal. The rest is the time for
    /// requests under way to finish before another client can acquire the lease.
    pub fn is_held(&self) -> bool {
        self.acquired.elapsed().saturating_sub(self.last_renewal()) <= self.duration.mul_f64(0.7)
    }

    fn last_renewal(&self) -> Duration {
        Duration::from_millis(self.renewed.load(Ordering::Relaxed))
    }
}

/// The time after which a lease expires if it is not renewed. It is renewed four times as often.
#[derive(Clone, Copy, Debug)]
pub struct LeaseDuration {
    /// The duration, in seconds.
    pub seconds: u32,
}

impl Default for LeaseDuration {
    fn default() -> Self {
        Self { seconds: 60 }
    }
}

impl Lease {
    /// Acquires a lease. If another client holds it, the error names the holder.
    pub async fn acquire(client: Client, name: &str, holder: String, duration: LeaseDuration) -> Result<Self, Problem> {
        let (client, name) = (Arc::new(client), name.to_owned());
        let acquired = Instant::now();
        let seconds = duration.seconds.max(3);
        let request = NewLease { holder: holder.clone(), seconds, token: None };
        let answer = tokio::time::timeout(Duration::from_secs(30), client.acquire_lease(&name, &request)).await;
        let lease = match answer {
            Ok(Ok(lease)) => lease,
            Ok(Err(error)) if error.code == Code::NotFound => {
                return Err(Problem::new(
                    Code::VersionMismatch,
                    format!("the service at {} does not support leases: it is of an earlier version", client.address()),
                )
                .remedy("Update that service first. A rollout can name another environment as its `coordinator`."));
            }
            Ok(Err(error)) => return Err(error.condensed()),
            Err(_) => {
                return Err(Problem::new(
                    Code::ServiceUnreachable,
                    format!("the service at {} did not answer within 30 s", client.address()),
                ));
            }
        };
        let (report_loss, lost) = watch::channel(false);
        let token = lease.token;
        let duration = Duration::from_secs(seconds.into());
        let monitor = LeaseMonitor { acquired, renewed: Arc::default(), duration };
        let renewal = Renewal {
            client: Arc::clone(&client),
            name: name.clone(),
            request: NewLease { token: Some(token), ..request },
            monitor: monitor.clone(),
        };
        let renewing = tokio::spawn(async move {
            renewal.run().await;
            report_loss.send_replace(true);
        });
        Ok(Self { client, name, token, monitor, renewing, lost })
    }

    /// Returns the fencing token: a number that differs each time that the lease is acquired.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Returns a monitor, for tasks that check the lease before each step.
    pub fn monitor(&self) -> LeaseMonitor {
        self.monitor.clone()
    }

    /// Returns a channel whose value becomes true when the lease is lost.
    pub fn lost(&self) -> watch::Receiver<bool> {
        self.lost.clone()
    }

    /// Releases the lease. If the service does not answer within 5 s, the lease expires by itself.
    pub async fn release(self) {
        self.renewing.abort();
        let released = self.client.release_lease(&self.name, self.token);
        drop(tokio::time::timeout(Duration::from_secs(5), released).await);
    }
}

impl Drop for Lease {
    /// Ends the renewal, so that the lease expires.
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

struct Renewal {
    client: Arc<Client>,
    name: String,
    request: NewLease,
    monitor: LeaseMonitor,
}

impl Renewal {
    /// Renews the lease until it is lost, or may have been lost.
    async fn run(&self) {
        let LeaseMonitor { acquired, renewed, duration } = &self.monitor;
        let pause = *duration / 4;
        loop {
            tokio::time::sleep(pause).await;
            let asked = Instant::now();
            let left = duration.saturating_sub(acquired.elapsed().saturating_sub(self.monitor.last_renewal()));
            let answer =
                tokio::time::timeout(left.min(pause), self.client.acquire_lease(&self.name, &self.request)).await;
            match answer {
                // Another token means that the lease had expired, and that another client may have held it since.
                Ok(Ok(lease)) if Some(lease.token) == self.request.token => {
                    let since = asked.duration_since(*acquired).as_millis();
                    renewed.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
                }
                Ok(Ok(_)) => return,
                Ok(Err(error)) if error.code == Code::LeaseHeld => return,
                _ => {}
            }
            if !self.monitor.is_held() {
                return;
            }
        }
    }
}
