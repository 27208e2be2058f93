//! The series of metrics, written down as tests of the rules of `examples/monitoring`, which the gate lets `promtool`
//! run (`bash .ci/run alarms`).

use std::{collections::BTreeMap, fmt::Write, fs, time::Duration};
use support::Metrics;
use tokio::time::sleep;

/// The series of all metrics of a process.
pub(crate) struct Timeline<'a> {
    metrics: &'a Metrics,
    minute: Duration,
    series: BTreeMap<String, Vec<f64>>,
    minutes: usize,
}

impl<'a> Timeline<'a> {
    pub(crate) fn of(metrics: &'a Metrics, minute: Duration) -> Self {
        Self { metrics, minute, series: BTreeMap::new(), minutes: 0 }
    }

    /// Takes as many samples.
    pub(crate) async fn pass(&mut self, minutes: usize) {
        for _ in 0..minutes {
            sleep(self.minute).await;
            for name in self.metrics.names() {
                let values = self.series.entry(name.clone()).or_default();
                // What begins later had no value before.
                values.resize(self.minutes, f64::NAN);
                values.push(self.metrics.value(&name));
            }
            self.minutes += 1;
        }
    }

    /// Writes them down as a test of the rules: `alert` fires, and no other.
    pub(crate) fn write(&self, alert: Option<&str>, labels: &str) {
        let mut text = format!(
            "rule_files: [{}/examples/monitoring/alerts.yml]\nevaluation_interval: 1m\ntests:\n\
             - interval: 1m\n  input_series:\n",
            support::root().display()
        );
        let up = vec![1.0; self.minutes];
        for (name, values) in self.series.iter().chain([(&"up{}".to_owned(), &up)]) {
            let name = name.replacen('{', "{job=\"service\",instance=\"1\",", 1);
            let values: Vec<_> =
                values.iter().map(|v| if v.is_nan() { "_".into() } else { v.to_string() }).collect();
            writeln!(text, "  - {{ series: '{name}', values: '{}' }}", values.join(" ")).unwrap();
        }
        let fired =
            "group without (severity, alertstate) (last_over_time(ALERTS{alertstate=\"firing\"}[1d]))";
        let samples = alert.map(|alert| {
            format!("{{ labels: '{{alertname=\"{alert}\",job=\"service\"{labels}}}', value: 1 }}")
        });
        let samples = samples.unwrap_or_default();
        writeln!(
            text,
            "  promql_expr_test:\n  - {{ expr: '{fired}', eval_time: {}m, exp_samples: [{samples}] }}",
            self.minutes
        )
        .unwrap();
        let folder = support::target().join("alarms");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(alert.unwrap_or("none")).with_extension("yml"), text).unwrap();
    }
}
