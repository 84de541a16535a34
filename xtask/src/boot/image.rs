//! The first file system of a virtual machine: programs of this machine with their libraries, products of the
//! workspace, modules of the kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{BufWriter, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{cpio::Archive, modules, packages::Kernel};
use crate::command::{command, find, output_of};

/// Programs that the first process and tests need beside the tools of the labs.
const SYSTEM: [&str; 8] = ["bash", "sh", "busybox", "modprobe", "setpriv", "nsenter", "sysctl", "mount"];
/// As on Debian: one place for programs and one for libraries.
const LINKS: [(&str, &str); 5] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("var/run", "../run"),
];
const FOLDERS: [&str; 10] =
    ["dev", "proc", "sys", "run/netns", "tmp", "root", "var/lib", "usr/lib64", "usr/sbin", "usr/local/bin"];
/// Names of users, protocols and the like; secrets are in other files.
const FILES: [&str; 8] = [
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/protocols",
    "/etc/services",
    "/etc/ethertypes",
    "/etc/os-release",
    "/etc/iproute2",
];

#[derive(Clone, Debug)]
enum Entry {
    Folder,
    Link(&'static str),
    Copy(PathBuf),
    Text { text: String, mode: u32 },
}

/// What will be in the virtual machine, by its path there (without the first slash).
#[derive(Clone, Debug)]
pub struct Image {
    entries: BTreeMap<PathBuf, Entry>,
    looked_at: BTreeSet<PathBuf>,
}

impl Image {
    /// Empty but for folders and links; `init` is the text of the first process.
    pub fn bare(init: &str) -> Self {
        let mut image = Self { entries: BTreeMap::new(), looked_at: BTreeSet::new() };
        for (link, target) in LINKS {
            image.insert(Path::new(link), Entry::Link(target));
        }
        for folder in FOLDERS {
            image.folder(Path::new(folder));
        }
        image.text("init", init, 0o755);
        image
    }

    /// The system: `programs` of this machine as far as it has them, and what is around them.
    pub fn new<'a>(init: &str, programs: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut image = Self::bare(init);
        for path in FILES.map(Path::new).into_iter().filter(|path| path.exists()) {
            image.tree(path)?;
        }
        image.text("etc/hosts", "127.0.0.1 localhost\n", 0o644);
        let programs: Vec<_> = SYSTEM.into_iter().chain(programs).filter_map(find).collect();
        for program in &programs {
            image.program(program, program)?;
        }
        image.plugins_of_iptables()?;
        Ok(image)
    }

    /// A product of the workspace, callable by its `name`.
    pub fn product(&mut self, name: &str, path: &Path) -> Result<()> {
        self.program(path, &Path::new("/usr/local/bin").join(name))
    }

    /// `program` at `place`, and the libraries that it is linked with where they are here.
    pub fn program(&mut self, program: &Path, place: &Path) -> Result<()> {
        self.copy(program, place);
        self.libraries(program)
    }

    pub fn text(&mut self, path: &str, text: &str, mode: u32) {
        self.insert(Path::new(path), Entry::Text { text: text.to_owned(), mode });
    }

    /// A copy with the modules of `kernel` that machines and their networks need.
    pub fn with_modules(&self, kernel: &Kernel) -> Result<Self> {
        let mut image = self.clone();
        image.modules(kernel, modules::choose)?;
        Ok(image)
    }

    /// Modules of `kernel` by their names, and what they need.
    pub fn add_modules(&mut self, kernel: &Kernel, names: &[&str]) -> Result<()> {
        self.modules(kernel, |dependencies| modules::named(dependencies, names))
    }

    fn modules(&mut self, kernel: &Kernel, choose: impl Fn(&str) -> BTreeSet<&str>) -> Result<()> {
        let folder = kernel.modules()?;
        let place = Path::new("usr/lib/modules").join(kernel.release.as_str());
        let list = folder.join("modules.dep");
        let dependencies =
            fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        for module in choose(&dependencies) {
            self.copy(&folder.join(module), &place.join(module));
        }
        let files = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        let files = files.flatten().map(|file| file.path());
        for file in files.filter(|file| file.is_file()) {
            self.copy(&file, &place.join(file.file_name().unwrap_or_default()));
        }
        Ok(())
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        self.write_to(path).with_context(|| format!("cannot write {}", path.display()))
    }

