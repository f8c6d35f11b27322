//! A selection as runs: hours of samples that no window takes apart are told by what their chunk says of them.

use relatum_model::storage::{Cancel, Hints, RunSet, SelectError, TimeRange};
use relatum_model::summary::{Run, RunSeries, Windows};
use relatum_model::{Matcher, Samples};

use super::{BlockWalk, View};
use crate::snapshot::merge;

impl View<'_> {
    /// See `relatum_model::storage::Reader::runs`.
    pub(super) fn select_runs<'a>(
        &'a self,
        matchers: &[Matcher],
        windows: Windows,
        hints: &Hints,
        cancel: &Cancel,
    ) -> Result<RunSet<'a>, SelectError> {
        self.in_order(matchers, hints, cancel, move |labels, of_head, walks| {
            let of_head = of_head.map_or(Samples::default(), |series| {
                let snapshot = series.state().snapshot(self.range, self.ticket.commit);
                snapshot.decode()
            });
            let runs = if follow_one_another(walks, self.range, &of_head) {
                let mut runs = Runs::default();
                walks.iter_mut().for_each(|walk| walk.take_runs(self.range, windows, &mut runs));
                runs.end(of_head)
            } else {
                let of_blocks = walks.iter_mut().map(|walk| walk.take_samples(self.range));
                Runs::default().end(merge(of_blocks.fold(Samples::default(), merge), of_head))
            };
            (!runs.is_empty()).then_some(RunSeries { labels, runs })
        })
    }
}

/// Whether what blocks hold of a series lies one behind the other, and before what the head holds, so that nothing is to be
/// merged.
fn follow_one_another(walks: &[&mut BlockWalk<'_>], range: TimeRange, of_head: &Samples) -> bool {
    let mut end_ms = None;
    for walk in walks {
        for chunk in walk.reaching(range) {
            if end_ms.is_some_and(|end_ms| chunk.min_ms <= end_ms) {
                return false;
            }
            end_ms = Some(chunk.max_ms);
        }
    }
    let first = of_head.timestamps.first().copied();
    let first_histogram = of_head.histograms.first().map(|sample| sample.t_ms);
    let head_ms = [first, first_histogram].into_iter().flatten().min();
    end_ms.is_none_or(|end_ms| head_ms.is_none_or(|head_ms| end_ms < head_ms))
}

/// The runs of a series, of which the last one may still grow.
#[derive(Default)]
struct Runs {
    done: Vec<Run>,
    samples: Samples,
}

impl Runs {
    fn flush(&mut self) {
        if !self.samples.is_empty() {
            self.done.push(Run::Samples(std::mem::take(&mut self.samples)));
        }
    }

    /// The runs, and behind them `last`.
    fn end(mut self, last: Samples) -> Vec<Run> {
        self.samples = merge(std::mem::take(&mut self.samples), last);
        self.flush();
        self.done
    }
}

impl BlockWalk<'_> {
    /// Takes the current series inside `range` and goes to the next one. What is damaged is left out.
    fn take_runs(&mut self, range: TimeRange, windows: Windows, runs: &mut Runs) {
        if let Some(number) = self.current {
            let deleted = self.deleted.of(number);
            for chunk in self.chunks.iter().filter(|chunk| chunk.reaches(range)) {
                let is_whole = range.contains(chunk.min_ms) && range.contains(chunk.max_ms);
                let taken_apart = windows.part(chunk.min_ms, chunk.max_ms);
                if !taken_apart && !windows.hold(chunk.min_ms) {
                    continue;
                }
                let summary =
                    if is_whole && !taken_apart && deleted.is_empty() { self.reader.summary(chunk) } else { Ok(None) };
                let taken = summary.and_then(|summary| match summary {
                    Some(summary) => {
                        runs.flush();
                        runs.done.push(Run::Summary(summary));
                        Ok(())
                    }
                    None => self.reader.push(chunk, range, deleted, &mut runs.samples),
                });
                if let Err(damage) = taken {
                    self.block.report(damage);
                }
            }
        }
        self.advance();
    }
}
