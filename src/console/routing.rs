//! Addresses of the console, each with its method and its right, and the guard that enforces the rights.
//!
//! [`routes`] is the list. The guard looks the right of a request up in it, so that a handler without an entry cannot be
//! reached. Handlers are given the caller as [`SignedIn`]; they need not check the right again.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    handler::Handler,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, any, get, post},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    csrf::{CsrfLayer, ProtectionError},
};

use super::{
    answer::{present, redirect},
    assets, cookies,
    extract::FORM_LIMIT,
    page::{Page, SignedIn, User},
    pages::{
        access, account, audit, bulk, confirm, coverage, delegate, enroll, error, history, holds, identity_sign_in,
        language, message, operators, outbox, overview, plan, profile, profile_form, profiles, proposals, rollback,
        rollouts, sessions, setup, sign_in, test_message, tokens, verify,
    },
};
use crate::{
    model::{
        Code,
        access::{Activity, Area, Question},
    },
    service::{Caller, HttpProblem, Service},
};

/// The right that a request to an address needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// Nothing: what the page shows is public.
    Open,
    /// A session.
    SignedIn,
    /// A session whose caller has all of these rights, for every company and function.
    May(&'static [(Area, Activity)]),
    /// A session whose caller has each of these rights for at least one company and function. The handler shows and changes only
    /// what the caller may see: it leaves out or refuses the rest, by the functions of `service::visibility`.
    InScope(&'static [(Area, Activity)]),
    /// A session whose caller has all of the first rights, as for [`Right::InScope`], and at least one of the others, as the
    /// function of the service that the handler calls checks again.
    Either(&'static [(Area, Activity)], &'static [(Area, Activity)]),
    /// A session whose caller has this right for at least one company and function. The function of the service that the handler
    /// calls checks for which.
    Some(Area, Activity),
}

impl Right {
    /// Returns what is asked of a caller with a session. All answers must be yes.
    fn questions(self, caller: &Caller) -> Vec<Question<'static>> {
        let some =
            |rights: &'static [(Area, Activity)]| rights.iter().map(|(area, activity)| Question::any(*area, *activity));
        match self {
            Right::Open | Right::SignedIn => Vec::new(),
            Right::May(rights) => {
                rights.iter().map(|(area, activity)| Question::everywhere(*area, *activity)).collect()
            }
            Right::InScope(rights) => some(rights).collect(),
            Right::Either(rights, others) => {
                let mut others = some(others);
                let first = others.clone().next();
                let chosen = others.find(|question| caller.decide(question).is_allowed()).or(first);
                some(rights).chain(chosen).collect()
            }
            Right::Some(area, activity) => vec![Question::any(area, activity)],
        }
    }

    /// Returns the right as the list of routes shows it.
    fn id(self) -> String {
        match self {
            Right::Open => "open".to_owned(),
            Right::SignedIn => "signed-in".to_owned(),
            Right::Some(area, activity) => format!("{area}:{activity} of some"),
            Right::May(rights) => join(rights, " "),
            Right::InScope(rights) => format!("{} in scope", join(rights, " ")),
            Right::Either(rights, others) => format!("{} {} in scope", join(rights, " "), join(others, "|")),
        }
    }
}

/// Returns true if a caller may open the page at a path. Pages link to what the caller may open.
pub(super) fn may_open(caller: &Caller, path: &str) -> bool {
    let right = ROUTES.right(&Method::GET, path);
    right.is_some_and(|right| right.questions(caller).iter().all(|question| caller.decide(question).is_allowed()))
}

fn join(rights: &[(Area, Activity)], separator: &str) -> String {
    rights.iter().map(|(area, activity)| format!("{area}:{activity}")).collect::<Vec<_>>().join(separator)
}

