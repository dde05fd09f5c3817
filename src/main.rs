//! The command line: which command, and what its outcome means to the shell.

fn main() {}
