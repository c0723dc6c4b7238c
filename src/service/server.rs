//! [`Server`]: a listener with the environments that it serves; it runs their upkeep, and stops gracefully.
//!
//! [`Server::run`] answers until `stop` resolves. Then event streams end, delivery starts no further attempts, and requests and
//! attempts in progress have `STOP_DEADLINE` (20 s) to finish; the stores are closed afterwards. Requests that are left are cut
//! off, and the outcome of attempts that are left is unknown. If the listener fails, the same steps follow and its error is
//! returned. Connections are handled by [`crate::net::listener`], requests by `hosting`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::Hosting;
use crate::net::listener::{ListenError, Listener, Tls};

/// Time that requests and delivery attempts in progress have to finish, both at once, when the service stops.
pub(super) const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// Interval of upkeep: metrics and sums of refusals.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// A listener for requests.
pub struct Server {
    listener: Listener,
}

impl Server {
    /// Binds the address. Requests are answered from [`Server::run`] on.
    pub async fn bind(address: SocketAddr, tls: Option<Tls>) -> Result<Self, ListenError> {
        Ok(Self { listener: Listener::bind(address, tls).await? })
    }

    /// Returns the address that is bound, with the assigned port if port 0 was requested.
    pub fn address(&self) -> String {
        self.listener.address()
    }

    /// Answers requests until `stop`, then waits for those in progress.
    pub async fn run(
        self,
        hosting: Hosting,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), std::io::Error> {
        let (router, connections) = (hosting.router(), hosting.connections());
        let hosting = Arc::new(hosting);
        let owner = Arc::clone(&hosting);
        // Resolves when the sender is dropped: by the end of `stop`, or with it if the listener fails before.
        let (stopping, begun) = tokio::sync::oneshot::channel::<()>();
        let stop = async move {
            let upkeep = async {
                loop {
                    tokio::time::sleep(UPKEEP_EVERY).await;
                    owner.run_upkeep().await;
                }
            };
            tokio::select! {
                () = stop => {}
                () = upkeep => {}
            }
            tracing::info!("stopping");
            owner.begin_to_stop();
            drop(stopping);
        };
        // Attempts in progress finish; queued messages stay in the store.
        let stop_delivery = async {
            let _ = begun.await;
            hosting.stop_delivery(STOP_DEADLINE).await;
        };
        let serve = self.listener.serve(router, connections, stop, STOP_DEADLINE);
        let (result, ()) = tokio::join!(serve, stop_delivery);
        hosting.close().await;
        result
    }
}
