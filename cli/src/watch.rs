//! Showing something again and again, in place.

use std::io::IsTerminal;
use std::time::Duration;

use crate::failure::CommandFailure;
use crate::output::{put, put_frame, screen};

/// Another page than the one with the prompt, and no cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Nobody reads faster, and the agent has other work.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Reads `--watch`.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let interval = relatum_model::time::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < INTERVAL_MIN { Err("at least 100ms".to_owned()) } else { Ok(interval) }
}

/// Shows what `show` gives every `interval` until Ctrl-C. A terminal is drawn over, so that nothing flickers; elsewhere what is
/// new comes below what was, and what is as it was is not repeated.
pub(crate) async fn run(
    interval: Duration,
    show: impl AsyncFn() -> Result<String, CommandFailure>,
) -> Result<(), CommandFailure> {
    let on_terminal = std::io::stdout().is_terminal();
    if on_terminal {
        put_frame("", |_| ENTER.to_owned())?;
    }
    let ended = tokio::select! {
        ended = forever(interval, show, on_terminal) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    if on_terminal {
        put_frame("", |_| LEAVE.to_owned())?;
    }
    ended
}

async fn forever(
    interval: Duration,
    show: impl AsyncFn() -> Result<String, CommandFailure>,
    on_terminal: bool,
) -> Result<(), CommandFailure> {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before = None;
    loop {
        ticks.tick().await;
        let text = show().await?;
        if on_terminal {
            put_frame(&text, |text| frame(text, screen().1))?;
        } else if before.as_ref() != Some(&text) {
            put(&text)?;
            before = Some(text);
        }
    }
}

/// The top `height` lines of `text`, each written over the one that is there.
fn frame(text: &str, height: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut frame = "\x1b[H".to_owned();
    // The last line of the screen stays free, else the screen would scroll.
    for line in lines.iter().take(height.saturating_sub(1)) {
        frame.push_str(line);
        frame.push_str("\x1b[K\n");
    }
    frame + "\x1b[J"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(frame("a\nb\n", 10), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(frame("a\nb\nc\n", 3), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }

    #[test]
    fn intervals() {
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("1ms"), Err("at least 100ms".to_owned()));
        assert!(interval("soon").is_err());
    }
}
