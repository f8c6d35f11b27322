//! `relatum serve`: the engine alone, with Prometheus' own flags.

use std::sync::Arc;

use relatum_agent::log::LogRing;
use relatum_server::Start;
use relatum_server::flags::{Flags, IdleFeature, LogLevel};
use relatum_server::listen;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::failure::CommandFailure;
use crate::logging;

#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Prometheus' flags, such as --config.file=prometheus.yml
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAG")]
    flags: Vec<String>,
}

/// Runs until it is told to stop; SIGHUP reloads the configuration.
pub(crate) fn run(args: &Args) -> Result<(), CommandFailure> {
    if args.flags.iter().any(|flag| flag == "--help" || flag == "-h") {
        return crate::output::put(&Flags::help());
    }
    if args.flags.iter().any(|flag| flag == "--version") {
        return crate::output::put(concat!("relatum ", env!("CARGO_PKG_VERSION"), "\n"));
    }
    let flags = Flags::parse(&args.flags)
        .map_err(|error| CommandFailure::usage(error.to_string()).hint("`relatum serve --help` lists the flags"))?;
    let log = LogRing::default();
    log.set_level(match flags.log_level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
    });
    logging::start(&log);
    for flag in flags.without_effect.keys() {
        warn!(flag, "this flag has no effect here");
    }
    for (feature, reason) in flags.features_without_effect() {
        match reason {
            IdleFeature::Known => warn!(feature, "this feature has no effect here"),
            // Prometheus' words.
            IdleFeature::Unknown(meant) => warn!(feature, did_you_mean = meant, "Unknown option for --enable-feature"),
        }
    }
    logging::runtime()?.block_on(serve(flags))
}

async fn serve(flags: Flags) -> Result<(), CommandFailure> {
    let failed = |error: &dyn std::error::Error| CommandFailure::failed(relatum_server::chain(error));
    let signals = |kind| signal(kind).map_err(|error| failed(&error));
    // Who asks for another look at the configuration while the log is read must not end the process: the look comes afterwards.
    let mut hangup = signals(SignalKind::hangup())?;
    let start = Start::checked(flags).map_err(|error| CommandFailure::failed(error.to_string()))?;
    let mut listeners = Vec::new();
    for address in start.listen() {
        listeners.push(listen::bind(address).await.map_err(|error| CommandFailure::failed(error.to_string()))?);
    }
    let front = start.front();
    let (stop, _) = tokio::sync::watch::channel(false);
    let mut serving = tokio::task::JoinSet::new();
    for listener in listeners {
        if let Ok(address) = listener.local_addr() {
            info!(%address, tls = start.web().is_tls(), "listening");
        }
        let mut stopped = stop.subscribe();
        let shutdown = async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        serving.spawn(listen::serve(listener, start.router(), front.clone(), shutdown));
    }
    // On a thread of its own: what listens goes on meanwhile. Until it is done, a signal to stop ends the process as it stands.
    let opening = tokio::task::spawn_blocking(move || start.open()).await;
    let engine = opening.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    engine.reload().map_err(|error| CommandFailure::failed(error.to_string()))?;
    tokio::spawn(relatum_server::memory::keep_small());
    tokio::spawn(Arc::clone(&engine).reload_when_changed());
    let (mut terminate, mut interrupt) = (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                if let Err(error) = engine.reload() {
                    tracing::error!(%error, "the configuration was not reloaded; the last good one stays");
                }
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = engine.quit().cancelled() => break,
        }
    }
    info!("stopping");
    stop.send_replace(true);
    while serving.join_next().await.is_some() {}
    engine.close().await;
    Ok(())
}
