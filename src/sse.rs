//! Server-sent events as they arrive, taken one by one (HTML standard, 9.2 "Server-sent events").

/// One event. A comment alone is an event without data.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// The `event` field; empty where there is none.
    pub name: String,
    /// The `data` fields, joined by line feeds.
    pub data: String,
}

/// Takes the first whole event out of what has arrived; the rest stays. Whoever fills the buffer bounds it.
pub fn take(buffer: &mut Vec<u8>) -> Option<Event> {
    let end = |ending: &[u8]| buffer.windows(ending.len()).position(|bytes| bytes == ending).map(|start| (start, start + ending.len()));
    let (end, next) = [end(b"\n\n"), end(b"\r\n\r\n")].into_iter().flatten().min()?;
    let text = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..next);
    let field = |name: &str| {
        let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        values.map(|value| value.strip_prefix(' ').unwrap_or(value)).collect::<Vec<_>>().join("\n")
    };
    Some(Event { name: field("event"), data: field("data") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Option<Event> {
        Some(Event { name: name.into(), data: data.into() })
    }

    #[test]
    fn events_are_taken_one_by_one_and_a_half_one_waits() {
        let mut buffer = b"id:1\nevent:PB_CONNECT\ndata:{\"clientId\":\"x\"}\n\nevent: a/*\ndata: {}\n\nid:3\nevent".to_vec();
        assert_eq!(take(&mut buffer), event("PB_CONNECT", "{\"clientId\":\"x\"}"));
        assert_eq!(take(&mut buffer), event("a/*", "{}"));
        assert_eq!(take(&mut buffer), None);
        assert_eq!(buffer, b"id:3\nevent");
    }

    #[test]
    fn both_line_endings_comments_and_data_on_several_lines_are_read() {
        let mut buffer = b": ping\r\n\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata: 2\n\n".to_vec();
        assert_eq!(take(&mut buffer), event("", ""));
        assert_eq!(take(&mut buffer), event("", "{\"a\":\n1}"));
        assert_eq!(take(&mut buffer), event("", "2"));
        assert_eq!((take(&mut buffer), buffer.len()), (None, 0));
    }
}
