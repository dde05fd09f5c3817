//! A deployment that is as it should be, and how that is said.

use std::process::Command;

use crate::clinic::{Clinic, on_oldest_and_newest};
use crate::support::Sidecar;
use crate::support::pocketbase::{EMAIL, PASSWORD};

on_oldest_and_newest! {
    a_well_deployment_has_nothing_but_well_lines_even_beside_a_running_sidecar;
}

fn a_well_deployment_has_nothing_but_well_lines_even_beside_a_running_sidecar(release: &str) {
    let clinic = Clinic::on(release);
    clinic.user("ann@example.com");
    let flags = ["--pocketbase-email", EMAIL, "--pocketbase-password", PASSWORD];
    let sidecar = Sidecar::start(clinic.pocketbase.address, &flags);
    let said = clinic.doctor(&[]);
    said.is_well();
    let all = [
        "settings",
        "pocketbase",
        "version",
        "superuser",
        "hooks",
        "address",
        "batch",
        "collections",
        "rules",
        "data",
        "books",
        "fal",
        "clock",
    ];
    assert_eq!(said.named("well"), all);
    let released = if release.starts_with("0.23") { "is 0.23," } else { "is 0.40 or newer" };
    assert!(said.line("version")["says"].as_str().unwrap().contains(released), "{}", said.answer);
    assert!(said.line("books")["says"].as_str().unwrap().contains("all 1 users"), "{}", said.answer);
    let fixed = clinic.doctor(&["--fix"]);
    fixed.is_well();
    assert!(fixed.done().is_empty(), "{}", fixed.answer);
    assert!(!sidecar.log().contains("ERROR"), "{}", sidecar.log());
}

#[test]
fn a_screen_has_one_line_for_each_check_and_no_secret() {
    let clinic = Clinic::on(crate::clinic::NEWEST);
    let pocketbase = format!("http://{}", clinic.pocketbase.address);
    let output = Command::new(env!("CARGO_BIN_EXE_generatio"))
        .args(["doctor", "--pocketbase-url", &pocketbase, "--fal-queue-url", "http://127.0.0.1:1"])
        .env("GENERATIO_POCKETBASE_EMAIL", EMAIL)
        .env("GENERATIO_POCKETBASE_PASSWORD", PASSWORD)
        .output()
        .unwrap();
    let screen = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{screen}");
    assert!(screen.lines().count() <= 24 && !screen.contains(PASSWORD), "{screen}");
    assert_eq!(screen.lines().filter(|line| line.starts_with("  ok ")).count(), 12, "{screen}");
    assert_eq!(screen.lines().filter(|line| line.starts_with("  BROKEN   fal")).count(), 1, "{screen}");
    assert!(screen.contains("  > ") && screen.trim_end().ends_with("say what to do."), "{screen}");
}

#[test]
fn the_exit_status_is_in_the_help_and_trust_needs_fix() {
    let generatio = |flags: &[&str]| Command::new(env!("CARGO_BIN_EXE_generatio")).arg("doctor").args(flags).output().unwrap();
    let help = String::from_utf8(generatio(&["--help"]).stdout).unwrap();
    for part in [
        "0 all is well",
        "1 something is broken",
        "2 there are warnings",
        "--fix",
        "--json",
        "--trust-x-real-ip",
        "GENERATIO_POCKETBASE_URL",
    ] {
        assert!(help.contains(part), "{part} is not in:\n{help}");
    }
    assert_eq!(generatio(&["--trust-x-real-ip"]).status.code(), Some(64));
}
