//! The command line.

use std::process::ExitCode;

use generatio::commands::{self, Cli};

fn main() -> ExitCode {
    match Cli::from_environment() {
        Ok(cli) => cli.run(),
        Err(error) => commands::refuse(&error),
    }
}
