//! The files that hold the chunks of a block, and the chunks in them.

use std::io;
use std::path::{Path, PathBuf};

use relatum_model::{Sample, Samples};

use super::bytes::{Reader, put_uvarint};
use super::index::ChunkPlace;
use super::{Damage, histograms, wire, xor};
use crate::fs::{AppendFile, Fs, MappedFile};

const MAGIC: u32 = 0x85BD_40DD;
const HEADER_BYTES: usize = 8;
/// A file does not grow longer than Prometheus lets it.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// What the samples of one chunk in a file may take in memory; those of Prometheus take a hundredth at most.
pub(super) const CHUNK_MEMORY_MAX: usize = 256 << 20;

pub(super) const XOR: u8 = 1;
pub(super) const HISTOGRAM: u8 = 2;
pub(super) const FLOAT_HISTOGRAM: u8 = 3;
const XOR2: u8 = 4;
const HISTOGRAM_STARTS: u8 = 5;
const FLOAT_HISTOGRAM_STARTS: u8 = 6;

/// Adds the samples of a chunk. They may take `bytes_left` of memory, from which goes what they take.
pub(super) fn decode(encoding: u8, data: &[u8], bytes_left: &mut usize, samples: &mut Samples) -> Result<(), Damage> {
    let is_float = matches!(encoding, FLOAT_HISTOGRAM | FLOAT_HISTOGRAM_STARTS);
    let has_starts = matches!(encoding, HISTOGRAM_STARTS | FLOAT_HISTOGRAM_STARTS);
    let n_floats = samples.timestamps.len();
    match encoding {
        XOR => xor::decode(data, |t_ms, value| samples.push(t_ms, value))?,
        XOR2 => xor::decode2(data, |t_ms, value| samples.push(t_ms, value))?,
        HISTOGRAM..=FLOAT_HISTOGRAM | HISTOGRAM_STARTS..=FLOAT_HISTOGRAM_STARTS => {
            histograms::decode(data, is_float, has_starts, bytes_left, |sample| samples.histograms.push(sample))?;
        }
        _ => return Err(Damage("unknown encoding of a chunk")),
    }
    // Of floats a chunk has no more than a megabyte.
    super::take_memory(bytes_left, (samples.timestamps.len() - n_floats) * size_of::<Sample>())
}

/// The chunks of a block, to read.
pub(super) struct ChunkFiles {
    files: Vec<MappedFile>,
}

impl ChunkFiles {
    /// Opens the files in `dir`, which are numbered from 1.
    pub(super) fn open(fs: &dyn Fs, dir: &Path) -> io::Result<Self> {
        let mut names: Vec<String> = fs.list(dir)?;
        names.retain(|name| name.len() == 6 && name.bytes().all(|byte| byte.is_ascii_digit()));
        names.sort_unstable();
        let files = names.iter().map(|name| fs.map(&dir.join(name))).collect::<io::Result<Vec<_>>>()?;
        Ok(ChunkFiles { files })
    }

    /// Adds the samples of the chunk at `place`.
    pub(super) fn read(&self, place: ChunkPlace, samples: &mut Samples) -> Result<(), Damage> {
        let file = self.files.get(place.file as usize).ok_or(Damage("a file of chunks is missing"))?;
        let bytes = (**file).as_ref();
        if Reader::new(bytes).u32()? != MAGIC {
            return Err(Damage("a file of chunks is none of Prometheus"));
        }
        let mut reader = Reader::new(bytes.get(place.offset as usize..).ok_or(Damage("a chunk lies behind the end"))?);
        let length = reader.count()?;
        let body = reader.bytes(length + 1)?;
        if crc32c::crc32c(body) != reader.u32()? {
            return Err(Damage("a chunk is damaged"));
        }
        decode(body[0], &body[1..], &mut { CHUNK_MEMORY_MAX }, samples)
    }
}

/// The chunks of a block, as they are written.
pub(super) struct ChunkWriter<'f> {
    fs: &'f dyn Fs,
    dir: PathBuf,
    file: Option<Box<dyn AppendFile>>,
    // How many files there are, and how long the last one is, with what is not written yet.
    n_files: u32,
    at: u64,
    buffer: Vec<u8>,
}

impl<'f> ChunkWriter<'f> {
    pub(super) fn new(fs: &'f dyn Fs, dir: PathBuf) -> io::Result<Self> {
        fs.create_dir(&dir)?;
        Ok(ChunkWriter { fs, dir, file: None, n_files: 0, at: 0, buffer: Vec::new() })
    }

    /// Writes the samples of a series as chunks; returns where they are, by time.
    pub(super) fn series(&mut self, samples: &Samples) -> io::Result<Vec<ChunkPlace>> {
        let pieces = wire::encode_chunks(samples);
        let mut places = Vec::with_capacity(pieces.len());
        for wire::EncodedChunk { min_ms, max_ms, encoding, data } in pieces {
            let (file, offset) = self.chunk(encoding, &data)?;
            places.push(ChunkPlace { min_ms, max_ms, file, offset });
        }
        Ok(places)
    }

    fn chunk(&mut self, encoding: u8, data: &[u8]) -> io::Result<(u32, u32)> {
        if self.file.is_none() || self.at + data.len() as u64 + 16 > FILE_BYTES_MAX {
            self.end_file()?;
            self.n_files += 1;
            self.file = Some(self.fs.create(&self.dir.join(format!("{:06}", self.n_files)))?);
            self.buffer.extend_from_slice(&MAGIC.to_be_bytes());
            self.buffer.extend_from_slice(&[1, 0, 0, 0]);
            self.at = HEADER_BYTES as u64;
        }
        let place = (self.n_files - 1, self.at as u32);
        let before = self.buffer.len();
        put_uvarint(&mut self.buffer, data.len() as u64);
        let body = self.buffer.len();
        self.buffer.push(encoding);
        self.buffer.extend_from_slice(data);
        let sum = crc32c::crc32c(&self.buffer[body..]);
        self.buffer.extend_from_slice(&sum.to_be_bytes());
        self.at += (self.buffer.len() - before) as u64;
        if self.buffer.len() > 1 << 20 {
            self.flush()?;
        }
        Ok(place)
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.append(&self.buffer)?;
        }
        self.buffer.clear();
        Ok(())
    }

    fn end_file(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.take().map_or(Ok(()), |file| file.sync())
    }

    /// Makes everything durable.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.end_file()?;
        self.fs.sync_dir(&self.dir)
    }
}
