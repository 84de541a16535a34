//! Where the doctor cannot look, he says so and guesses nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use lab::gateway::natbpf;
use lab::process::Cmd;
use lab::{Lab, bpffs};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::examination::{Examination, healthy, iptables};

const NOBODY: [&str; 4] = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];

/// Nothing was found, these were not looked at, and others were.
fn is_unseen(found: &Examination, parts: &[&str]) -> Result<()> {
    ensure!(found.causes().is_empty() && found.status == Some(3), "{:#} {:?}", found.report, found.status);
    for part in parts {
        ensure!(found.unseen().iter().any(|what| what.contains(part)), "{part}: {:#}", found.report);
    }
    Ok(())
}

/// A user without privileges may not reach the folder of the program.
fn copied_for_everybody() -> Result<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    let copy = folder.path().join("natbpf");
    fs::copy(natbpf::binary()?, &copy)?;
    Ok((folder, copy))
}

/// The doctor in the gateway, with less than root has.
fn with_less(lab: &Lab, less: &[&str], program: &PathBuf) -> Result<Examination> {
    let cmd = lab.gw.cmd("setpriv").args(less).arg(program).arg("--bpffs").arg(bpffs());
    Examination::by(cmd.args(["--instance", "lab", "doctor", "--json"]))
}

#[test]
fn without_root() -> Result<()> {
    let lab = healthy()?;
    let (_folder, program) = copied_for_everybody()?;
    let found = with_less(&lab, &NOBODY, &program)?;
    is_unseen(
        &found,
        &["other network namespaces, and the processes there: run natbpf as root", "rules of"],
    )?;
    // What everybody can see is found nevertheless.
    lab.gw.sysctl("net.ipv4.ip_forward", "0")?;
    let found = with_less(&lab, &NOBODY, &program)?;
    found.is_alone("forwarding-off", "net.ipv4.ip_forward")?;
    ensure!(!found.unseen().is_empty(), "{:#}", found.report);
    Ok(())
}

/// Root of a container, as a rule.
#[test]
fn namespaces_that_may_not_be_entered() -> Result<()> {
    let lab = healthy()?;
    let found = with_less(&lab, &["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"], &natbpf::binary()?)?;
    is_unseen(&found, &["other network namespaces"])?;
    ensure!(found.report["namespaces"] == 1, "{:#}", found.report);
    Ok(())
}

#[test]
fn without_the_programs_that_show_rules() -> Result<()> {
    let lab = healthy()?;
    let nothing = tempfile::tempdir()?;
    let without = || -> Result<Cmd> { Ok(lab.natbpf_cli()?.cmd().env("PATH", nothing.path())) };
    let found = Examination::by(without()?.args(["doctor", "--json"]))?;
    is_unseen(&found, &["rules of nft: `nft` is not installed"])?;
    let text = without()?.arg("doctor").output()?;
    let text = String::from_utf8(text.stdout)?;
    ensure!(text.contains("not looked at: rules of nft"), "{text}");
    ensure!(text.contains("no cause was found in what could be looked at"), "{text}");
    Ok(())
}

/// Programs that show rules, and no others.
fn with_programs(lab: &Lab, names: &[&str]) -> Result<(tempfile::TempDir, Cmd)> {
    let folder = tempfile::tempdir()?;
    for name in names {
        let find = ["-c", "command -v \"$0\"", name];
        let path = lab.gw.cmd("sh").args(find).output_text()?;
        symlink(fs::canonicalize(path.trim())?, folder.path().join(name))?;
    }
    let doctor = lab.natbpf_cli()?.cmd().env("PATH", folder.path()).args(["doctor", "--json"]);
    Ok((folder, doctor))
}

/// What iptables shows is all that there is, as long as it is.
#[test]
fn without_nft_alone() -> Result<()> {
    let lab = healthy()?;
    let doctor = || with_programs(&lab, &["iptables-nft-save"]);
    let (_folder, cmd) = doctor()?;
    Examination::by(cmd)?.is_healthy()?;
    lab.gw.cmd("nft").arg("add table ip6 mine").run()?;
    let (_folder, cmd) = doctor()?;
    Examination::by(cmd)?.is_healthy()?;
    lab.gw.cmd("nft").arg("add table inet guard").run()?;
    let (_folder, cmd) = doctor()?;
    is_unseen(&Examination::by(cmd)?, &["rules of nft: `nft` is not installed"])
}

#[test]
fn rules_that_cannot_be_read() -> Result<()> {
    let lab = healthy()?;
    iptables(&lab, "-t nat -F")?;
    let (folder, cmd) = with_programs(&lab, &["iptables-nft-save"])?;
    let program = folder.path().join("nft");
    fs::write(&program, "#!/bin/sh\necho 'table ip guard {'\n")?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    // That nothing translates is not known then.
    is_unseen(&Examination::by(cmd)?, &["rules of nft: "])
}

#[test]
fn a_namespace_that_is_not_there() -> Result<()> {
    let doctor = || Ok::<_, anyhow::Error>(Cmd::new(natbpf::binary()?).args(["--netns", "gone", "doctor"]));
    let found = Examination::by(doctor()?.arg("--json"))?;
    is_unseen(&found, &["gone"])?;
    let output = doctor()?.output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(
        text.contains("not looked at: ") && output.status.code() == Some(3),
        "{text} {:?}",
        output.status
    );
    for arguments in ["why --from tap0 192.0.2.1 --send", "trace", "top --once"] {
        let command = Cmd::new(natbpf::binary()?).args(["--netns", "gone"]).args(arguments.split(' '));
        let output = command.output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(3) && said.contains("gone"), "{arguments}: {said}");
    }
    Ok(())
}

/// ip-netns(8) knows no paths.
#[test]
fn commands_for_a_namespace_with_a_path_can_be_typed() -> Result<()> {
    let lab = healthy()?;
    lab.gw.sysctl("net.ipv4.ip_forward", "0")?;
    let path = format!("/run/netns/{}", lab.gw.name());
    let doctor = Cmd::new(natbpf::binary()?).args(["--netns", &path, "doctor", "--json"]);
    let found = Examination::by(doctor)?;
    found.is_alone("forwarding-off", "net.ipv4.ip_forward")?;
    let mend = &found.report["findings"][0]["mend"][0];
    ensure!(*mend == format!("nsenter --net={path} sysctl -w net.ipv4.ip_forward=1"), "{mend}");
    Ok(())
}

#[test]
fn without_proc() -> Result<()> {
    let lab = healthy()?;
    let mut doctor = lab.natbpf_cli()?.cmd().args(["doctor", "--json"]);
    let hide = || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("tmpfs"), "/proc", Some("tmpfs"), MsFlags::empty(), none)?;
        Ok(())
    };
    // SAFETY: system calls, and paths that are short enough for the stack.
    unsafe { doctor.as_command().pre_exec(hide) };
    let found = Examination::by(doctor)?;
    is_unseen(&found, &["mount -t proc proc /proc"])?;
    ensure!(found.report["namespaces"] == 0, "{:#}", found.report);
    Ok(())
}
