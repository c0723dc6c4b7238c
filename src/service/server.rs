//! Server: a listener, the environments that it answers for, and how both end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::Hosting;
use crate::net::listener::{ListenError, Listener, Tls};

/// How long requests that are under way may take to end when the service stops.
pub(super) const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// How often what was counted is tidied.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// A place where requests arrive.
pub struct Server {
    listener: Listener,
}

impl Server {
    /// Begins to listen; nothing is answered before [`Server::run`].
    pub async fn bind(address: SocketAddr, tls: Option<Tls>) -> Result<Self, ListenError> {
        Ok(Self { listener: Listener::bind(address, tls).await? })
    }

    /// Where it listens; with port 0 asked for, the port that it got.
    pub fn address(&self) -> String {
        self.listener.address()
    }

    /// Answers requests until `stop`, then lets those under way end.
    pub async fn run(
        self,
        hosting: Hosting,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), std::io::Error> {
        let (router, connections) = (hosting.router(), hosting.connections());
        let hosting = Arc::new(hosting);
        let owner = Arc::clone(&hosting);
        let stop = async move {
            let tidied = async {
                loop {
                    tokio::time::sleep(TIDY_EVERY).await;
                    owner.tidy().await;
                }
            };
            tokio::select! {
                () = stop => {}
                () = tidied => {}
            }
            tracing::info!("stopping");
            owner.begin_to_stop();
        };
        let result = self.listener.serve(router, connections, stop, STOP_DEADLINE).await;
        // What is being sent is brought to its end; what waits, waits.
        hosting.stop(STOP_DEADLINE).await;
        result
    }
}
