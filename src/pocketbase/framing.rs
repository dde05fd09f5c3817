//! Where the body of an answer ends (RFC 9112, 6 and 7).

use bytes::{Buf, Bytes};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// PocketBase sent something that is not HTTP as we understand it.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// In a head, or in trailers.
    #[error("a head cannot be read")]
    Head(#[source] httparse::Error),
    /// Anywhere else.
    #[error("{0}")]
    Other(&'static str),
}

/// How the end of a body is known, and what of it is still to come.
#[derive(Debug)]
pub(super) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks, each with its length.
    Chunked(Chunked),
    /// All that comes until the connection ends.
    UntilClose,
}

/// A piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

/// Which byte of a chunked body comes next.
#[derive(Debug)]
pub(super) enum Chunked {
    /// A digit of a chunk's size, or what ends it. Nothing has come yet if there is no size.
    Size(Option<u64>),
    /// One of a chunk extension, which is skipped.
    Extension { size: u64, skipped: usize },
    /// The line feed after a chunk's size.
    SizeEnd(u64),
    /// One of so many of data.
    Data(u64),
    /// The carriage return after a chunk's data.
    DataReturn,
    /// The line feed after that.
    DataFeed,
    /// One of the trailers, which end with an empty line.
    Trailers(Vec<u8>),
    /// None.
    Over,
}

/// More than any extension or trailers that make sense.
const LONGEST_EXTENSION: usize = 16 * 1024;
const LONGEST_TRAILERS: usize = 16 * 1024;
const MOST_TRAILERS: usize = 64;

impl Framing {
    /// Chunks of which nothing has come.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunked::Size(None))
    }

    /// Whether nothing more belongs to the body.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked::Over))
    }

    /// How many bytes are still to come, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(Chunked::Over) => Some(0),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Takes the next piece off what has arrived; none if more has to arrive first.
    pub(super) fn take(&mut self, arrived: &mut Bytes) -> Result<Option<Piece>, Malformed> {
        match self {
            Self::Length(0) => Ok(Some(Piece::End)),
            Self::Length(left) => Ok(data(arrived, left)),
            Self::Chunked(chunked) => chunked.take(arrived),
            Self::UntilClose => Ok(data(arrived, &mut u64::MAX.clone())),
        }
    }
}

/// As many of `left` bytes as there are.
fn data(arrived: &mut Bytes, left: &mut u64) -> Option<Piece> {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(arrived.len());
    *left -= length as u64;
    (length > 0).then(|| Piece::Data(arrived.split_to(length)))
}

impl Chunked {
    fn take(&mut self, arrived: &mut Bytes) -> Result<Option<Piece>, Malformed> {
        loop {
            match self {
                Self::Over => return Ok(Some(Piece::End)),
                Self::Data(0) => *self = Self::DataReturn,
                Self::Data(left) => return Ok(data(arrived, left)),
                Self::Size(_) | Self::Extension { .. } | Self::SizeEnd(_) | Self::DataReturn | Self::DataFeed | Self::Trailers(_) => {
                    let Some(byte) = arrived.first().copied() else { return Ok(None) };
                    arrived.advance(1);
                    if let Some(trailers) = self.step(byte)? {
                        return Ok(Some(Piece::Trailers(trailers)));
                    }
                }
            }
        }
    }

    /// One byte that is not data. There are trailers if it was the last one of some.
    fn step(&mut self, byte: u8) -> Result<Option<HeaderMap>, Malformed> {
        *self = match (&mut *self, byte) {
            (Self::Size(Some(size)), b'\r') => Self::SizeEnd(*size),
            (Self::Size(Some(size)), b';' | b' ' | b'\t') => Self::Extension { size: *size, skipped: 0 },
            (Self::Size(size), digit) => Self::Size(Some(add_digit(size.unwrap_or(0), digit)?)),
            (Self::Extension { size, .. }, b'\r') => Self::SizeEnd(*size),
            (Self::Extension { size, skipped }, byte) if byte != b'\n' && *skipped < LONGEST_EXTENSION => {
                Self::Extension { size: *size, skipped: *skipped + 1 }
            }
            (Self::SizeEnd(0), b'\n') => Self::Trailers(Vec::new()),
            (Self::SizeEnd(size), b'\n') => Self::Data(*size),
            (Self::DataReturn, b'\r') => Self::DataFeed,
            (Self::DataFeed, b'\n') => Self::Size(None),
            (Self::Trailers(lines), byte) => {
                lines.push(byte);
                if lines == b"\r\n" {
                    Self::Over
                } else if lines.ends_with(b"\r\n\r\n") {
                    let trailers = read_trailers(lines)?;
                    *self = Self::Over;
                    return Ok(Some(trailers));
                } else if lines.len() < LONGEST_TRAILERS {
                    return Ok(None);
                } else {
                    return Err(Malformed::Other("the trailers are too long"));
                }
            }
            (Self::Extension { .. } | Self::SizeEnd(_) | Self::DataReturn | Self::DataFeed | Self::Data(_) | Self::Over, _) => {
                return Err(Malformed::Other("a chunk cannot be read"));
            }
        };
        Ok(None)
    }
}

fn add_digit(size: u64, digit: u8) -> Result<u64, Malformed> {
    let digit = char::from(digit).to_digit(16).ok_or(Malformed::Other("the size of a chunk cannot be read"))?;
    size.checked_mul(16).map(|size| size + u64::from(digit)).ok_or(Malformed::Other("a chunk is too large"))
}

fn read_trailers(lines: &[u8]) -> Result<HeaderMap, Malformed> {
    let mut room = [httparse::EMPTY_HEADER; MOST_TRAILERS];
    let httparse::Status::Complete((_, found)) = httparse::parse_headers(lines, &mut room).map_err(Malformed::Head)? else {
        return Err(Malformed::Other("the trailers cannot be read"));
    };
    let unreadable = || Malformed::Other("a trailer cannot be read");
    let mut trailers = HeaderMap::with_capacity(found.len());
    for header in found {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| unreadable())?;
        trailers.append(name, HeaderValue::from_bytes(header.value).map_err(|_| unreadable())?);
    }
    Ok(trailers)
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
