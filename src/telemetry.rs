//! Telemetry of several environments in one process: each log line names its environment, and each environment has its own
//! metrics.
//!
//! An [`EnvironmentContext`] carries the tracing span and the metrics recorder of an environment. [`EnvironmentContext::in_scope`]
//! and [`EnvironmentContext::instrument`] run code in it, as the same functions of `tracing` do for a span. [`spawn`] starts a task
//! in the context of its caller; `tokio::spawn` does not, and is only for tasks that neither log nor count. The first 200 profiles
//! have a label of their own in metrics ([`ProfileLabels`]).

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::task::JoinHandle;

use crate::{
    model::{EnvironmentName, ProfileName},
    sync::Mutex,
};

/// Bucket boundaries of the histograms, in seconds.
const BUCKETS: [f64; 7] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0];
/// The histogram of the time from acceptance to delivery.
pub const DELIVERY_SECONDS: &str = "mailwright_delivery_seconds";
/// Bucket boundaries of [`DELIVERY_SECONDS`], in seconds: from a second to two days.
const LONG_BUCKETS: [f64; 9] = [1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 28_800.0, 172_800.0];
/// The number of profiles that have a label of their own in metrics. Others share the label [`OTHER_PROFILES`].
const PROFILE_LABELS: usize = 200;
/// The label of profiles beyond the first `PROFILE_LABELS`.
pub const OTHER_PROFILES: &str = "(other)";

/// The profiles that have a label of their own. Metrics keep each series for the life of the process, so that their number must
/// be bounded.
#[derive(Debug, Default)]
pub struct ProfileLabels(Mutex<BTreeSet<ProfileName>>);

impl ProfileLabels {
    /// Returns the label of a profile.
    pub fn label(&self, profile: &ProfileName) -> String {
        let mut known = self.0.lock();
        if !known.contains(profile) {
            if known.len() >= PROFILE_LABELS {
                return OTHER_PROFILES.to_owned();
            }
            known.insert(profile.clone());
        }
        profile.to_string()
    }

    /// Returns every label that was used.
    pub fn used(&self) -> Vec<String> {
        let known = self.0.lock();
        let other = (known.len() >= PROFILE_LABELS).then(|| OTHER_PROFILES.to_owned());
        known.iter().map(ToString::to_string).chain(other).collect()
    }
}

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
        let builder = builder
            .set_buckets(&BUCKETS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Full(DELIVERY_SECONDS.to_owned()), &LONG_BUCKETS)
            })
            .unwrap_or_else(|_| PrometheusBuilder::new());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_labels_is_bounded() {
        let labels = ProfileLabels::default();
        let names: Vec<ProfileName> =
            (0..PROFILE_LABELS + 5).map(|number| format!("p{number}").parse().unwrap()).collect();
        let given: BTreeSet<String> = names.iter().map(|name| labels.label(name)).collect();
        assert_eq!(given.len(), PROFILE_LABELS + 1);
        assert_eq!(labels.label(&names[0]), "p0");
        assert_eq!(labels.used().len(), PROFILE_LABELS + 1);
    }
}
