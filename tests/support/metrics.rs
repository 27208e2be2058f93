use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, LocalRecorderGuard, Metadata,
    Recorder, SharedString, Unit,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

/// The measurements by handles that are made on this thread from now on.
pub struct Metrics {
    kept: &'static Kept,
    _guard: LocalRecorderGuard<'static>,
}

impl Metrics {
    pub fn listen() -> Self {
        let kept: &'static Kept = Box::leak(Box::default());
        Self { kept, _guard: metrics::set_default_local_recorder(kept) }
    }

    /// Returns the value of a metric, named with its labels as Prometheus does; `None` if there is no such metric.
    pub fn find(&self, name: &str) -> Option<f64> {
        let series = self.kept.series.lock().unwrap().get(name).cloned();
        series.map(|series| series.0.lock().unwrap().value)
    }

    pub fn value(&self, name: &str) -> f64 {
        self.find(name).unwrap_or_else(|| panic!("no {name} in {:#?}", self.kept))
    }

    /// Checks that all of these metrics are as expected.
    pub fn says(&self, values: &[(&str, f64)]) {
        for (name, value) in values {
            assert!((self.value(name) - value).abs() < f64::EPSILON, "{name} in {:#?}", self.kept);
        }
    }

    /// Returns the samples of a histogram.
    pub fn samples(&self, name: &str) -> Vec<f64> {
        let series = self.kept.series.lock().unwrap().get(name).cloned();
        let series = series.unwrap_or_else(|| panic!("no {name} in {:#?}", self.kept));
        series.0.lock().unwrap().samples.clone()
    }

    /// Returns all names, with their labels.
    pub fn names(&self) -> Vec<String> {
        self.kept.series.lock().unwrap().keys().cloned().collect()
    }

    /// Returns the names that were described.
    pub fn described(&self) -> BTreeSet<String> {
        self.kept.described.lock().unwrap().clone()
    }
}

#[derive(Debug, Default)]
struct Kept {
    series: Mutex<BTreeMap<String, Arc<Series>>>,
    described: Mutex<BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct Series(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    value: f64,
    samples: Vec<f64>,
}

impl Kept {
    fn series(&self, key: &Key) -> Arc<Series> {
        let labels: Vec<_> =
            key.labels().map(|label| format!("{}={:?}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        self.series.lock().unwrap().entry(name).or_default().clone()
    }

    fn describe(&self, name: &KeyName) {
        self.described.lock().unwrap().insert(name.as_str().to_owned());
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&name);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&name);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&name);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.0.lock().unwrap().value += value as f64;
    }

    fn absolute(&self, value: u64) {
        self.0.lock().unwrap().value = value as f64;
    }
}

impl GaugeFn for Series {
    fn increment(&self, value: f64) {
        self.0.lock().unwrap().value += value;
    }

    fn decrement(&self, value: f64) {
        self.0.lock().unwrap().value -= value;
    }

    fn set(&self, value: f64) {
        self.0.lock().unwrap().value = value;
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().samples.push(value);
    }
}
