//! Kernels from Debian's packages: found, fetched and unpacked below `target/vm`.
//!
//! apt does it, with package lists and settings of its own: what the machine has installed, and where it gets
//! packages from, stay as they are. apt checks the signatures.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};

use super::versions::{Flavour, Release, Wanted, choose};
use crate::command::{command, output_of, run_aside};

/// Kernels of these releases are looked at: 6.1 and 6.12 are those of Debian 12, and Debian 13's backports follow
/// Linux closely.
const SUITES: [&str; 3] = ["bookworm", "bookworm-backports", "trixie-backports"];
const SECURITY_SUITE: &str = "bookworm-security";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// For so long the lists are not asked for again.
const FRESH: Duration = Duration::from_hours(24);

/// A kernel that is unpacked.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub release: Release,
    folder: PathBuf,
}

impl Kernel {
    /// The file that boots.
    pub fn image(&self) -> Result<PathBuf> {
        let names =
            [format!("boot/vmlinuz-{}", self.release), format!("usr/lib/modules/{}/vmlinuz", self.release)];
        let found = names.iter().map(|name| self.folder.join(name)).find(|path| path.is_file());
        found.with_context(|| {
            format!("no kernel in {}: remove the folder, to have it unpacked again", self.folder.display())
        })
    }

    /// The folder of its modules, with `modules.dep` in it.
    pub fn modules(&self) -> Result<PathBuf> {
        let bases = [self.folder.join("usr"), self.folder.clone()];
        let at = |base: &PathBuf| base.join("lib/modules").join(self.release.as_str());
        let base = bases.iter().find(|base| at(base).join("kernel").is_dir());
        let base = base.with_context(|| {
            format!("no modules in {}: remove the folder, to have them unpacked again", self.folder.display())
        })?;
        let modules = at(base);
        if !modules.join("modules.dep").exists() {
            run_aside(command("depmod").arg("-b").arg(base).arg(self.release.as_str()))?;
        }
        Ok(modules)
    }
}

/// Debian's kernels, as apt offers them.
#[derive(Debug)]
pub struct Packages {
    folder: PathBuf,
    offered: Vec<Release>,
}

impl Packages {
    /// Brings the lists in `folder` up to date where they are older than a day.
    pub fn open(folder: &Path) -> Result<Self> {
        ensure!(
            Path::new(KEYS).exists(),
            "{KEYS} is missing: install the package debian-archive-keyring, apt checks the kernels by it"
        );
        let mut packages = Self { folder: folder.to_owned(), offered: Vec::new() };
        for name in ["lists/partial", "cache/archives/partial", "packages"] {
            let path = folder.join(name);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        packages.update()?;
        let pattern = r"^linux-image-[0-9].*-amd64$";
        let found = output_of(packages.apt("apt-cache").args(["search", "--names-only", pattern]))?;
        packages.offered =
            found.lines().filter_map(|line| Release::of_package(line.split(' ').next()?)).collect();
        Ok(packages)
    }

    pub fn choose(&self, wanted: Wanted, flavour: Flavour) -> Result<Release> {
        let chosen = choose(&self.offered, wanted, flavour).cloned();
        let alike = self.offered.iter().filter(|release| release.is_of(flavour));
        let names: Vec<_> = alike.map(Release::as_str).collect();
        chosen.with_context(|| format!("Debian offers no kernel {wanted}; there are: {}", names.join(", ")))
    }

    /// Fetches and unpacks `release`, unless that has been done.
    pub fn kernel(&self, release: &Release) -> Result<Kernel> {
        let folder = self.folder.join("kernels").join(release.as_str());
        let kernel = Kernel { release: release.clone(), folder };
        if kernel.folder.exists() {
            return Ok(kernel);
        }
        let names = self.parts(release)?;
        eprintln!("vm: fetching {}", names.join(", "));
        let store = self.folder.join("packages");
        run_aside(self.apt("apt-get").arg("download").args(&names).current_dir(&store))
            .context("cannot fetch the kernel: apt has to reach its mirror")?;
        // Under its name only when it is whole.
        let unfinished = self.folder.join("unpacking");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)
                .with_context(|| format!("cannot remove {}", unfinished.display()))?;
        }
        for package in newest_files(&store, &names)? {
            run_aside(command("dpkg-deb").arg("-x").arg(package).arg(&unfinished))?;
        }
        fs::create_dir_all(self.folder.join("kernels"))?;
        fs::rename(&unfinished, &kernel.folder)
            .with_context(|| format!("cannot make {}", kernel.folder.display()))?;
        Ok(kernel)
    }

    /// The package and those beside it that hold parts of the same kernel: newer ones keep modules apart.
    fn parts(&self, release: &Release) -> Result<Vec<String>> {
        let about = output_of(self.apt("apt-cache").args(["show", "--no-all-versions", &release.package()]))?;
        Ok(parts_of(release, &about))
    }

    fn update(&self) -> Result<()> {
        let sources = self.folder.join("sources.list");
        let wanted = sources_list(&mirrors()?);
        let lists = self.folder.join("lists");
        let stamp = self.folder.join("updated");
        let age = fs::metadata(&stamp)
            .and_then(|stamp| stamp.modified())
            .map(|time| SystemTime::now().duration_since(time));
        let same = fs::read_to_string(&sources).is_ok_and(|have| have == wanted);
        if same && matches!(age, Ok(Ok(age)) if age < FRESH) {
            return Ok(());
        }
        fs::write(&sources, wanted).with_context(|| format!("cannot write {}", sources.display()))?;
        eprintln!("vm: bringing Debian's lists of kernels up to date");
        match run_aside(self.apt("apt-get").args(["update", "-q"])) {
            Ok(()) => fs::write(&stamp, "").with_context(|| format!("cannot write {}", stamp.display())),
            Err(error) if has_lists(&lists) => {
                eprintln!("vm: {error:#}; going on with the lists as they are");
                Ok(())
            }
            Err(error) => {
                Err(error.context("cannot get Debian's package lists: apt has to reach its mirror"))
            }
        }
    }

    /// apt with the lists and sources of this folder alone.
    fn apt(&self, program: &str) -> Command {
        let mut apt = command(program);
        let sources = self.folder.join("sources.list");
        let places = [
            ("Etc::sourcelist", sources),
            ("State::lists", self.folder.join("lists")),
            ("Cache", self.folder.join("cache")),
        ];
        for (name, path) in places {
            apt.arg("-o").arg(format!("Dir::{name}={}", path.display()));
        }
        // Only names and versions are wanted. apt's own user may not see this folder.
        for setting in [
            "Dir::Etc::sourceparts=-",
            "Acquire::Languages=none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            "APT::Sandbox::User=root",
        ] {
            apt.args(["-o", setting]);
        }
        apt.env("LC_ALL", "C");
        apt
    }
}

