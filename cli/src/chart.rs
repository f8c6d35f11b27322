//! Several series as lines of braille dots between two axes.

use crate::output::{faint, in_series_colour};

/// Two dots wide and four dots high: the bit of each, by row and column.
const DOTS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
const BLANK: u32 = 0x2800;

/// Rows between two values at the vertical axis.
const ROWS_PER_VALUE: usize = 3;

/// Columns a time at the horizontal axis takes, with room around it.
const COLUMNS_PER_TIME: usize = 14;

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;

/// Distances between times that people count in, in seconds.
const TIME_STEPS: [f64; 20] = [
    1.0,
    2.0,
    5.0,
    10.0,
    15.0,
    30.0,
    MINUTE,
    2.0 * MINUTE,
    5.0 * MINUTE,
    10.0 * MINUTE,
    15.0 * MINUTE,
    30.0 * MINUTE,
    HOUR,
    2.0 * HOUR,
    3.0 * HOUR,
    6.0 * HOUR,
    12.0 * HOUR,
    DAY,
    2.0 * DAY,
    7.0 * DAY,
];

/// Times in seconds and values, oldest first.
pub(crate) type Points = Vec<(f64, f64)>;

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chart<'a> {
    /// Each gets the colour of its place in the list.
    pub(crate) series: &'a [Points],
    /// The time at the left.
    pub(crate) start: f64,
    /// The time at the right.
    pub(crate) end: f64,
    /// The distance of the points; where more is missing the line is interrupted.
    pub(crate) step: f64,
    /// Columns of the whole, axis included.
    pub(crate) width: usize,
    /// Rows of the whole, axis included.
    pub(crate) height: usize,
}

impl Chart<'_> {
    /// The chart as text, a line a row. Empty when there is no finite value.
    pub(crate) fn draw(&self) -> String {
        let values = || self.series.iter().flatten().map(|(_, value)| *value).filter(|value| value.is_finite());
        let (low, high) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return String::new();
        }
        // Two rows are the axis' own.
        let rows = self.height.saturating_sub(2).max(4);
        let scale = Scale::around(low, high, rows / ROWS_PER_VALUE);
        let names: Vec<(usize, String)> =
            scale.values().map(|value| (scale.row(value, rows), scale.name(value))).collect();
        let margin = names.iter().map(|(_, name)| name.chars().count()).max().unwrap_or(0);
        let columns = self.width.saturating_sub(margin + 2).max(10);
        let canvas = self.canvas(&scale, columns, rows);
        let mut text = String::new();
        for (row, cells) in canvas.iter().enumerate() {
            let name = names.iter().find(|(at, _)| *at == row).map(|(_, name)| name.as_str());
            let edge = if name.is_some() { '┤' } else { '│' };
            text.push_str(&faint(&format!("{:>margin$} {edge}", name.unwrap_or_default())));
            text.push_str(line(cells).trim_end());
            text.push('\n');
        }
        text + &self.times(margin, columns)
    }

    /// Dots by row and column, and the series that was there last.
    fn canvas(&self, scale: &Scale, columns: usize, rows: usize) -> Vec<Vec<(u32, usize)>> {
        let mut canvas = vec![vec![(0_u32, 0_usize); columns]; rows];
        let (wide, high) = ((columns * 2 - 1) as f64, (rows * 4 - 1) as f64);
        let span = (self.end - self.start).max(f64::MIN_POSITIVE);
        for (which, points) in self.series.iter().enumerate() {
            let mut last: Option<(f64, f64, f64)> = None;
            for (time, value) in points {
                if !value.is_finite() {
                    last = None;
                    continue;
                }
                let x = ((time - self.start) / span).clamp(0.0, 1.0) * wide;
                let y = (1.0 - scale.share(*value)) * high;
                let (x0, y0) = match last {
                    Some((before, x0, y0)) if time - before <= self.step * 1.5 => (x0, y0),
                    _ => (x, y),
                };
                let n_steps = (x - x0).abs().max((y - y0).abs()).ceil().max(1.0);
                for at in 0..=n_steps as usize {
                    let share = at as f64 / n_steps;
                    let (dot_x, dot_y) = (x0 + (x - x0) * share, y0 + (y - y0) * share);
                    let (dot_x, dot_y) = (dot_x.round() as usize, dot_y.round() as usize);
                    let cell = &mut canvas[dot_y / 4][dot_x / 2];
                    *cell = (cell.0 | DOTS[dot_y % 4][dot_x % 2], which);
                }
                last = Some((*time, x, y));
            }
        }
        canvas
    }

    /// The horizontal axis, and the times below it, in UTC.
    fn times(&self, margin: usize, columns: usize) -> String {
        let span = (self.end - self.start).max(1.0);
        let wanted = span * COLUMNS_PER_TIME as f64 / columns as f64;
        let step = TIME_STEPS.into_iter().find(|step| *step >= wanted).unwrap_or_else(|| (wanted / DAY).ceil() * DAY);
        let format = match () {
            () if step < MINUTE => "%H:%M:%S",
            () if step < DAY => "%H:%M",
            () => "%m-%d",
        };
        let mut axis: Vec<char> = vec!['─'; columns];
        let mut names: Vec<char> = vec![' '; columns];
        let first = (self.start / step).ceil() * step;
        // Counted, as a time beyond all calendars may not grow by adding to it.
        for time in (0..=columns).map(|n| first + n as f64 * step).take_while(|time| *time <= self.end) {
            let at = ((time - self.start) / span * (columns - 1) as f64).round() as usize;
            let name = jiff::Timestamp::from_second(time as i64)
                .map_or_else(|_| String::new(), |time| time.strftime(format).to_string());
            let left = at.saturating_sub(name.len() / 2);
            if left + name.len() <= columns && at < columns {
                axis[at] = '┬';
                for (offset, c) in name.chars().enumerate() {
                    names[left + offset] = c;
                }
            }
        }
        let (axis, names) = (String::from_iter(axis), String::from_iter(names));
        let gap = " ".repeat(margin);
        format!("{}\n{}\n", faint(&format!("{gap} └{axis}")), faint(format!("{gap}  {names}").trim_end()))
    }
}