    fn write_to(&self, path: &Path) -> Result<()> {
        let mut archive = Archive::new(BufWriter::new(File::create(path)?));
        for (name, entry) in &self.entries {
            add(&mut archive, &name.to_string_lossy(), entry)?;
        }
        archive.finish()?;
        Ok(())
    }

    fn libraries(&mut self, program: &Path) -> Result<()> {
        if !self.looked_at.insert(program.to_owned()) {
            return Ok(());
        }
        // ldd fails for programs without libraries, and for scripts.
        let Ok(text) = output_of(command("ldd").arg(program).env("LC_ALL", "C")) else { return Ok(()) };
        for library in libraries_in(&text) {
            self.copy(Path::new(library), Path::new(library));
        }
        Ok(())
    }

    /// iptables opens them by name when a rule needs them; they are beside its library.
    fn plugins_of_iptables(&mut self) -> Result<()> {
        let library = |name: &PathBuf| name.to_string_lossy().contains("/libxtables.so");
        let Some(folder) = self.entries.keys().find(|name| library(name)).and_then(|name| name.parent())
        else {
            return Ok(());
        };
        let plugins = Path::new("/").join(folder).join("xtables");
        self.tree(&plugins)
    }

    /// A file, or a folder with all files in it.
    pub fn tree(&mut self, path: &Path) -> Result<()> {
        if path.is_file() {
            self.copy(path, path);
            return Ok(());
        }
        let entries = fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
        entries.flatten().try_for_each(|entry| self.tree(&entry.path()))
    }

    fn copy(&mut self, source: &Path, place: &Path) {
        self.insert(place, Entry::Copy(source.to_owned()));
    }

    fn insert(&mut self, place: &Path, entry: Entry) {
        let place = real_place(place);
        if let Some(parent) = place.parent() {
            self.folder(parent);
        }
        self.entries.insert(place, entry);
    }

    fn folder(&mut self, place: &Path) {
        for folder in place.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
            self.entries.entry(folder.to_owned()).or_insert(Entry::Folder);
        }
    }
}

fn add(archive: &mut Archive<impl Write>, name: &str, entry: &Entry) -> Result<()> {
    match entry {
        Entry::Folder => archive.directory(name)?,
        Entry::Link(target) => archive.symlink(name, target)?,
        Entry::Text { text, mode } => archive.file(name, *mode, text.len() as u64, text.as_bytes())?,
        Entry::Copy(source) => {
            let file = File::open(source).with_context(|| format!("cannot open {}", source.display()))?;
            let about = file.metadata()?;
            archive.file(name, about.permissions().mode(), about.len(), file)?;
        }
    }
    Ok(())
}

/// Where `place` is when `/lib` and the like are links: an archive does not follow them.
fn real_place(place: &Path) -> PathBuf {
    let place = place.strip_prefix("/").unwrap_or(place);
    let moved = LINKS.iter().find_map(|(link, target)| {
        let rest = place.strip_prefix(link).ok()?;
        (!rest.as_os_str().is_empty()).then(|| Path::new(target).join(rest))
    });
    moved.unwrap_or_else(|| place.to_owned())
}

/// The paths in what ldd prints: `name => path (address)`, or `path (address)` for the loader.
fn libraries_in(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let path = line.split_once("=> ").map_or(line, |(_, path)| path).trim();
        path.starts_with('/').then(|| path.split(' ').next())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_prints() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \tlibgone.so => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let paths: Vec<_> = libraries_in(text).collect();
        assert_eq!(paths, ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }

    #[test]
    fn paths_do_not_lead_through_links() {
        assert_eq!(real_place(Path::new("/lib/x/libc.so.6")), Path::new("usr/lib/x/libc.so.6"));
        assert_eq!(real_place(Path::new("/lib64/ld.so")), Path::new("usr/lib64/ld.so"));
        assert_eq!(real_place(Path::new("/usr/bin/ip")), Path::new("usr/bin/ip"));
        assert_eq!(real_place(Path::new("bin")), Path::new("bin"));
    }

    #[test]
    fn folders_come_before_what_is_in_them() {
        let mut image = Image { entries: BTreeMap::new(), looked_at: BTreeSet::new() };
        image.text("/etc/a/b", "text", 0o644);
        let names: Vec<_> = image.entries.keys().map(|name| name.to_string_lossy().into_owned()).collect();
        assert_eq!(names, ["etc", "etc/a", "etc/a/b"]);
    }
}
