//! What the program can be asked to do.

pub mod dev;
pub mod doctor;
pub mod fal_sim;
mod hardening;
pub mod healthcheck;
pub mod serve;
mod supervisor;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::{self, Log, LogFormat};

/// A sidecar for PocketBase: one origin for PocketBase and /api/custom/*
#[derive(Parser, Debug)]
#[command(name = "generatio", version, about, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "Exit status: 0 done, 1 failed, 64 a setting is wrong (the message names it).\n\
    Every flag can also be set by the environment variable that --help shows beside it.";

/// One thing to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the sidecar in front of PocketBase
    Serve(Box<serve::Serve>),
    /// Run PocketBase, a FAL simulator and the sidecar on this machine, with data in one folder; for development
    Dev(Box<dev::Dev>),
    /// Run the FAL simulator alone: FAL without an account, a network or a cost
    FalSim(fal_sim::FalSim),
    /// Check a deployment: one line for each part, and what to do about it; --fix mends what is ours
    Doctor(Box<doctor::Doctor>),
    /// Exit 0 if a sidecar answers, 1 if not; for containers and monitors
    Healthcheck(healthcheck::Healthcheck),
}

impl Cli {
    /// What the command line and the environment ask for.
    ///
    /// # Errors
    /// When they make no sense, or ask for help; [`refuse`] says so.
    pub fn from_environment() -> Result<Self, clap::Error> {
        let matches = config::without_empty_variables(Self::command()).try_get_matches()?;
        Self::from_arg_matches(&matches)
    }

    /// Does it.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(serve) => serve::run(*serve),
            Command::Dev(dev) => dev::run(*dev),
            Command::FalSim(simulator) => fal_sim::run(simulator),
            Command::Doctor(doctor) => doctor::run(&doctor),
            Command::Healthcheck(healthcheck) => healthcheck::run(&healthcheck),
        }
    }
}

/// The environment variable of a flag, wherever it is used.
fn variable(command: &clap::Command, flag: &str) -> Option<String> {
    let own = command.get_arguments().find(|arg| arg.get_long() == Some(flag)).and_then(clap::Arg::get_env);
    own.map(|name| name.to_string_lossy().into_owned()).or_else(|| command.get_subcommands().find_map(|below| variable(below, flag)))
}

/// `EX_USAGE` of sysexits.h.
const EXIT_USAGE: u8 = 64;

/// The message for a command line or environment that cannot be used, and the exit status: 0 for `--help`, else 64.
pub fn refuse(error: &clap::Error) -> ExitCode {
    // Nothing can be done about a closed terminal.
    let _ = error.print();
    let variable = error.context().find_map(|(kind, value)| {
        let flag = (kind == clap::error::ContextKind::InvalidArg).then(|| value.to_string())?;
        variable(&Cli::command(), flag.split_whitespace().next()?.strip_prefix("--")?)
    });
    if let Some(variable) = variable {
        eprintln!("This value was given by the flag or by the environment variable {variable}.");
    }
    if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS }
}

/// Why a command ended without having done what it was asked.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The settings cannot be followed on this machine.
    #[error("{0}")]
    Setting(String),
    /// Something that must run does not.
    #[error("{0}")]
    Stopped(String),
    /// The system refused.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// Runs a command to its end, with its log on standard error. Our endpoints' work shares its threads; the proxy has its own.
fn run(log: &Log, command: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    start_log(log);
    let done = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Failure::from);
    match done.and_then(|runtime| runtime.block_on(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure}");
            match failure {
                Failure::Setting(_) => ExitCode::from(EXIT_USAGE),
                Failure::Stopped(_) | Failure::System(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn start_log(log: &Log) {
    let builder = tracing_subscriber::fmt().with_env_filter(log.filter.directives()).with_writer(BoxMakeWriter::new(std::io::stderr));
    match log.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