/// One row of cells, in the colours of their series.
fn line(cells: &[(u32, usize)]) -> String {
    let filled = cells.iter().rposition(|(dots, _)| *dots != 0).map_or(0, |at| at + 1);
    let mut text = String::new();
    for part in cells[..filled].chunk_by(|a, b| a.1 == b.1 && (a.0 == 0) == (b.0 == 0)) {
        let (dots, series) = part[0];
        if dots == 0 {
            text.push_str(&" ".repeat(part.len()));
            continue;
        }
        let braille: String = part.iter().filter_map(|(dots, _)| char::from_u32(BLANK + dots)).collect();
        text.push_str(&in_series_colour(series, &braille));
    }
    text
}

/// The vertical axis: from one round value to another.
struct Scale {
    low: f64,
    high: f64,
    step: f64,
}

impl Scale {
    fn around(low: f64, high: f64, steps: usize) -> Scale {
        // A line without change lies in the middle.
        let pad = if low == high { low.abs().max(1.0) * 0.5 } else { 0.0 };
        let (low, high) = (low - pad, high + pad);
        let rough = (high - low) / steps.max(1) as f64;
        let size = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|n| n * size).find(|step| *step >= rough * 0.999);
        let step = step.filter(|step| step.is_finite() && *step > 0.0).unwrap_or(1.0);
        Scale { low: (low / step).floor() * step, high: (high / step).ceil() * step, step }
    }

    /// Where a value lies between the ends, from 0 to 1.
    fn share(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    fn row(&self, value: f64, rows: usize) -> usize {
        let dot = (1.0 - self.share(value)) * (rows * 4 - 1) as f64;
        dot.round() as usize / 4
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        // Huge values have steps that are lost in rounding, so the count is bounded.
        let count = ((self.high - self.low) / self.step).round().clamp(0.0, 100.0) as usize;
        (0..=count).map(|at| self.low + at as f64 * self.step)
    }

    /// With as many digits as the step has.
    fn name(&self, value: f64) -> String {
        let largest = self.low.abs().max(self.high.abs());
        let (divisor, unit) = match largest {
            n if n >= 1e15 => return format!("{value:.2e}"),
            n if n >= 1e12 => (1e12, "T"),
            n if n >= 1e9 => (1e9, "G"),
            n if n >= 1e6 => (1e6, "M"),
            n if n >= 1e4 => (1e3, "k"),
            n if n < 1e-6 && n > 0.0 => return format!("{value:.2e}"),
            _ => (1.0, ""),
        };
        let digits = (0..9)
            .find(|digits| {
                let shifted = self.step / divisor * 10_f64.powi(*digits);
                (shifted - shifted.round()).abs() < 1e-6 * shifted.max(1.0)
            })
            .unwrap_or(9) as usize;
        // Neither minus zero nor zero of some unit.
        if value.abs() < self.step / 2.0 {
            return "0".to_owned();
        }
        format!("{:.digits$}{unit}", value / divisor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(series: &[Points], (start, end, step): (f64, f64, f64), (width, height): (usize, usize), expected: &str) {
        let chart = Chart { series, start, end, step, width, height };
        let drawn = anstream::adapter::strip_str(&chart.draw()).to_string();
        assert_eq!(drawn, expected, "drawn:\n{drawn}");
    }

    fn every(step: f64, values: &[f64]) -> Points {
        values.iter().enumerate().map(|(at, value)| (at as f64 * step, *value)).collect()
    }

    #[test]
    fn a_rising_line() {
        let rising = every(60.0, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
        check(&[rising], (0.0, 600.0, 60.0), (40, 8), include_str!("chart/rising.txt"));
    }

    #[test]
    fn a_gap_and_a_second_line() {
        let broken = vec![(0.0, 1.0), (60.0, 1.0), (300.0, 1.0), (360.0, f64::NAN), (420.0, 1.0), (480.0, 1.0)];
        let flat = every(60.0, &[3.0; 11]);
        check(&[broken, flat], (0.0, 600.0, 60.0), (40, 8), include_str!("chart/gap.txt"));
    }

    #[test]
    fn a_flat_line_of_large_values() {
        check(&[every(3600.0, &[2.5e9; 25])], (0.0, 86_400.0, 3600.0), (60, 8), include_str!("chart/flat.txt"));
    }

    #[test]
    fn nothing_to_draw() {
        check(&[], (0.0, 1.0, 1.0), (40, 8), "");
        check(&[every(1.0, &[f64::NAN, f64::INFINITY])], (0.0, 1.0, 1.0), (40, 8), "");
    }

    #[test]
    fn extremes_are_drawn() {
        for values in [[f64::MAX, f64::MIN], [f64::MIN_POSITIVE, 0.0], [1e300, 1e300], [5e-324, 5e-324]] {
            for (width, height) in [(0, 0), (1, 1), (200, 50)] {
                let series = [every(1.0, &values)];
                let chart = Chart { series: &series, start: 0.0, end: 0.0, step: 1.0, width, height };
                assert!(!chart.draw().is_empty(), "{values:?}");
            }
        }
    }
}
