//! Telemetry of several environments in one process: each log line names its environment, and each environment has its own
//! metrics.
//!
//! An [`EnvironmentContext`] carries the tracing span and the metrics recorder of an environment. [`EnvironmentContext::in_scope`]
//! and [`EnvironmentContext::instrument`] run code in it, as the same functions of `tracing` do for a span. [`spawn`] starts a
//! task in the context of its caller; `tokio::spawn` does not, and is only for tasks that neither log nor count.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::task::JoinHandle;

use crate::model::EnvironmentName;

/// Bucket boundaries of the histograms, in seconds.
const BUCKETS: [f64; 7] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0];

tokio::task_local! {
    static CURRENT: EnvironmentContext;
}

/// The log span and the metrics of an environment. Cloning is cheap.
#[derive(Clone)]
pub struct EnvironmentContext(Arc<Inner>);

struct Inner {
    span: tracing::Span,
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl EnvironmentContext {
    /// Creates the context of the only environment of a process. Log lines and metrics do not name it.
    pub fn single() -> Self {
        Self::new(tracing::Span::none(), PrometheusBuilder::new())
    }

    /// Creates the context of one of several environments. Log lines and metrics name it.
    pub fn hosted(environment: &EnvironmentName) -> Self {
        // The span has the highest level, so that every log filter keeps it.
        let span = tracing::error_span!("hosted", %environment);
        Self::new(span, PrometheusBuilder::new().add_global_label("environment", environment.as_str()))
    }

    fn new(span: tracing::Span, builder: PrometheusBuilder) -> Self {
        // Only an empty list of buckets is an error.
        let builder = builder.set_buckets(&BUCKETS).unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        Self(Arc::new(Inner { span, handle: recorder.handle(), recorder }))
    }

    /// Returns the context in which the calling code runs.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Returns the metrics in the Prometheus text format.
    pub fn metrics(&self) -> String {
        self.0.handle.render()
    }

    /// Compacts the histograms. Without this, their samples accumulate until the metrics are read.
    pub fn run_upkeep(&self) {
        self.0.handle.run_upkeep();
    }

    /// Runs a closure in the context.
    pub fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.0.span.enter();
        metrics::with_local_recorder(&self.0.recorder, || CURRENT.sync_scope(self.clone(), work))
    }

    /// Returns a future that runs in the context.
    pub fn instrument<F: Future>(&self, work: F) -> InContext<F> {
        InContext { context: self.clone(), work: Box::pin(work) }
    }
}

/// A future that runs in an [`EnvironmentContext`].
pub struct InContext<F> {
    context: EnvironmentContext,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for InContext<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        let Self { context, work } = &mut *self;
        context.in_scope(|| work.as_mut().poll(task))
    }
}

/// Spawns a task in the context of the caller.
pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match EnvironmentContext::current() {
        Some(context) => tokio::spawn(context.instrument(work)),
        None => tokio::spawn(work),
    }
}
