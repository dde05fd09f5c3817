//! `GET /api/custom/status` and `GET /api/custom/test`.

use serde_json::{Value, json};

use crate::support::pocketbase::PocketBase;
use crate::support::upstream::{Next, Upstream};
use crate::support::{Sidecar, body, header, status};

fn parsed(answer: &str) -> Value {
    serde_json::from_str(body(answer)).expect("JSON")
}

#[test]
fn the_status_is_ok_while_pocketbase_answers() {
    let pocketbase = PocketBase::start();
    let sidecar = Sidecar::start(pocketbase.address, &[]);
    let answer = sidecar.get("/api/custom/status");
    assert_eq!(status(&answer), 200);
    let json = parsed(&answer);
    assert_eq!(json["status"], "ok");
    assert_eq!(
        json["services"],
        json!({"encryption": "AES-256-GCM with PBKDF2", "sessions": {"active": 0, "total": 0}, "pocketbase": "ok"})
    );
    assert!(json["available_models"].is_object());
}

#[test]
fn the_status_is_degraded_when_pocketbase_is_away_silent_or_ill() {
    let away = Sidecar::start("127.0.0.1:1".parse().unwrap(), &[]);
    let ill = Upstream::new(|_, stream| {
        let _ = std::io::Write::write_all(stream, b"HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n");
        Next::Continue
    });
    let silent = Upstream::new(|_, stream| {
        let _ = std::io::Read::read_to_end(stream, &mut Vec::new());
        Next::Close
    });
    for sidecar in [away, Sidecar::start(ill.address, &[]), Sidecar::start(silent.address, &[])] {
        let answer = sidecar.get("/api/custom/status");
        assert_eq!(status(&answer), 200);
        assert_eq!(parsed(&answer)["status"], "degraded");
    }
}

#[test]
fn many_status_requests_are_few_health_checks() {
    let upstream = Upstream::new(|_, stream| {
        std::thread::sleep(std::time::Duration::from_millis(300));
        let _ = std::io::Write::write_all(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        Next::Continue
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| (0..10).for_each(|_| assert_eq!(status(&sidecar.get("/api/custom/status")), 200)));
        }
    });
    let checks = upstream.requests().len();
    assert!((1..=20).contains(&checks), "{checks} health checks");
}

#[test]
fn the_test_route_answers_without_pocketbase_and_head_without_a_body() {
    let sidecar = Sidecar::start("127.0.0.1:1".parse().unwrap(), &[]);
    let answer = sidecar.get("/api/custom/test");
    assert_eq!(parsed(&answer), json!({"status": "ok", "message": "Custom routes are working correctly"}));
    let head = sidecar.raw(b"HEAD /api/custom/test HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!((status(&head), body(&head)), (200, ""));
    assert_eq!(header(&head, "content-length"), header(&answer, "content-length"));
}
