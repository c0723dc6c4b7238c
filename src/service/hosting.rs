//! What one process serves: one environment at its root, or several, each behind a path of its own, `/environments/NAME`.
//!
//! An environment has everything to itself: store, identity, tokens, mail, lines in the log, counts. What they share is the
//! process: how much it works on at once, how it reaches the world, the clock, and the issuers that are believed.
//!
//! A request for an environment goes to its service without the path in front, so nothing behind this door knows of others.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{
        Uri,
        uri::{Parts, PathAndQuery},
    },
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::{
    Service,
    audit_budget::Due,
    issuers::{self, Issuers},
    limits::Limits,
    http::HttpProblem,
    routes,
};
use crate::{
    delivery::Outgoing,
    model::EnvironmentName,
    net::listener::OpenConnections,
    secrets::ServiceIdentity,
    service::http::middleware::envelope,
    store::{Store, StoreError},
    telemetry::Behalf,
    time::Clock,
};

/// What stands before an environment's name in a path.
const PREFIX: &str = "/environments/";

/// What the environments of a process share.
#[derive(Clone)]
pub struct Common {
    /// Whether the identities are public and guard nothing.
    pub demo: bool,
    /// How to reach the world.
    pub outgoing: Outgoing,
    /// What time it is.
    pub clock: Clock,
    /// The issuers whose identity tokens are taken, beside each environment's own tokens.
    pub issuers: Option<Arc<Issuers>>,
    /// The connections of the process, with their limits.
    pub connections: OpenConnections,
}

/// What an environment has to itself.
pub struct Resident {
    /// Its store, which knows its name.
    pub store: Arc<dyn Store>,
    /// What opens its secrets.
    pub identity: ServiceIdentity,
    /// How the log and what is counted name it.
    pub behalf: Behalf,
}

/// The environments that one process serves, at work.
pub struct Hosting {
    services: Vec<Arc<Service>>,
    router: Router,
    connections: OpenConnections,
}

impl Hosting {
    /// One environment, at the root.
    pub async fn alone(common: &Common, resident: Resident) -> Result<Self, StoreError> {
        let limits = Limits::default();
        let service = Service::new(common, resident, String::new(), limits).await?;
        let router = entrance(&service);
        let hosting = Self { services: vec![service], router, connections: common.connections.clone() };
        hosting.follow_issuers(common);
        Ok(hosting)
    }

    /// Several environments, or one that others may join. If one cannot be served none is, and the error says which.
    pub async fn several(common: &Common, residents: Vec<Resident>) -> Result<Self, (EnvironmentName, StoreError)> {
        let limits = Limits::default();
        let connections = common.connections.clone();
        let mut hosting = Self { services: Vec::new(), router: Router::new(), connections };
        for resident in residents {
            let name = resident.store.environment().clone();
            let base = format!("{PREFIX}{name}");
            match Service::new(common, resident, base, limits.clone()).await {
                Ok(service) => hosting.services.push(service),
                Err(error) => {
                    hosting.stop(super::server::STOP_DEADLINE).await;
                    return Err((name, error));
                }
            }
        }
        let named = |service: &Arc<Service>| (service.store.environment().to_string(), entrance(service));
        let street = Street {
            houses: hosting.services.iter().map(named).collect(),
            root: envelope(root(hosting.services.clone()), &limits, None),
        };
        hosting.router = Router::new().fallback(Street::lead).with_state(Arc::new(street));
        hosting.follow_issuers(common);
        Ok(hosting)
    }

    fn follow_issuers(&self, common: &Common) {
        if let Some(issuers) = &common.issuers {
            tokio::spawn(issuers::follow(Arc::clone(issuers), self.services.clone()));
        }
    }

    /// Every address with its handler, and what stands around it.
    pub(super) fn router(&self) -> Router {
        self.router.clone()
    }

    /// The connections that are answered.
    pub(super) fn connections(&self) -> OpenConnections {
        self.connections.clone()
    }

    /// Tidies what was counted, and writes down what was refused meanwhile.
    pub(super) async fn tidy(&self) {
        for service in &self.services {
            service.behalf.tidy();
            service.behalf.run(service.record_sums(Due::Old)).await;
        }
    }

