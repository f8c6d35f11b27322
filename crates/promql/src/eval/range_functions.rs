//! Functions of range vectors: each is a kernel that slides as a window over one series after the other.

use std::cell::Cell;
use std::collections::HashSet;

use relatum_model::text::format_six_places;

use super::call::Args;
use super::window::{Mixed, Notes, Outcome};
use super::{Block, Evaluator, Steps, Window, absent, execution};
use crate::annotation::texts;
use crate::error::QueryError;
use crate::functions::{counter, extended, mixed, over_time, quantile, rate, regression};
use crate::syntax::Edges;

/// A function that looks at nothing but the samples of its window, so that several threads may slide it at once.
#[derive(Clone, Copy)]
pub(super) enum Pure {
    /// `rate` and its like: most of a window need not be looked at.
    Change(rate::Kind),
    /// Any other.
    Of(fn(&Window<'_>) -> f64),
}

/// The function called `name`, if it is such a one.
pub(super) fn pure_function(name: &str) -> Option<Pure> {
    let change = |is_counter, is_rate| Pure::Change(rate::Kind { is_counter, is_rate });
    Some(match name {
        "rate" => change(true, true),
        "increase" => change(true, false),
        "delta" => change(false, false),
        "irate" => Pure::Of(|window| rate::instant(window, true)),
        "idelta" => Pure::Of(|window| rate::instant(window, false)),
        "resets" => Pure::Of(|window| rate::resets(window.values)),
        "changes" => Pure::Of(|window| rate::changes(window.values)),
        "sum_over_time" => Pure::Of(|window| over_time::sum(window.values)),
        "avg_over_time" => Pure::Of(|window| over_time::avg(window.values)),
        "max_over_time" => Pure::Of(|window| over_time::max(window.values)),
        "min_over_time" => Pure::Of(|window| over_time::min(window.values)),
        "stdvar_over_time" => Pure::Of(|window| over_time::variance(window.values)),
        "stddev_over_time" => Pure::Of(|window| over_time::variance(window.values).sqrt()),
        "count_over_time" => Pure::Of(|window| window.values.len() as f64),
        "present_over_time" => Pure::Of(|_| 1.0),
        "first_over_time" => Pure::Of(|window| window.values[0]),
        "last_over_time" => Pure::Of(|window| window.values[window.values.len() - 1]),
        "deriv" => Pure::Of(regression::slope),
        _ => return None,
    })
}

/// Whether the function called `name` looks at nothing of a window but its first and last sample and how many there are, or else only at
/// where values fall, too (`true`). `None` if it looks at more.
pub(super) fn looks_at_falls(name: &str) -> Option<bool> {
    match name {
        // Where values rise, the smallest and the largest are the first and the last.
        "rate" | "increase" | "resets" | "max_over_time" | "min_over_time" => Some(true),
        "delta" | "first_over_time" | "last_over_time" | "present_over_time" => Some(false),
        _ => None,
    }
}

impl Evaluator<'_> {
    /// The functions of a range vector, each slid as a window over its series.
    pub(super) fn range_function(
        &mut self,
        name: &'static str,
        args: Args<'_>,
        steps: Steps,
    ) -> Result<Block, QueryError> {
        let edges = args.edges();
        let mut scratch = Vec::new();
        let changing = |is_counter, is_rate| {
            let kind = rate::Kind { is_counter, is_rate };
            move |window: &Window<'_>| {
                if edges == Edges::Plain {
                    rate::extrapolated(window, kind)
                } else {
                    extended::change(window, edges, kind)
                }
            }
        };
        let changing_mixed = |is_counter, is_rate| {
            let kind = rate::Kind { is_counter, is_rate };
            move |window: &Window<'_>, notes: &mut Notes<'_>| counter::change(window, edges, kind, notes)
        };
        let counting = |count: fn(&[f64]) -> f64| {
            move |window: &Window<'_>| match edges {
                Edges::Plain => count(window.values),
                _ => extended::anchored_values(window).map_or_else(absent, count),
            }
        };
        let of_values = |f: fn(&[f64]) -> f64| move |window: &Window<'_>| f(window.values);
        let seconds = |t_ms: i64| t_ms as f64 / 1000.0;
        match name {
            "rate" => {
                let mixed = Mixed::Known(&mut changing_mixed(true, true));
                self.over_all_windows(name, args.at(0), steps, &mut changing(true, true), mixed)
            }
            "increase" => {
                let mixed = Mixed::Known(&mut changing_mixed(true, false));
                self.over_all_windows(name, args.at(0), steps, &mut changing(true, false), mixed)
            }
            "delta" => {
                let mixed = Mixed::Known(&mut changing_mixed(false, false));
                self.over_all_windows(name, args.at(0), steps, &mut changing(false, false), mixed)
            }
            "irate" => self.over_all_windows(
                name,
                args.at(0),
                steps,
                &mut |window| rate::instant(window, true),
                Mixed::Known(&mut |window, notes| counter::instant(window, true, notes)),
            ),
            "idelta" => self.over_all_windows(
                name,
                args.at(0),
                steps,
                &mut |window| rate::instant(window, false),
                Mixed::Known(&mut |window, notes| counter::instant(window, false, notes)),
            ),
            "resets" => {
                let mixed = Mixed::Known(&mut |window, _| mixed::resets(window, edges));
                self.over_all_windows(name, args.at(0), steps, &mut counting(rate::resets), mixed)
            }
            "changes" => {
                let mixed = Mixed::Known(&mut |window, _| mixed::changes(window, edges));
                self.over_all_windows(name, args.at(0), steps, &mut counting(rate::changes), mixed)
            }
            "sum_over_time" => {
                let mixed = Mixed::Known(&mut mixed::sum);
                self.over_all_windows(name, args.at(0), steps, &mut of_values(over_time::sum), mixed)
            }
            "avg_over_time" => {
                let mixed = Mixed::Known(&mut mixed::avg);
                self.over_all_windows(name, args.at(0), steps, &mut of_values(over_time::avg), mixed)
            }
            "max_over_time" => self.over_windows(name, args.at(0), steps, &mut of_values(over_time::max)),
            "min_over_time" => self.over_windows(name, args.at(0), steps, &mut of_values(over_time::min)),
            "stdvar_over_time" => self.over_windows(name, args.at(0), steps, &mut of_values(over_time::variance)),
            "stddev_over_time" => {
                self.over_windows(name, args.at(0), steps, &mut of_values(|values| over_time::variance(values).sqrt()))
            }
            "count_over_time" => {
                let mixed = Mixed::Known(&mut |window, _| Outcome::Float(mixed::count(window)));
                self.over_all_windows(name, args.at(0), steps, &mut of_values(|values| values.len() as f64), mixed)
            }
            "present_over_time" => {
                let mixed = Mixed::Known(&mut |_, _| Outcome::Float(1.0));
                self.over_all_windows(name, args.at(0), steps, &mut of_values(|_| 1.0), mixed)
            }
            "first_over_time" => {
                let mixed = Mixed::Known(&mut |window, _| mixed::first(window));
                self.over_all_windows(name, args.at(0), steps, &mut of_values(|values| values[0]), mixed)
            }
            "last_over_time" => {
                let mixed = Mixed::Known(&mut |window, _| mixed::last(window));
                self.over_all_windows(name, args.at(0), steps, &mut of_values(|values| values[values.len() - 1]), mixed)
            }
            "ts_of_first_over_time" => {
                let mixed = Mixed::Known(&mut |window, _| Outcome::Float(seconds(mixed::first_ms(window))));
                self.over_all_windows(name, args.at(0), steps, &mut |window| seconds(window.times[0]), mixed)
            }
            "ts_of_last_over_time" => {
                let mixed = Mixed::Known(&mut |window, _| Outcome::Float(seconds(mixed::last_ms(window))));
                self.over_all_windows(name, args.at(0), steps, &mut |window| seconds(mixed::last_ms(window)), mixed)
            }
            "ts_of_max_over_time" => self.over_windows(name, args.at(0), steps, &mut |window| {
                seconds(window.times[over_time::last_max(window.values)])
            }),
            "ts_of_min_over_time" => self.over_windows(name, args.at(0), steps, &mut |window| {
                seconds(window.times[over_time::last_min(window.values)])
            }),
            "mad_over_time" => self.over_windows(name, args.at(0), steps, &mut |window| {
                over_time::median_deviation(window.values, &mut scratch)
            }),
            "quantile_over_time" => {
                let q = self.scalars(args.at(0), steps)?;
                let (mut refused, mut seen) = (Vec::new(), HashSet::new());
                let mut of_values = |window: &Window<'_>| {
                    let q = q.at(window.step);
                    if !(0.0..=1.0).contains(&q) && seen.insert(q.to_bits()) {
                        refused.push(q);
                    }
                    scratch.clear();
                    scratch.extend_from_slice(window.values);
                    quantile::quantile(q, &mut scratch)
                };
                // Prometheus points to the first argument, though it is not the one with the histograms.
                let (span, of) = (args.at(0).span(), (name, args.at(1)));
                let block = self.over_windows_told_at(span, of, steps, &mut of_values, Mixed::Ignored)?;
                for q in refused {
                    self.warn_of_quantile(q, args.at(0));
                }
                Ok(block)
            }
            "deriv" => self.over_windows(name, args.at(0), steps, &mut regression::slope),
            "predict_linear" => {
                let seconds = self.scalars(args.at(1), steps)?;
                self.over_windows(name, args.at(0), steps, &mut |window| match window.values {
                    [_] => absent(),
                    values => {
                        let (slope, now) = regression::line(window.times, values, window.at_ms);
                        slope * seconds.at(window.step) + now
                    }
                })
            }
            "double_exponential_smoothing" => {
                let (smoothing, trend) = (self.scalars(args.at(1), steps)?, self.scalars(args.at(2), steps)?);
                let refused = Cell::new(None);
                let smoothed = |window: &Window<'_>| {
                    let (smoothing, trend) = (smoothing.at(window.step), trend.at(window.step));
                    if refused.get().is_none() {
                        let is_outside = |factor: f64| factor <= 0.0 || factor >= 1.0;
                        let odd_trend = is_outside(trend).then_some(("trend", "tf", trend));
                        refused.set(is_outside(smoothing).then_some(("smoothing", "sf", smoothing)).or(odd_trend));
                    }
                    match window.values {
                        [] | [_] => absent(),
                        values => regression::double_exponential(values, smoothing, trend),
                    }
                };
                // The factors are looked at wherever there is a sample, although histograms cannot be smoothed.
                let mut of_all = |window: &Window<'_>, notes: &mut Notes<'_>| {
                    if !window.times.is_empty() && !window.histograms.is_empty() {
                        notes.inform(texts::ignored_in_range(notes.metric));
                    }
                    Outcome::Float(smoothed(window))
                };
                let mixed = Mixed::Known(&mut of_all);
                let block = self.over_all_windows(name, args.at(0), steps, &mut |window| smoothed(window), mixed)?;
                match refused.get() {
                    None => Ok(block),
                    Some((what, short, value)) => Err(execution(format!(
                        "invalid {what} factor. Expected: 0 < {short} < 1, got: {}",
                        format_six_places(value)
                    ))),
                }
            }
            other => Err(execution(format!("unexpected nil implementation for function \"{other}\""))),
        }
    }
}
