//! A series as a line of blocks.

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws `points` (times and values, oldest first) over `start..=end`, `width` characters wide. A gap is a blank; where several
/// points share a character the largest is drawn, so that no peak is lost.
pub(crate) fn draw(points: &[(f64, f64)], start: f64, end: f64, width: usize) -> String {
    let finite = || points.iter().map(|(_, value)| *value).filter(|value| value.is_finite());
    let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let mut cells: Vec<Option<f64>> = vec![None; width.max(1)];
    let span = (end - start).max(f64::MIN_POSITIVE);
    for (t, value) in points.iter().filter(|(_, value)| value.is_finite()) {
        let at = ((t - start) / span * (cells.len() - 1) as f64).round().max(0.0) as usize;
        let cell = at.min(cells.len() - 1);
        cells[cell] = Some(cells[cell].map_or(*value, |seen| seen.max(*value)));
    }
    let block = |value: f64| {
        // A line without change lies at the bottom.
        let share = if high > low { (value - low) / (high - low) } else { 0.0 };
        BLOCKS[((share * (BLOCKS.len() - 1) as f64).round() as usize).min(BLOCKS.len() - 1)]
    };
    cells.into_iter().map(|cell| cell.map_or(' ', block)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(draw(&[(0.0, 0.0), (1.0, 3.5), (2.0, 7.0)], 0.0, 2.0, 3), "▁▅█");
        assert_eq!(draw(&[(0.0, 5.0), (2.0, 5.0)], 0.0, 2.0, 3), "▁ ▁");
        assert_eq!(draw(&[(0.0, f64::NAN)], 0.0, 2.0, 2), "  ");
    }
}
