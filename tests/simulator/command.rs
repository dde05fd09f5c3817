//! `generatio fal-sim`, the command.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use crate::support::ask;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_generatio"));
    command.arg("fal-sim").args(arguments);
    command
}

/// Ends the process, whatever the test came to.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn it_says_where_it_listens_and_which_keys_mean_something_and_ends_at_sigterm() {
    let mut child = Running(command(&["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let url = lines.next().unwrap().strip_prefix("FAL simulator listening on ").unwrap().to_owned();
    let keys = lines.by_ref().take_while(|line| !line.starts_with("Faults")).collect::<Vec<_>>().join("\n");
    for id in ["bad:…", "locked:…", "empty:…", "scope:…"] {
        assert!(keys.contains(id), "{keys}");
    }
    ask("GET", &format!("{url}/_sim/clock")).send().await.expect(200);
    let process = rustix::process::Pid::from_child(&child.0);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    assert!(child.0.wait().unwrap().success());
}

#[test]
fn it_stays_on_this_machine_unless_told_otherwise() {
    for flags in [["--listen", "0.0.0.0:0", "--queue-delay", "1s"], ["--listen", "127.0.0.1:0", "--tls-listen", "0.0.0.0:0"]] {
        let Output { status, stderr, .. } = command(&flags).output().unwrap();
        assert_eq!(status.code(), Some(64));
        assert!(String::from_utf8_lossy(&stderr).contains("--allow-remote"), "{stderr:?}");
    }
}

#[test]
fn it_paints_a_contact_sheet() {
    let file = std::env::temp_dir().join(format!("contact-sheet-{}.png", std::process::id()));
    assert!(command(&["--contact-sheet"]).arg(&file).status().unwrap().success());
    let sheet = image::open(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (1472, 1480));
}
