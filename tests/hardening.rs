//! What another program of the same user gets to see of a running sidecar: nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use support::upstream::Upstream;
use support::{Sidecar, until};

/// An ordinary user: `nobody` where root runs the tests, else whoever does.
struct Ordinary {
    /// A copy of the sidecar that they may run.
    program: PathBuf,
}

impl Ordinary {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("generatio-hardening-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let program = folder.join("generatio");
        fs::copy(env!("CARGO_BIN_EXE_generatio"), &program).unwrap();
        Self { program }
    }

    /// A program run as them in a folder of theirs, which may leave as large a core dump as the system lets it.
    fn command(&self, program: &str) -> Command {
        let script = r#"ulimit -Sc "$(ulimit -Hc)"; exec "$@""#;
        let mut command = Command::new("sh");
        command.current_dir(self.program.parent().unwrap());
        command.args(["-c", script, "sh"]);
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command.arg(program);
        command
    }

    fn sidecar(&self) -> Sidecar {
        Sidecar::start_by(self.command(self.program.to_str().unwrap()), Upstream::ok().address, &[])
    }

    /// What reading the first byte of a process's file says.
    fn reads(&self, pid: u32, file: &str) -> String {
        let read = self.command("dd").args([&format!("if=/proc/{pid}/{file}"), "of=/dev/null", "bs=1", "count=1"]).output().unwrap();
        String::from_utf8_lossy(&read.stderr).into_owned()
    }

    fn bystander(&self) -> Bystander {
        let child = self.command("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap();
        let comm = format!("/proc/{}/comm", child.id());
        until("the bystander sleeps", || fs::read_to_string(&comm).is_ok_and(|name| name == "sleep\n"));
        Bystander(child)
    }
}

impl Drop for Ordinary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.program.parent().unwrap());
    }
}

/// A program that hides nothing.
struct Bystander(Child);

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_memory_of_the_sidecar_is_closed_to_other_programs_of_its_user() {
    let user = Ordinary::new("memory");
    let (sidecar, bystander) = (user.sidecar(), user.bystander());
    let open = user.reads(bystander.0.id(), "environ");
    assert!(!open.contains("Permission denied"), "the test cannot look at anybody: {open}");
    for file in ["mem", "environ", "maps", "fd/0"] {
        let said = user.reads(sidecar.pid(), file);
        assert!(said.contains("Permission denied"), "{file}: {said}");
    }
}

#[test]
fn a_crash_leaves_no_copy_of_the_memory() {
    let user = Ordinary::new("crash");
    let (mut sidecar, mut bystander) = (user.sidecar(), user.bystander());
    let limits = fs::read_to_string(format!("/proc/{}/limits", sidecar.pid())).unwrap();
    let core: Vec<&str> = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap().split_whitespace().collect();
    assert_eq!(core, ["0", "0", "bytes"]);
    sidecar.signal("ABRT");
    let status = sidecar.wait();
    assert!(status.signal() == Some(6) && !status.core_dumped(), "{status}");
    // For comparison, where the system is set up to dump anything at all.
    Command::new("kill").args(["-s", "ABRT", &bystander.0.id().to_string()]).status().unwrap();
    let dumped = bystander.0.wait().unwrap().core_dumped();
    eprintln!("an ordinary program {} a core dump here", if dumped { "leaves" } else { "does not leave" });
}
