//! A reader of the part of CBOR (RFC 8949) that authenticators write: definite lengths, in the shortest form not demanded.
//!
//! [`Reader`] returns one value after the other. `skip` reads at most 8 levels. A string longer than the rest, or more entries
//! than there are bytes for, is malformed.

use super::error::PasskeyError;

/// The deepest nesting that is read. An attestation statement has two levels below its map.
const DEPTH_LIMIT: usize = 8;

/// A key of a map: those of COSE are numbers, those of an attestation object are texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// A number.
    Number(i64),
    /// A text.
    Text(&'a str),
}

/// The kind and the argument of a value's head.
struct Head {
    kind: u8,
    argument: u64,
}

/// Reads values from bytes.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Returns the number of bytes that were read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], PasskeyError> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or(PasskeyError::Malformed)?;
        self.at += taken.len();
        Ok(taken)
    }

    fn head(&mut self) -> Result<Head, PasskeyError> {
        let first = self.take(1)?[0];
        let argument = match first & 0x1f {
            short @ 0..24 => u64::from(short),
            long @ 24..28 => self.take(1 << (long - 24))?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
            _ => return Err(PasskeyError::Malformed),
        };
        Ok(Head { kind: first >> 5, argument })
    }

    /// Reads the head of a map, and returns the number of its entries.
    pub(super) fn map(&mut self) -> Result<u64, PasskeyError> {
        match self.head()? {
            Head { kind: 5, argument } => Ok(argument),
            _ => Err(PasskeyError::Malformed),
        }
    }

    /// Reads a key of a map.
    pub(super) fn key(&mut self) -> Result<Key<'a>, PasskeyError> {
        let head = self.head()?;
        match head.kind {
            0 | 1 => to_number(&head).map(Key::Number),
            3 => std::str::from_utf8(self.take(head.argument)?).map(Key::Text).map_err(|_| PasskeyError::Malformed),
            _ => Err(PasskeyError::Malformed),
        }
    }

    /// Reads a number.
    pub(super) fn number(&mut self) -> Result<i64, PasskeyError> {
        to_number(&self.head()?)
    }

    /// Reads a string of bytes.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], PasskeyError> {
        match self.head()? {
            Head { kind: 2, argument } => self.take(argument),
            _ => Err(PasskeyError::Malformed),
        }
    }

    /// Reads a value of any kind, and forgets it.
    pub(super) fn skip(&mut self) -> Result<(), PasskeyError> {
        self.skip_within(DEPTH_LIMIT)
    }

    fn skip_within(&mut self, depth: usize) -> Result<(), PasskeyError> {
        let Some(below) = depth.checked_sub(1) else { return Err(PasskeyError::Malformed) };
        let head = self.head()?;
        let values = match head.kind {
            2 | 3 => {
                self.take(head.argument)?;
                0
            }
            4 => head.argument,
            5 => head.argument.checked_mul(2).ok_or(PasskeyError::Malformed)?,
            6 => 1,
            _ => 0,
        };
        // Each value has at least one byte, so a number that is too large ends with the bytes.
        for _ in 0..values {
            self.skip_within(below)?;
        }
        Ok(())
    }
}

fn to_number(head: &Head) -> Result<i64, PasskeyError> {
    let value = i64::try_from(head.argument).map_err(|_| PasskeyError::Malformed)?;
    match head.kind {
        0 => Ok(value),
        1 => Ok(-1 - value),
        _ => Err(PasskeyError::Malformed),
    }
}
