//! The log of the long-running commands: to stderr, and into the ring that `debug-log` reads.

use relatum_agent::log::LogRing;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging; `ring` decides what is shown, and may change its mind later.
pub(crate) fn start(ring: &LogRing) {
    let shown = ring.clone();
    let printer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never)
        .with_filter(filter_fn(move |metadata| shown.allows(metadata)));
    tracing_subscriber::registry().with(printer).with(ring.layer()).init();
}

/// Starts logging with only errors on stderr; `ring` keeps the rest.
pub(crate) fn start_quiet(ring: &LogRing) {
    let printer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_filter(tracing_subscriber::filter::LevelFilter::ERROR);
    tracing_subscriber::registry().with(printer).with(ring.layer()).init();
}

/// So many threads at most do what blocks. A thousand targets that begin at once would else be hundreds of threads, each with its
/// part of the memory.
const BLOCKING_THREADS_MAX: usize = 64;

/// The threads of a long-running command.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, crate::failure::CommandFailure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .map_err(|error| crate::failure::CommandFailure::failed(format!("cannot start threads: {error}")))
}
