//! The charts as one drawing, two in a row.

use crate::{
    axis::{Horizontal, Vertical, count, value},
    chart::{Chart, Line, Point},
};
use std::fmt;

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = WIDTH - 28.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = HEIGHT - 56.0;
/// From a point to the foot of its text, and from one text to the next.
const ABOVE: f64 = 9.0;
const BELOW: f64 = 20.0;
const TEXT: f64 = 14.0;
/// Lets a text stand out from the lines that it covers.
const HALO: &str = "stroke='#ffffff' stroke-width='3' paint-order='stroke'";
const COLORS: [&str; 2] = ["#1b5e9e", "#b3421b"];

pub(crate) struct Drawing<'a>(pub(crate) &'a [Chart]);

impl fmt::Display for Drawing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.0.len().div_ceil(2);
        let (width, height) = (2.0 * WIDTH, rows as f64 * HEIGHT);
        // In one line, and no blank line anywhere: else Markdown does not take it for a drawing.
        writeln!(
            f,
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' \
             style='max-width: 100%; height: auto' font-family='sans-serif' font-size='13' fill='#222222' role='img' \
             aria-label='What an event costs as things grow'>"
        )?;
        writeln!(f, "<rect width='{width}' height='{height}' fill='#ffffff'/>")?;
        for (index, chart) in self.0.iter().enumerate() {
            let (x, y) = ((index % 2) as f64 * WIDTH, (index / 2) as f64 * HEIGHT);
            writeln!(f, "<g transform='translate({x} {y})'>")?;
            panel(f, chart)?;
            writeln!(f, "</g>")?;
        }
        writeln!(f, "</svg>")
    }
}

fn panel(f: &mut fmt::Formatter<'_>, Chart { title, growing, unit, lines }: &Chart) -> fmt::Result {
    writeln!(f, "<text x='16' y='26' font-size='16' font-weight='bold'>{title}</text>")?;
    writeln!(f, "<text x='16' y='46'>{unit}</text>")?;
    legend(f, lines)?;
    let middle = f64::midpoint(LEFT, RIGHT);
    let label = HEIGHT - 14.0;
    writeln!(f, "<text x='{middle}' y='{label}' text-anchor='middle'>{growing}</text>")?;
    let points: Vec<_> =
        lines.first().map(|line| line.points.iter().map(|point| point.at).collect()).unwrap_or_default();
    let highest = lines.iter().flat_map(|line| &line.points).map(|point| point.high).fold(0.0, f64::max);
    let (across, up) = (Horizontal::new(&points, LEFT + 14.0, RIGHT), Vertical::new(highest, TOP, BOTTOM));
    grid(f, &points, &across, &up)?;
    for (line, color) in lines.iter().zip(COLORS) {
        curve(f, line, color, &across, &up)?;
    }
    (0..points.len()).try_for_each(|index| values(f, lines, index, &across, &up))
}

fn legend(f: &mut fmt::Formatter<'_>, lines: &[Line]) -> fmt::Result {
    let mut x = 16.0;
    for (Line { name, .. }, color) in lines.iter().zip(COLORS) {
        let (end, text) = (x + 20.0, x + 26.0);
        writeln!(f, "<path d='M{x} 62H{end}' stroke='{color}' stroke-width='3'/>")?;
        writeln!(f, "<text x='{text}' y='66' fill='{color}'>{name}</text>")?;
        x = text + 7.0 * name.len() as f64 + 20.0;
    }
    Ok(())
}

fn grid(f: &mut fmt::Formatter<'_>, points: &[usize], across: &Horizontal, up: &Vertical) -> fmt::Result {
    for tick in up.ticks() {
        let (y, text) = (up.place(tick), up.label(tick));
        writeln!(f, "<path d='M{LEFT} {y:.1}H{RIGHT}' stroke='#d9d9d9'/>")?;
        let (x, y) = (LEFT - 6.0, y + 4.0);
        writeln!(f, "<text x='{x}' y='{y:.1}' font-size='12' text-anchor='end'>{text}</text>")?;
    }
    for point in points {
        let (x, y, text) = (across.place(*point), BOTTOM + 18.0, count(*point));
        writeln!(f, "<text x='{x:.1}' y='{y}' font-size='12' text-anchor='middle'>{text}</text>")?;
    }
    Ok(())
}

/// The medians joined, and from the lowest to the highest value of each.
fn curve(
    f: &mut fmt::Formatter<'_>,
    line: &Line,
    color: &str,
    across: &Horizontal,
    up: &Vertical,
) -> fmt::Result {
    let points = || line.points.iter().filter(|point| point.median.is_finite());
    let place = |point: &Point| format!("{:.1},{:.1}", across.place(point.at), up.place(point.median));
    let places = points().map(place).collect::<Vec<_>>().join(" ");
    writeln!(f, "<polyline points='{places}' fill='none' stroke='{color}' stroke-width='2'/>")?;
    for Point { at, low, median, high } in points() {
        let (x, y) = (across.place(*at), up.place(*median));
        let (low, high) = (up.place(*low), up.place(*high));
        writeln!(f, "<path d='M{x:.1} {low:.1}V{high:.1}' stroke='{color}' stroke-opacity='0.5'/>")?;
        writeln!(f, "<circle cx='{x:.1}' cy='{y:.1}' r='3.5' fill='{color}'/>")?;
    }
    Ok(())
}

/// The medians of the points at `index`, where they cover neither each other nor the axis.
fn values(
    f: &mut fmt::Formatter<'_>,
    lines: &[Line],
    index: usize,
    across: &Horizontal,
    up: &Vertical,
) -> fmt::Result {
    let points = lines.iter().zip(COLORS).filter_map(|(line, color)| Some((line.points.get(index)?, color)));
    let mut points: Vec<_> = points.filter(|(point, _)| point.median.is_finite()).collect();
    points.sort_by(|(one, _), (other, _)| one.median.total_cmp(&other.median));
    let mut free_below = BOTTOM;
    for (number, (point, color)) in points.iter().enumerate() {
        let (x, place) = (across.place(point.at), up.place(point.median));
        let is_last = number + 1 == points.len();
        let fits_below = place + BELOW < free_below;
        let y = if !is_last && fits_below { place + BELOW } else { (place - ABOVE).min(free_below - TEXT) };
        free_below = y.min(place);
        let text = value(point.median);
        writeln!(f, "<text x='{x:.1}' y='{y:.1}' text-anchor='middle' fill='{color}' {HALO}>{text}</text>")?;
    }
    Ok(())
}
