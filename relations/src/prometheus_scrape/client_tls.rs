//! Whether the certificates and keys in a job are any good. Only whoever connects can tell, and that is not this crate.

use relatum_config::prometheus::TlsConfig;

/// Says whether a connection can be made with this, whose certificates and key stand in it as texts.
pub type Check = fn(&TlsConfig) -> Result<(), Fault>;

/// Why none can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key of `tls_config` at fault; empty when it is not one alone. `ca`, `cert` and `key` stand for those that end in `_file`, too.
    pub key: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// Takes whatever there is, as the charm does.
pub fn accept(_: &TlsConfig) -> Result<(), Fault> {
    Ok(())
}
