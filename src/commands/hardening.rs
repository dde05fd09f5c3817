//! What a process that holds keys refuses from the system's side.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// From here on nobody but root can read this process's memory or attach a debugger to it, and a crash leaves no copy of it behind.
///
/// The limit is inherited by what is started from here. The rest is not: another program begins anew.
///
/// # Errors
/// When the system does not do it: better no sidecar than one that can be read.
pub(super) fn refuse_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