/// Returns every address of the console.
fn routes() -> Routes {
    // The pages of these rights leave out what the caller may not see.
    let overview_in_scope = Right::InScope(&[(Area::Profiles, Activity::See), (Area::Outbox, Activity::See)]);
    let profiles_in_scope = Right::InScope(&[(Area::Profiles, Activity::See)]);
    let outbox_in_scope = Right::InScope(&[(Area::Outbox, Activity::See)]);
    let history = Right::May(&[(Area::History, Activity::See)]);
    let roll_back = Right::May(&[(Area::History, Activity::See), (Area::Changes, Activity::Rollback)]);
    let hold = Right::Some(Area::Outbox, Activity::Hold);
    let audit = Right::May(&[(Area::Audit, Activity::See)]);
    let planning_in_scope = Right::InScope(&[(Area::Profiles, Activity::See), (Area::Changes, Activity::Plan)]);
    let proposing_in_scope = Right::InScope(&[(Area::Profiles, Activity::See), (Area::Changes, Activity::Propose)]);
    let editing_in_scope = Right::InScope(&[(Area::Profiles, Activity::See), (Area::Changes, Activity::Edit)]);
    let verifying_in_scope = Right::Either(&[(Area::Profiles, Activity::See)], &[(Area::Profiles, Activity::Verify)]);
    let testing_in_scope = Right::Either(&[(Area::Profiles, Activity::See)], &[(Area::Mail, Activity::Submit)]);
    // The company and the function are checked with the message; who sends it is in the ID token alone.
    let submitting = Right::Some(Area::Mail, Activity::Submit);
    let rollouts = Right::May(&[(Area::Rollouts, Activity::See), (Area::History, Activity::See)]);
    let access = Right::May(&[(Area::Profiles, Activity::See), (Area::Access, Activity::See)]);
    // An edit is applied as a change by hand, a plan of files as an apply.
    let deciding_in_scope = Right::Either(
        &[(Area::Profiles, Activity::See)],
        &[(Area::Changes, Activity::Edit), (Area::Changes, Activity::Apply)],
    );
    Routes::default()
        .get("/console", overview_in_scope, overview::show)
        .get("/console/live", overview_in_scope, overview::follow)
        .get("/console/setup", Right::Open, setup::show)
        .get("/console/sign-in", Right::Open, sign_in::show)
        .post("/console/sign-in", Right::Open, sign_in::sign_in)
        .post("/console/sign-in/passkey", Right::Open, sign_in::sign_in_with_passkey)
        .get("/console/enroll", Right::Open, enroll::show)
        .post("/console/enroll", Right::Open, enroll::open)
        .post("/console/enroll/passkey", Right::Open, enroll::finish)
        .get("/console/account", Right::SignedIn, account::show)
        .post("/console/account/passkeys", Right::SignedIn, account::add)
        .post("/console/account/passkeys/{id}/remove", Right::SignedIn, account::remove)
        .get("/console/confirm", Right::SignedIn, confirm::show)
        .post("/console/confirm", Right::SignedIn, confirm::confirm)
        .get("/console/sign-in/with/{provider}", Right::Open, identity_sign_in::begin)
        .get("/console/confirm/identity", Right::SignedIn, identity_sign_in::confirm)
        .get("/console/sign-in/callback", Right::Open, identity_sign_in::complete)
        .get("/console/sign-in/callback/{provider}", Right::Open, identity_sign_in::complete_named)
        .post("/console/sign-out", Right::SignedIn, sign_in::sign_out)
        .post("/console/sign-out-everywhere", Right::SignedIn, sign_in::sign_out_everywhere)
        .post("/console/language", Right::Open, language::choose)
        .get("/console/sessions", Right::SignedIn, sessions::show)
        .post("/console/sessions/{id}/end", Right::SignedIn, sessions::end)
        .get("/console/profiles", profiles_in_scope, profiles::show)
        .get("/console/profiles/{name}", profiles_in_scope, profile::show)
        .post("/console/profiles/{name}/test", testing_in_scope, test_message::send)
        .get("/console/outbox", outbox_in_scope, outbox::show)
        .get("/console/outbox/live", outbox_in_scope, outbox::follow)
        .get("/console/outbox/{id}", outbox_in_scope, message::show)
        .get("/console/outbox/{id}/live", outbox_in_scope, message::follow)
        .post("/console/outbox/{id}/retry", Right::Some(Area::Outbox, Activity::Retry), message::retry)
        .post("/console/outbox/{id}/cancel", Right::Some(Area::Outbox, Activity::Cancel), message::cancel)
        .post("/console/outbox/{id}/replay", Right::Some(Area::Outbox, Activity::Replay), message::replay)
        .post("/console/outbox/{id}/resolve", Right::Some(Area::Outbox, Activity::Resolve), message::resolve)
        .get("/console/outbox/bulk", outbox_in_scope, bulk::confirm)
        .post("/console/outbox/bulk", outbox_in_scope, bulk::change)
        .get("/console/outbox/bulk/{sequence}", outbox_in_scope, bulk::show)
        .get("/console/holds", outbox_in_scope, holds::show)
        .post("/console/holds", hold, holds::create)
        .post("/console/holds/{id}/release", hold, holds::release)
        .get("/console/coverage", profiles_in_scope, coverage::show)
        .get("/console/coverage/{company}/{function}", profiles_in_scope, coverage::explain)
        .get("/console/history", history, history::show)
        .get("/console/history/diff", history, history::compare)
        .get("/console/history/{number}/rollback", roll_back, rollback::show)
        .post("/console/history/{number}/rollback", roll_back, rollback::roll_back)
        .get("/console/audit", audit, audit::show)
        .post("/console/audit/verify", Right::May(&[(Area::Audit, Activity::Verify)]), audit::verify)
        .get("/console/audit/export", audit, audit::export)
        .get("/console/tokens", Right::May(&[(Area::Tokens, Activity::See)]), tokens::show)
        .post("/console/tokens/{id}/revoke", Right::May(&[(Area::Tokens, Activity::Delete)]), tokens::revoke)
        .get("/console/operators", Right::May(&[(Area::Operators, Activity::See)]), operators::show)
        .post("/console/operators", Right::May(&[(Area::Operators, Activity::Create)]), operators::create)
        .post("/console/operators/{id}/link", Right::May(&[(Area::Operators, Activity::Create)]), operators::link)
        .post(
            "/console/operators/{id}/confirm",
            Right::May(&[(Area::Operators, Activity::Confirm)]),
            operators::confirm,
        )
        .post("/console/operators/{id}/remove", Right::May(&[(Area::Operators, Activity::Delete)]), operators::remove)
        .post(
            "/console/operators/{id}/passkeys/{passkey}/remove",
            Right::May(&[(Area::Operators, Activity::Delete)]),
            operators::remove_passkey,
        )
        .get("/console/waiting", submitting, delegate::list)
        .get("/console/waiting/{id}", submitting, delegate::show)
        .get("/console/compose", submitting, delegate::compose)
        .post("/console/compose", submitting, delegate::submit)
        .get("/console/delegate", Right::Open, delegate::complete)
        .get("/console/profiles/new", planning_in_scope, profile_form::new)
        .get("/console/profiles/{name}/edit", planning_in_scope, profile_form::edit)
        .get("/console/profiles/{name}/patch", planning_in_scope, plan::drift_patch)
        .post("/console/plan", planning_in_scope, plan::show)
        .post("/console/plan/form", planning_in_scope, profile_form::back)
        .post("/console/plan/patch", planning_in_scope, plan::patch)
        .post("/console/plan/apply", editing_in_scope, plan::apply)
        .post("/console/plan/propose", proposing_in_scope, plan::propose)
        .get("/console/proposals", profiles_in_scope, proposals::list)
        .get("/console/proposals/{id}", profiles_in_scope, proposals::show)
        .get("/console/proposals/{id}/patch", planning_in_scope, plan::proposal_patch)
        .post("/console/proposals/{id}/verify", planning_in_scope, proposals::verify)
        .post("/console/proposals/{id}/approve", proposing_in_scope, proposals::approve)
        .post("/console/proposals/{id}/sign", proposing_in_scope, proposals::sign)
        .get("/console/proposals/{id}/sign/{digest}", proposing_in_scope, proposals::sign_with_provider)
        .post("/console/proposals/{id}/signature", proposing_in_scope, proposals::add_signature)
        .post("/console/proposals/{id}/reject", proposing_in_scope, proposals::reject)
        .post("/console/proposals/{id}/apply", deciding_in_scope, proposals::apply)
        .get("/console/verify", profiles_in_scope, verify::list)
        .post("/console/verify", verifying_in_scope, verify::start)
        .get("/console/verify/{id}", profiles_in_scope, verify::show)
        .get("/console/rollouts", rollouts, rollouts::show)
        .get("/console/access", access, access::show)
        .get("/console/assets/{hash}/{name}", Right::Open, assets::send)
}

