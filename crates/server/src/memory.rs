//! Gives memory back that was needed for a while: for loading a large configuration, for a first round of scrapes, for a query over
//! much.
//!
//! The allocator keeps what was freed between things that stay. It gives that back when it is asked to, and it is asked only after
//! the process has grown, so that one which just works is left alone.

use std::time::Duration;

use relatum_tsdb::system::give_memory_back;

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// The process has grown when it has more than this many bytes more, and a share more, than it was left with.
const GROWN_BYTES: u64 = 4 << 20;
const GROWN_SHARE: u64 = 20;

/// Looks again and again; never ends by itself.
pub async fn keep_small() {
    let mut left_bytes = 0;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(bytes) = resident_bytes() else { return };
        if has_grown(left_bytes, bytes) {
            // Walking over all that is free takes its time.
            let _ = tokio::task::spawn_blocking(give_memory_back).await;
            left_bytes = resident_bytes().unwrap_or(bytes);
        }
    }
}

fn has_grown(left_bytes: u64, bytes: u64) -> bool {
    bytes > left_bytes + GROWN_BYTES + left_bytes / GROWN_SHARE
}

/// The memory of this process that is in the machine's, in bytes; `None` where the system does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    // Sizes are in pages; Linux has 4 KiB ones on all machines we build for but some ARM kernels.
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse::<u64>().ok()?;
    Some(pages * 4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_grown_gives_back() {
        const MIB: u64 = 1 << 20;
        for (left, now, expected) in [
            (0, 30 * MIB, true),
            (30 * MIB, 30 * MIB, false),
            (30 * MIB, 35 * MIB, false),
            (30 * MIB, 36 * MIB, true),
            (30 * MIB, 20 * MIB, false),
            (1000 * MIB, 1050 * MIB, false),
            (1000 * MIB, 1060 * MIB, true),
        ] {
            assert_eq!(has_grown(left, now), expected, "{left} {now}");
        }
    }
}
