//! What the process itself uses, as Linux says; what Linux does not say is left out.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// One look at the process.
pub(super) struct Process {
    /// Time on processors, of all threads.
    pub(super) cpu: Duration,
    /// Bytes in memory.
    pub(super) resident: Option<u64>,
    /// Open descriptors.
    pub(super) descriptors: Option<u64>,
    /// How many there may be.
    pub(super) most_descriptors: Option<u64>,
    /// When it was started.
    pub(super) started: Option<f64>,
}

impl Process {
    pub(super) fn look() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let (seconds, nanos) = (u64::try_from(cpu.tv_sec).unwrap_or(0), u32::try_from(cpu.tv_nsec).unwrap_or(0));
        Self {
            cpu: Duration::new(seconds, nanos),
            resident: resident(),
            descriptors: descriptors(),
            most_descriptors: getrlimit(Resource::Nofile).current,
            started: started(),
        }
    }
}

/// The second number of `statm`, in pages.
fn resident() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// The process refuses to be looked into, so that only root may list them; Linux 6.2 and newer count them for everybody.
fn descriptors() -> Option<u64> {
    let listed = fs::read_dir("/proc/self/fd").map(|entries| entries.count() as u64).ok();
    let counted = || fs::metadata("/proc/self/fd").ok().map(|folder| folder.len()).filter(|count| *count > 0);
    listed.or_else(counted)
}

/// Linux counts from its own start, in ticks: the 20th number after the name in brackets.
fn started() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let ticks: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let since_boot = ticks / rustix::param::clock_ticks_per_second() as f64;
    let up = clock_gettime(ClockId::Boottime);
    let up = up.tv_sec as f64 + up.tv_nsec as f64 / 1e9;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    Some(now - up + since_boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let process = Process::look();
        assert!(process.resident.is_some_and(|bytes| bytes > 1 << 20));
        assert!(process.descriptors.is_none_or(|count| count >= 3));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(process.started.is_some_and(|at| at < now + 1.0 && at > now - 3600.0), "{:?} at {now}", process.started);
    }
}
