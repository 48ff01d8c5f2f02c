//! Whether there is a program to run: better known at the start than when the host becomes primary.

use crate::exit;
use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// Refuses a command that could not be run.
///
/// # Errors
/// [`exit::Usage`] that names the program.
pub(super) fn check(command: &[OsString]) -> anyhow::Result<()> {
    let program = command.first().map_or(OsStr::new(""), OsString::as_os_str);
    let shown = program.display();
    let name = Path::new(program);
    let problem = if program.is_empty() {
        "COMMAND is empty; name a program after `--`".to_owned()
    } else if program.as_encoded_bytes().contains(&b'/') {
        match name.metadata() {
            Err(error) => format!("COMMAND {shown}: {error}; name a program that is there"),
            Ok(_) if runs(name) => return Ok(()),
            Ok(_) => format!("COMMAND {shown} is no executable file; `chmod +x` it, or name another"),
        }
    } else {
        let folders = env::var_os("PATH").unwrap_or_default();
        if env::split_paths(&folders).any(|folder| runs(&folder.join(name))) {
            return Ok(());
        }
        format!("COMMAND {shown} is not found in PATH; name its whole path")
    };
    Err(exit::Usage(problem).into())
}

fn runs(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_run_is_named() {
        let check = |program: &str| check(&[program.into()]).map_err(|error| error.to_string());
        check("sh").unwrap();
        check("/bin/sh").unwrap();
        for (program, start) in [
            ("", "COMMAND is empty"),
            ("there-is-no-such-program", "COMMAND there-is-no-such-program is not found in PATH"),
            ("/there/is/none", "COMMAND /there/is/none: "),
            ("/etc/passwd", "COMMAND /etc/passwd is no executable file"),
            ("/usr", "COMMAND /usr is no executable file"),
        ] {
            let problem = check(program).unwrap_err();
            assert!(problem.starts_with(start), "{problem}");
        }
    }
}
