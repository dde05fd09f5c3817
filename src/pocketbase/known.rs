//! Heads of answers that were read before. Most of PocketBase's differ from an earlier one in nothing but the date and the length, so they
//! are compared with it line by line, which costs less than half of reading them.

use std::iter::zip;

use bytes::Bytes;
use hyper::ext::ReasonPhrase;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use hyper::{StatusCode, header};

use super::head::{AnswerHead, Lines};

/// How many are remembered: a length or chunks, JSON or a file, nothing at all.
const MOST: usize = 4;

/// Heads that were read before, the oldest of which makes room for the next.
#[derive(Default)]
pub(super) struct KnownHeads {
    heads: Vec<Known>,
    oldest: usize,
}

struct Known {
    /// As it came.
    text: Box<[u8]>,
    status_line: usize,
    /// Of each header, in their order in `headers`.
    spans: Vec<Span>,
    status: StatusCode,
    reason: Option<ReasonPhrase>,
    headers: HeaderMap,
    lines: Lines,
}

/// Where the line of a header is.
struct Span {
    start: usize,
    /// The end of its name.
    name: usize,
    /// Its end, and the line's break's.
    end: usize,
}

impl KnownHeads {
    /// The head that `arrived` begins with and its length, if it is like one that is known.
    pub(super) fn recall(&self, arrived: &Bytes, asked_for_head: bool) -> Option<(AnswerHead, usize)> {
        self.heads.iter().find_map(|known| known.recall(arrived, asked_for_head))
    }

    /// Remembers a head that was read, in a copy: what came with it may hold a token, and is not kept.
    pub(super) fn remember(&mut self, text: &[u8], said: &httparse::Response<'_, '_>, head: &AnswerHead, lines: Lines) {
        let Some(known) = Known::new(text, said, head, lines) else { return };
        if self.heads.len() < MOST {
            self.heads.push(known);
        } else {
            self.heads[self.oldest] = known;
            self.oldest = (self.oldest + 1) % MOST;
        }
    }
}

impl Known {
    /// None if a name is there twice: then the order of the map is not that of the lines. None if the end is not clear.
    fn new(text: &[u8], said: &httparse::Response<'_, '_>, head: &AnswerHead, lines: Lines) -> Option<Self> {
        let (status, reason, mut headers) = (head.status, head.reason.clone(), head.headers.clone());
        if headers.keys_len() != said.headers.len() || !text.ends_with(b"\r\n\r\n") {
            return None;
        }
        let at = |part: &str| part.as_ptr().addr() - text.as_ptr().addr();
        for (value, header) in zip(headers.values_mut(), &*said.headers) {
            *value = HeaderValue::from_bytes(header.value).ok()?;
        }
        let last = text.len() - b"\r\n".len();
        let ends = said.headers.iter().skip(1).map(|header| at(header.name)).chain([last]);
        let spans =
            zip(&*said.headers, ends).map(|(header, end)| Span { start: at(header.name), name: at(header.name) + header.name.len(), end });
        let spans: Vec<_> = spans.collect();
        let status_line = spans.first().map_or(last, |span| span.start);
        Some(Self { status_line, spans, text: text.into(), status, reason, headers, lines })
    }

    fn recall(&self, arrived: &Bytes, asked_for_head: bool) -> Option<(AnswerHead, usize)> {
        let mut rest = arrived.strip_prefix(&self.text[..self.status_line])?;
        let mut changes = Vec::new();
        for (index, span) in self.spans.iter().enumerate() {
            if let Some(after) = rest.strip_prefix(&self.text[span.start..span.end]) {
                rest = after;
                continue;
            }
            let value = rest.strip_prefix(&self.text[span.start..span.name])?.strip_prefix(b": ")?;
            let (value, after) = split_line(value)?;
            changes.push((index, HeaderValue::from_maybe_shared(arrived.slice_ref(value)).ok()?));
            rest = after;
        }
        let length = arrived.len() - rest.strip_prefix(b"\r\n")?.len();
        let (mut headers, mut lines) = (self.headers.clone(), self.lines);
        let mut changes = changes.into_iter().peekable();
        for (index, (name, value)) in headers.iter_mut().enumerate() {
            let Some((_, changed)) = changes.next_if(|(changed, _)| *changed == index) else { continue };
            if name == CONTENT_LENGTH {
                lines.length = None;
            } else if name == header::TRANSFER_ENCODING || name == header::CONNECTION {
                return None;
            }
            lines.note(name, &changed).ok()?;
            *value = changed;
        }
        let framing = lines.framing(self.status, asked_for_head).ok()?;
        let head = AnswerHead { status: self.status, reason: self.reason.clone(), headers, framing, keeps_alive: lines.keeps_alive };
        Some((head, length))
    }
}

