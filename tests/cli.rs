//! The command line, as an operator meets it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::process::{Command, Output};

use support::Sidecar;
use support::upstream::Upstream;

fn generatio(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_generatio")).args(arguments).envs(environment.iter().copied()).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_bad_setting_names_its_variable_and_exits_64_before_a_port_is_opened() {
    for (variable, flag, value) in [
        ("GENERATIO_LISTEN", "--listen", "nowhere"),
        ("GENERATIO_POCKETBASE_URL", "--pocketbase-url", "https://pocketbase"),
        ("GENERATIO_ORIGINS", "--origins", "page"),
        ("GENERATIO_TRUSTED_PROXIES", "--trusted-proxies", "10.0.0.0/40"),
        ("GENERATIO_MAX_CONNECTIONS", "--max-connections", "0"),
        ("GENERATIO_MAX_CONNECTIONS_PER_ADDRESS", "--max-connections-per-address", "many"),
        ("GENERATIO_REQUESTS_PER_SECOND_PER_ADDRESS", "--requests-per-second-per-address", "1000/s"),
        ("GENERATIO_LOGINS_PER_MINUTE_PER_ADDRESS", "--logins-per-minute-per-address", "-1"),
        ("GENERATIO_LOGINS_PER_MINUTE_PER_USER", "--logins-per-minute-per-user", "never"),
        ("GENERATIO_UNLOCKS_PER_MINUTE_PER_ADDRESS", "--unlocks-per-minute-per-address", "1.5"),
        ("GENERATIO_UNLOCKS_PER_MINUTE_PER_USER", "--unlocks-per-minute-per-user", "1000001"),
        ("GENERATIO_JOBS_PER_MINUTE", "--jobs-per-minute", "some"),
        ("GENERATIO_HEAD_TIMEOUT", "--head-timeout", "30"),
        ("GENERATIO_KEEP_ALIVE_TIMEOUT", "--keep-alive-timeout", "0s"),
        ("GENERATIO_STALL_TIMEOUT", "--stall-timeout", "-1s"),
        ("GENERATIO_UPSTREAM_TIMEOUT", "--upstream-timeout", "40 days"),
        ("GENERATIO_DRAIN_TIMEOUT", "--drain-timeout", "later"),
        ("GENERATIO_LOG", "--log", "loud"),
        ("GENERATIO_LOG_FORMAT", "--log-format", "xml"),
        ("GENERATIO_LOG_REQUESTS", "--log-requests", "1/0"),
        ("GENERATIO_METRICS_LISTEN", "--metrics-listen", "9100"),
    ] {
        for refused in [generatio(&["serve"], &[(variable, value)]), generatio(&["serve", &format!("{flag}={value}")], &[])] {
            let said = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(64), "{variable}={value}: {said}");
            assert!(said.contains(variable) && said.contains(value), "{variable}={value}: {said}");
        }
    }
}

#[test]
fn a_command_line_that_makes_no_sense_exits_64() {
    for arguments in [&[][..], &["sing"], &["serve", "--loud"]] {
        assert_eq!(generatio(arguments, &[]).status.code(), Some(64), "{arguments:?}");
    }
}

