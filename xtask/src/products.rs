//! What is built in release mode, where it is, and running it.

use std::{
    convert::Infallible,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::Result;

use crate::{
    command::{as_root, cargo, exec, output_of, run},
    folders::release_folder,
    setup::{
        self, Need,
        tools::{Purpose, path_for},
    },
};

/// The programs of the workspace.
pub const PROGRAMS: [&str; 7] = ["natbpf", "lab", "bench", "conformance", "fuzz", "hosts", "pod"];

/// Builds natbpf and the programs of natbpf-tests.
pub fn build() -> Command {
    cargo(["build", "--release", "--package", "natbpf", "--package", "natbpf-tests", "--bins"])
}

pub fn build_and_show() -> Result<()> {
    setup::ensure(Need::Build)?;
    let messages =
        output_of(build().arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit()))?;
    let paths = |line| path_after("executable", line);
    let object = messages.lines().find_map(natbpf_out_dir).and_then(|out| find_file(&out, "datapath"));
    for path in object.into_iter().chain(messages.lines().filter_map(paths)) {
        println!("{}", path.display());
    }
    Ok(())
}

pub fn exec_lab(args: &[OsString]) -> Result<ExitCode> {
    setup::ensure(Need::Run)?;
    run(&mut build())?;
    match exec_product("lab", args, Some(Purpose::Lab))? {}
}

pub fn exec_natbpf(args: &[OsString]) -> Result<ExitCode> {
    setup::ensure(Need::Build)?;
    run(&mut cargo(["build", "--release", "--package", "natbpf"]))?;
    match exec_product("natbpf", args, None)? {}
}

/// `hosts`: what real hosts are made of, where they are measured.
pub fn exec_bench(args: &[OsString], hosts: Option<PathBuf>) -> Result<ExitCode> {
    setup::ensure(Need::Test)?;
    run(&mut build())?;
    let mut bench = product_as_root("bench", Some(Purpose::Test))?;
    bench.envs(hosts.map(|folder| ("NATBPF_HOSTS", folder)));
    match exec(bench.args(args))? {}
}

pub fn exec_hosts(args: &[OsString], folder: PathBuf) -> Result<ExitCode> {
    run(&mut build())?;
    match exec(product_as_root("hosts", Some(Purpose::Test))?.env("NATBPF_HOSTS", folder).args(args))? {}
}

pub fn exec_conformance(args: &[OsString]) -> Result<ExitCode> {
    setup::ensure(Need::Test)?;
    run(&mut build())?;
    match exec_product("conformance", args, Some(Purpose::Test))? {}
}

fn exec_product(name: &str, args: &[OsString], purpose: Option<Purpose>) -> Result<Infallible> {
    exec(product_as_root(name, purpose)?.args(args))
}

/// What makes labs finds only what the set-up for `purpose` names.
fn product_as_root(name: &str, purpose: Option<Purpose>) -> Result<Command> {
    let mut command = as_root(product(name)?)?;
    if let Some(purpose) = purpose {
        command.env("NATBPF_PATH", path_for(purpose)?);
    }
    command.env("NATBPF_BIN", product("natbpf")?);
    Ok(command)
}

/// The path of a binary that was built in release mode.
pub fn product(name: &str) -> Result<PathBuf> {
    Ok(release_folder()?.join(name))
}

/// The folder that the build script of natbpf has written to, if `message` of cargo is about that.
fn natbpf_out_dir(message: &str) -> Option<PathBuf> {
    let is_ours = message.contains(r#""reason":"build-script-executed""#) && message.contains("/natbpf#");
    is_ours.then(|| path_after("out_dir", message)).flatten()
}

/// The path in the JSON field `name`.
pub fn path_after(name: &str, message: &str) -> Option<PathBuf> {
    let (_, value) = message.split_once(&format!(r#""{name}":""#))?;
    Some(value.split_once('"')?.0.into())
}

/// The file called `name` that is nearest below `folder`.
fn find_file(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while !folders.is_empty() {
        if let Some(found) = folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()) {
            return Some(found);
        }
        folders = folders
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_of_the_object_is_read_from_the_message_of_natbpf_only() {
        let message = |package: &str| {
            format!(
                r#"{{"reason":"build-script-executed","package_id":"path+file:///src/{package}#0.1.0","linked_libs":[],"out_dir":"/src/target/release/build/{package}-1/out"}}"#
            )
        };
        let out_dir = natbpf_out_dir(&message("natbpf"));
        assert_eq!(out_dir, Some("/src/target/release/build/natbpf-1/out".into()));
        assert_eq!(natbpf_out_dir(&message("natbpf-tests")), None);
    }

    #[test]
    fn libraries_have_no_executable() {
        assert_eq!(path_after("executable", r#"{"executable":null,"fresh":true}"#), None);
        assert_eq!(
            path_after("executable", r#"{"executable":"/t/natbpf","fresh":true}"#),
            Some("/t/natbpf".into())
        );
    }
}
