//! `generatio dev`: everything on one machine, with its data in one folder, until Ctrl-C.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::hardening::refuse_dumps;
use super::serve::{Listener, until_signal};
use super::{Failure, fal_sim};
use crate::config::{Config, MetricsListen, PocketBaseUrl, Superuser};
use crate::pocketbase::health;
use crate::simulator::{Clock, Options, Simulator};

/// Run PocketBase, the FAL simulator and the sidecar on this machine.
#[derive(Args, Debug)]
pub struct Dev {
    /// The PocketBase binary; scripts/dev finds or fetches one
    #[arg(long, env = "POCKETBASE_BIN", default_value = "pocketbase", value_name = "PATH")]
    pub pocketbase_bin: PathBuf,

    /// Where data, credentials and PocketBase's log are kept
    #[arg(long, env = "GENERATIO_DATA", default_value = ".generatio/dev", value_name = "FOLDER")]
    pub data: PathBuf,

    /// Where the FAL simulator listens; only this machine can reach it
    #[arg(long, env = "GENERATIO_FAL_SIM_LISTEN", default_value = "127.0.0.1:8788", value_name = "ADDRESS:PORT")]
    pub fal_sim_listen: SocketAddr,

    /// The settings of the sidecar. PocketBase is started at --pocketbase-url.
    #[command(flatten)]
    pub config: Config,
}

/// PocketBase starts in well under a second; a large database or a slow disk may need more.
const START_WITHIN: Duration = Duration::from_secs(30);
/// PocketBase gives its own requests one second.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Starts all of them, says where, and stops them on SIGINT or SIGTERM.
pub fn run(dev: Dev) -> ExitCode {
    super::run(&dev.config.log.clone(), serve(dev))
}

async fn serve(dev: Dev) -> Result<(), Failure> {
    refuse_dumps()?;
    let shutdown = until_signal()?;
    let url = dev.config.pocketbase_url.clone();
    let home = Home::at(&dev.data)?;
    port_is_free(&url)?;
    let simulator = fal_sim::bound(dev.fal_sim_listen, false)?;
    let credentials = home.credentials(&dev.pocketbase_bin).await?;
    let mut config = dev.config;
    config.superuser = Superuser::with_password(&credentials.email, &credentials.password).map_err(Failure::Setting)?;
    config.fal.point_at(simulator.local_addr()?).map_err(Failure::Setting)?;
    let metrics = super::serve::metrics_socket(config.metrics_listen, MetricsListen::DEV)?;
    let listener = Listener::bind(config, None, metrics)?;
    let mut pocketbase = home.start(&dev.pocketbase_bin, &url)?;
    let served = tokio::select! {
        ready = ready(&url) => match ready {
            Ok(()) => {
                announce(&listener, &url, &credentials, &home, simulator.local_addr()?)?;
                let everything = serve_beside(&mut pocketbase, listener, shutdown.clone(), &home);
                tokio::join!(simulate(simulator, shutdown.clone()), stopping_all(everything, &shutdown)).1
            }
            Err(failure) => Err(failure),
        },
        status = pocketbase.wait() => Err(home.stopped(status)),
        () = shutdown.cancelled() => Ok(()),
    };
    stop(pocketbase).await?;
    served
}

/// Pictures are made on the simulator's own threads; what is left is as light as the rest of this one.
async fn simulate(listener: tokio::net::TcpListener, shutdown: CancellationToken) {
    match Simulator::new(Options::default(), Clock::ticking()) {
        Ok(simulator) => simulator.serve(listener, None, shutdown.cancelled()).await,
        Err(error) => tracing::error!(%error, "there is no FAL simulator"),
    }
}

/// Whatever ends first ends the rest.
async fn stopping_all<T>(running: impl Future<Output = T>, shutdown: &CancellationToken) -> T {
    let ended = running.await;
    shutdown.cancel();
    ended
}

async fn serve_beside(pocketbase: &mut Child, listener: Listener, shutdown: CancellationToken, home: &Home) -> Result<(), Failure> {
    tokio::select! {
        served = listener.serve(shutdown) => served,
        status = pocketbase.wait() => Err(home.stopped(status)),
    }
}

async fn ready(url: &PocketBaseUrl) -> Result<(), Failure> {
    let answering = async {
        while !health::answers(url, "/api/health").await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(START_WITHIN, answering).await.map_err(|_| Failure::Stopped(format!("PocketBase does not answer at {url}")))
}

fn port_is_free(url: &PocketBaseUrl) -> Result<(), Failure> {
    match TcpListener::bind((url.host(), url.port())) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::Stopped(format!(
            "PocketBase cannot be started at {url}: {error}. Is another one running there? Choose another port with --pocketbase-url."
        ))),
    }
}