#[test]
fn help_shows_every_flag_with_its_variable_and_default() {
    let secrets = [("GENERATIO_POCKETBASE_PASSWORD", "the password of a superuser"), ("GENERATIO_POCKETBASE_TOKEN", "the.token.of-one")];
    let help = generatio(&["serve", "--help"], &secrets);
    assert_eq!(help.status.code(), Some(0));
    let said = text(&help.stdout);
    assert!(secrets.iter().all(|(_, secret)| !said.contains(secret)), "{said}");
    for part in [
        "--listen",
        "GENERATIO_LISTEN",
        "127.0.0.1:8080",
        "GENERATIO_POCKETBASE_URL",
        "GENERATIO_TRUSTED_PROXIES",
        "GENERATIO_LOGINS_PER_MINUTE_PER_ADDRESS",
        "GENERATIO_DRAIN_TIMEOUT",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
    for command in ["serve", "healthcheck"] {
        assert!(text(&generatio(&["--help"], &[]).stdout).contains(command));
    }
}

/// The parts of a text between backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Flags with their variables and defaults, as `serve --help` has them.
fn settings_of_the_program() -> BTreeMap<String, (String, String)> {
    let help = text(&generatio(&["serve", "--help"], &[]).stdout);
    let after =
        |block: &str, start: &str| block.split_once(start).map(|(_, rest)| rest.split([']', '=']).next().unwrap().trim().to_owned());
    let flags = help.split("\n      --").skip(1).filter_map(|block| {
        let flag = format!("--{}", block.split([' ', '\n']).next().unwrap());
        Some((flag, (after(block, "[env: ")?, after(block, "[default: ").unwrap_or_default())))
    });
    flags.collect()
}

#[test]
fn the_table_in_the_readme_is_what_the_program_can_be_told() {
    let readme = include_str!("../README.md");
    let mut told = BTreeMap::new();
    for row in readme.lines().filter(|line| line.starts_with("| `--")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let (flags, variables, defaults) = (quoted(cells[0]), quoted(cells[1]), quoted(cells[2]));
        assert_eq!(flags.len(), variables.len(), "{row}");
        for (index, (flag, variable)) in flags.into_iter().zip(variables).enumerate() {
            told.insert(flag, (variable, defaults.get(index).cloned()));
        }
    }
    let program = settings_of_the_program();
    assert_eq!(told.keys().collect::<Vec<_>>(), program.keys().collect::<Vec<_>>());
    for (flag, (variable, default)) in told {
        let (named, set) = &program[&flag];
        assert_eq!(&variable, named, "{flag}");
        // A default in words says what happens without one.
        assert!(default.is_none_or(|default| default == *set), "{flag}: {set}");
    }
}

#[test]
fn a_port_that_is_taken_is_named_and_exits_1() {
    let sidecar = Sidecar::start(Upstream::ok().address, &[]);
    let address = sidecar.address.to_string();
    let second = generatio(&["serve", "--listen", &address], &[]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains(&address) && text(&second.stderr).contains("GENERATIO_LISTEN"), "{}", text(&second.stderr));
}

#[test]
fn more_connections_than_descriptors_is_refused_with_the_numbers() {
    let refused = generatio(&["serve", "--listen", "127.0.0.1:0", "--max-connections", "4000000000"], &[]);
    assert_eq!(refused.status.code(), Some(64));
    assert!(text(&refused.stderr).contains("GENERATIO_MAX_CONNECTIONS"), "{}", text(&refused.stderr));
}

#[test]
fn a_sidecar_in_front_of_itself_is_refused() {
    let refused = generatio(&["serve", "--listen", "127.0.0.1:18099", "--pocketbase-url", "http://localhost:18099"], &[]);
    assert_eq!(refused.status.code(), Some(64));
    assert!(text(&refused.stderr).contains("GENERATIO_POCKETBASE_URL"), "{}", text(&refused.stderr));
}

#[test]
fn a_full_house_is_alive() {
    let sidecar = Sidecar::start(Upstream::ok().address, &["--max-connections", "1"]);
    let _held = sidecar.connect();
    let address = sidecar.address.to_string();
    assert_eq!(generatio(&["healthcheck", "--listen", &address], &[]).status.code(), Some(0));
    assert_eq!(generatio(&["healthcheck", "--listen", "127.0.0.1:0"], &[]).status.code(), Some(64), "nobody listens on port 0");
}

#[test]
fn the_healthcheck_exits_0_while_a_sidecar_answers_even_without_pocketbase() {
    let sidecar = Sidecar::start("127.0.0.1:1".parse().unwrap(), &[]);
    let address = sidecar.address.to_string();
    assert_eq!(generatio(&["healthcheck", "--listen", &address], &[]).status.code(), Some(0));
    let everywhere = format!("0.0.0.0:{}", sidecar.address.port());
    assert_eq!(generatio(&["healthcheck"], &[("GENERATIO_LISTEN", &everywhere)]).status.code(), Some(0));
    drop(sidecar);
    let gone = generatio(&["healthcheck", "--listen", &address], &[]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone.stderr).contains(&address));
}

#[test]
fn logs_can_be_read_by_machines() {
    let sidecar = Sidecar::start(Upstream::ok().address, &["--log-format", "json"]);
    let log = sidecar.log();
    let json: serde_json::Value =
        serde_json::from_str(log.lines().find(|line| line.contains("listening")).expect("a line")).expect("a JSON line");
    assert_eq!(json["level"], "INFO");
    assert!(json["message"].as_str().is_some_and(|message| message.starts_with("listening on http://")));
}

#[test]
fn a_variable_that_is_set_to_nothing_counts_as_not_set() {
    let empty = [("GENERATIO_TRUSTED_PROXIES", ""), ("GENERATIO_MAX_CONNECTIONS", ""), ("GENERATIO_LOG", "")];
    let sidecar = Sidecar::start(Upstream::ok().address, &[]);
    let address = sidecar.address.to_string();
    let healthy = generatio(&["healthcheck", "--listen", &address], &empty);
    assert_eq!(healthy.status.code(), Some(0));
    // The port is taken: it got as far as that.
    let second = generatio(&["serve", "--listen", &address], &empty);
    assert_eq!(second.status.code(), Some(1), "{}", text(&second.stderr));
    assert_eq!(generatio(&["serve", "--trusted-proxies="], &[]).status.code(), Some(64), "an empty flag is still a mistake");
}
