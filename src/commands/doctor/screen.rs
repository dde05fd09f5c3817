//! The doctor's answer: one screen for people, one object for machines.

use std::io::{self, Write};

use serde::Serialize;

use super::Outcome;
use super::report::{Check, Status};

/// More of a kind than that is not read.
const MOST_DETAILS: usize = 8;

pub(super) fn print(outcome: &Outcome, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json { as_object(&mut out, outcome) } else { as_screen(&mut out, outcome) }
}

fn as_object(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
    #[derive(Serialize)]
    struct Object<'a> {
        status: Status,
        checks: &'a [Check],
        done: &'a [String],
    }
    serde_json::to_writer(&mut *out, &Object { status: outcome.worst(), checks: &outcome.checks, done: &outcome.done })?;
    writeln!(out)
}

fn as_screen(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
    for line in &outcome.done {
        writeln!(out, "  fixed    {line}")?;
    }
    if !outcome.done.is_empty() {
        writeln!(out)?;
    }
    for check in &outcome.checks {
        writeln!(out, "  {:<8} {:<12} {}", word(check.status), check.name, check.says)?;
        for detail in check.details.iter().take(MOST_DETAILS) {
            writeln!(out, "  {:<21} - {detail}", "")?;
        }
        if check.details.len() > MOST_DETAILS {
            writeln!(out, "  {:<21} - and {} more (--json names all)", "", check.details.len() - MOST_DETAILS)?;
        }
        if !check.remedy.is_empty() {
            writeln!(out, "  {:<21} > {}", "", check.remedy)?;
        }
    }
    writeln!(out, "\n{}", verdict(outcome.worst()))
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Well => "ok",
        Status::Skipped => "-",
        Status::Warning => "warning",
        Status::Broken => "BROKEN",
    }
}

fn verdict(worst: Status) -> &'static str {
    match worst {
        Status::Well | Status::Skipped => "All is well.",
        Status::Warning => "It works; the warnings say what to look at.",
        Status::Broken => "Something is broken; the lines with > say what to do.",
    }
}
