//! A real PocketBase on a directory of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::rest::Rest;
use super::{canary, until};

pub const EMAIL: &str = "root@example.com";
pub const PASSWORD: &str = "correct horse";

/// A running PocketBase; killed and its directory removed when dropped. Then no secret may stand in what it has printed or stored.
pub struct PocketBase {
    pub address: SocketAddr,
    home: PathBuf,
    binary: String,
    environment: Vec<(&'static str, String)>,
    watches_hooks: bool,
    child: Option<Child>,
}

impl PocketBase {
    /// Starts one with a superuser.
    pub fn start() -> Self {
        Self::started(binary())
    }

    /// Starts exactly that release.
    pub fn of(version: &str) -> Self {
        Self::started(release(version))
    }

    /// Starts one with our migrations and hooks.
    pub fn with_store() -> Self {
        Self::prepared(binary()).installed()
    }

    /// Starts exactly that release with our migrations and hooks.
    pub fn with_store_of(version: &str) -> Self {
        Self::prepared(release(version)).installed()
    }

    fn started(binary: String) -> Self {
        let mut pocketbase = Self::prepared(binary);
        pocketbase.serve();
        pocketbase
    }

    fn installed(mut self) -> Self {
        self.install();
        self.serve();
        self
    }

    fn prepared(binary: String) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let home = std::env::temp_dir().join(format!("generatio-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        for folder in ["data", "migrations", "hooks", "public"] {
            std::fs::create_dir_all(home.join(folder)).expect("a temporary directory");
        }
        let pocketbase = Self { address: free_address(), home, binary, environment: Vec::new(), watches_hooks: false, child: None };
        canary::plant(PASSWORD);
        let made = pocketbase.command(&["superuser", "create", EMAIL, PASSWORD]).status().expect("PocketBase runs");
        assert!(made.success(), "a superuser could not be created");
        pocketbase
    }

    /// Puts our migrations and hooks where its next start finds them.
    pub fn install(&self) {
        self.install_migrations("");
        self.install_hooks();
    }

    /// The migrations alone; with a prefix they count as new ones.
    pub fn install_migrations(&self, prefix: &str) {
        copy(&repository("pb_migrations"), &self.home.join("migrations"), prefix);
    }

    pub fn install_hooks(&self) {
        copy(&repository("pb_hooks"), &self.home.join("hooks"), "");
    }

    /// Takes the hooks away again, from its next start on.
    pub fn remove_hooks(&self) {
        let hooks = self.home.join("hooks");
        std::fs::remove_dir_all(&hooks).and_then(|()| std::fs::create_dir(&hooks)).expect("a writable directory");
    }

    /// Sets a variable of its environment from the next start on.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.environment.push((name, value.to_owned()));
    }

    /// From its next start on it restarts itself whenever a hook changes, as it does by default.
    pub fn watch_hooks(&mut self) {
        self.watches_hooks = true;
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    /// A client of its REST API, signed in as the superuser.
    pub fn superuser(&self) -> Rest {
        Rest::new(self.address).as_superuser(EMAIL, PASSWORD)
    }

    /// Ends it and starts it again.
    pub fn restart(&mut self) {
        self.kill();
        self.serve();
    }

    /// Starts it again on the same port and data.
    pub fn serve(&mut self) {
        let address = self.address.to_string();
        let child = self.command(&["serve", "--http", &address]).spawn().expect("PocketBase runs");
        self.child = Some(child);
        until("PocketBase answers", || self.answers());
    }

    /// Keeps a copy of its data, for which it stops a moment.
    pub fn back_up(&mut self) {
        self.kill();
        copy(&self.home.join("data"), &self.home.join("backup"), "");
        self.serve();
    }

    /// Puts the copy in place of its data.
    pub fn restore(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.home.join("data")).expect("a writable directory");
        copy(&self.home.join("backup"), &self.home.join("data"), "");
        self.serve();
    }

    /// Whether it answers its health check.
    pub fn answers(&self) -> bool {
        self.answers_at("/api/health")
    }

    /// Whether it answers this with 200; it may be away.
    pub fn answers_at(&self, path: &str) -> bool {
        let Ok(mut stream) = std::net::TcpStream::connect(self.address) else { return false };
        use std::io::Write;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes()).is_ok()
            && super::read_answer(&mut stream).starts_with("HTTP/1.1 200 ")
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it was started").id()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Where its hooks are.
    pub fn hooks(&self) -> PathBuf {
        self.home.join("hooks")
    }

    /// Runs one of its commands beside it.
    pub fn run(&self, arguments: &[&str]) {
        assert!(self.command(arguments).status().expect("PocketBase runs").success(), "{arguments:?}");
    }

    /// Puts a file where `GET /name` finds it.
    pub fn publish(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.home.join("public").join(name), bytes).expect("a writable directory");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--dir").arg(self.home.join("data"));
        command.arg("--migrationsDir").arg(self.home.join("migrations"));
        command.arg("--hooksDir").arg(self.home.join("hooks")).arg(format!("--hooksWatch={}", self.watches_hooks));
        command.arg("--publicDir").arg(self.home.join("public"));
        command.arg("--automigrate=false").envs(self.environment.iter().map(|(name, value)| (name, value)));
        let log = std::fs::File::options().create(true).append(true).open(self.home.join("log")).expect("a writable directory");
        command.stdout(log.try_clone().expect("a file that can be shared")).stderr(log);
        command
    }
}

impl Drop for PocketBase {
    fn drop(&mut self) {
        self.kill();
        let left = ["log", "data/auxiliary.db", "data/auxiliary.db-wal", "data/data.db", "data/data.db-wal"];
        let left = left.map(|name| (name, std::fs::read(self.home.join(name)).unwrap_or_default()));
        let _ = std::fs::remove_dir_all(&self.home);
        if !std::thread::panicking() {
            left.iter().for_each(|(name, bytes)| canary::assert_kept(&format!("PocketBase's {name}"), bytes));
        }
    }
}

/// `scripts/pocketbase` says where it is.
fn binary() -> String {
    static PATH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    PATH.get_or_init(|| located(&[])).clone()
}

fn release(version: &str) -> String {
    located(&[version])
}

fn located(arguments: &[&str]) -> String {
    let found = Command::new(repository("scripts/pocketbase")).args(arguments).stderr(Stdio::inherit()).output();
    let found = found.expect("scripts/pocketbase runs");
    assert!(found.status.success(), "scripts/pocketbase found no PocketBase");
    String::from_utf8(found.stdout).expect("a path").trim().to_owned()
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Copies a folder with what is in it; `prefix` goes before the names of its files.
fn copy(from: &Path, to: &Path, prefix: &str) {
    std::fs::create_dir_all(to).expect("a writable directory");
    for entry in std::fs::read_dir(from).expect("a readable folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(name), prefix);
        } else {
            std::fs::copy(entry.path(), to.join(format!("{prefix}{}", name.to_string_lossy()))).expect("a copy");
        }
    }
}

/// An address that nobody else is given while its PocketBase is away: below the ports that the kernel gives to whoever asks for any, and never
/// twice in a process.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const PORTS: std::ops::Range<u32> = 12_000..32_000;
    loop {
        let offset = std::process::id() * 64 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + offset % (PORTS.end - PORTS.start);
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("a port")));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
