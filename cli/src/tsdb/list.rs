//! `relatum tsdb list`

use std::path::Path;
use std::time::Duration;

use relatum_model::time::format_duration;
use relatum_tsdb::inspect::{self, BlockReport};
use serde_json::{Value, json};

use super::unreadable;
use crate::Global;
use crate::failure::CommandFailure;
use crate::table::Table;

/// Lists the blocks with what they say about themselves.
pub(crate) fn run(global: &Global, dir: &Path) -> Result<(), CommandFailure> {
    let blocks = inspect::blocks(dir).map_err(|error| unreadable(dir, &error))?;
    let data: Vec<Value> = blocks.iter().map(as_json).collect();
    global.format.print(&data, |_| {
        if blocks.is_empty() {
            return "no blocks\n".to_owned();
        }
        let titles = [
            "Block",
            "=Min time",
            "=Max time",
            "~Span",
            ">Series",
            ">Samples",
            "~>Chunks",
            "~>Level",
            "~>Bytes",
            "Damage",
        ];
        let mut table = Table::new(&titles);
        for block in &blocks {
            let span = Duration::from_millis(block.max_ms.abs_diff(block.min_ms));
            table.row([
                block.file.clone(),
                block.min_ms.to_string(),
                block.max_ms.to_string(),
                format_duration(Duration::from_secs(span.as_secs())),
                block.series.to_string(),
                block.samples.to_string(),
                block.chunks.to_string(),
                block.level.to_string(),
                block.bytes.to_string(),
                block.damage.clone().unwrap_or_default(),
            ]);
        }
        table.render()
    })
}

fn as_json(block: &BlockReport) -> Value {
    json!({
        "file": block.file,
        "minTime": block.min_ms,
        "maxTime": block.max_ms,
        "series": block.series,
        "samples": block.samples,
        "chunks": block.chunks,
        "level": block.level,
        "bytes": block.bytes,
        "indexBytes": block.index_bytes,
        "damage": block.damage,
    })
}
