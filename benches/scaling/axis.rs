//! From values to places on paper, and how values are written.

/// A logarithmic axis from left to right.
pub(crate) struct Horizontal {
    first: f64,
    last: f64,
    left: f64,
    right: f64,
}

/// A linear axis from zero upwards.
pub(crate) struct Vertical {
    step: f64,
    steps: u32,
    top: f64,
    bottom: f64,
}

impl Horizontal {
    pub(crate) fn new(points: &[usize], left: f64, right: f64) -> Self {
        let at = |point: Option<&usize>| point.map_or(0.0, |point| (*point as f64).log10());
        Self { first: at(points.first()), last: at(points.last()), left, right }
    }

    pub(crate) fn place(&self, point: usize) -> f64 {
        let range = self.last - self.first;
        let part = if range > 0.0 { ((point as f64).log10() - self.first) / range } else { 0.5 };
        self.left + part * (self.right - self.left)
    }
}

impl Vertical {
    /// In three to six steps of 1, 2 or 5 and its decimal multiples.
    pub(crate) fn new(highest: f64, top: f64, bottom: f64) -> Self {
        let highest = if highest > 0.0 { highest } else { 1.0 };
        let decade = 10_f64.powf((highest / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
        let step = step.into_iter().find(|step| highest / step <= 5.0).unwrap_or(highest);
        let steps = (1..=5).find(|steps| f64::from(*steps) * step >= highest).unwrap_or(5);
        Self { step, steps, top, bottom }
    }

    pub(crate) fn ticks(&self) -> impl Iterator<Item = f64> {
        (0..=self.steps).map(|number| f64::from(number) * self.step)
    }

    pub(crate) fn label(&self, tick: f64) -> String {
        let decimals = if self.step < 0.1 { 2 } else { usize::from(self.step < 1.0) };
        format!("{tick:.decimals$}")
    }

    pub(crate) fn place(&self, value: f64) -> f64 {
        let part = value / (self.step * f64::from(self.steps));
        self.bottom - part * (self.bottom - self.top)
    }
}

/// Such as 1k, 20k, 1M.
pub(crate) fn count(number: usize) -> String {
    match number {
        1_000_000.. if number.is_multiple_of(100_000) => format!("{}M", number as f64 / 1e6),
        1000.. if number.is_multiple_of(100) => format!("{}k", number as f64 / 1e3),
        _ => number.to_string(),
    }
}

/// With three digits or so.
pub(crate) fn value(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