    /// Tells whatever would go on for ever that it ends now.
    pub(super) fn begin_to_stop(&self) {
        for service in &self.services {
            service.stopping.send_replace(true);
        }
    }

    /// Begins no attempt any more, and waits for those under way, in all environments at once.
    pub(super) async fn stop(&self, patience: Duration) {
        let mut under_way = JoinSet::new();
        for service in &self.services {
            let service = Arc::clone(service);
            under_way.spawn(async move {
                let ended = async {
                    service.delivery.stop(patience).await;
                    service.record_sums(Due::All).await;
                    if let Err(error) = service.store.close().await {
                        tracing::warn!(%error, "the store cannot be closed");
                    }
                };
                service.behalf.run(ended).await;
            });
        }
        under_way.join_all().await;
    }
}

/// A service's addresses, and what stands around them.
fn entrance(service: &Arc<Service>) -> Router {
    envelope(routes::router(Arc::clone(service)), &service.limits, Some(service.behalf.clone()))
}

/// The way to each environment, by its name in the path.
struct Street {
    houses: BTreeMap<String, Router>,
    /// What belongs to none of them.
    root: Router,
}

impl Street {
    /// Hands a request to the environment that its path names.
    async fn lead(State(street): State<Arc<Self>>, request: Request) -> Response {
        let (router, request) = match street.house(request.uri()) {
            Some((house, uri)) => (house.clone(), readdressed(request, uri)),
            None => (street.root.clone(), request),
        };
        router.oneshot(request).await.into_response()
    }

    /// The environment that an address names, and the address as its own service knows it.
    fn house(&self, uri: &Uri) -> Option<(&Router, Uri)> {
        let (name, rest) = split(uri)?;
        Some((self.houses.get(name)?, within(uri, rest)?))
    }
}

fn readdressed(mut request: Request, uri: Uri) -> Request {
    *request.uri_mut() = uri;
    request
}

/// An environment's name in a path, and what follows it.
fn split(uri: &Uri) -> Option<(&str, &str)> {
    let rest = uri.path().strip_prefix(PREFIX)?;
    Some(rest.find('/').map_or((rest, "/"), |at| rest.split_at(at)))
}

/// Whether an address has the form of one of several environments.
pub(super) fn names_one(uri: &Uri) -> bool {
    split(uri).is_some()
}

/// The address as the environment's own service knows it.
fn within(uri: &Uri, path: &str) -> Option<Uri> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = Parts::from(uri.clone());
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{path}{query}")).ok()?);
    Uri::from_parts(parts).ok()
}

/// What is asked of the process: whether it lives, and whether every environment can take work.
fn root(services: Vec<Arc<Service>>) -> Router {
    Router::new()
        .route("/healthz", get(routes::alive))
        .route("/readyz", get(all_ready))
        .fallback(nobody)
        .with_state(Arc::new(services))
}

/// Names are not told: nobody is asked for a token here.
async fn all_ready(State(services): State<Arc<Vec<Arc<Service>>>>) -> Result<String, HttpProblem> {
    let mut asked = JoinSet::new();
    for service in services.iter() {
        let service = Arc::clone(service);
        asked.spawn(async move { service.behalf.run(routes::readiness(&service)).await.is_ok() });
    }
    let ready = asked.join_all().await.into_iter().filter(|ready| *ready).count();
    let all = services.len();
    if ready < all {
        return Err(HttpProblem::not_ready(format!("{} of {all} environments cannot take mail", all - ready)));
    }
    Ok(format!("ready\nenvironments: {all}\n"))
}

async fn nobody(uri: Uri) -> HttpProblem {
    let Some((name, _)) = split(&uri) else {
        return HttpProblem::not_hosted("several environments are served here, and the address names none of them")
            .remedy("Put `/environments/NAME` behind the address (`service.address`, MAILWRIGHT_SERVICE).");
    };
    let which = name.parse::<EnvironmentName>().map(|name| format!(" `{name}`")).unwrap_or_default();
    HttpProblem::not_hosted(format!("no environment{which} is served here"))
        .remedy("Correct the name behind `/environments/`, or add `--environment NAME` to the `mailwright serve` that listens there.")
}
