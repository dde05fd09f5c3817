//! Pictures are fetched from allowed hosts only, without the key, and never without an end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::spawn;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use generatio::fal::{Client, Error, Format, LARGEST_PICTURE, Settings, Size};

use super::support::{quick, settings};

const GIF: &[u8] = b"GIF89a\x02\x00\x03\x00rest";

/// Answers one connection after the other, each with the next answer, and gives the heads it was sent.
fn serve(answers: Vec<Vec<u8>>) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = spawn(move || {
        let mut heads = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            heads.push(String::from_utf8_lossy(&head).to_lowercase());
            // A client that has heard enough hangs up.
            let _ = stream.write_all(&answer);
        }
        heads
    });
    (address, served)
}

fn client() -> Client {
    Client::new(settings("http://127.0.0.1:1", quick())).unwrap()
}

fn whole(body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes(), body].concat()
}

fn moved(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn a_picture_is_fetched_without_the_key_or_anything_else_of_ours() {
    let (address, served) = serve(vec![whole(GIF)]);
    let picture = client().download(&format!("http://{address}/a.png?b=c")).await.unwrap();
    assert_eq!((picture.format, picture.size, &picture.bytes[..]), (Format::Gif, Some(Size { width: 2, height: 3 }), GIF));
    let heads = served.join().unwrap();
    assert!(heads[0].starts_with("get /a.png?b=c http/1.1\r\n"), "{heads:?}");
    assert!(["authorization", "cookie", "accept-encoding", "referer"].iter().all(|name| !heads[0].contains(name)), "{heads:?}");
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_not_asked() {
    let fal = Client::new(Settings { timeouts: quick(), ..Settings::fal() }).unwrap();
    for link in [
        "https://example.com/a.png",
        "https://evilfal.media/a.png",
        "https://fal.media.example.com/a.png",
        "https://v3.fal.media@example.com/a.png",
        "http://v3.fal.media/a.png",
        "https://v3.fal.media:8443/a.png",
        "https://user:pass@v3.fal.media/a.png",
        "http://127.0.0.1/a.png",
        "https://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "ftp://v3.fal.media/a.png",
        "//v3.fal.media/a.png",
        "a.png",
        "",
    ] {
        let error = fal.download(link).await.unwrap_err();
        assert!(matches!(error, Error::Untrusted { .. }), "{link}: {error:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_followed_only_to_where_we_would_have_gone_ourselves() {
    let (end, _) = serve(vec![whole(GIF)]);
    let (address, _) = serve(vec![moved(&format!("http://{end}/b"))]);
    assert!(client().download(&format!("http://{address}/a")).await.is_ok());

    for (to, why) in [
        ("http://169.254.169.254/latest/meta-data/", "its host is not among the allowed ones"),
        ("http://localhost/a", "its host is not among the allowed ones"),
        ("https://127.0.0.1.example.com/a", "its host is not among the allowed ones"),
        ("file:///etc/passwd", "its host is not among the allowed ones"),
        ("http://[", "it redirects to nowhere"),
    ] {
        let (address, _) = serve(vec![moved(to)]);
        let error = client().download(&format!("http://{address}/a")).await.unwrap_err();
        assert!(matches!(error, Error::Untrusted { why: said, .. } if said == why), "{to}: {error:?}");
    }

    let (address, served) = serve((0..4).map(|_| moved("/again")).collect());
    let error = client().download(&format!("http://{address}/a")).await.unwrap_err();
    assert!(matches!(error, Error::Untrusted { why: "it redirects too often", .. }), "{error:?}");
    assert_eq!(served.join().unwrap().len(), 4);
}

#[tokio::test]
async fn a_picture_that_never_ends_is_given_up_at_the_bound() {
    let endless = |head: &str| {
        let mut answer = head.as_bytes().to_vec();
        answer.extend_from_slice(GIF);
        answer.resize(answer.len() + LARGEST_PICTURE, 0);
        answer
    };
    let promised = b"HTTP/1.1 200 OK\r\ncontent-length: 67108865\r\n\r\nGIF89a".to_vec();
    for answer in [endless("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"), promised] {
        let (address, _) = serve(vec![answer]);
        let error = client().download(&format!("http://{address}/a")).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: LARGEST_PICTURE, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_picture_inside_the_answer_is_taken_out_of_it() {
    let link = format!("data:image/gif;base64,{}", STANDARD.encode(GIF));
    assert_eq!(&client().download(&link).await.unwrap().bytes[..], GIF);
    for (link, why) in [
        ("data:image/gif;base64", "its data: URI has no data"),
        ("data:image/gif,GIF89a", "its data: URI is not base64"),
        ("data:image/gif;base64,R0lGO*", "its data: URI is not base64"),
        ("data:text/html;base64,PGh0bWw+", "it is no PNG, JPEG, WebP or GIF"),
    ] {
        let error = client().download(link).await.unwrap_err();
        assert!(matches!(error, Error::Malformed { why: said, .. } if said == why), "{link}: {error:?}");
    }
    let huge = format!("data:image/gif;base64,{}", "A".repeat(LARGEST_PICTURE / 3 * 4 + 8));
    assert!(matches!(client().download(&huge).await, Err(Error::TooLarge { .. })));
}
