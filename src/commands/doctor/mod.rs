//! `generatio doctor`: is this deployment as it should be, and what is to be done?

mod checks;
mod fix;
mod lines;
mod report;
mod screen;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::hardening::refuse_dumps;
use crate::config::Config;
use crate::fal;
use crate::pocketbase::Store;
use crate::pocketbase::inspect::Trust;
use crate::pocketbase::outage::Outage;
use report::{Check, Status};

/// Check a deployment.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Doctor {
    /// Mend what is Generatio's: missing collections, fields, indexes, rules and settings, and sums that differ from the ledger
    #[arg(long)]
    pub fix: bool,

    /// With --fix: have PocketBase take the client's address from X-Real-IP. Only where it is reachable through the sidecar alone
    #[arg(long, requires = "fix")]
    pub trust_x_real_ip: bool,

    /// Answer with one JSON object
    #[arg(long)]
    pub json: bool,

    /// The settings of `serve`, which may run meanwhile.
    #[command(flatten)]
    pub config: Config,
}

const AFTER_HELP: &str = "Exit status: 0 all is well, 1 something is broken, 2 there are warnings only, 64 a setting is wrong.\n\
    --fix adds and tightens; it never drops, renames, retypes or loosens anything, and touches no other collection than the sidecar's own.";

/// What a look found and what was mended before it.
struct Outcome {
    checks: Vec<Check>,
    done: Vec<String>,
}

/// One look at everything; with --fix a second one after what could be mended.
pub fn run(doctor: &Doctor) -> ExitCode {
    let runtime = refuse_dumps().and_then(|()| tokio::runtime::Builder::new_current_thread().enable_all().build());
    let printed = runtime.and_then(|runtime| {
        let outcome = runtime.block_on(Patient::new(&doctor.config).treated(doctor));
        screen::print(&outcome, doctor.json)?;
        Ok(outcome.worst())
    });
    match printed {
        Ok(Status::Well | Status::Skipped) => ExitCode::SUCCESS,
        Ok(Status::Warning) => ExitCode::from(2),
        Ok(Status::Broken) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Outcome {
    fn worst(&self) -> Status {
        self.checks.iter().map(|check| check.status).max().unwrap_or(Status::Well)
    }
}

/// The deployment that is looked at.
struct Patient<'a> {
    config: &'a Config,
    store: Store,
    /// None where the settings do not allow one.
    fal: Option<fal::Client>,
    /// What is wrong with the settings.
    faults: Vec<String>,
}

impl<'a> Patient<'a> {
    fn new(config: &'a Config) -> Self {
        let mut faults = Vec::new();
        let mut note = |error: String| faults.push(error);
        let credentials = config.superuser.credentials().unwrap_or_else(|error| {
            note(error);
            None
        });
        let fal = fal::Client::new(fal::Settings::new(&config.fal)).map_err(|error| note(error.to_string())).ok();
        if let Some(Err(error)) = config.fal.models.as_deref().map(fal::Catalogue::with_file) {
            note(error.to_string());
        }
        if super::serve::leads_back(config) {
            note(format!("GENERATIO_POCKETBASE_URL={} is where the sidecar itself listens", config.pocketbase_url));
        }
        let store = Store::new(&config.pocketbase_url, config.users_collection.clone(), credentials, Arc::<Outage>::default());
        Self { config, store, fal, faults }
    }

    async fn treated(&self, doctor: &Doctor) -> Outcome {
        let found = self.examine().await;
        if !doctor.fix {
            return Outcome { checks: found.checks, done: Vec::new() };
        }
        let trust = if doctor.trust_x_real_ip { Trust::XRealIp } else { Trust::AsIs };
        let (done, failed) = fix::fix(&self.store, &found, trust).await;
        let mut checks = if done.is_empty() { found.checks } else { self.examine().await.checks };
        checks.extend(failed);
        Outcome { checks, done }
    }
}