/// A value that stands alone between `: ` and the end of its line, and what comes after that.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
    let (value, after) = bytes.split_at(end);
    let is_bare = value.trim_ascii().len() == value.len();
    is_bare.then_some((value, after.strip_prefix(b"\r\n")?))
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use proptest::prelude::*;

    use super::super::head::Head;
    use super::*;

    /// What comes of it, and what is left.
    fn take(text: &[u8], known: &Mutex<KnownHeads>, asked_for_head: bool) -> String {
        let mut arrived = Bytes::copy_from_slice(text);
        let head = Head::take(&mut arrived, &mut HeaderMap::new(), known, asked_for_head);
        format!("{head:?} {arrived:?}")
    }

    fn is_known(text: &[u8], known: &Mutex<KnownHeads>) -> bool {
        known.lock().recall(&Bytes::copy_from_slice(text), false).is_some()
    }

    #[test]
    fn what_came_with_a_head_is_not_kept() {
        let known = Mutex::default();
        let mut arrived = Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntoken").to_vec().into();
        let head = Head::take(&mut arrived, &mut HeaderMap::new(), &known, false);
        drop(head);
        assert!(arrived.is_unique() && known.lock().heads.len() == 1);
    }

    #[test]
    fn another_date_and_another_length_make_no_other_head() {
        let known = Mutex::default();
        let answer = |date: u8, body: &str| {
            let lines = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nVary: Origin\r\n";
            format!("{lines}Date: Fri, 27 Nov 2026 11:22:{date} GMT\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
        };
        assert!(!is_known(&answer(10, "{}"), &known));
        take(&answer(10, "{}"), &known, false);
        for text in [answer(10, "{}"), answer(11, "[1, 2]"), answer(12, "")] {
            assert!(is_known(&text, &known));
            assert_eq!(take(&text, &known, false), take(&text, &Mutex::default(), false));
        }
        let cut = answer(13, "");
        assert!((0..cut.len()).all(|end| !is_known(&cut[..end], &known)));
        for number in 0..MOST {
            take(format!("HTTP/1.1 200 OK\r\nX-{number}: a\r\nContent-Length: 0\r\n\r\n").as_bytes(), &known, false);
        }
        assert!(!is_known(&answer(10, "{}"), &known) && known.lock().heads.len() == MOST);
    }

    /// Heads that are much alike, good and bad.
    fn heads() -> impl Strategy<Value = Vec<u8>> {
        let status = prop::sample::select(vec!["HTTP/1.1 200 OK", "HTTP/1.1 200 Fine", "HTTP/1.1 204 No Content", "HTTP/1.0 200 OK"]);
        let name = prop::sample::select(vec!["Date", "Content-Length", "content-length", "Transfer-Encoding", "Connection", "X-A", "X-B"]);
        let value = prop::sample::select(vec![
            "",
            "1",
            "2",
            " 2",
            "2 ",
            "chunked",
            "close",
            "keep-alive",
            "a",
            "a\tb",
            "a\x01",
            "a\n b",
            "\r\n c",
            "\u{e9}",
        ]);
        let between = prop::sample::select(vec![": ", ": ", ": ", ":", ":  ", " : "]);
        let end = prop::sample::select(vec!["\r\n", "\r\n", "\r\n", "\r\n", "\n"]);
        let line = (name, between, value, end.clone()).prop_map(|(name, between, value, end)| format!("{name}{between}{value}{end}"));
        let lines = prop::collection::vec(line, 0..4);
        (status, end.clone(), lines, end).prop_map(|(status, after, lines, end)| {
            let text = format!("{status}{after}{}{end}1\r\na\r\n0\r\n\r\n", lines.concat());
            text.into_bytes()
        })
    }

    /// Such heads, and each of them again with one byte less or another.
    fn pairs() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        (heads(), heads(), any::<prop::sample::Index>(), 0..4_u8).prop_map(|(first, other, index, how)| {
            let mut second = first.clone();
            let at = index.index(second.len());
            match how {
                0 => return (first, other),
                1 => drop(second.remove(at)),
                2 => second[at] = b'1',
                _ => second.truncate(at),
            }
            (first, second)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn what_is_known_changes_nothing_that_is_read((first, second) in pairs(), asked_for_head: bool) {
            let known = Mutex::default();
            take(&first, &known, false);
            prop_assert_eq!(take(&second, &known, asked_for_head), take(&second, &Mutex::default(), asked_for_head));
            prop_assert_eq!(take(&first, &known, asked_for_head), take(&first, &Mutex::default(), asked_for_head));
        }
    }
}