fn has_lists(folder: &Path) -> bool {
    let files = fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.file_name()).collect::<Vec<_>>());
    files.is_ok_and(|names| names.iter().any(|name| name.to_string_lossy().contains("_Packages")))
}

/// Where the machine gets Debian from: `(release, address)` of each of its sources.
fn mirrors() -> Result<Vec<(String, String)>> {
    let mut targets = command("apt-get");
    targets.args(["indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"]);
    let text =
        output_of(&mut targets).context("this machine has no apt: kernels come from Debian's packages")?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(release, uri)| (release.into(), uri.into()))
        .collect())
}

/// Debian's own archive, on the mirror that the machine uses.
pub fn archive() -> Result<String> {
    let mirrors = mirrors()?;
    let uri = main(&mirrors).map(str::to_owned);
    uri.context("apt of this machine has no source of Debian's own archive, which the packages come from")
}

/// Debian's own archive is the one that has the release whose security updates are elsewhere.
fn main(mirrors: &[(String, String)]) -> Option<&str> {
    let security = mirrors.iter().find(|(release, _)| release.ends_with("-security"));
    let release = security.map(|(release, _)| release.trim_end_matches("-security"));
    let main = mirrors.iter().find(|(name, _)| release.map_or(name == SUITES[0], |release| name == release));
    main.map(|(_, uri)| &**uri)
}

/// The sources of kernels, on the mirrors that the machine itself uses.
fn sources_list(mirrors: &[(String, String)]) -> String {
    let security = mirrors.iter().find(|(release, _)| release.ends_with("-security"));
    let line = |suite: &str, uri: &str| format!("deb [signed-by={KEYS} arch=amd64] {uri} {suite} main\n");
    let main_lines = main(mirrors).into_iter().flat_map(|uri| SUITES.map(|suite| line(suite, uri)));
    let security_lines = security.map(|(_, uri)| line(SECURITY_SUITE, uri));
    main_lines.chain(security_lines).collect()
}

/// `release`'s own package and those of its dependencies that belong to this very kernel.
fn parts_of(release: &Release, about: &str) -> Vec<String> {
    let depends = about.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
    let needed = depends.split(',').filter_map(|part| part.split_whitespace().next());
    let parts = needed.filter(|name| name.ends_with(release.as_str())).map(str::to_owned);
    [release.package()].into_iter().chain(parts).collect()
}

/// The latest file in `store` of each package.
fn newest_files(store: &Path, names: &[String]) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(store).with_context(|| format!("cannot list {}", store.display()))?;
    let files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    let of = |name: &String| {
        let prefix = format!("{name}_");
        let is_its = |path: &&PathBuf| {
            path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&prefix))
        };
        let newest = files
            .iter()
            .filter(is_its)
            .max_by_key(|path| fs::metadata(path).and_then(|file| file.modified()).ok());
        newest.cloned().with_context(|| format!("apt has left no package {name} in {}", store.display()))
    };
    names.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_on_the_mirrors_of_the_machine() {
        let mirrors = [
            ("nodistro", "https://other.test/"),
            ("trixie", "http://mirror.test/debian/"),
            ("trixie-security", "http://mirror.test/security/"),
        ];
        let mirrors = mirrors.map(|(release, uri)| (release.to_owned(), uri.to_owned()));
        let list = sources_list(&mirrors);
        let lines: Vec<_> = list.lines().map(|line| line.split_once("] ").unwrap().1).collect();
        let expected = [
            "http://mirror.test/debian/ bookworm main",
            "http://mirror.test/debian/ bookworm-backports main",
            "http://mirror.test/debian/ trixie-backports main",
            "http://mirror.test/security/ bookworm-security main",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn kernel_in_several_packages_is_fetched_whole() {
        let release = Release::of_package("linux-image-7.3.4+deb13-cloud-amd64").unwrap();
        let about = "Package: x\nDepends: dracut | initramfs-tools (>= 0.120), linux-binary-7.3.4+deb13-cloud-amd64 (= 7.3.4-1), linux-modules-7.3.4+deb13-cloud-amd64 (= 7.3.4-1)\n";
        let expected = [
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-modules-7.3.4+deb13-cloud-amd64",
        ];
        assert_eq!(parts_of(&release, about), expected);
        assert_eq!(parts_of(&release, "Depends: kmod, linux-base (>= 4.3~)"), expected[..1]);
    }
}
