//! Blocks: files of samples that never change.
//!
//! The bytes are described in `docs/formats/block.md`. A block is written once, in the order of the labels of its series
//! (`writer`), and read through a map of the file (`reader`): its series are found (`postings`) and walked over (`walk`), their chunks
//! decoded (`chunks`); several become one by `merge`; what is deleted is
//! listed beside it (`deleted`). Its *columns* hold the times or values of a run of
//! samples (`column`); the times are written once for all series that share them, as those of a target do.

mod bits;
pub(crate) mod bytes;
pub(crate) mod chunks;
pub(crate) mod column;
pub(crate) mod decoder;
pub(crate) mod deleted;
pub(crate) mod glimpse;
pub(crate) mod histograms;
pub(crate) mod layout;
pub(crate) mod merge;
pub(crate) mod postings;
pub(crate) mod reader;
mod salvage;
pub(crate) mod summary;
pub(crate) mod symbols;
pub(crate) mod walk;
pub(crate) mod writer;

pub(crate) use reader::Block;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use proptest::prelude::*;
    use relatum_model::storage::TimeRange;
    use relatum_model::{Labels, MatchOp, Matcher, Samples};

    use super::chunks::ChunkReader;
    use super::layout::Damage;
    use super::reader::{Block, OpenBlockError};
    use super::writer::BlockWriter;
    use crate::fs::Disk;

    type Content = BTreeMap<Labels, Vec<(i64, u64)>>;

    fn write(dir: &Path, content: &Content, chunk_samples: usize) {
        let symbols = content.keys().flat_map(|labels| labels.iter().flat_map(|(name, value)| [name, value]));
        let mut writer = BlockWriter::create(&Disk, dir, 3, (1, 9), symbols).unwrap();
        for (labels, samples) in content {
            for chunk in samples.chunks(chunk_samples) {
                let (times, bits): (Vec<i64>, Vec<u64>) = chunk.iter().copied().unzip();
                writer.chunk(&times, &bits).unwrap();
            }
            writer.end_series(labels);
        }
        writer.finish().unwrap();
    }

    fn read(block: &Block, numbers: &[u32]) -> Result<Content, Damage> {
        let index = block.index()?;
        let (mut walk, mut reader) = (index.walk(), ChunkReader::new(index));
        let mut content = Content::new();
        for number in numbers {
            let series = walk.series(*number)?;
            let mut samples = Vec::new();
            for chunk in &series.chunks {
                let mut of_chunk = Samples::default();
                reader.push(chunk, TimeRange::ALL, &[], &mut of_chunk)?;
                samples.extend(of_chunk.iter().map(|sample| (sample.t_ms, sample.value.to_bits())));
            }
            content.insert(series.labels, samples);
        }
        Ok(content)
    }

    fn targets() -> Content {
        let mut content = Content::new();
        for (instance, metric) in (0..7).flat_map(|i| (0..30).map(move |m| (i, m))) {
            let (instance_name, metric_name) = (format!("host{instance}:9100"), format!("metric_{metric}"));
            let mut labels = Labels::from_pairs([
                ("__name__", metric_name.as_str()),
                ("instance", instance_name.as_str()),
                ("job", "node"),
            ])
            .to_builder();
            if metric % 3 == 0 {
                labels.set("mode", ["idle", "user"][instance % 2]);
            }
            let samples = (0..240i64).map(|n| {
                let jitter = (n * 7919 + instance as i64 * 31) % 11;
                (1_700_000_000_000 + n * 15_000 + jitter, ((n * metric / 3) as f64 / 4.0).to_bits())
            });
            content.insert(labels.build(), samples.collect());
        }
        content
    }

    #[test]
    fn what_was_written_is_read_and_found() {
        let dir = tempfile::tempdir().unwrap();
        let content = targets();
        write(dir.path(), &content, 100);
        let block = Block::open(&Disk, dir.path(), 3).unwrap();
        assert_eq!((block.summary.series, block.summary.samples, block.summary.chunks), (210, 50_400, 630));
        let all: Vec<u32> = (0..210).collect();
        assert_eq!(read(&block, &all).unwrap(), content);
        // Jittered times cost nearly nothing, because thirty series share them.
        assert!(block.bytes() < 50_400, "{} bytes for 50400 samples", block.bytes());
        assert!(block.index_bytes() < 210 * 60, "{} bytes of index", block.index_bytes());
        let index = block.index().unwrap();
        let names: Vec<&str> = index.names().map(|name| name.unwrap().0).collect();
        assert_eq!(names, ["__name__", "instance", "job", "mode"]);
        let values = |name: &str| index.values(name).unwrap().map(|value| value.unwrap().0).collect::<Vec<_>>();
        assert_eq!(values("mode"), ["idle", "user"]);
        assert_eq!(values("absent"), [""; 0]);
        for (labels, samples) in &content {
            let found = index.find(labels).unwrap().expect("the series is there");
            assert_eq!((&found.labels, found.chunks[0].min_ms), (labels, samples[0].0));
        }
        assert!(index.find(&Labels::from_pairs([("__name__", "metric_1")])).unwrap().is_none());
        let mut matchers = Vec::new();
        for op in [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex] {
            for (name, value) in [
                ("__name__", "metric_3"),
                ("instance", "host[1-3].*"),
                ("mode", "idle"),
                ("mode", ""),
                ("mode", ".*"),
                ("x", "y"),
                ("x", ""),
            ] {
                matchers.push(Matcher::new(op, name, value).unwrap());
            }
        }
        for a in &matchers {
            for b in &matchers {
                let found = index.select([a, b].into_iter()).unwrap();
                let expected = content.keys().zip(0..).filter(|(l, _)| a.matches_labels(l) && b.matches_labels(l));
                assert_eq!(found, expected.map(|(_, number)| number).collect::<Vec<u32>>(), "{a} {b}");
            }
        }
    }

    #[test]
    fn no_damage_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let content: Content = targets().into_iter().step_by(9).collect();
        write(dir.path(), &content, 100);
        let path = dir.path().join("0000000003.block");
        let sound = std::fs::read(&path).unwrap();
        let all: Vec<u32> = (0..content.len() as u32).collect();
        for at in (0..sound.len()).step_by(3) {
            let mut damaged = sound.clone();
            damaged[at] ^= 1 << (at % 8);
            std::fs::write(&path, &damaged).unwrap();
            let result = match Block::open(&Disk, dir.path(), 3) {
                Err(OpenBlockError::Read(error)) => panic!("{error}"),
                Err(OpenBlockError::Bad(_)) => continue,
                Ok(block) => read(&block, &all),
            };
            assert!(result.is_err(), "byte {at} of {} was believed", sound.len());
        }
        for length in [0, 10, 32, 47, 48, sound.len() / 2, sound.len() - 1] {
            std::fs::write(&path, &sound[..length]).unwrap();
            assert!(Block::open(&Disk, dir.path(), 3).is_err(), "cut at {length}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn any_content(
            series in proptest::collection::btree_map(
                proptest::collection::btree_map("[a-d]{0,2}", "[x-z]{1,3}", 0..4),
                proptest::collection::btree_map(any::<i64>(), any::<u64>(), 1..60),
                0..40,
            ),
            chunk_samples in 1usize..70,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let content: Content =
                series.into_iter().map(|(labels, samples)| (Labels::from_pairs(labels), samples.into_iter().collect())).collect();
            write(dir.path(), &content, chunk_samples);
            let block = Block::open(&Disk, dir.path(), 3).unwrap();
            let all: Vec<u32> = (0..content.len() as u32).collect();
            prop_assert_eq!(read(&block, &all).unwrap(), content);
        }
    }
}
