//! Function calls: which function it is, and what becomes of labels and steps around it.

use relatum_model::Labels;
use relatum_model::labels::METRIC_NAME;

use super::select::Take;
use super::{Block, Column, Evaluated, Evaluator, Row, Scalars, Steps, Window, absent, execution, is_absent};
use crate::error::QueryError;
use crate::functions::{buckets, clock, extended, math, natural, over_time, quantile, rate, regression};
use crate::syntax::{Call, Edges, Expr};

impl Evaluator<'_> {
    pub(super) fn call(&mut self, call: &Call, steps: Steps) -> Result<Evaluated, QueryError> {
        let name = call.function.name;
        let args = Args { call };
        match name {
            "time" => {
                self.budget.charge(steps.count)?;
                let seconds = (0..steps.count).map(|step| steps.at(step) as f64 / 1000.0).collect();
                return Ok(Evaluated::Scalar(Scalars::Each(seconds)));
            }
            "pi" => return Ok(constant(std::f64::consts::PI)),
            "start" => return Ok(constant(self.bounds_ms.0 as f64 / 1000.0)),
            "end" => return Ok(constant(self.bounds_ms.1 as f64 / 1000.0)),
            "range" => return Ok(constant((self.bounds_ms.1 - self.bounds_ms.0) as f64 / 1000.0)),
            "step" => {
                let is_instant = self.bounds_ms.0 == self.bounds_ms.1;
                return Ok(constant(if is_instant { 0.0 } else { self.durations.step_ms as f64 / 1000.0 }));
            }
            "max_of" | "min_of" => {
                let (a, b) = (self.scalars(args.at(0), steps)?, self.scalars(args.at(1), steps)?);
                let f = if name == "max_of" { math::max } else { math::min };
                self.budget.charge(steps.count)?;
                return Ok(Evaluated::Scalar(Scalars::Each(
                    (0..steps.count).map(|step| f(a.at(step), b.at(step))).collect(),
                )));
            }
            "scalar" => return self.scalar(args.at(0), steps),
            _ => {}
        }
        self.vector_function(name, args, steps).map(Evaluated::Vector)
    }

    fn vector_function(&mut self, name: &'static str, args: Args<'_>, steps: Steps) -> Result<Block, QueryError> {
        if let Some(f) = math::of_one(name) {
            let block = self.vector(args.at(0), steps)?;
            return self.map(block, |_, value| f(value));
        }
        if let Some(part) = clock::part(name) {
            let block = match args.get(0) {
                Some(arg) => self.vector(arg, steps)?,
                None => {
                    let now = Evaluator::call_time(steps);
                    self.budget.charge(steps.count)?;
                    Block { rows: vec![Row { labels: Labels::empty(), drop_name: false, floats: now }] }
                }
            };
            return self.map(block, |_, value| part(clock::whole_seconds(value)));
        }
        match name {
            "vector" => {
                let scalars = self.scalars(args.at(0), steps)?;
                self.budget.charge(steps.count)?;
                let floats = Column::from_values(0, scalars.iter(steps.count).collect());
                Ok(Block { rows: vec![Row { labels: Labels::empty(), drop_name: false, floats }] })
            }
            "absent" => self.absent(args.at(0), steps),
            "absent_over_time" => {
                let found = self.steps_with_samples(args.at(0), steps)?;
                let mut floats = Column::default();
                for (step, _) in found.iter().enumerate().filter(|(_, found)| !**found) {
                    floats.push(step, 1.0);
                }
                let labels = labels_if_absent(args.at(0));
                let rows =
                    if floats.slots() == 0 { Vec::new() } else { vec![Row { labels, drop_name: false, floats }] };
                Ok(Block { rows })
            }
            "timestamp" => {
                if let Expr::Selector(selector) = args.at(0) {
                    let mut block = self.newest_samples(selector, steps, Take::Time)?;
                    return self.rename(&mut block).map(|()| block);
                }
                let block = self.vector(args.at(0), steps)?;
                self.map(block, |step, _| steps.at(step) as f64 / 1000.0)
            }
            "clamp" => {
                let block = self.vector(args.at(0), steps)?;
                let (low, high) = (self.scalars(args.at(1), steps)?, self.scalars(args.at(2), steps)?);
                self.clamp(block, &low, &high)
            }
            "clamp_min" => {
                let block = self.vector(args.at(0), steps)?;
                let low = self.scalars(args.at(1), steps)?;
                self.clamp(block, &low, &Scalars::Constant(f64::INFINITY))
            }
            "clamp_max" => {
                let block = self.vector(args.at(0), steps)?;
                let high = self.scalars(args.at(1), steps)?;
                self.clamp(block, &Scalars::Constant(f64::NEG_INFINITY), &high)
            }
            "round" => {
                let block = self.vector(args.at(0), steps)?;
                let to_nearest = match args.get(1) {
                    Some(arg) => self.scalars(arg, steps)?,
                    None => Scalars::Constant(1.0),
                };
                self.map(block, |step, value| math::round(value, to_nearest.at(step)))
            }
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => self.sort(name, args, steps),
            "label_replace" => self.label_replace(args, steps),
            "label_join" => self.label_join(args, steps),
            "info" => self.info(args.at(0), args.get(1), steps),
            "histogram_quantile" => {
                let q = self.scalars(args.at(0), steps)?;
                let block = self.vector(args.at(1), steps)?;
                self.histogram_quantile(&[(args.at(0), q)], None, block, args.at(1), steps)
            }
            "histogram_quantiles" => {
                let label = args.text(1);
                let block = self.vector(args.at(0), steps)?;
                let mut quantiles = Vec::new();
                for arg in &args.call.args[2..] {
                    let arg = arg.without_parens();
                    quantiles.push((arg, self.scalars(arg, steps)?));
                }
                self.histogram_quantile(&quantiles, Some(label), block, args.at(0), steps)
            }
            "histogram_fraction" => {
                let (low, high) = (self.scalars(args.at(0), steps)?, self.scalars(args.at(1), steps)?);
                let block = self.vector(args.at(2), steps)?;
                self.histogram_fraction(&low, &high, block, args.at(2), steps)
            }
            // Floats are no histograms, so these find nothing in them; nor do floats know when they started to count.
            "histogram_avg" | "histogram_count" | "histogram_sum" | "histogram_stddev" | "histogram_stdvar"
            | "start_timestamp" => {
                self.vector(args.at(0), steps)?;
                Ok(Block::default())
            }
            _ => self.range_function(name, args, steps),
        }
    }

    /// The functions of a range vector, each slid as a window over its series.
    fn range_function(&mut self, name: &'static str, args: Args<'_>, steps: Steps) -> Result<Block, QueryError> {
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
        let counting = |count: fn(&[f64]) -> f64| {
            move |window: &Window<'_>| match edges {
                Edges::Plain => count(window.values),
                _ => extended::anchored_values(window).map_or_else(absent, count),
            }
        };
        let of_values = |f: fn(&[f64]) -> f64| move |window: &Window<'_>| f(window.values);
        let seconds = |t_ms: i64| t_ms as f64 / 1000.0;
        match name {
            "rate" => self.over_windows(name, args.at(0), steps, &mut changing(true, true)),
            "increase" => self.over_windows(name, args.at(0), steps, &mut changing(true, false)),
            "delta" => self.over_windows(name, args.at(0), steps, &mut changing(false, false)),
            "irate" => self.over_windows(name, args.at(0), steps, &mut |window| rate::instant(window, true)),
            "idelta" => self.over_windows(name, args.at(0), steps, &mut |window| rate::instant(window, false)),
            "resets" => self.over_windows(name, args.at(0), steps, &mut counting(rate::resets)),
            "changes" => self.over_windows(name, args.at(0), steps, &mut counting(rate::changes)),
            "sum_over_time" => self.over_windows(name, args.at(0), steps, &mut of_values(over_time::sum)),
            "avg_over_time" => self.over_windows(name, args.at(0), steps, &mut of_values(over_time::avg)),
            "max_over_time" => self.over_windows(name, args.at(0), steps, &mut of_values(over_time::max)),
            "min_over_time" => self.over_windows(name, args.at(0), steps, &mut of_values(over_time::min)),
            "stdvar_over_time" => self.over_windows(name, args.at(0), steps, &mut of_values(over_time::variance)),
            "stddev_over_time" => {
                self.over_windows(name, args.at(0), steps, &mut of_values(|values| over_time::variance(values).sqrt()))
            }
            "count_over_time" => {
                self.over_windows(name, args.at(0), steps, &mut of_values(|values| values.len() as f64))
            }
            "present_over_time" => self.over_windows(name, args.at(0), steps, &mut of_values(|_| 1.0)),
            "first_over_time" => self.over_windows(name, args.at(0), steps, &mut of_values(|values| values[0])),
            "last_over_time" => {
                self.over_windows(name, args.at(0), steps, &mut of_values(|values| values[values.len() - 1]))
            }
            "ts_of_first_over_time" => {
                self.over_windows(name, args.at(0), steps, &mut |window| seconds(window.times[0]))
            }
            "ts_of_last_over_time" => {
                self.over_windows(name, args.at(0), steps, &mut |window| seconds(window.times[window.times.len() - 1]))
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
                let mut refused: Vec<f64> = Vec::new();
                let block = self.over_windows(name, args.at(1), steps, &mut |window| {
                    let q = q.at(window.step);
                    if !(0.0..=1.0).contains(&q) && !refused.iter().any(|seen| seen.to_bits() == q.to_bits()) {
                        refused.push(q);
                    }
                    scratch.clear();
                    scratch.extend_from_slice(window.values);
                    quantile::quantile(q, &mut scratch)
                })?;
                for q in refused {
                    self.warn_of_quantile(q, args.at(0));
                }
                Ok(block)
            }
            "deriv" => self.over_windows(name, args.at(0), steps, &mut |window| match window.values {
                [_] => absent(),
                // Close to the samples, for the sake of accuracy.
                values => regression::line(window.times, values, window.times[0]).0,
            }),
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
                let mut refused = None;
                let block = self.over_windows(name, args.at(0), steps, &mut |window| {
                    let (smoothing, trend) = (smoothing.at(window.step), trend.at(window.step));
                    if smoothing <= 0.0 || smoothing >= 1.0 {
                        refused.get_or_insert(("smoothing", "sf", smoothing));
                    } else if trend <= 0.0 || trend >= 1.0 {
                        refused.get_or_insert(("trend", "tf", trend));
                    }
                    match window.values {
                        [_] => absent(),
                        values => regression::double_exponential(values, smoothing, trend),
                    }
                })?;
                match refused {
                    None => Ok(block),
                    Some((what, short, value)) => {
                        Err(execution(format!("invalid {what} factor. Expected: 0 < {short} < 1, got: {value:.6}")))
                    }
                }
            }
            other => Err(execution(format!("unexpected nil implementation for function \"{other}\""))),
        }
    }

    /// Applies `f` to every value; the result is another metric.
    fn map(&mut self, mut block: Block, f: impl Fn(usize, f64) -> f64) -> Result<Block, QueryError> {
        for row in &mut block.rows {
            row.floats.map_steps(&f);
        }
        self.rename(&mut block)?;
        Ok(block)
    }

    /// Takes the names from all rows.
    fn rename(&mut self, block: &mut Block) -> Result<(), QueryError> {
        for row in &mut block.rows {
            self.forget_name(row);
        }
        self.settle_names(block)
    }

    fn call_time(steps: Steps) -> Column {
        // A moment before its second is over belongs to that second.
        Column::from_values(0, (0..steps.count).map(|step| (steps.at(step) / 1000) as f64).collect())
    }

    fn scalar(&mut self, arg: &Expr, steps: Steps) -> Result<Evaluated, QueryError> {
        let block = self.vector(arg, steps)?;
        self.budget.charge(steps.count)?;
        // Absent until found, NaN when found again.
        let mut values = vec![absent(); steps.count];
        for row in &block.rows {
            for (step, value) in row.floats.iter() {
                values[step] = if is_absent(values[step]) { value } else { f64::NAN };
            }
        }
        let number = |value| if is_absent(value) { f64::NAN } else { value };
        Ok(Evaluated::Scalar(Scalars::Each(values.into_iter().map(number).collect())))
    }

    fn absent(&mut self, arg: &Expr, steps: Steps) -> Result<Block, QueryError> {
        let block = self.vector(arg, steps)?;
        self.budget.charge(steps.count)?;
        let mut found = vec![false; steps.count];
        for row in &block.rows {
            for (step, _) in row.floats.iter() {
                found[step] = true;
            }
        }
        let mut floats = Column::default();
        for (step, _) in found.iter().enumerate().filter(|(_, found)| !**found) {
            floats.push(step, 1.0);
        }
        let labels = labels_if_absent(arg);
        let rows = if floats.slots() == 0 { Vec::new() } else { vec![Row { labels, drop_name: false, floats }] };
        Ok(Block { rows })
    }

    fn clamp(&mut self, block: Block, low: &Scalars, high: &Scalars) -> Result<Block, QueryError> {
        let mut block = self.map(block, |step, value| {
            let (low, high) = (low.at(step), high.at(step));
            if high < low { absent() } else { math::max(low, math::min(high, value)) }
        })?;
        block.rows.retain(|row| !row.floats.is_empty());
        Ok(block)
    }

    fn sort(&mut self, name: &str, args: Args<'_>, steps: Steps) -> Result<Block, QueryError> {
        if !steps.is_instant {
            self.annotations.warn(
                args.call.span,
                "sort is ineffective for range queries since results are always ordered by labels",
            );
        }
        let mut block = self.vector(args.at(0), steps)?;
        if steps.count != 1 {
            return Ok(block);
        }
        let is_descending = name.ends_with("_desc");
        if name.starts_with("sort_by_label") {
            let labels: Vec<&str> = (1..args.call.args.len()).map(|at| args.text(at)).collect();
            block.rows.sort_by(|a, b| {
                let by_labels =
                    labels.iter().map(|label| (a.labels.value(label), b.labels.value(label))).find(|(a, b)| a != b);
                let order = match by_labels {
                    Some((a, b)) => natural::compare(a, b),
                    None => a.labels.cmp(&b.labels),
                };
                if is_descending { order.reverse() } else { order }
            });
        } else {
            block.rows.sort_by(|a, b| {
                let (a, b) = (a.floats.at(0), b.floats.at(0));
                // NaN is last, whatever the direction.
                let order = a.partial_cmp(&b).map(|order| if is_descending { order.reverse() } else { order });
                order.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
            });
        }
        Ok(block)
    }

    fn label_replace(&mut self, args: Args<'_>, steps: Steps) -> Result<Block, QueryError> {
        let (target, template, source, pattern) = (args.text(1), args.text(2), args.text(3), args.text(4));
        let regex = relatum_model::regex::AnchoredRegex::new(pattern)
            .map_err(|_| execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
        if target.is_empty() {
            return Err(execution(format!("invalid destination label name in label_replace(): {target}")));
        }
        let mut block = self.vector(args.at(0), steps)?;
        for row in &mut block.rows {
            if let Some(value) = regex.replace(row.labels.value(source), template) {
                set_label(row, target, value);
            }
        }
        block.merge_duplicates()?;
        Ok(block)
    }

    fn label_join(&mut self, args: Args<'_>, steps: Steps) -> Result<Block, QueryError> {
        let (target, separator) = (args.text(1), args.text(2));
        let sources: Vec<&str> = (3..args.call.args.len()).map(|at| args.text(at)).collect();
        if let Some(source) = sources.iter().find(|source| source.is_empty()) {
            return Err(execution(format!("invalid source label name in label_join(): {source}")));
        }
        if target.is_empty() {
            return Err(execution(format!("invalid destination label name in label_join(): {target}")));
        }
        let mut block = self.vector(args.at(0), steps)?;
        for row in &mut block.rows {
            let values: Vec<&str> = sources.iter().map(|source| row.labels.value(source)).collect();
            let value = values.join(separator);
            set_label(row, target, value);
        }
        block.merge_duplicates()?;
        Ok(block)
    }

    fn histogram_quantile(
        &mut self,
        quantiles: &[(&Expr, Scalars)],
        label: Option<&str>,
        block: Block,
        arg: &Expr,
        steps: Steps,
    ) -> Result<Block, QueryError> {
        for (expr, q) in quantiles {
            let mut warned: Vec<u64> = Vec::new();
            for q in q.iter(if matches!(q, Scalars::Constant(_)) { 1 } else { steps.count }) {
                if !(0.0..=1.0).contains(&q) && !warned.contains(&q.to_bits()) {
                    warned.push(q.to_bits());
                    self.warn_of_quantile(q, expr);
                }
            }
        }
        let histograms = self.histograms(block, arg, steps);
        let mut rows = Vec::new();
        let mut scratch = Vec::new();
        for (_, q) in quantiles {
            let mut labels_of_q: Vec<(u64, String)> = Vec::new();
            for histogram in &histograms {
                self.budget.check()?;
                self.budget.charge(steps.count)?;
                let mut columns: Vec<(u64, Column)> = Vec::new();
                for step in 0..steps.count {
                    if !histogram.fill(step, &mut scratch) {
                        continue;
                    }
                    let q = q.at(step);
                    let (value, repair) = buckets::quantile(q, &mut scratch, steps.at(step));
                    if let Some(repair) = repair {
                        let text = self.about(
                            "input to histogram_quantile needed to be fixed for monotonicity (see \
                             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
                            &histogram.labels,
                        );
                        self.annotations.inform_of_repair(arg.without_parens().span(), text, repair);
                    }
                    // Only a label of its own tells quantiles apart that change from step to step.
                    let key = if label.is_some() { q.to_bits() } else { 0 };
                    match columns.iter_mut().find(|(found, _)| *found == key) {
                        Some((_, column)) => column.push(step, value),
                        None => {
                            let mut column = Column::default();
                            column.push(step, value);
                            columns.push((key, column));
                        }
                    }
                }
                for (key, floats) in columns {
                    let mut row = Row { labels: histogram.labels.clone(), drop_name: histogram.drop_name, floats };
                    self.forget_name(&mut row);
                    if let Some(label) = label {
                        if !labels_of_q.iter().any(|(found, _)| *found == key) {
                            labels_of_q.push((key, open_metrics_float(f64::from_bits(key))));
                        }
                        let (_, value) =
                            labels_of_q.iter().find(|(found, _)| *found == key).expect("it was just added");
                        let mut builder = row.labels.to_builder();
                        builder.set(label, value.as_str());
                        row.labels = builder.build();
                    }
                    rows.push(row);
                }
            }
        }
        let mut block = Block { rows };
        if label.is_some() && !steps.is_instant {
            block.merge_duplicates()?;
        } else {
            self.settle_names(&mut block)?;
        }
        Ok(block)
    }

    fn histogram_fraction(
        &mut self,
        low: &Scalars,
        high: &Scalars,
        block: Block,
        arg: &Expr,
        steps: Steps,
    ) -> Result<Block, QueryError> {
        let mut rows = Vec::new();
        let mut scratch = Vec::new();
        for histogram in self.histograms(block, arg, steps) {
            self.budget.check()?;
            self.budget.charge(steps.count)?;
            let mut floats = Column::default();
            for step in 0..steps.count {
                if histogram.fill(step, &mut scratch) {
                    floats.push(step, buckets::fraction(low.at(step), high.at(step), &mut scratch));
                }
            }
            let mut row = Row { labels: histogram.labels, drop_name: histogram.drop_name, floats };
            self.forget_name(&mut row);
            rows.push(row);
        }
        let mut block = Block { rows };
        self.settle_names(&mut block)?;
        Ok(block)
    }

    /// The classic histograms of a vector: its rows by labels without `le`.
    fn histograms(&mut self, block: Block, arg: &Expr, _steps: Steps) -> Vec<Histogram> {
        let mut places: std::collections::HashMap<Labels, usize> = std::collections::HashMap::new();
        let mut histograms: Vec<Histogram> = Vec::new();
        for row in block.rows {
            if row.floats.is_empty() {
                continue;
            }
            let bound = row.labels.value("le");
            let Some(bound) = parse_bound(bound) else {
                let text = format!(
                    "bucket label \"le\" is missing or has a malformed value of {}",
                    relatum_model::text::quote(bound)
                );
                let text = self.about(&text, &row.labels);
                self.annotations.warn(arg.without_parens().span(), text);
                continue;
            };
            let labels = row.labels.filtered(|name| name != "le");
            let at = *places.entry(labels.clone()).or_insert_with(|| {
                histograms.push(Histogram { labels, drop_name: row.drop_name, buckets: Vec::new() });
                histograms.len() - 1
            });
            histograms[at].buckets.push((bound, row.floats));
        }
        for histogram in &mut histograms {
            histogram.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        histograms
    }

    /// `text`, with the metric's name as far as it is still known.
    fn about(&self, text: &str, labels: &Labels) -> String {
        match labels.metric_name() {
            Some(name) if self.settings.delayed_name_removal => {
                format!("{text} for metric name {}", relatum_model::text::quote(name))
            }
            _ => text.to_owned(),
        }
    }
}

/// The arguments of a call, which were checked by the parser.
#[derive(Clone, Copy)]
struct Args<'c> {
    call: &'c Call,
}

