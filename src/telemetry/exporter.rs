//! Collects what the `metrics` macros record and renders it for Prometheus.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::metrics::{ALL, Kind, LATENCY_BUCKETS, describe_all};
use super::{TelemetryError, process};

/// The recorder that was installed. The `metrics` facade knows one a process, so that the servers that tests
/// start side by side share it.
static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Handle to the process's metrics. Clones show the same numbers.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// How often [`upkeep`](Self::upkeep) is due. Histograms keep each sample until then: at 300 sessions
    /// that is a few thousand samples.
    pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

    /// Starts to record, or joins the recorder that an earlier call installed.
    pub fn install() -> Result<Self, TelemetryError> {
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &*installed {
            return Ok(Self { handle: handle.clone() });
        }
        let handle = builder()?.install_recorder().map_err(|error| already_set(&error))?;
        describe_all();
        *installed = Some(handle.clone());
        Ok(Self { handle })
    }

    /// All metrics in Prometheus' text format (`text/plain; version=0.0.4`), the process's own included.
    pub fn render(&self) -> String {
        let mut text = self.handle.render();
        text.push_str(&process::render());
        text
    }

    /// Folds recorded samples into their histograms. Call it every [`UPKEEP_EVERY`](Self::UPKEEP_EVERY):
    /// where nobody reads `/metrics`, samples would pile up without it.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn builder() -> Result<PrometheusBuilder, TelemetryError> {
    let histograms = ALL.iter().filter(|metric| metric.kind == Kind::Histogram);
    histograms.into_iter().try_fold(PrometheusBuilder::new(), |builder, metric| {
        builder
            .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), LATENCY_BUCKETS)
            .map_err(|error| already_set(&error))
    })
}

fn already_set(error: &metrics_exporter_prometheus::BuildError) -> TelemetryError {
    TelemetryError::AlreadySet { what: "metrics", reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics;

    #[test]
    fn several_servers_of_one_process_share_the_recorder() {
        let first = Metrics::install().expect("nobody else installs one");
        let second = Metrics::install().expect("the same one again");
        ::metrics::counter!(metrics::TURNS_TOTAL, "of" => "this test").increment(2);
        ::metrics::histogram!(metrics::STAGE_SECONDS, "stage" => "of this test").record(0.3);
        first.upkeep();
        let text = second.render();
        for line in [
            "# HELP antiphon_turns_total User turns that were committed",
            "# TYPE antiphon_turns_total counter",
            "antiphon_turns_total{of=\"this test\"} 2",
            "antiphon_stage_seconds_bucket{stage=\"of this test\",le=\"0.25\"} 0",
            "antiphon_stage_seconds_bucket{stage=\"of this test\",le=\"0.3\"} 1",
            "# TYPE process_resident_memory_bytes gauge",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from:\n{text}");
        }
        assert_eq!(first.render().lines().count(), second.render().lines().count());
    }
}
