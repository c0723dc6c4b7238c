//! Hosting: the environments that one process serves.
//!
//! [`Hosting::single`] serves one environment at the root, [`Hosting::multiple`] serves several, each below
//! `/environments/NAME`. Each environment has its own store, identity, tokens, mail, log context and metrics. They share the
//! limits of the process, the outgoing connections, the clock and the trusted issuers.
//!
//! The prefix is removed before a request reaches its environment, so no handler knows about other environments. If one environment
//! cannot start, those already started are stopped and the error names it. A request for a name that is not served is refused.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::Uri,
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::{
    Service,
    audit_budget::Due,
    environment_path,
    http::{HttpProblem, middleware},
    limits::Limits,
    oidc::{self, Issuers},
    public_url::PublicUrl,
    routes,
};
use crate::{
    delivery::OutboundOptions,
    model::EnvironmentName,
    net::listener::OpenConnections,
    secrets::ServiceIdentity,
    store::{Store, StoreError},
    telemetry::EnvironmentContext,
    time::Clock,
};

/// The routes of the console, which is in a layer above: [`crate::console::routes`].
#[derive(Clone, Copy)]
pub struct ConsoleRoutes(pub(crate) fn(Arc<Service>) -> Router);

/// Resources that the environments of a process share.
#[derive(Clone)]
pub struct SharedResources {
    /// True if the identities are the public ones of the examples.
    pub demo: bool,
    /// Outgoing connections: proxies, certificate authorities, timeouts.
    pub outgoing: OutboundOptions,
    /// The clock.
    pub clock: Clock,
    /// The issuers whose identity tokens are accepted, in addition to each environment's own tokens.
    pub issuers: Option<Arc<Issuers>>,
    /// The connections of the process, with their limits.
    pub connections: OpenConnections,
    /// The console; none if it is not served.
    pub console: Option<ConsoleRoutes>,
    /// The address by which browsers reach the process; none if it is not known.
    pub public_url: Option<PublicUrl>,
}

/// Resources of one environment.
pub struct HostedEnvironment {
    /// The store; it knows the environment's name.
    pub store: Arc<dyn Store>,
    /// The identity that opens the environment's secrets.
    pub identity: ServiceIdentity,
    /// The environment's log span and metrics.
    pub context: EnvironmentContext,
}

/// The running environments of a process.
pub struct Hosting {
    services: Vec<Arc<Service>>,
    router: Router,
    connections: OpenConnections,
}

impl Hosting {
    /// Starts one environment at the root.
    pub async fn single(shared: &SharedResources, environment: HostedEnvironment) -> Result<Self, StoreError> {
        let limits = Limits::default();
        let service = Service::start(shared, environment, String::new(), limits).await?;
        let router = with_middleware(&service, shared.console);
        let hosting = Self { services: vec![service], router, connections: shared.connections.clone() };
        hosting.follow_issuers(shared);
        Ok(hosting)
    }

    /// Starts several environments. If one cannot be started none is, and the error names it.
    pub async fn multiple(
        shared: &SharedResources,
        environments: Vec<HostedEnvironment>,
    ) -> Result<Self, (EnvironmentName, StoreError)> {
        let limits = Limits::default();
        let connections = shared.connections.clone();
        let mut hosting = Self { services: Vec::new(), router: Router::new(), connections };
        for environment in environments {
            let name = environment.store.environment().clone();
            let base = format!("{}{name}", environment_path::PREFIX);
            match Service::start(shared, environment, base, limits.clone()).await {
                Ok(service) => hosting.services.push(service),
                Err(error) => {
                    hosting.stop_delivery(super::server::STOP_DEADLINE).await;
                    hosting.close().await;
                    return Err((name, error));
                }
            }
        }
        let by_name = |service: &Arc<Service>| {
            (service.store.environment().to_string(), with_middleware(service, shared.console))
        };
        let environments = EnvironmentRouter {
            routers: hosting.services.iter().map(by_name).collect(),
            root: middleware::layers(root(hosting.services.clone()), &limits, None),
        };
        hosting.router = Router::new().fallback(EnvironmentRouter::dispatch).with_state(Arc::new(environments));
        hosting.follow_issuers(shared);
        Ok(hosting)
    }

    fn follow_issuers(&self, shared: &SharedResources) {
        if let Some(issuers) = &shared.issuers {
            tokio::spawn(oidc::follow(Arc::clone(issuers), self.services.clone()));
        }
    }

