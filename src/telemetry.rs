//! On whose behalf work is done. Where one process hosts several environments, each line of the log says which one it is
//! about, and each counts for itself.
//!
//! Work that is begun by [`spawn`] goes on for whomever it was begun for. `tokio::spawn` forgets that, and is for what
//! neither logs nor counts.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::task::JoinHandle;

use crate::model::EnvironmentName;

/// The edges of the histograms, in seconds.
const BUCKETS: [f64; 7] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0];

tokio::task_local! {
    static OURS: Behalf;
}

/// An environment, as the log and what is counted know it. Cheap to clone.
#[derive(Clone)]
pub struct Behalf(Arc<Ledger>);

struct Ledger {
    span: tracing::Span,
    counts: PrometheusRecorder,
    shown: PrometheusHandle,
}

impl Behalf {
    /// The only environment of a process, which need not be named.
    pub fn alone() -> Self {
        Self::new(tracing::Span::none(), PrometheusBuilder::new())
    }

    /// One environment among several.
    pub fn of(environment: &EnvironmentName) -> Self {
        // However little is logged, this is in it.
        let span = tracing::error_span!("hosted", %environment);
        Self::new(span, PrometheusBuilder::new().add_global_label("environment", environment.as_str()))
    }

    fn new(span: tracing::Span, builder: PrometheusBuilder) -> Self {
        // Only no edges at all would be refused.
        let builder = builder.set_buckets(&BUCKETS).unwrap_or_else(|_| PrometheusBuilder::new());
        let counts = builder.build_recorder();
        Self(Arc::new(Ledger { span, shown: counts.handle(), counts }))
    }

    /// On whose behalf this is run.
    pub fn current() -> Option<Self> {
        OURS.try_with(Clone::clone).ok()
    }

    /// What was counted, as Prometheus reads it.
    pub fn metrics(&self) -> String {
        self.0.shown.render()
    }

    /// Tidies what was counted; without it, that would pile up for as long as nobody asks.
    pub fn tidy(&self) {
        self.0.shown.run_upkeep();
    }

    /// Does work on its behalf.
    pub fn call<T>(&self, work: impl FnOnce() -> T) -> T {
        let _inside = self.0.span.enter();
        metrics::with_local_recorder(&self.0.counts, || OURS.sync_scope(self.clone(), work))
    }

    /// The same for work that waits in between.
    pub fn run<F: Future>(&self, work: F) -> On<F> {
        On { behalf: self.clone(), work: Box::pin(work) }
    }
}

/// Work on somebody's behalf.
pub struct On<F> {
    behalf: Behalf,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for On<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { behalf, work } = &mut *self;
        behalf.call(|| work.as_mut().poll(context))
    }
}

/// Begins work that goes on by itself, on the same behalf as what begins it.
pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match Behalf::current() {
        Some(behalf) => tokio::spawn(behalf.run(work)),
        None => tokio::spawn(work),
    }
}
