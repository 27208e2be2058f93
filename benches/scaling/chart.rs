//! Measurements in the form that is printed and drawn.

pub(crate) struct Chart {
    pub(crate) title: &'static str,
    /// The growing quantity, along a logarithmic axis.
    pub(crate) growing: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) lines: Vec<Line>,
}

pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<Point>,
}

pub(crate) struct Point {
    pub(crate) at: usize,
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Line {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, points: Vec::new() }
    }

    /// The median of what was measured where the growing thing is `at`, and the lowest and highest.
    pub(crate) fn add(&mut self, at: usize, mut values: Vec<f64>) {
        values.sort_by(f64::total_cmp);
        let value = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let (low, median, high) = (value(0), value(values.len() / 2), value(values.len().saturating_sub(1)));
        self.points.push(Point { at, low, median, high });
    }
}