    /// Returns the routes of all environments.
    pub(super) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Returns the connections of the process.
    pub(super) fn connections(&self) -> OpenConnections {
        self.connections.clone()
    }

    /// Compacts metrics, and writes the sums of refusals that are due.
    pub(super) async fn run_upkeep(&self) {
        for service in &self.services {
            service.context.run_upkeep();
            service.context.instrument(service.record_sums(Due::Old)).await;
            service.context.instrument(service.follow_proposals()).await;
        }
    }

    /// Ends streams and other requests that would not end by themselves.
    pub(super) fn begin_to_stop(&self) {
        for service in &self.services {
            service.stopping.send_replace(true);
        }
    }

    /// Starts no further delivery attempt, and waits for those in progress, in all environments at once.
    pub(super) async fn stop_delivery(&self, patience: Duration) {
        let mut stopping = JoinSet::new();
        for service in &self.services {
            let service = Arc::clone(service);
            stopping.spawn(async move {
                service.context.instrument(service.delivery.stop(patience)).await;
            });
        }
        stopping.join_all().await;
    }

    /// Records what was counted, and closes the stores, of all environments at once. No request may follow.
    pub(super) async fn close(&self) {
        let mut closing = JoinSet::new();
        for service in &self.services {
            let service = Arc::clone(service);
            closing.spawn(async move {
                let close = async {
                    service.record_sums(Due::All).await;
                    if let Err(error) = service.store.close().await {
                        tracing::warn!(%error, "cannot close the store");
                    }
                };
                service.context.instrument(close).await;
            });
        }
        closing.join_all().await;
    }
}

/// Returns the routes of an environment with the middleware around them.
fn with_middleware(service: &Arc<Service>, console: Option<ConsoleRoutes>) -> Router {
    let mut router = routes::router(Arc::clone(service));
    if let Some(ConsoleRoutes(pages)) = console {
        router = router.merge(pages(Arc::clone(service)));
    }
    middleware::layers(router, &service.limits, Some(service.context.clone()))
}

/// Routes requests to one of several environments by the name in the path.
struct EnvironmentRouter {
    routers: BTreeMap<String, Router>,
    /// Answers requests that name no environment of this process.
    root: Router,
}

impl EnvironmentRouter {
    /// Passes a request to the environment that its path names.
    async fn dispatch(State(environments): State<Arc<Self>>, mut request: Request) -> Response {
        let router = match environments.lookup(request.uri()) {
            Some((router, uri)) => {
                let router = router.clone();
                *request.uri_mut() = uri;
                router
            }
            None => environments.root.clone(),
        };
        router.oneshot(request).await.into_response()
    }

    /// Returns the routes of the environment that an address names, and the address within the environment.
    fn lookup(&self, uri: &Uri) -> Option<(&Router, Uri)> {
        let (name, path) = environment_path::split(uri)?;
        Some((self.routers.get(name)?, environment_path::with_path(uri, path)?))
    }
}

/// Returns the routes of the process itself: liveness, and readiness of all environments.
fn root(services: Vec<Arc<Service>>) -> Router {
    Router::new()
        .route("/healthz", get(routes::healthz))
        .route("/readyz", get(all_ready))
        .fallback(not_hosted)
        .with_state(Arc::new(services))
}

/// Reports the readiness of all environments. It needs no token, so it does not name them.
async fn all_ready(State(services): State<Arc<Vec<Arc<Service>>>>) -> Result<String, HttpProblem> {
    let mut checks = JoinSet::new();
    for service in services.iter() {
        let service = Arc::clone(service);
        checks.spawn(async move { service.context.instrument(service.readiness()).await.is_ok() });
    }
    let ready = checks.join_all().await.into_iter().filter(|ready| *ready).count();
    let all = services.len();
    if ready < all {
        return Err(HttpProblem::not_ready(format!("{} of {all} environments cannot accept mail", all - ready)));
    }
    Ok(format!("ready\nenvironments: {all}\n"))
}

async fn not_hosted(uri: Uri) -> HttpProblem {
    let Some((name, _)) = environment_path::split(&uri) else {
        return HttpProblem::not_hosted("several environments are served here, and the address names none of them")
            .remedy("Append `/environments/NAME` to the address (`service.address`, MAILWRIGHT_SERVICE).");
    };
    let name = name.parse::<EnvironmentName>().map(|name| format!(" `{name}`")).unwrap_or_default();
    HttpProblem::not_hosted(format!("no environment{name} is served here"))
        .remedy("Correct the name after `/environments/`, or add `--environment NAME` to the `mailwright serve` that listens there.")
}
