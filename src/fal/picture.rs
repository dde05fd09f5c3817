//! What a file is, by its first bytes: a server's word for it is not taken.

use bytes::Bytes;

use super::charge::Size;

/// A picture in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The file, byte for byte.
    pub bytes: Bytes,
    /// What it is.
    pub format: Format,
    /// Its size as the file itself says, where it could be read.
    pub size: Option<Size>,
}

/// The kinds of picture that browsers show and PocketBase makes thumbnails of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP.
    Webp,
    /// GIF.
    Gif,
}

impl Format {
    /// `image/png`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
            Self::Gif => "image/gif",
        }
    }

    /// `png`, without the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Webp => "webp",
            Self::Gif => "gif",
        }
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::Webp),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            _ => None,
        }
    }
}

impl Picture {
    /// Takes a file for a picture if it begins like one.
    pub(super) fn read(bytes: Bytes) -> Option<Self> {
        let format = Format::of(&bytes)?;
        let size = match format {
            Format::Png => png(&bytes),
            Format::Jpeg => jpeg(&bytes),
            Format::Webp => webp(&bytes),
            Format::Gif => gif(&bytes),
        };
        let size = size.filter(|size| size.width > 0 && size.height > 0);
        Some(Self { bytes, format, size })
    }
}

fn big16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

fn little16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

fn big32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn little24(bytes: &[u8], at: usize) -> Option<u32> {
    let [low, middle, high] = *bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes([low, middle, high, 0]))
}

/// The header chunk comes first (PNG, 11.2.1).
fn png(bytes: &[u8]) -> Option<Size> {
    (bytes.get(12..16)? == b"IHDR").then_some(())?;
    Some(Size { width: big32(bytes, 16)?, height: big32(bytes, 20)? })
}

/// The logical screen (GIF89a, 18).
fn gif(bytes: &[u8]) -> Option<Size> {
    Some(Size { width: little16(bytes, 6)?, height: little16(bytes, 8)? })
}

/// The first frame header, behind as many segments as it takes (ITU T.81, B.2).
fn jpeg(bytes: &[u8]) -> Option<Size> {
    let mut at = 2;
    loop {
        let marker = *bytes.get(at + 1).filter(|_| bytes.get(at) == Some(&0xff))?;
        match marker {
            // A filling byte, and markers that stand alone.
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                return Some(Size { width: big16(bytes, at + 7)?, height: big16(bytes, at + 5)? });
            }
            // Picture data: the frame should have come before it.
            0xd9 | 0xda => return None,
            _ => at += 2 + usize::try_from(big16(bytes, at + 2)?).ok()?,
        }
    }
}

/// Lossy, lossless or extended (RFC 9649, 2.5 to 2.7).
fn webp(bytes: &[u8]) -> Option<Size> {
    match bytes.get(12..16)? {
        b"VP8 " => Some(Size { width: little16(bytes, 26)? & 0x3fff, height: little16(bytes, 28)? & 0x3fff }),
        b"VP8L" => {
            let bits = u32::from_le_bytes(*bytes.get(21..)?.first_chunk()?);
            Some(Size { width: (bits & 0x3fff) + 1, height: (bits >> 14 & 0x3fff) + 1 })
        }
        b"VP8X" => Some(Size { width: little24(bytes, 24)? + 1, height: little24(bytes, 27)? + 1 }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, ImageEncoder};
    use proptest::prelude::*;

    use super::*;

    fn encoded(format: Format, width: u32, height: u32) -> Vec<u8> {
        let pixels = vec![7; (width * height * 3) as usize];
        let mut file = Vec::new();
        let written = match format {
            Format::Png => image::codecs::png::PngEncoder::new(&mut file).write_image(&pixels, width, height, ExtendedColorType::Rgb8),
            Format::Jpeg | Format::Webp | Format::Gif => {
                image::codecs::jpeg::JpegEncoder::new(&mut file).write_image(&pixels, width, height, ExtendedColorType::Rgb8)
            }
        };
        written.expect("a picture");
        file
    }

    fn size(width: u32, height: u32) -> Option<Size> {
        Some(Size { width, height })
    }

    #[test]
    fn a_picture_is_known_by_its_content_and_says_its_size() {
        for format in [Format::Png, Format::Jpeg] {
            let picture = Picture::read(encoded(format, 300, 20).into()).expect("a picture");
            assert_eq!((picture.format, picture.size), (format, size(300, 20)));
        }
        let gif = Picture::read(Bytes::from_static(b"GIF89a\x2c\x01\x14\x00rest")).expect("a picture");
        assert_eq!((gif.format, gif.size), (Format::Gif, size(300, 20)));
    }

    #[test]
    fn each_form_of_webp_says_its_size() {
        let file = |kind: &[u8], rest: &[u8]| Bytes::from([b"RIFF\0\0\0\0WEBP", kind, b"\0\0\0\0", rest].concat());
        let lossless = ((300_u32 - 1) | ((20 - 1) << 14)).to_le_bytes();
        for (what, file) in [
            ("lossy", file(b"VP8 ", b"\0\0\0\x9d\x01\x2a\x2c\x01\x14\x00")),
            ("lossless", file(b"VP8L", &[&[0x2f], &lossless[..]].concat())),
            ("extended", file(b"VP8X", b"\0\0\0\0\x2b\x01\x00\x13\x00\x00")),
        ] {
            let picture = Picture::read(file).expect("a picture");
            assert_eq!((picture.format, picture.size), (Format::Webp, size(300, 20)), "{what}");
        }
    }

    #[test]
    fn anything_else_is_no_picture() {
        for file in [&b""[..], b"<!doctype html>", b"<svg/>", b"\x89PNG", b"GIF85a", b"RIFF\0\0\0\0WAVE", b"%PDF-1.4", b"\xff\xd8"] {
            assert!(Picture::read(Bytes::copy_from_slice(file)).is_none());
        }
    }

    #[test]
    fn a_head_that_ends_early_or_lies_has_no_size() {
        let file = encoded(Format::Jpeg, 300, 20);
        let cut = Picture::read(Bytes::copy_from_slice(&file[..10])).expect("a beginning");
        assert_eq!(cut.size, None);
        let none = Picture::read(Bytes::from_static(b"GIF89a\0\0\0\0")).expect("a beginning");
        assert_eq!(none.size, None);
    }

    proptest! {
        #[test]
        fn no_file_is_a_panic(start in 0_usize..4, rest in proptest::collection::vec(any::<u8>(), 0..400)) {
            let starts: [&[u8]; 4] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8 ", b"GIF89a"];
            let _ = Picture::read([starts[start], &rest].concat().into());
        }
    }
}