/// An address of the console.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteInfo {
    /// The path, with `{name}` for a variable segment.
    pub path: String,
    /// The method.
    pub method: String,
    /// `open`, `signed-in`, or rights as `AREA:ACTIVITY`, separated by spaces; `of some` or `in scope` if it is for
    /// some companies or functions.
    pub right: String,
}

/// Returns every address of the console with its right, sorted.
pub fn route_list() -> Vec<RouteInfo> {
    let info = |((path, method), right): (&(String, String), &Right)| RouteInfo {
        path: path.clone(),
        method: method.clone(),
        right: right.id(),
    };
    ROUTES.rights.iter().map(info).collect()
}

/// Returns the page to which a person goes back after a request that was refused: the page itself, or the nearest one above it,
/// which has the form.
pub(super) fn page_of_request(method: &Method, here: &str) -> String {
    if *method == Method::GET {
        return here.to_owned();
    }
    let path = here.split(['?', '#']).next().unwrap_or_default();
    let upwards = std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(parent, _)| parent));
    // The confirmation of a change of many messages cannot be shown without the parameters of its request.
    let mut pages = upwards.filter(|path| *path != "/console/outbox/bulk" && ROUTES.has_page(path));
    pages.next().unwrap_or("/console").to_owned()
}

/// The addresses, without the state of an environment: a process may serve many.
static ROUTES: LazyLock<Routes> = LazyLock::new(routes);

