//! Commands: cargo, programs that need root, and how a command is shown to the reader.

use std::{
    convert::Infallible,
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::folders::workspace;

/// A command that finds the tools of a system administrator, too.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", search_path());
    command
}

/// The cargo that runs us, in the workspace.
pub fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut cargo = command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(args).current_dir(workspace());
    cargo
}

/// `program`, run as root: as it is for root, through sudo for others.
pub fn as_root(program: impl AsRef<OsStr>) -> Result<Command> {
    if is_root()? {
        return Ok(command(program));
    }
    let program = program.as_ref();
    ensure!(
        find("sudo").is_some(),
        "{} needs root and this machine has no sudo: run the same command as root",
        program.display()
    );
    let mut sudo = command("sudo");
    // -E: proxies, RUST_LOG and the like are meant for the program.
    sudo.arg("-E").arg(program);
    Ok(sudo)
}

pub fn is_root() -> Result<bool> {
    // The owner of /proc/self is the effective user.
    let process = fs::metadata("/proc/self").context("cannot read /proc/self: mount /proc")?;
    Ok(process.uid() == 0)
}

/// Where `program` is, if the commands we start would find it.
pub fn find(program: &str) -> Option<PathBuf> {
    which::which_in_global(program, Some(search_path())).ok()?.next()
}

/// PATH and the sbin folders: Debian leaves them out for users, and for root after a plain `su`.
fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let folders = env::split_paths(&path).chain(sbin);
    env::join_paths(folders).unwrap_or(path)
}

/// Runs `command` to its end; an exit status other than 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", show(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", show(command));
    }
    Ok(())
}

/// Runs `command` with its output on stderr, so that stdout stays free for the program that is run in the
/// end.
pub fn run_aside(command: &mut Command) -> Result<()> {
    run(command.stdout(io::stderr()))
}

/// What `command` prints on stdout. Its stderr becomes part of the error, or is the reader's where it is
/// inherited.
pub fn output_of(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start `{}`", show(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let message = format!("`{}` failed ({}) {complaint}", show(command), output.status);
        bail!("{}", message.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Becomes `command`. Signals and the exit status are then its own, with nobody in between.
pub fn exec(command: &mut Command) -> Result<Infallible> {
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start `{}`", show(command)))
}

/// `command` as it would be typed, with the variables set for it.
pub fn show(command: &Command) -> String {
    let variables = command.get_envs().filter(|(name, _)| *name != "PATH").filter_map(|(name, value)| {
        let value = value?.to_string_lossy();
        Some(format!("{}={}", name.to_string_lossy(), quote(&value)))
    });
    let program = Path::new(command.get_program());
    // Everybody knows where cargo is.
    let program = if program.ends_with("cargo") { OsStr::new("cargo") } else { program.as_os_str() };
    let words = [program].into_iter().chain(command.get_args()).map(|word| quote(&word.to_string_lossy()));
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

/// `word` as a shell takes it for one.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_commands_can_be_pasted_into_a_shell() {
        let mut command = command("/somewhere/bin/cargo");
        command.args(["test", "", "it's"]).env("RUSTFLAGS", "-D warnings");
        assert_eq!(show(&command), r"RUSTFLAGS='-D warnings' cargo test '' 'it'\''s'");
    }

    #[test]
    fn failure_names_the_command_and_its_status() {
        let error = run(command("sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert_eq!(error, "`sh -c 'exit 3'` failed (exit status: 3)");
    }

    #[test]
    fn program_that_is_not_there_is_not_found() {
        assert!(find("sh").is_some());
        assert!(find("natbpf-no-such-program").is_none());
    }
}
