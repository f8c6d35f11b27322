//! `info`: adds the labels of info metrics, which say what a target is, to the series of that target.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use relatum_model::labels::{INSTANCE, JOB, METRIC_NAME};
use relatum_model::{Labels, LabelsBuilder, MatchOp, Matcher};

use super::names::in_braces;
use super::select::Take;
use super::{Block, Column, Evaluator, HistogramColumn, Row, Steps, When, execution};
use crate::error::QueryError;
use crate::syntax::{At, DurationExpr, Expr};

// What tells which target a series is about.
const IDENTITY: [&str; 2] = [INSTANCE, JOB];

/// Which info row a target has at each step: one row, or none.
type Chosen = Vec<Option<usize>>;

/// What the second argument of `info` asks for.
struct Wanted {
    names: Vec<Matcher>,
    labels: Vec<Matcher>,
}

impl Wanted {
    fn new(selector: Option<&Expr>) -> Result<Self, QueryError> {
        let matchers = match selector {
            Some(Expr::Selector(selector)) => selector.all_matchers(),
            _ => Vec::new(),
        };
        let (mut names, labels): (Vec<Matcher>, Vec<Matcher>) =
            matchers.into_iter().partition(|matcher| matcher.name() == METRIC_NAME);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, "target_info"));
        } else if !names.iter().any(|matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex)) {
            names.insert(0, Matcher::new(MatchOp::Regex, METRIC_NAME, ".+_info").map_err(execution)?);
        }
        Ok(Wanted { names, labels })
    }

    fn is_info(&self, labels: &Labels) -> bool {
        let name = labels.value(METRIC_NAME);
        self.names.iter().all(|matcher| matcher.matches(name))
    }

    fn wants(&self, label: &str) -> bool {
        self.labels.is_empty() || self.labels.iter().any(|matcher| matcher.name() == label)
    }
}