impl<'c> Args<'c> {
    fn get(self, at: usize) -> Option<&'c Expr> {
        self.call.args.get(at).map(Expr::without_parens)
    }

    fn at(self, at: usize) -> &'c Expr {
        self.get(at).expect("the parser checked the number of arguments")
    }

    fn text(self, at: usize) -> &'c str {
        match self.at(at) {
            Expr::String(literal) => &literal.value,
            other => unreachable!("the parser checked the types of arguments, but here is {other} for a string"),
        }
    }

    /// How the range among the arguments treats its ends.
    fn edges(self) -> Edges {
        let matrix = self.call.args.iter().find_map(|arg| match arg.without_parens() {
            Expr::Matrix(matrix) => Some(matrix.selector.edges),
            _ => None,
        });
        matrix.unwrap_or_default()
    }
}

/// A classic histogram over all steps.
struct Histogram {
    labels: Labels,
    drop_name: bool,
    // Sorted by bound.
    buckets: Vec<(f64, Column)>,
}

impl Histogram {
    /// Puts the buckets at `step` into `buckets`; `false` if there are none.
    fn fill(&self, step: usize, buckets: &mut Vec<buckets::Bucket>) -> bool {
        buckets.clear();
        for (bound, column) in &self.buckets {
            if let Some(count) = column.get(step) {
                buckets.push(buckets::Bucket { bound: *bound, count });
            }
        }
        !buckets.is_empty()
    }
}