fn announce(
    listener: &Listener,
    pocketbase: &PocketBaseUrl,
    credentials: &Credentials,
    home: &Home,
    simulator: SocketAddr,
) -> io::Result<()> {
    let listening = listener.address()?;
    let mut out = io::stdout().lock();
    writeln!(out, "Generatio is running. Ctrl-C stops all of it; the next start goes on with the same data.\n")?;
    writeln!(out, "  your origin   http://{listening}")?;
    writeln!(out, "  admin UI      http://{listening}/_/")?;
    writeln!(out, "  superuser     {}", credentials.email)?;
    writeln!(out, "  password      {}", credentials.password)?;
    writeln!(out, "  PocketBase    {pocketbase} (what the sidecar stands in front of)")?;
    writeln!(out, "  data          {}", home.0.display())?;
    writeln!(out, "  FAL simulator http://{simulator}")?;
    if let Some(metrics) = listener.metrics_address() {
        writeln!(out, "  metrics       http://{metrics}/metrics")?;
    }
    writeln!(out, "  try it        scripts/demo http://{listening}\n")?;
    writeln!(out, "{}", fal_sim::about_keys())?;
    out.flush()
}

async fn stop(mut pocketbase: Child) -> Result<(), Failure> {
    let Some(id) = pocketbase.id() else { return Ok(()) };
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        kill_process(pid, Signal::TERM).map_err(io::Error::from)?;
    }
    if timeout(STOP_WITHIN, pocketbase.wait()).await.is_err() {
        pocketbase.kill().await?;
    }
    Ok(())
}

/// The superuser that was made here.
struct Credentials {
    email: String,
    password: String,
}

/// The folder that holds everything.
struct Home(PathBuf);

impl Home {
    fn at(path: &Path) -> Result<Self, Failure> {
        for folder in ["pb_data", "pb_public"] {
            fs::create_dir_all(path.join(folder))
                .map_err(|error| Failure::Setting(format!("{} (GENERATIO_DATA) cannot be used: {error}", path.display())))?;
        }
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
        Ok(Self(path.canonicalize()?))
    }

    /// The superuser of this folder, made at its first start. The name is chosen and kept before PocketBase hears of it, so that a start
    /// that was cut off in between is simply done again.
    async fn credentials(&self, binary: &Path) -> Result<Credentials, Failure> {
        let (kept, planned) = (self.0.join("credentials"), self.0.join("credentials.new"));
        if let Some(credentials) = Credentials::read(&kept)? {
            return Ok(credentials);
        }
        let credentials = match Credentials::read(&planned)? {
            Some(credentials) => credentials,
            None => Credentials::make(&planned)?,
        };
        let made = self
            .pocketbase(binary)
            .args(["superuser", "upsert", &credentials.email, &credentials.password])
            .stdout(Stdio::null())
            .output()
            .await
            .map_err(|error| cannot_run(binary, &error))?;
        if !made.status.success() {
            return Err(Failure::Stopped(format!("no superuser could be made: {}", String::from_utf8_lossy(&made.stderr).trim())));
        }
        fs::rename(planned, kept)?;
        Ok(credentials)
    }

    /// PocketBase in a process group of its own: Ctrl-C is for us, and it goes when its last request is done.
    fn start(&self, binary: &Path, url: &PocketBaseUrl) -> Result<Child, Failure> {
        let log = File::create(self.log())?;
        self.pocketbase(binary)
            .args(["serve", "--http", &url.socket()])
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| cannot_run(binary, &error))
    }

    /// Each folder is named: where they are by default differs between builds of PocketBase.
    fn pocketbase(&self, binary: &Path) -> Command {
        let mut command = Command::new(binary);
        command.stdin(Stdio::null());
        command.arg("--dir").arg(self.0.join("pb_data")).arg("--publicDir").arg(self.0.join("pb_public"));
        command.args(["--migrationsDir", "pb_migrations", "--hooksDir", "pb_hooks", "--automigrate=false"]);
        command
    }

    fn log(&self) -> PathBuf {
        self.0.join("pocketbase.log")
    }

    fn stopped(&self, status: io::Result<std::process::ExitStatus>) -> Failure {
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.trim_end().lines().rev().take(5).collect();
        let last: String = lines.iter().rev().map(|line| format!("\n  {line}")).collect();
        Failure::Stopped(format!("PocketBase ended ({how}). The last lines of {}:{last}", self.log().display()))
    }
}

fn cannot_run(binary: &Path, error: &io::Error) -> Failure {
    Failure::Setting(format!("{} (POCKETBASE_BIN) cannot be run: {error}", binary.display()))
}

impl Credentials {
    /// Two lines: the address and the password.
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut lines = text.lines().map(str::to_owned);
        Ok(lines.next().zip(lines.next()).map(|(email, password)| Self { email, password }))
    }

    fn make(path: &Path) -> io::Result<Self> {
        let made = Self { email: "dev@generatio.local".into(), password: Uuid::new_v4().simple().to_string() };
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        writeln!(file, "{}\n{}", made.email, made.password)?;
        Ok(made)
    }
}