impl Evaluator<'_> {
    pub(super) fn info(&mut self, arg: &Expr, selector: Option<&Expr>, steps: Steps) -> Result<Block, QueryError> {
        let when = self.first_selector(arg, &mut Vec::new())?.unwrap_or(When::Offset(0));
        let block = self.vector(arg, steps)?;
        let wanted = Wanted::new(selector)?;
        let infos = self.info_rows(&block, &wanted, when, steps)?;
        let by_name = self.choose(&block, &infos, steps)?;

        let mut rows: Vec<Row> = Vec::new();
        for row in block.rows {
            self.budget.check()?;
            if wanted.is_info(&row.labels) {
                // What gives information needs none.
                rows.push(row);
                continue;
            }
            let identity = identity(&row.labels);
            let of_target: Vec<&Chosen> = by_name.values().filter_map(|chosen| chosen.get(&identity)).collect();
            self.budget.charge(row.cost())?;
            // Which infos a target has may change on the way, and with them the labels.
            let mut columns: Vec<(Vec<usize>, Column, HistogramColumn)> = Vec::new();
            let place = |columns: &mut Vec<(Vec<usize>, Column, HistogramColumn)>, step: usize| {
                let found: Vec<usize> = of_target.iter().filter_map(|chosen| chosen[step]).collect();
                columns.iter().position(|(infos, ..)| *infos == found).unwrap_or_else(|| {
                    columns.push((found, Column::default(), HistogramColumn::default()));
                    columns.len() - 1
                })
            };
            for (step, value) in row.floats.iter() {
                self.budget.step(columns.len())?;
                let at = place(&mut columns, step);
                columns[at].1.push(step, value);
            }
            for (step, histogram) in row.histograms.iter() {
                self.budget.step(columns.len())?;
                let at = place(&mut columns, step);
                columns[at].2.push(step, histogram.clone());
            }
            for (found, floats, histograms) in columns {
                if found.is_empty() && wanted.labels.iter().any(|matcher| !matcher.matches_empty()) {
                    continue;
                }
                let labels = enrich(&row.labels, found.iter().map(|at| &infos.rows[*at].labels), &wanted)?;
                rows.push(Row { labels, drop_name: row.drop_name, floats, histograms });
            }
        }
        let mut block = Block { rows };
        block.merge_duplicates()?;
        Ok(block)
    }

    /// The info series of the targets in `block`; their values are the times of their samples.
    fn info_rows(&mut self, block: &Block, wanted: &Wanted, when: When, steps: Steps) -> Result<Block, QueryError> {
        let mut matchers = Vec::new();
        for label in IDENTITY {
            let values: BTreeSet<&str> = block
                .rows
                .iter()
                .filter(|row| !wanted.is_info(&row.labels))
                .filter_map(|row| row.labels.get(label))
                .collect();
            if !values.is_empty() {
                let pattern: Vec<String> = values.into_iter().map(escaped).collect();
                matchers.push(Matcher::new(MatchOp::Regex, label, pattern.join("|")).map_err(execution)?);
            }
        }
        if matchers.is_empty() {
            return Ok(Block::default());
        }
        matchers.extend(wanted.labels.iter().chain(&wanted.names).cloned());
        let infos = self.newest_of(&matchers, when, steps, Take::FloatTime)?;
        if infos.rows.iter().any(|row| !row.histograms.is_empty()) {
            return Err(execution("info sample should be float"));
        }
        Ok(infos)
    }

    /// For each info metric and target, the row with the newest sample at each step.
    fn choose(
        &mut self,
        block: &Block,
        infos: &Block,
        steps: Steps,
    ) -> Result<BTreeMap<String, HashMap<Labels, Chosen>>, QueryError> {
        let mut by_name: BTreeMap<String, HashMap<Labels, Chosen>> = BTreeMap::new();
        for (at, row) in infos.rows.iter().enumerate() {
            self.budget.charge(steps.count)?;
            let of_name = by_name.entry(row.labels.value(METRIC_NAME).to_owned()).or_default();
            let chosen = of_name.entry(identity(&row.labels)).or_insert_with(|| vec![None; steps.count]);
            for (step, time) in row.floats.iter() {
                let Some(other) = chosen[step].map(|other| &infos.rows[other]) else {
                    chosen[step] = Some(at);
                    continue;
                };
                let other_time = other.floats.at(step);
                if time > other_time {
                    chosen[step] = Some(at);
                } else if time == other_time && block.rows.iter().any(|row| row.has(step)) {
                    let milliseconds = |seconds: f64| (seconds * 1000.0).round() as i64;
                    return Err(execution(format!(
                        "found duplicate series for info metric: existing {} @ {}, new {} @ {}",
                        in_braces(&other.labels),
                        milliseconds(other_time),
                        in_braces(&row.labels),
                        milliseconds(time)
                    )));
                }
            }
        }
        Ok(by_name)
    }

    /// Where the first selector in `expr` looks: there the info metrics are looked for, too.
    fn first_selector<'e>(
        &self,
        expr: &'e Expr,
        around: &mut Vec<(Option<At>, Option<&'e DurationExpr>)>,
    ) -> Result<Option<When>, QueryError> {
        let selector = match expr {
            Expr::Selector(selector) => selector,
            Expr::Matrix(matrix) => &matrix.selector,
            Expr::Subquery(subquery) => {
                around.push((subquery.at, subquery.offset.as_ref()));
                let found = self.first_selector(&subquery.expr, around)?;
                around.pop();
                return Ok(found);
            }
            other => {
                for child in other.children() {
                    if let Some(found) = self.first_selector(child, around)? {
                        return Ok(Some(found));
                    }
                }
                return Ok(None);
            }
        };
        // Offsets add up until a fixed time makes all further out irrelevant.
        let mut when = self.when(selector.at, selector.offset.as_ref())?;
        for (at, offset) in around.iter().rev() {
            let When::Offset(inner_ms) = when else { break };
            when = match self.when(*at, *offset)? {
                When::Offset(outer_ms) => When::Offset(inner_ms.saturating_add(outer_ms)),
                When::Fixed(at_ms) => When::Fixed(at_ms.saturating_sub(inner_ms)),
            };
        }
        Ok(Some(when))
    }
}

fn identity(labels: &Labels) -> Labels {
    labels.filtered(|name| IDENTITY.contains(&name))
}

/// The labels of a series with those of its infos; what the series has itself stays.
fn enrich<'i>(base: &Labels, infos: impl Iterator<Item = &'i Labels>, wanted: &Wanted) -> Result<Labels, QueryError> {
    let mut added = LabelsBuilder::new();
    for info in infos {
        for (name, value) in info {
            if name == METRIC_NAME || !wanted.wants(name) {
                continue;
            }
            if !added.get(name).is_empty() && added.get(name) != value {
                return Err(execution(format!("conflicting label: {name}")));
            }
            if base.get(name).is_none() {
                added.set(name, value);
            }
        }
    }
    let mut builder = base.to_builder();
    for (name, value) in added.iter() {
        builder.set(name, value);
    }
    Ok(builder.build())
}

/// A pattern that matches `text` alone.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
