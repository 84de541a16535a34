//! What this kernel has.

use std::fs;
use std::path::PathBuf;

/// Whether a module is loaded, is built in, or can be loaded.
pub fn has_module(name: &str) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let modules = PathBuf::from("/lib/modules").join(release.trim());
    let file = format!("/{name}.ko");
    let listed = |list: &str| fs::read_to_string(modules.join(list)).is_ok_and(|list| list.contains(&file));
    fs::exists(format!("/sys/module/{name}")).unwrap_or(false)
        || listed("modules.dep")
        || listed("modules.builtin")
}
