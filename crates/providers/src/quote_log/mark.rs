//! The file `acknowledged`: the last position that `append` answered for, and a CRC-32 of it.
//!
//! It is written after every sync of the records and is never synced itself: it survives the death of the process, and
//! after a loss of power it may lie behind the log, never before it. So a log that ends before it has lost something, and
//! a reader in another process that stops at it sees nothing that could still be taken back.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::record::number;
use super::segment::fill;
use super::{QuoteLogError, io_error};

const NAME: &str = "acknowledged";
const LENGTH: usize = 12;

/// Opens it to be written, without changing it.
pub(super) fn open(directory: &Path) -> Result<File, QuoteLogError> {
    let path = directory.join(NAME);
    let options = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    options.map_err(io_error("opening", &path))
}

pub(super) fn write(file: &mut File, position: u64) -> io::Result<()> {
    let mut bytes = position.to_le_bytes().to_vec();
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&bytes)
}

/// The position; nothing if an earlier release wrote the log, or if a loss of power took the mark.
pub(super) fn read(directory: &Path) -> Result<Option<u64>, QuoteLogError> {
    let path = directory.join(NAME);
    // A writer may be in the middle of it: what cannot be read is read once more.
    for _ in 0..2 {
        let mut bytes = [0; LENGTH];
        let filled = match File::open(&path).and_then(|mut file| fill(&mut file, &mut bytes)) {
            Ok(filled) => filled,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("reading", &path)(error)),
        };
        let (position, sum) = bytes.split_at(8);
        if filled == LENGTH && crc32fast::hash(position).to_le_bytes() == *sum {
            return Ok(number(position, 0));
        }
    }
    Ok(None)
}
