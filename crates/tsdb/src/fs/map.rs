//! Files as memory: the one place with `unsafe` code.

use std::fs::File;
use std::io;
use std::path::Path;

use super::MappedFile;

/// Maps the whole of a file to read.
pub(super) fn map(path: &Path) -> io::Result<MappedFile> {
    let file = File::open(path)?;
    #[expect(unsafe_code, reason = "a map of a file is memory that another process could change")]
    // SAFETY: a map is sound as long as nobody changes or shortens the file while it is there. Only files that are never
    // written again are mapped: blocks get their name in the catalog after their last byte, are removed as a whole, and a
    // removed file lives on until its last map is gone. The directory belongs to the store, whose lock keeps a second store
    // out. A stranger who writes into it all the same can only change bytes: the slice is read as plain bytes, each use of
    // which is bounds-checked, and no reference into it outlives the map.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok(std::sync::Arc::new(map))
}