fn constant(value: f64) -> Evaluated {
    Evaluated::Scalar(Scalars::Constant(value))
}

fn set_label(row: &mut Row, name: &str, value: String) {
    let mut builder = row.labels.to_builder();
    builder.set(name, value);
    row.labels = builder.build();
    if name == METRIC_NAME {
        // Who sets the name wants to see it.
        row.drop_name = false;
    }
}

/// The labels that an absent series would certainly have had.
fn labels_if_absent(arg: &Expr) -> Labels {
    let selector = match arg {
        Expr::Selector(selector) => selector,
        Expr::Matrix(matrix) => &matrix.selector,
        _ => return Labels::empty(),
    };
    let mut builder = Labels::empty().to_builder();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in selector.matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        if matcher.op() == relatum_model::MatchOp::Equal && !seen.contains(&matcher.name()) {
            builder.set(matcher.name(), matcher.value());
            seen.push(matcher.name());
        } else {
            builder.remove(matcher.name());
        }
    }
    builder.build()
}

/// The bound of a bucket, as Go reads floats.
fn parse_bound(text: &str) -> Option<f64> {
    // Rust reads the same words for infinity; Go wants no sign before NaN, which is no bound anyway.
    text.parse().ok()
}

/// A float as a value of the label `quantile`.
fn open_metrics_float(value: f64) -> String {
    if value == 0.0 {
        return "0.0".to_owned();
    }
    let text = crate::annotation::go_float(value);
    let is_whole = !text.contains(['.', 'e']) && value.is_finite();
    if is_whole { text + ".0" } else { text }
}
