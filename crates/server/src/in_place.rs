//! Work that blocks, on the thread that has the request.
//!
//! Another thread takes over what else this one would do, so nobody waits, and the request itself need not wait for two threads to wake:
//! on a machine that is not busy that takes longer than most requests. The task hears nothing meanwhile, not even that its client is
//! gone, so this is for work that ends soon or that nobody may break off.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does `work`, which may block. Must be called inside a runtime.
pub(crate) fn in_place<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        // There is no other thread.
        RuntimeFlavor::CurrentThread => work(),
        _ => tokio::task::block_in_place(work),
    }
}
