//! Plain files of a process, which may have a root directory of its own and mean no good.

use std::{
    ffi::CString,
    fs::{self, File},
    io::Read as _,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::Path,
};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// A file that was found, and not opened yet: nothing waits for who writes into a FIFO, and no device is told.
#[derive(Debug)]
pub struct Plain {
    file: File,
    found: fs::Metadata,
}

impl Plain {
    /// The file that a process with this root directory has by this path: its links lead nowhere else. `None`: it has
    /// none, or it is no plain file.
    pub fn find(root: &Path, path: &str) -> Option<Self> {
        let root = File::open(root).ok()?;
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let file = File::from(openat2(root, CString::new(path).ok()?.as_c_str(), how).ok()?);
        let found = file.metadata().ok().filter(fs::Metadata::is_file)?;
        Some(Self { file, found })
    }

    /// What tells it from all others.
    pub fn identity(&self) -> (u64, u64) {
        (self.found.dev(), self.found.ino())
    }

    /// All of its text; `None`: it cannot be read, or is longer than this.
    pub fn text(&self, limit: u64) -> Option<String> {
        let file = File::open(format!("/proc/thread-self/fd/{}", self.file.as_raw_fd())).ok()?;
        let mut text = Vec::new();
        file.take(limit + 1).read_to_end(&mut text).ok()?;
        (text.len() as u64 <= limit).then(|| String::from_utf8_lossy(&text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;

    fn text(root: &Path, path: &str) -> Option<String> {
        Plain::find(root, path)?.text(8)
    }

    #[test]
    fn links_stay_below_the_root() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("own"), "own").unwrap();
        for (name, target) in
            [("absolute", "/own"), ("up", "../../own"), ("out", "/proc/self/root/etc/passwd")]
        {
            symlink(target, root.path().join(name)).unwrap();
        }
        assert_eq!(text(root.path(), "/absolute").as_deref(), Some("own"));
        assert_eq!(text(root.path(), "up").as_deref(), Some("own"));
        assert_eq!(text(root.path(), "../own").as_deref(), Some("own"));
        assert_eq!(text(root.path(), "/out"), None);
        assert_eq!(text(Path::new("/"), "/proc/self/root/etc/passwd"), None);
    }

    #[test]
    fn what_has_no_end_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        mkfifo(&root.path().join("fifo"), Mode::S_IRWXU).unwrap();
        fs::write(root.path().join("long"), "123456789").unwrap();
        for path in ["fifo", "long", "none"] {
            assert_eq!(text(root.path(), path), None);
        }
        assert_eq!(text(Path::new("/"), "/dev/zero"), None);
    }
}
