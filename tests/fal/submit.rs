//! One submit is one POST, whenever the other side hangs up; and it is called not sent only where that is certain.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use generatio::fal::{Client, Reached, Settings, Timeouts};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::support::{input, key, map, quick, schnell, settings};

/// When a listener hangs up.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// As soon as there is a connection.
    AfterAccept,
    /// After this many bytes of the request.
    AfterBytes(usize),
    /// After the whole head.
    AfterHead,
    /// After the last byte of the request.
    AfterRequest,
    /// After this answer, or part of one.
    AfterAnswer(&'static str),
    /// Never, after this answer.
    Held(&'static str),
    /// Never; it says nothing either.
    Never,
}

const ID: &str = "764cabcf-b745-4b3e-ae38-1200304cf45b";
const ACCEPTED: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 73\r\n\r\n\
                        {\"status\":\"IN_QUEUE\",\"request_id\":\"764cabcf-b745-4b3e-ae38-1200304cf45b\"}";

/// A listener that hangs up, and what each connection sent it.
struct Listener {
    address: SocketAddr,
    /// The port of the connection that ends it.
    last: Arc<AtomicU16>,
    seen: JoinHandle<Vec<Vec<u8>>>,
}

impl Listener {
    fn start(cut: Cut) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let last = Arc::new(AtomicU16::new(0));
        let end = Arc::clone(&last);
        let seen = spawn(move || {
            let mut seen = Vec::new();
            let mut open = Vec::new();
            loop {
                let (mut stream, peer) = listener.accept().unwrap();
                if peer.port() == end.load(Ordering::SeqCst) {
                    return seen;
                }
                seen.push(serve(&mut stream, cut));
                if matches!(cut, Cut::Never | Cut::Held(_)) {
                    open.push(stream);
                }
            }
        });
        Self { address, last, seen }
    }

    fn client(&self, timeouts: Timeouts) -> Client {
        Client::new(settings(&format!("http://{}", self.address), timeouts)).unwrap()
    }

    /// What came before now: connections are accepted in their order, so all that came before this last one have been.
    fn seen(self) -> Vec<String> {
        let last = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        last.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        self.last.store(last.local_addr().unwrap().as_socket().unwrap().port(), Ordering::SeqCst);
        last.connect(&self.address.into()).unwrap();
        self.seen.join().unwrap().iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }
}

/// Reads as much as the cut says, answers, and gives what was read.
fn serve(stream: &mut TcpStream, cut: Cut) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let wanted = |bytes: &[u8]| match cut {
        Cut::AfterAccept => 0,
        Cut::AfterBytes(count) => count,
        Cut::AfterHead => head(bytes).unwrap_or(usize::MAX),
        Cut::AfterRequest | Cut::AfterAnswer(_) | Cut::Held(_) | Cut::Never => whole(bytes).unwrap_or(usize::MAX),
    };
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while bytes.len() < wanted(&bytes) {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{cut:?}: the client hung up after {bytes:?}");
        bytes.push(byte[0]);
    }
    if let Cut::AfterAnswer(answer) | Cut::Held(answer) = cut {
        stream.write_all(answer.as_bytes()).unwrap();
    }
    bytes
}

fn head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|place| place + 4)
}

fn whole(bytes: &[u8]) -> Option<usize> {
    let head = head(bytes)?;
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    Some(head + length.unwrap_or(0))
}

#[tokio::test]
async fn one_submit_is_one_post_whenever_the_other_side_hangs_up() {
    const LOST: &str = "the connection to FAL ended before the answer did (submit)";
    const STRANGE: &str = "FAL's answer could not be understood (submit): it is not JSON";
    let head_only = "HTTP/1.1 200 OK\r\nx-fal-request-id: 764cabcf-b745-4b3e-ae38-1200304cf45b\r\ncontent-length: 9\r\n\r\n";
    let half_a_body = "HTTP/1.1 200 OK\r\ncontent-length: 73\r\n\r\n{\"status\":";
    let not_json = "HTTP/1.1 200 OK\r\nx-fal-request-id: 764cabcf-b745-4b3e-ae38-1200304cf45b\r\ncontent-length: 2\r\n\r\nno";
    for (cut, expected) in [
        (Cut::AfterAccept, LOST),
        (Cut::AfterBytes(1), LOST),
        (Cut::AfterBytes(30), LOST),
        (Cut::AfterHead, LOST),
        (Cut::AfterRequest, LOST),
        (Cut::AfterAnswer("HTTP/1.1 20"), LOST),
        (Cut::AfterAnswer("nonsense\r\n\r\n"), LOST),
        (Cut::AfterAnswer(head_only), LOST),
        (Cut::AfterAnswer(half_a_body), LOST),
        (Cut::AfterAnswer(not_json), STRANGE),
        (Cut::AfterAnswer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), STRANGE),
        (Cut::AfterAnswer("HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\n{}"), "FAL failed: HTTP 500"),
        (Cut::AfterAnswer("HTTP/1.1 502 Oh\r\ncontent-length: 2\r\n\r\n{}"), "FAL failed: HTTP 502"),
        (Cut::AfterAnswer("HTTP/1.1 503 Oh\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\n{}"), "FAL failed: HTTP 503"),
        (Cut::AfterAnswer("HTTP/1.1 504 Oh\r\ncontent-length: 2\r\n\r\n{}"), "FAL gave up on the request: HTTP 504"),
        (Cut::AfterAnswer("HTTP/1.1 408 Oh\r\ncontent-length: 2\r\n\r\n{}"), "FAL refused: HTTP 408"),
        (Cut::AfterAnswer("HTTP/1.1 307 Go\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"), "FAL refused: HTTP 307"),
    ] {
        let listener = Listener::start(cut);
        let failed = listener.client(quick()).submit(key(), &schnell(), &input("a cat")).await.unwrap_err();
        assert_eq!(failed.to_string(), expected, "{cut:?}");
        assert!(matches!(failed.reached, Reached::Unknown { .. }), "{cut:?}: {:?}", failed.reached);
        let seen = listener.seen();
        assert_eq!(seen.len(), 1, "{cut:?}: {seen:?}");
        assert!(seen[0].matches("POST ").count() <= 1, "{cut:?}: {seen:?}");
    }
}

