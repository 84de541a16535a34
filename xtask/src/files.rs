//! Files of a folder.

use std::{fs, io, path::Path};

/// All files with this ending in a folder and those below it, in order.
pub fn files(folder: &Path, ending: &str) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            let below = files(&entry.path(), ending)?;
            found.extend(below.into_iter().map(|file| format!("{name}/{file}")));
        } else if name.ends_with(ending) {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}