/// Handlers with their rights.
#[derive(Default)]
struct Routes {
    router: Router<Arc<Service>>,
    /// The rights by path and method.
    rights: BTreeMap<(String, String), Right>,
}

impl Routes {
    fn get<H: Handler<T, Arc<Service>>, T: 'static>(self, path: &str, right: Right, handler: H) -> Self {
        self.add(Method::GET, path, right, get(handler))
    }

    fn post<H: Handler<T, Arc<Service>>, T: 'static>(self, path: &str, right: Right, handler: H) -> Self {
        self.add(Method::POST, path, right, post(handler))
    }

    fn add(mut self, method: Method, path: &str, right: Right, handler: MethodRouter<Arc<Service>>) -> Self {
        self.rights.insert((path.to_owned(), method.to_string()), right);
        Self { router: self.router.route(path, handler), ..self }
    }

    /// Returns true if a path is that of a page.
    fn has_page(&self, path: &str) -> bool {
        let is_of = |route: &str| {
            let is_same = |(one, other): (&str, &str)| one == other || other.starts_with('{') && !one.is_empty();
            path.split('/').count() == route.split('/').count() && path.split('/').zip(route.split('/')).all(is_same)
        };
        self.rights.keys().any(|(route, method)| method == Method::GET.as_str() && is_of(route))
    }

    fn right(&self, method: &Method, path: &str) -> Option<Right> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        self.rights.get(&(path.to_owned(), method.to_string())).copied()
    }
}

