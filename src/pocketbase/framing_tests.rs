//! Bodies in whatever pieces they arrive.

use proptest::prelude::*;

use super::*;

/// What a body that arrives in these pieces holds: its data and its trailers.
fn read(mut framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, Option<HeaderMap>, bool), Malformed> {
    let (mut content, mut trailers) = (Vec::new(), None);
    let mut arrived = Bytes::new();
    for piece in pieces {
        arrived = Bytes::from([&arrived[..], piece].concat());
        loop {
            match framing.take(&mut arrived)? {
                None => break,
                Some(Piece::Data(data)) => content.extend_from_slice(&data),
                Some(Piece::Trailers(map)) => trailers = Some(map),
                Some(Piece::End) => return Ok((content, trailers, arrived.is_empty())),
            }
        }
        assert!(arrived.is_empty(), "bytes are left, and yet more are wanted");
    }
    Ok((content, trailers, false))
}

/// `bytes` cut at these places.
fn cut<'a>(bytes: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn chunks_hold_the_same_however_they_arrive(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
        places in proptest::collection::vec(any::<usize>(), 0..40),
        extension in "(;[a-z]{1,5}(=[a-z0-9]{1,5})?)?",
        trailer in proptest::option::of("[a-z]{1,9}"),
    ) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            bytes.extend(format!("{:X}{extension}\r\n", chunk.len()).into_bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n");
        bytes.extend(trailer.iter().flat_map(|value| format!("X-Sum: {value}\r\n").into_bytes()));
        bytes.extend(b"\r\n");
        let (content, trailers, ended) = read(Framing::chunked(), &cut(&bytes, &places)).expect("a body");
        prop_assert!(ended);
        prop_assert_eq!(content, chunks.concat());
        let found = trailers.and_then(|map| map.get("x-sum").and_then(|value| value.to_str().ok().map(str::to_owned)));
        prop_assert_eq!(found, trailer);
    }

    #[test]
    fn whatever_comes_is_read_without_a_panic_and_never_twice(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut framing = Framing::chunked();
        let mut arrived = Bytes::from(bytes.clone());
        let mut held = 0;
        while let Ok(Some(piece)) = framing.take(&mut arrived) {
            match piece {
                Piece::Data(data) => held += data.len(),
                Piece::Trailers(_) => {}
                Piece::End => break,
            }
        }
        prop_assert!(held + arrived.len() <= bytes.len());
    }
}

#[test]
fn what_is_no_chunk_is_refused() {
    for bytes in [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "0x5\r\nabcde\r\n",
        " 5\r\nabcde\r\n",
        ";a\r\n",
        "5\nabcde\r\n",
        "5;a\nabcde\r\n",
        "5\r\nabcdef\r\n",
        "5\r\nabcde\n",
        "10000000000000000\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\n: a\r\n\r\n",
        "0\r\na\x01: b\r\n\r\n",
    ] {
        assert!(read(Framing::chunked(), &[bytes.as_bytes()]).is_err(), "{bytes:?}");
    }
    assert!(read(Framing::chunked(), &[b"5;", "x".repeat(20_000).as_bytes()]).is_err(), "an extension has a bound");
    assert!(read(Framing::chunked(), &[b"0\r\na: ", "x".repeat(20_000).as_bytes()]).is_err(), "trailers have one");
}

#[test]
fn a_length_takes_that_much_and_leaves_the_rest() {
    let mut arrived = Bytes::from_static(b"abcdef");
    let mut framing = Framing::Length(4);
    assert_eq!(framing.take(&mut arrived).expect("data"), Some(Piece::Data(Bytes::from_static(b"abcd"))));
    assert!(framing.is_over());
    assert_eq!(framing.take(&mut arrived).expect("the end"), Some(Piece::End));
    assert_eq!(arrived, "ef");
}
