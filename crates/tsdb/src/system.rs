//! What the machine gives and takes: files as memory, memory that is needed soon, and memory that is not needed any more. The one
//! place with `unsafe` code.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::fs::MappedFile;

/// Maps the whole of a file to read.
pub(crate) fn map(path: &Path) -> io::Result<MappedFile> {
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

/// Asks for `value` to be near when it is looked at a little later: a series that was not touched since the last scrape is far
/// away, and waiting for it costs as much as all the rest of a sample.
#[inline]
pub(crate) fn expect_use_of<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const LINE_BYTES: usize = 64;
        let begin = std::ptr::from_ref(value).cast::<i8>();
        // The last byte may lie in one line more than the length alone takes.
        let last = size_of::<T>().saturating_sub(1);
        for offset in (0..last).step_by(LINE_BYTES).chain([last]) {
            #[expect(unsafe_code, reason = "the instruction takes a bare address")]
            // SAFETY: the instruction is a hint: it changes nothing a program can see and cannot fail, whatever the address; it
            // is part of every processor of this architecture. The address lies inside `value` all the same.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(begin.wrapping_add(offset));
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Gives freed memory back to the system.
///
/// The allocator keeps it as long as something lies behind it. After a cut or a merge that is nearly all that was freed: chunks
/// lie between series, which stay.
pub fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "the function is the C library's")]
        unsafe extern "C" {
            /// `malloc_trim(3)`.
            safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY of the declaration above: the name and the types are those of the C library that this target links, which is
        // the allocator as well. The function takes a number, touches only memory that is free, and locks what it touches.
        malloc_trim(0);
    }
}

/// Gives back the memory that this program's own code takes up. What is used again comes back at once from the file, which the
/// system keeps as long as it has room.
///
/// The system brings in sixteen pages around each one that is used, so most of what a start or a rare request leaves was never used.
pub fn give_code_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::{c_int, c_void};

        /// `MADV_DONTNEED` of `madvise(2)`.
        const DONT_NEED: c_int = 4;
        #[expect(unsafe_code, reason = "the function is the C library's")]
        unsafe extern "C" {
            /// `madvise(2)`.
            fn madvise(address: *mut c_void, bytes: usize, advice: c_int) -> c_int;
        }
        let Ok(program) = std::env::current_exe() else { return };
        let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else { return };
        for span in unchanged_code(&maps, &program.to_string_lossy()) {
            #[expect(unsafe_code, reason = "the function takes a bare address")]
            // SAFETY: the declaration has the name and the types of the C library that this target links. The span is one whole map
            // of the running program, which may be read and executed and not written, and of which no page differs from the
            // file. So its pages can go at any time, as they do by themselves when memory is short: the next use finds the same bytes
            // in the file, which nobody can write while it runs. A failure changes nothing.
            unsafe {
                madvise(std::ptr::without_provenance_mut(span.start), span.len(), DONT_NEED);
            }
        }
    }
}

/// Where `maps`, a text of `/proc/self/smaps`, has code of `program` that nobody has changed in memory, as a debugger does.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn unchanged_code(maps: &str, program: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut code = None;
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some((start, end)) = first.split_once('-') {
            let span = usize::from_str_radix(start, 16).ok().zip(usize::from_str_radix(end, 16).ok());
            let is_code = words.next() == Some("r-xp") && line.ends_with(program);
            code = span.filter(|_| is_code).map(|(start, end)| start..end);
        } else if first == "Anonymous:" && words.next() == Some("0") {
            found.extend(code.take());
        }
    }
    found
}

/// Has the threads share twice as many heaps as there are cores; to be called before there are threads.
///
/// The allocator makes eight times as many, and every one of them keeps what was freed in it from the others. With one for each core
/// two threads that work at the same time often have the same one, and wait for each other at every turn.
pub fn share_heaps() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::c_int;

        /// `M_ARENA_MAX` of `mallopt(3)`.
        const ARENAS_MAX: c_int = -8;
        #[expect(unsafe_code, reason = "the function is the C library's")]
        unsafe extern "C" {
            /// `mallopt(3)`.
            safe fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
        // SAFETY of the declaration above: as of `malloc_trim`; the function takes two numbers and sets an option under its own lock.
        mallopt(ARENAS_MAX, c_int::try_from(2 * n_cores).unwrap_or(c_int::MAX));
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn code_that_may_go() {
        let map = |span: &str, rights: &str, name: &str, changed: u32| {
            format!(
                "{span} {rights} 00774000 fe:00 10068643    {name}\nSize:   12 kB\nAnonymous:    {changed} kB\nVmFlags: rd ex\n"
            )
        };
        let rows = [
            (map("1000-3000", "r-xp", "/bin/p", 0), Some(0x1000..0x3000)),
            (map("1000-3000", "r--p", "/bin/p", 0), None),
            (map("1000-3000", "rwxp", "/bin/p", 0), None),
            (map("1000-3000", "r-xp", "/lib/c.so", 0), None),
            // Somebody set a breakpoint.
            (map("1000-3000", "r-xp", "/bin/p", 4), None),
            (map("1000-3000", "r-xp", "/bin/p", 4) + &map("5000-6000", "r--p", "/bin/p", 0), None),
            (String::new(), None),
            ("x-y r-xp 0 0 0 /bin/p\nAnonymous: 0 kB\n".to_owned(), None),
        ];
        for (text, expected) in rows {
            assert_eq!(unchanged_code(&text, "/bin/p"), Vec::from_iter(expected), "{text}");
        }
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let own = unchanged_code(&maps, &std::env::current_exe().unwrap().to_string_lossy());
        let here = unchanged_code as fn(&str, &str) -> Vec<std::ops::Range<usize>> as usize;
        assert!(own.iter().any(|span| span.contains(&here)), "{own:?} is not where the code is, {here:x}");
        // It goes on.
        give_code_back();
        assert!(unchanged_code("", "").is_empty());
    }
}
