//! The command line.

use std::process::ExitCode;

use clap::Parser;
use generatio::commands::{self, Cli};

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cli.run(),
        Err(error) => commands::refuse(&error),
    }
}
