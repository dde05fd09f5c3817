//! What the program can be asked to do.

pub mod healthcheck;
pub mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Exit 0 if a sidecar answers, 1 if not; for containers and monitors
    Healthcheck(healthcheck::Healthcheck),
}

impl Cli {
    /// Does it.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(serve) => serve::run(*serve),
            Command::Healthcheck(healthcheck) => healthcheck::run(&healthcheck),
        }
    }
}

/// `EX_USAGE` of sysexits.h.
const EXIT_USAGE: u8 = 64;

/// The message for a command line or environment that cannot be used, and the exit status: 0 for `--help`, else 64.
pub fn refuse(error: &clap::Error) -> ExitCode {
    // Nothing can be done about a closed terminal.
    let _ = error.print();
    let variable = error.context().find_map(|(kind, value)| {
        let flag = (kind == clap::error::ContextKind::InvalidArg).then(|| value.to_string())?;
        let name = flag.split_whitespace().next()?.strip_prefix("--")?.replace('-', "_").to_uppercase();
        Some(format!("GENERATIO_{name}"))
    });
    if let Some(variable) = variable {
        eprintln!("This value was given by the flag or by the environment variable {variable}.");
    }
    if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS }
}
