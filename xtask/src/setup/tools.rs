//! Programs that labs, tests and benchmarks call: installed by their list, and found on a PATH that holds nothing else.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, Result, ensure};

use super::apt::Apt;
use crate::{command::find, folders::release_folder};

#[path = "../../../tests/src/process/programs.rs"]
mod programs;

pub use programs::{PROGRAMS, Program, Purpose};

/// The names of the programs for `purposes`.
pub fn programs_for(purposes: &[Purpose]) -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().filter(|program| purposes.contains(&program.purpose)).map(|program| program.name)
}

pub fn ensure(purposes: &[Purpose], apt: &mut Apt) -> Result<()> {
    let missing = missing(purposes);
    if missing.is_empty() {
        return Ok(());
    }
    let why = format!("for {}", names(&missing));
    apt.install(&packages(&missing), &why)?;

    let still_missing = self::missing(purposes);
    ensure!(
        still_missing.is_empty(),
        "packages {} are installed, but {} cannot be found on PATH",
        packages(&still_missing).join(" "),
        names(&still_missing)
    );
    Ok(())
}

/// A folder with links to all that a lab for `purpose` may start, as far as it is here: what the set-up for
/// it names, and what every Debian has. It is the PATH of what is run.
pub fn path_for(purpose: Purpose) -> Result<PathBuf> {
    let folder = release_folder()?.with_file_name("programs").join(format!("{purpose:?}").to_lowercase());
    links(&folder, PROGRAMS.iter().filter(|program| programs::permits(purpose, program)))
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    Ok(folder)
}

fn links<'a>(folder: &Path, programs: impl Iterator<Item = &'a Program>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let wanted: Vec<_> = programs.filter_map(|program| Some((program.name, find(program.name)?))).collect();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !wanted.iter().any(|(name, _)| entry.file_name() == *name) {
            // Another one may be at it, too.
            let _ = fs::remove_file(entry.path());
        }
    }
    for (name, program) in wanted {
        let link = folder.join(name);
        if fs::read_link(&link).is_ok_and(|target| target == program) {
            continue;
        }
        // At a stroke, since somebody may be using it.
        let new = folder.join(format!(".{name}-{}", process::id()));
        symlink(program, &new)?;
        fs::rename(&new, &link)?;
    }
    Ok(())
}

fn missing(purposes: &[Purpose]) -> Vec<Program> {
    let needed = PROGRAMS.iter().filter(|program| purposes.contains(&program.purpose));
    needed.filter(|program| find(program.name).is_none()).copied().collect()
}

fn names(programs: &[Program]) -> String {
    programs.iter().map(|program| program.name).collect::<Vec<_>>().join(", ")
}

/// Each package once, sorted.
fn packages(programs: &[Program]) -> Vec<&'static str> {
    let mut packages: Vec<_> = programs.iter().map(|program| program.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, env};

    use super::*;
    use crate::{
        command::{command, output_of},
        folders::workspace,
    };

    #[test]
    fn package_with_several_programs_is_installed_once() {
        let programs = ["tc", "conntrack", "ip"].map(|name| *listed(name).unwrap());
        assert_eq!(packages(&programs), ["conntrack", "iproute2"]);
        assert_eq!(names(&programs), "tc, conntrack, ip");
    }

    fn listed(name: &str) -> Option<&'static Program> {
        PROGRAMS.iter().find(|program| program.name == name)
    }

    /// The sources of tests.
    fn sources() -> Vec<String> {
        let (mut folders, mut sources) = (vec![workspace().join("tests")], Vec::new());
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    sources.push(fs::read_to_string(path).unwrap());
                }
            }
        }
        sources
    }

    /// What is called by name: `cmd("ip")`, `Cmd::new("ip")`.
    fn called(sources: &[String]) -> BTreeSet<&str> {
        let calls = ["cmd(\"", "Cmd::new(\""];
        let pieces = calls.iter().flat_map(|call| sources.iter().flat_map(|text| text.split(*call).skip(1)));
        let mut called: BTreeSet<_> = pieces.filter_map(|rest| rest.split('"').next()).collect();
        // The one that a test wants to be refused.
        called.remove("true");
        called
    }

    #[test]
    fn what_is_called_is_in_the_list_and_the_other_way_round() {
        let sources = sources();
        let called = called(&sources);
        assert!(called.len() > 20, "{called:?}");
        for name in &called {
            let known = listed(name).is_some_and(|known| programs::permits(Purpose::Test, known));
            assert!(known, "tests call {name}, which is not in tests/src/process/programs.rs");
        }
        // Whole command lines are in lists, and given to a shell.
        let begins_a_line = |name: &str| sources.iter().any(|text| text.contains(&format!("\"{name} ")));
        let lab = programs_for(&[Purpose::Base, Purpose::IfThere, Purpose::Lab, Purpose::Test]);
        let idle: Vec<_> = lab.filter(|name| !called.contains(name) && !begins_a_line(name)).collect();
        assert!(idle.is_empty(), "nobody calls {idle:?}");
    }

    /// Where there is a dpkg to ask.
    #[test]
    fn what_every_debian_has_is_essential() {
        if find("dpkg-query").is_none() {
            return;
        }
        for program in PROGRAMS.iter().filter(|program| program.purpose == Purpose::Base) {
            let query = ["--show", "--showformat=${Essential}", program.package];
            let essential = output_of(command("dpkg-query").args(query)).unwrap();
            assert_eq!(essential, "yes", "{}", program.package);
        }
    }

    #[test]
    fn path_holds_what_is_named_and_nothing_else() {
        let folder = env::temp_dir().join(format!("natbpf-programs-{}", process::id()));
        let named = || PROGRAMS.iter().filter(|program| program.name == "sh");
        links(&folder, named()).unwrap();
        symlink("/nowhere", folder.join("old")).unwrap();
        links(&folder, named()).unwrap();
        let there: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(there, ["sh"]);
        assert_eq!(fs::read_link(folder.join("sh")).ok(), find("sh"));
        fs::remove_dir_all(folder).unwrap();
    }
}