/// Returns the console of an environment.
pub(super) fn router(service: Arc<Service>) -> Router {
    ROUTES
        .router
        .clone()
        .method_not_allowed_fallback(error::method_not_allowed)
        // Inside of the guard, everything else is unknown.
        .route("/console/", any(error::not_found))
        .route("/console/{*rest}", any(error::not_found))
        .layer(DefaultBodyLimit::max(FORM_LIMIT))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            HttpProblem::internal("a page panicked").into_response()
        }))
        .layer(middleware::from_fn_with_state(Arc::clone(&service), guard))
        .layer(CsrfLayer::new().with_rejection_response(refuse_other_site))
        .layer(middleware::from_fn_with_state(Arc::clone(&service), present))
        // Outside of the layers: it is not a page.
        .route("/", get(root))
        .with_state(service)
}

/// Sends a browser whose user typed the address of the service to the console. Other programs get the answer of any
/// unknown endpoint.
async fn root(State(service): State<Arc<Service>>, headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepted.contains("text/html") {
        return redirect(&format!("{}/console", service.base()));
    }
    HttpProblem::not_found("this endpoint does not exist")
        .remedy("`/openapi.json` lists the endpoints.")
        .into_response()
}

fn refuse_other_site(_: ProtectionError) -> Response {
    HttpProblem::new(Code::CrossOrigin, "another site started this request, or the browser does not say which one did")
        .remedy("Open the page of the console, and use its buttons.")
        .into_response()
}

/// Finds the session of a request, and refuses a request whose caller does not have the right of its address.
async fn guard(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    match admit(&service, &mut request).await {
        Ok(user) => {
            let mut response = next.run(request).await;
            if let Some(user) = user {
                response.extensions_mut().insert(user);
            }
            response
        }
        Err(response) => response,
    }
}

async fn admit(service: &Arc<Service>, request: &mut Request) -> Result<Option<User>, Response> {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    // What is in no list is an unknown page or method, which everyone may know.
    let right = ROUTES.right(request.method(), &path).unwrap_or(Right::Open);
    if path.starts_with("/console/assets/") {
        return Ok(None);
    }
    let secret = cookies::session(request.headers(), service);
    let resumed = match &secret {
        Some(secret) => Some(service.resume(secret).await),
        None => None,
    };
    let signed_in = match resumed {
        None => None,
        Some(Ok((session, caller))) => Some(SignedIn { session, caller }),
        Some(Err(problem)) if problem.code() == Code::SessionEnded => None,
        Some(Err(problem)) if right == Right::Open => {
            tracing::debug!(code = %problem.code(), "an open page is shown without its session");
            None
        }
        Some(Err(problem)) => return Err(problem.into_response()),
    };
    let Some(signed_in) = signed_in else {
        return if right == Right::Open { Ok(None) } else { Err(to_sign_in(service, request, secret.is_some())) };
    };
    let user = User {
        name: signed_in.session.display_name().to_owned(),
        role: signed_in.caller.role_name(),
        caller: signed_in.caller.clone(),
    };
    for question in right.questions(&signed_in.caller) {
        let allowed = service.check_right(&signed_in.caller, &question, request.method(), request.uri().path()).await;
        if let Err(problem) = allowed {
            let mut response = problem.into_response();
            response.extensions_mut().insert(user);
            return Err(response);
        }
    }
    if let Some(page) = request.extensions_mut().get_mut::<Page>() {
        page.user = Some(user.clone());
    }
    request.extensions_mut().insert(signed_in);
    Ok(Some(user))
}

/// Sends a browser without a session to the form for the sign-in. A part of a page that a script asked for is not replaced by
/// the form: the answer makes the script load the form as a page.
fn to_sign_in(service: &Service, request: &Request, had_session: bool) -> Response {
    let here = request.uri().path_and_query().map_or("/console", |here| here.as_str());
    let next = if request.method() == Method::GET { here } else { "/console" };
    let form = sign_in::address(service.base(), next, had_session.then_some("ended"));
    if !request.headers().contains_key("hx-request") {
        return redirect(&form);
    }
    let mut response = StatusCode::UNAUTHORIZED.into_response();
    if let Ok(form) = HeaderValue::from_str(&form) {
        response.headers_mut().insert(HeaderName::from_static("hx-redirect"), form);
    }
    response
}
