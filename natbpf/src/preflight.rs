//! What can be known to fail before anything is loaded, and what will surprise.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sys::{
        statfs::{BPF_FS_MAGIC, statfs},
        utsname::uname,
    },
};

/// The oldest kernel whose helpers and attach points are enough.
pub const OLDEST_KERNEL: (u32, u32) = (6, 1);

/// `CAP_NET_ADMIN`, `CAP_SYS_ADMIN`, `CAP_PERFMON` and `CAP_BPF` (linux/capability.h)
const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// Follows the network namespace of the task that reads it.
const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Why natbpf cannot work here.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    #[error(
        "natbpf may not load BPF programs as this user; run it as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"
    )]
    Privilege,
    #[error("Linux {release} is too old; natbpf needs {}.{} or newer", OLDEST_KERNEL.0, OLDEST_KERNEL.1)]
    Kernel { release: String },
    #[error(
        "there is no directory {path} to hold the datapath; \
         make and mount it with: mkdir -p {path} && mount -t bpf bpf {path}",
        path = .0.display()
    )]
    NoDirectory(PathBuf),
    #[error("no BPF file system is mounted at {path}; mount it with: mount -t bpf bpf {path}", path = .0.display())]
    NotBpffs(PathBuf),
    #[error(
        "no BPF file system is mounted at {path}, and natbpf mounts none over the files that are there; \
         name an empty directory with --bpffs, or leave it out",
        path = .0.display()
    )]
    NotEmpty(PathBuf),
    #[error(
        "no BPF file system is mounted at {path}, and it cannot be mounted ({error}); \
         mount it with: mount -t bpf bpf {path}",
        path = path.display()
    )]
    Mount { path: PathBuf, error: io::Error },
    #[error(
        "cannot look at {path}: {error}; name the mount point of a BPF file system with --bpffs",
        path = path.display()
    )]
    Unreadable { path: PathBuf, error: io::Error },
}

/// What follows, in the order in which an operator would put it right.
pub fn check() -> Result<(), PreflightError> {
    check_kernel()?;
    check_privilege()
}

/// Whether programs may be loaded and attached. Row S40.
pub fn check_privilege() -> Result<(), PreflightError> {
    // Without /proc nobody can tell; then loading itself fails or not.
    let Ok(status) = fs::read_to_string("/proc/thread-self/status") else { return Ok(()) };
    let privileged = effective_capabilities(&status).is_none_or(privileged);
    if privileged { Ok(()) } else { Err(PreflightError::Privilege) }
}

pub fn check_kernel() -> Result<(), PreflightError> {
    let Ok(name) = uname() else { return Ok(()) };
    let release = name.release().to_string_lossy().into_owned();
    match kernel_version(&release) {
        Some(version) if version < OLDEST_KERNEL => Err(PreflightError::Kernel { release }),
        _ => Ok(()),
    }
}

/// Mounts a BPF file system where there is none, as iproute2 and Cilium do, in an empty directory alone: what
/// is in another would be hidden. True: it was mounted.
pub fn provide_bpffs(path: &Path) -> Result<bool, PreflightError> {
    let Err(missing) = check_bpffs(path) else { return Ok(false) };
    if !matches!(missing, PreflightError::NotBpffs(_)) {
        return Err(missing);
    }
    let path = || path.to_owned();
    let files = fs::read_dir(path()).map_err(|error| PreflightError::Unreadable { path: path(), error })?;
    if files.count() > 0 {
        return Err(PreflightError::NotEmpty(path()));
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Row S40.
    mount(Some("bpf"), &path(), Some("bpf"), flags, Some("mode=0700"))
        .map_err(|errno| PreflightError::Mount { path: path(), error: errno.into() })?;
    Ok(true)
}

/// Whether this is the mount namespace of the first process that can be seen; another one may end with its
/// last program, and what is pinned with it. Where it cannot be told, it is.
pub fn in_first_mount_namespace() -> bool {
    let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    of("1").is_none_or(|first| of("self") == Some(first))
}

/// Whether a BPF file system is mounted there.
pub fn check_bpffs(path: &Path) -> Result<(), PreflightError> {
    match statfs(path) {
        Ok(stat) if stat.filesystem_type() == BPF_FS_MAGIC => Ok(()),
        Ok(_) => Err(PreflightError::NotBpffs(path.to_owned())),
        Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => Err(PreflightError::NoDirectory(path.to_owned())),
        Err(errno) => Err(PreflightError::Unreadable { path: path.to_owned(), error: errno.into() }),
    }
}

/// What keeps traffic from flowing although natbpf works, for the calling thread's network namespace. Row M22.
pub fn warning() -> Option<&'static str> {
    let off = fs::read_to_string(IP_FORWARD).is_ok_and(|value| value.trim() == "0");
    off.then_some(
        "IPv4 forwarding is off, so no packet of an instance gets as far as the uplink; \
         switch it on with: sysctl -w net.ipv4.ip_forward=1",
    )
}

/// Major and minor number of a release such as `6.1.0-28-cloud-amd64`.
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The mask of effective capabilities in a `/proc/PID/status`.
fn effective_capabilities(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

fn privileged(capabilities: u64) -> bool {
    let has = |bit: u32| capabilities >> bit & 1 == 1;
    has(SYS_ADMIN) || has(BPF) && has(PERFMON) && has(NET_ADMIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_are_understood() {
        assert_eq!(kernel_version("6.1.0-28-cloud-amd64"), Some((6, 1)));
        assert_eq!(kernel_version("6.18"), Some((6, 18)));
        assert_eq!(kernel_version("5.15.167.4-microsoft-standard-WSL2"), Some((5, 15)));
        assert_eq!(kernel_version("6.12-rc3+"), Some((6, 12)));
        assert_eq!(kernel_version("unknown"), None);
        assert!([(5, 15), (6, 0)].iter().all(|version| *version < OLDEST_KERNEL));
        assert!((10, 0) > OLDEST_KERNEL);
    }

    #[test]
    fn capabilities_decide_not_the_user() {
        let status = |mask: &str| effective_capabilities(&format!("Name:\tx\nCapPrm:\t0\nCapEff:\t{mask}\n"));
        let mask = |bits: &[u32]| bits.iter().map(|bit| 1u64 << bit).sum::<u64>();
        assert_eq!(status("000001ffffffffff"), Some(0x1ff_ffff_ffff));
        assert_eq!(status("nonsense"), None);
        assert_eq!(effective_capabilities("Name:\tx\n"), None);
        assert!(privileged(mask(&[SYS_ADMIN])));
        assert!(privileged(mask(&[BPF, PERFMON, NET_ADMIN])));
        assert!(!privileged(mask(&[BPF, NET_ADMIN])));
        assert!(!privileged(mask(&[NET_ADMIN])));
        assert!(!privileged(mask(&[BPF])));
        assert!(!privileged(0));
    }

    #[test]
    fn another_file_system_is_no_bpffs() {
        let message = |path: &str| check_bpffs(Path::new(path)).unwrap_err().to_string();
        assert!(message("/proc").ends_with("mount -t bpf bpf /proc"));
        assert!(message("/no/such/directory").contains("mkdir -p /no/such/directory"));
        let message = provide_bpffs(Path::new("/proc")).unwrap_err().to_string();
        assert!(
            message.contains("no BPF file system is mounted at /proc, and natbpf mounts none over"),
            "{message}"
        );
    }
}
