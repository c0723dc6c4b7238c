//! Listening: where, by which certificate, how long a client may take to speak, and how it ends.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum_server::{Handle, tls_rustls::RustlsConfig};
use hyper_util::rt::TokioTimer;

use super::Hosting;

/// How long a client may take to send its headers.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// How long requests that are under way may take to end when the service stops.
pub(super) const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// How often what was counted is tidied.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// Where the certificate and its key are, both PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Why the service cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("the certificate or its key cannot be used: {0}")]
    Tls(std::io::Error),
    /// It listened, and then could not go on.
    #[error("the service stopped: {0}")]
    Stopped(std::io::Error),
}

/// A place where requests arrive.
pub struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
    tls: Option<RustlsConfig>,
}

impl Server {
    /// Begins to listen; nothing is answered before [`Server::run`].
    pub async fn bind(address: SocketAddr, tls: Option<Tls>) -> Result<Self, ServeError> {
        let refused = |source| ServeError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let tls = match tls {
            None => None,
            Some(Tls { certificate, key }) => {
                // Another part of the process may have chosen it already; it is the same one.
                drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
                Some(RustlsConfig::from_pem_file(certificate, key).await.map_err(ServeError::Tls)?)
            }
        };
        Ok(Self { listener, address, tls })
    }

    /// Where it listens; with port 0 asked for, the port that it got.
    pub fn address(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Answers requests until `stop`, then lets those under way end.
    pub async fn run(
        self,
        hosting: Hosting,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let handle: Handle<SocketAddr> = Handle::new();
        let stopper = handle.clone();
        let service = hosting.router().into_make_service();
        let hosting = Arc::new(hosting);
        let owner = Arc::clone(&hosting);
        tokio::spawn(async move {
            let tidied = async {
                loop {
                    tokio::time::sleep(TIDY_EVERY).await;
                    owner.tidy();
                }
            };
            tokio::select! {
                () = stop => {}
                () = tidied => {}
            }
            tracing::info!("stopping");
            owner.begin_to_stop();
            stopper.graceful_shutdown(Some(STOP_DEADLINE));
        });
        macro_rules! bounded {
            ($server:expr) => {{
                let mut server = $server.handle(handle);
                server
                    .http_builder()
                    .http1()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_DEADLINE)
                    .max_headers(100)
                    .max_buf_size(64 * 1024);
                server
                    .http_builder()
                    .http2()
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(64)
                    .max_header_list_size(64 * 1024)
                    .keep_alive_interval(HEADER_DEADLINE);
                server.serve(service).await
            }};
        }
        let result = match self.tls {
            Some(tls) => match axum_server::from_tcp_rustls(self.listener, tls) {
                Ok(server) => bounded!(server),
                Err(error) => Err(error),
            },
            None => match axum_server::from_tcp(self.listener) {
                Ok(server) => bounded!(server),
                Err(error) => Err(error),
            },
        };
        // What is being sent is brought to its end; what waits, waits.
        hosting.stop(STOP_DEADLINE).await;
        result.map_err(ServeError::Stopped)
    }
}
