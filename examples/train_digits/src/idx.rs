//! Reads IDX, the format of the MNIST files, and says plainly what is wrong with a bad one.
//!
//! A file is two zero bytes, the type of its elements, the number of its dimensions, each
//! dimension as a big-endian u32, and then the elements. Only unsigned bytes are read here:
//! images and labels have no other type.

use std::io;
use std::path::{Path, PathBuf};

/// The type code of unsigned bytes.
const UNSIGNED_BYTE: u8 = 8;

/// What a gzip file starts with: MNIST is handed out packed.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdxError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: packed with gzip: unpack it first (gunzip)", path.display())]
    Packed { path: PathBuf },
    #[error("{}: not an IDX file: it starts with {found:02x?}, IDX with [00, 00]", path.display())]
    Magic { path: PathBuf, found: Vec<u8> },
    #[error(
        "{}: elements of type 0x{found:02x}: images and labels are unsigned bytes (0x08)",
        path.display()
    )]
    Type { path: PathBuf, found: u8 },
    #[error("{}: {found} dimensions: expected {expected}", path.display())]
    Dimensions { path: PathBuf, found: usize, expected: usize },
    #[error("{}: cut off: {found} bytes, the header asks for {expected}", path.display())]
    Truncated { path: PathBuf, found: usize, expected: u128 },
    #[error("{}: too long: {found} bytes, the header asks for {expected}", path.display())]
    TooLong { path: PathBuf, found: usize, expected: u128 },
}

/// An array of bytes with `AXES` dimensions, outermost first.
#[derive(Debug)]
pub(crate) struct Idx<const AXES: usize> {
    pub(crate) dims: [usize; AXES],
    pub(crate) data: Vec<u8>,
}

impl<const AXES: usize> Idx<AXES> {
    /// Reads the file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, IdxError> {
        let bytes =
            std::fs::read(path).map_err(|source| IdxError::Io { path: path.to_owned(), source })?;
        Self::parse(path, bytes)
    }

    /// Takes the file's bytes apart; `path` is for the errors.
    fn parse(path: &Path, mut bytes: Vec<u8>) -> Result<Self, IdxError> {
        let path = || path.to_owned();
        let found = bytes.len();
        if bytes.starts_with(&GZIP) {
            return Err(IdxError::Packed { path: path() });
        }
        let start = &bytes[..found.min(2)];
        if !start.iter().all(|&byte| byte == 0) {
            return Err(IdxError::Magic { path: path(), found: start.to_vec() });
        }
        let header = 4 + 4 * AXES;
        let truncated = |expected| IdxError::Truncated { path: path(), found, expected };
        let Some(&[_, _, element, axes]) = bytes.first_chunk::<4>() else {
            return Err(truncated(header as u128));
        };
        if element != UNSIGNED_BYTE {
            return Err(IdxError::Type { path: path(), found: element });
        }
        if usize::from(axes) != AXES {
            let found = axes.into();
            return Err(IdxError::Dimensions { path: path(), found, expected: AXES });
        }
        let Some(sizes) = bytes.get(4..header) else {
            return Err(truncated(header as u128));
        };
        let mut dims = [0; AXES];
        let (sizes, _) = sizes.as_chunks::<4>();
        for (dim, &size) in dims.iter_mut().zip(sizes) {
            *dim = u32::from_be_bytes(size) as usize;
        }
        // At most three sizes of 32 bits each: their product fits 128.
        let expected = header as u128 + dims.iter().map(|&dim| dim as u128).product::<u128>();
        match (found as u128).cmp(&expected) {
            std::cmp::Ordering::Less => Err(truncated(expected)),
            std::cmp::Ordering::Greater => Err(IdxError::TooLong { path: path(), found, expected }),
            std::cmp::Ordering::Equal => Ok(Self { dims, data: bytes.split_off(header) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two images of 1x3 pixels.
    const GOOD: [u8; 22] = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 10, 20, 30, 40, 50, 60];

    fn parse(bytes: &[u8]) -> Result<Idx<3>, IdxError> {
        Idx::parse(Path::new("file"), bytes.to_vec())
    }

    fn message(bytes: &[u8]) -> String {
        parse(bytes).expect_err("a bad file").to_string()
    }

    /// A good file with one byte changed.
    fn with(at: usize, byte: u8) -> [u8; 22] {
        let mut bytes = GOOD;
        bytes[at] = byte;
        bytes
    }

    #[test]
    fn a_good_file() {
        let idx = parse(&GOOD).expect("a good file");
        assert_eq!((idx.dims, &idx.data[..]), ([2, 1, 3], &[10, 20, 30, 40, 50, 60][..]));
    }

    #[test]
    fn every_truncation_says_so() {
        for len in 0..GOOD.len() {
            assert!(matches!(parse(&GOOD[..len]), Err(IdxError::Truncated { .. })), "{len}");
        }
        let expected = "file: cut off: 21 bytes, the header asks for 22";
        assert_eq!(message(&GOOD[..21]), expected);
    }

    #[test]
    fn other_files_say_what_they_are() {
        let expected = "file: not an IDX file: it starts with [50, 4b], IDX with [00, 00]";
        assert_eq!(message(b"PK\x03\x04"), expected);
        let expected = "file: packed with gzip: unpack it first (gunzip)";
        assert_eq!(message(&[0x1f, 0x8b, 8, 0]), expected);
        let expected = "file: elements of type 0x0d: images and labels are unsigned bytes (0x08)";
        assert_eq!(message(&with(2, 0x0d)), expected);
        assert_eq!(message(&with(3, 1)), "file: 1 dimensions: expected 3");
        let expected = "file: too long: 22 bytes, the header asks for 19";
        assert_eq!(message(&with(7, 1)), expected);
    }

    #[test]
    fn sizes_beyond_memory_are_only_numbers() {
        let mut bytes = GOOD;
        bytes[4..16].fill(0xff);
        assert!(matches!(parse(&bytes), Err(IdxError::Truncated { .. })));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Idx::<1>::read(Path::new("no/such/file")).expect_err("no such file");
        assert!(error.to_string().starts_with("no/such/file: "), "{error}");
    }
}
