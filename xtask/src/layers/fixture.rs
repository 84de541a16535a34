//! A little crate to find something in.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::{Report, inspect, plan::RULES};

/// What is found in the crate `c` with these floors and files.
pub fn report(floors: &str, files: &[(&str, &str)]) -> Report {
    let folder = TempDir::new().unwrap();
    write(&folder.path().join(RULES), &format!("[c]\nfloors = {floors}"));
    for (file, text) in files {
        write(&folder.path().join("c/src").join(file), text);
    }
    inspect(folder.path()).unwrap()
}

fn write(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}
