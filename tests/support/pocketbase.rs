//! A real PocketBase on a directory of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{status, until};

pub const EMAIL: &str = "root@example.com";
pub const PASSWORD: &str = "correct horse";

/// A running PocketBase; killed and its directory removed when dropped.
pub struct PocketBase {
    pub address: SocketAddr,
    home: PathBuf,
    child: Option<Child>,
}

impl PocketBase {
    /// Starts one with a superuser.
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let home = std::env::temp_dir().join(format!("generatio-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        for folder in ["data", "migrations", "hooks", "public"] {
            std::fs::create_dir_all(home.join(folder)).expect("a temporary directory");
        }
        let mut pocketbase = Self { address: free_address(), home, child: None };
        let made = pocketbase.command(&["superuser", "create", EMAIL, PASSWORD]).status().expect("PocketBase runs");
        assert!(made.success(), "a superuser could not be created");
        pocketbase.serve();
        pocketbase
    }

    /// Starts it again on the same port and data.
    pub fn serve(&mut self) {
        let address = self.address.to_string();
        let child = self.command(&["serve", "--http", &address]).spawn().expect("PocketBase runs");
        self.child = Some(child);
        until("PocketBase answers", || {
            let Ok(mut stream) = std::net::TcpStream::connect(self.address) else { return false };
            use std::io::Write;
            stream.write_all(b"GET /api/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").is_ok()
                && status(&super::read_answer(&mut stream)) == 200
        });
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Puts a file where `GET /name` finds it.
    pub fn publish(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.home.join("public").join(name), bytes).expect("a writable directory");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--dir").arg(self.home.join("data"));
        command.arg("--migrationsDir").arg(self.home.join("migrations"));
        command.arg("--hooksDir").arg(self.home.join("hooks")).arg("--hooksWatch=false");
        command.arg("--publicDir").arg(self.home.join("public"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

impl Drop for PocketBase {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// `scripts/pocketbase` says where it is.
fn binary() -> String {
    static PATH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    PATH.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/pocketbase");
        let found = Command::new(script).stderr(Stdio::inherit()).output().expect("scripts/pocketbase runs");
        assert!(found.status.success(), "scripts/pocketbase found no PocketBase");
        String::from_utf8(found.stdout).expect("a path").trim().to_owned()
    })
    .clone()
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}
