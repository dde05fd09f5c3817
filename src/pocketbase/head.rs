//! The head of an answer.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes};
use hyper::StatusCode;
use hyper::ext::ReasonPhrase;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};

use parking_lot::Mutex;

use super::framing::{Framing, Malformed};
use super::known::KnownHeads;

/// As many as hyper reads of a client's.
const MOST_HEADERS: usize = 100;

/// What PocketBase said before the body.
#[derive(Debug)]
pub(super) enum Head {
    /// Something in between; the answer is still to come.
    Interim(StatusCode),
    Answer(AnswerHead),
}

#[derive(Debug)]
pub(super) struct AnswerHead {
    pub(super) status: StatusCode,
    /// If it is not the usual one.
    pub(super) reason: Option<ReasonPhrase>,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// Whether the connection can be used again after the body.
    pub(super) keeps_alive: bool,
}

impl Head {
    /// Takes a head off what has arrived; none if it is not whole yet. The headers of one that is not like any that is known are put into
    /// `room`, which is left empty.
    pub(super) fn take(
        arrived: &mut Bytes,
        room: &mut HeaderMap,
        known: &Mutex<KnownHeads>,
        asked_for_head: bool,
    ) -> Result<Option<Self>, Malformed> {
        if let Some((head, length)) = known.lock().recall(arrived, asked_for_head) {
            arrived.advance(length);
            return Ok(Some(Self::Answer(head)));
        }
        Self::read(arrived, room, known, asked_for_head)
    }

    fn read(arrived: &mut Bytes, room: &mut HeaderMap, known: &Mutex<KnownHeads>, asked_for_head: bool) -> Result<Option<Self>, Malformed> {
        let mut found = [const { MaybeUninit::uninit() }; MOST_HEADERS];
        let mut said = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut said, arrived, &mut found);
        let httparse::Status::Complete(length) = parsed.map_err(Malformed::Head)? else { return Ok(None) };
        let unreadable = || Malformed::Other("the status line cannot be read");
        let status = said.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(unreadable)?;
        let head = if status.is_informational() {
            // We never ask for another protocol.
            if status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(Malformed::Other("the protocol was switched"));
            }
            Self::Interim(status)
        } else {
            let reason = said.reason.filter(|reason| Some(*reason) != status.canonical_reason());
            let reason = reason.map(|reason| ReasonPhrase::try_from(reason.as_bytes())).transpose().map_err(|_| unreadable())?;
            let mut lines = Lines { keeps_alive: said.version == Some(1), ..Lines::default() };
            room.reserve(said.headers.len());
            for header in &*said.headers {
                let unreadable = || Malformed::Other("a header cannot be read");
                let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| unreadable())?;
                let value = HeaderValue::from_maybe_shared(arrived.slice_ref(header.value)).map_err(|_| unreadable())?;
                lines.note(&name, &value)?;
                room.append(name, value);
            }
            let read = lines;
            let framing = lines.framing(status, asked_for_head)?;
            let headers = lines.cleared(std::mem::take(room));
            let head = AnswerHead { status, reason, headers, framing, keeps_alive: lines.keeps_alive };
            known.lock().remember(&arrived[..length], &said, &head, read);
            Self::Answer(head)
        };
        arrived.advance(length);
        Ok(Some(head))
    }
}

/// What the lines of a head say about the connection.
#[derive(Clone, Copy, Default)]
pub(super) struct Lines {
    pub(super) length: Option<u64>,
    lengths: usize,
    chunked: bool,
    pub(super) keeps_alive: bool,
    closes: bool,
}