#[tokio::test]
async fn a_large_request_that_is_cut_amid_its_body_is_not_sent_again() {
    let listener = Listener::start(Cut::AfterBytes(100_000));
    let large = map(json!({ "prompt": "x".repeat(8 << 20) }));
    let failed = listener.client(quick()).submit(key(), &schnell(), &large).await.unwrap_err();
    assert!(matches!(failed.reached, Reached::Unknown { hint: None }), "{failed:?}");
    assert_eq!(listener.seen().len(), 1);
}

#[tokio::test]
async fn an_answer_whose_body_was_no_json_still_hints_at_the_job() {
    let answer = "HTTP/1.1 200 OK\r\nx-fal-request-id: 764cabcf-b745-4b3e-ae38-1200304cf45b\r\ncontent-length: 2\r\n\r\nno";
    let listener = Listener::start(Cut::AfterAnswer(answer));
    let failed = listener.client(quick()).submit(key(), &schnell(), &input("a cat")).await.unwrap_err();
    assert_eq!(failed.reached, Reached::Unknown { hint: Some(ID.parse().unwrap()) });
}

#[tokio::test]
async fn a_server_that_never_answers_may_have_taken_the_job() {
    let listener = Listener::start(Cut::Never);
    let client = listener.client(Timeouts { submit: Duration::from_millis(300), ..quick() });
    let failed = client.submit(key(), &schnell(), &input("a cat")).await.unwrap_err();
    assert_eq!(failed.to_string(), "FAL did not answer in time (submit)");
    assert_eq!(failed.reached, Reached::Unknown { hint: None });
    assert_eq!(listener.seen().len(), 1);
}

#[tokio::test]
async fn each_submit_has_a_connection_of_its_own_and_says_only_what_it_must() {
    let listener = Listener::start(Cut::Held(ACCEPTED));
    let client = listener.client(quick());
    for _ in 0..3 {
        let job = client.submit(key(), &schnell(), &input("a cat")).await.unwrap();
        assert_eq!(job.request_id.as_str(), ID);
        let base = format!("http://{}/queue/fal-ai/flux/requests/{ID}", listener.address);
        assert_eq!(job.status_url.as_str(), format!("{base}/status"), "FAL named none, so it is the documented one");
    }
    let seen = listener.seen();
    assert_eq!(seen.len(), 3);
    for request in seen {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let head = head.to_lowercase();
        assert!(head.starts_with("post /queue/fal-ai/flux/schnell http/1.1\r\n"), "{head}");
        for line in ["authorization: key team:s3cret", "x-app-fal-disable-fallback: true", "content-type: application/json"] {
            assert_eq!(head.lines().filter(|other| *other == line).count(), 1, "{line} in {head}");
        }
        assert!(head.contains("user-agent: generatio/"), "{head}");
        for name in ["x-fal-store-io", "x-fal-no-retry", "cookie", "accept-encoding", "referer", "expect"] {
            assert!(!head.contains(&format!("\r\n{name}:")), "{name} in {head}");
        }
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap(), json!({ "prompt": "a cat", "seed": 1 }));
    }
}

#[tokio::test]
async fn an_address_on_another_origin_is_never_sent_the_key() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let address = stranger.local_addr().unwrap();
    let links = format!(
        r#","status_url":"http://{address}/queue/s","response_url":"http://{address}/queue/r","cancel_url":"http://{address}/queue/c"}}"#
    );
    let body = ACCEPTED.split_once("\r\n\r\n").unwrap().1.replace('}', &links);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let listener = Listener::start(Cut::AfterAnswer(answer.leak()));
    let client = listener.client(quick());
    let job = client.submit(key(), &schnell(), &input("a cat")).await.unwrap();
    assert!(job.status_url.as_str().starts_with(&format!("http://{}/queue/", listener.address)));
    // The listener answers everything alike; what counts is who is asked.
    let _ = (client.status(key(), &job).await, client.result(key(), &job).await, client.cancel(key(), &job).await);
    assert!(stranger.accept().is_err(), "the stranger was asked");
}

#[test]
fn a_key_is_not_sent_in_clear_text_unless_that_is_allowed() {
    for part in ["queue", "rest", "api"] {
        let mut settings = Settings::fal();
        let clear = "http://fal.example:8788".parse().unwrap();
        match part {
            "queue" => settings.queue = clear,
            "rest" => settings.rest = clear,
            _ => settings.api = clear,
        }
        let refusal = Client::new(settings.clone()).unwrap_err().to_string();
        assert!(refusal.starts_with("http://fal.example:8788 is plain HTTP"), "{refusal}");
        assert!(Client::new(Settings { insecure: true, ..settings }).is_ok());
    }
}
