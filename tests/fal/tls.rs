//! The same over TLS, and what happens where a certificate is not to be trusted.

use std::process::Command;

use generatio::fal::{Client, Fetched, Reached, Settings};
use generatio::simulator::{Clock, Moment, Options, Simulator, Tls, listener};
use reqwest::Certificate;

use super::support::{START, input, key, quick, schnell, settings};

/// A simulator that speaks TLS, and the authority that vouches for it.
fn start() -> (String, Certificate, Simulator) {
    let bound = || listener("127.0.0.1:0".parse().unwrap()).unwrap();
    let (plain, secure) = (bound(), bound());
    let base = format!("https://{}", secure.local_addr().unwrap());
    let tls = Tls::new().unwrap();
    let authority = Certificate::from_pem(tls.authority_pem.as_bytes()).unwrap();
    let simulator = Simulator::new(Options::default(), Clock::frozen(Moment::from_millis(START))).unwrap();
    tokio::spawn(simulator.clone().serve(plain, Some((secure, tls)), std::future::pending()));
    (base, authority, simulator)
}

#[tokio::test]
async fn a_job_runs_over_tls_where_the_authority_is_trusted() {
    let (base, authority, simulator) = start();
    let client = Client::new(Settings { extra_roots: vec![authority], ..settings(&base, quick()) }).unwrap();
    let job = client.submit(key(), &schnell(), &input("a cat")).await.unwrap();
    assert!(job.status_url.as_str().starts_with(&format!("{base}/queue/")));
    simulator.clock().advance(std::time::Duration::from_secs(60));
    let Fetched::Done(output) = client.result(key(), &job).await.unwrap() else { panic!("it has ended well") };
    assert!(output.images[0].url.starts_with("https://"));
    assert!(client.download(&output.images[0].url).await.is_ok());
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_that_is_not_trusted() {
    let (base, _, _simulator) = start();
    let (_, stranger, _other) = start();
    let client = Client::new(Settings { extra_roots: vec![stranger], ..settings(&base, quick()) }).unwrap();
    let failed = client.submit(key(), &schnell(), &input("a cat")).await.unwrap_err();
    assert_eq!(failed.reached, Reached::NotSent, "{failed:?}");
    assert_eq!(failed.to_string(), "FAL cannot be reached (submit)");
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_that_does_not_speak_tls() {
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("https://{}", plain.local_addr().unwrap());
    std::thread::spawn(move || while plain.accept().is_ok() {});
    let client = Client::new(settings(&base, quick())).unwrap();
    let failed = client.submit(key(), &schnell(), &input("a cat")).await.unwrap_err();
    assert_eq!(failed.reached, Reached::NotSent, "{failed:?}");
}

#[test]
fn without_authorities_there_is_no_client_of_fal_but_one_of_a_simulator() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tls::says_what_clients_there_are", "--ignored", "--nocapture"])
        .env("SSL_CERT_FILE", "/nonexistent")
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        said.contains("FAL: no certificate authorities to trust: install the ca-certificates package, or name a bundle in SSL_CERT_FILE"),
        "{said}"
    );
    assert!(said.contains("simulator: a client"), "{said}");
}

#[test]
#[ignore = "run by the test above, in a process without certificate authorities"]
fn says_what_clients_there_are() {
    for (name, settings) in [("FAL", Settings::fal()), ("simulator", settings("http://127.0.0.1:1", quick()))] {
        let client = Client::new(settings).map_or_else(|error| error.to_string(), |_| "a client".into());
        println!("{name}: {client}");
    }
}