impl Lines {
    pub(super) fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Malformed> {
        if name == CONTENT_LENGTH {
            let length = number(value.as_bytes()).ok_or(Malformed::Other("the length of the body cannot be read"))?;
            if self.length.is_some_and(|other| other != length) {
                return Err(Malformed::Other("the body has two lengths"));
            }
            self.length = Some(length);
            self.lengths += 1;
        } else if name == TRANSFER_ENCODING {
            if self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed::Other("the transfer coding is not known"));
            }
            self.chunked = true;
        } else if name == CONNECTION {
            for option in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.closes |= option.eq_ignore_ascii_case(b"close");
                self.keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
            self.keeps_alive &= !self.closes;
        }
        Ok(())
    }

    /// RFC 9112, 6.3.
    pub(super) fn framing(&mut self, status: StatusCode, asked_for_head: bool) -> Result<Framing, Malformed> {
        if asked_for_head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            return Ok(Framing::Length(0));
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Malformed::Other("the body has chunks and a length")),
            (true, None) => Ok(Framing::chunked()),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => {
                self.keeps_alive = false;
                Ok(Framing::UntilClose)
            }
        }
    }

    /// One line says the length, even if several said the same.
    fn cleared(&self, mut headers: HeaderMap) -> HeaderMap {
        if let Some(length) = self.length.filter(|_| self.lengths > 1) {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        headers
    }
}

/// Digits and nothing else: not even the sign that Rust would read.
fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> Result<Option<Head>, Malformed> {
        Head::take(&mut Bytes::from(text.to_owned()), &mut HeaderMap::new(), &Mutex::default(), false)
    }

    fn answer(text: &str) -> AnswerHead {
        match take(text) {
            Ok(Some(Head::Answer(head))) => head,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn a_head_is_read_once_it_is_whole_and_the_body_is_left() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\nX-A: \u{e4}\r\n\r\nok";
        let whole: Vec<u8> = text.chars().map(|letter| letter as u8).collect();
        for end in 0..whole.len() - 2 {
            let mut arrived = Bytes::copy_from_slice(&whole[..end]);
            assert!(matches!(Head::take(&mut arrived, &mut HeaderMap::new(), &Mutex::default(), false), Ok(None)), "{end}");
            assert_eq!(arrived.len(), end);
        }
        let mut arrived = Bytes::from(whole);
        let Ok(Some(Head::Answer(head))) = Head::take(&mut arrived, &mut HeaderMap::new(), &Mutex::default(), false) else {
            panic!("no head")
        };
        assert_eq!((head.status, &arrived[..], head.keeps_alive), (StatusCode::OK, &b"ok"[..], true));
        assert!(head.reason.is_none() && matches!(head.framing, Framing::Length(2)));
        let values: Vec<&[u8]> = head.headers.get_all("x-a").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(values, [&b"b"[..], b"\xe4"]);
    }

    #[test]
    fn the_end_of_the_body_and_of_the_connection_are_known() {
        for (lines, framing, keeps_alive) in [
            ("1.1 200 OK\r\nContent-Length: 5\r\n", "Length(5)", true),
            ("1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n", "Length(5)", true),
            ("1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n", "Chunked(Size(None))", true),
            ("1.1 200 OK\r\nContent-Length: 5\r\nConnection: x, Close\r\nConnection: keep-alive\r\n", "Length(5)", false),
            ("1.1 204 No Content\r\n", "Length(0)", true),
            ("1.1 304 Not Modified\r\nContent-Length: 9\r\n", "Length(0)", true),
            ("1.1 200 OK\r\n", "UntilClose", false),
            ("1.0 200 OK\r\nContent-Length: 5\r\n", "Length(5)", false),
            ("1.0 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive\r\n", "Length(5)", true),
        ] {
            let head = answer(&format!("HTTP/{lines}\r\n"));
            assert_eq!((format!("{:?}", head.framing).as_str(), head.keeps_alive), (framing, keeps_alive), "{lines}");
            assert!(head.headers.get_all(CONTENT_LENGTH).iter().count() <= 1);
        }
        let mut arrived = Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
        let head = Head::take(&mut arrived, &mut HeaderMap::new(), &Mutex::default(), true);
        assert!(matches!(head, Ok(Some(Head::Answer(AnswerHead { framing: Framing::Length(0), .. })))), "of a HEAD");
    }

    #[test]
    fn a_reason_of_its_own_is_kept() {
        assert_eq!(answer("HTTP/1.1 299 As you like\r\n\r\n").reason.expect("a reason").as_bytes(), b"As you like");
        assert!(matches!(take("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"), Ok(Some(Head::Interim(status))) if status == 103));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 099 Low\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n",
        ] {
            assert!(take(text).is_err(), "{text:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(MOST_HEADERS + 1));
        assert!(take(&many).is_err());
    }
}
