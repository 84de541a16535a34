//! Which modules of a kernel go into the virtual machine.

use std::collections::BTreeSet;

/// Folders below the kernel's own one. All of them are taken, so that the kernel finds what it asks for by itself;
/// network cards are in deeper folders of `drivers/net`, and nobody needs them.
const FOLDERS: [&str; 3] = ["kernel/net/", "kernel/lib/", "kernel/crypto/"];
const FLAT_FOLDERS: [&str; 3] = ["kernel/drivers/net/", "kernel/drivers/virtio/", "kernel/drivers/char/"];
const SMALL_FOLDERS: [&str; 4] = [
    "kernel/drivers/net/vxlan/",
    "kernel/drivers/net/bonding/",
    "kernel/drivers/net/ppp/",
    "kernel/drivers/net/wireguard/",
];

/// The modules to take and all that they need, from the kernel's `modules.dep`: lines `module: needed needed`.
pub fn choose(dependencies: &str) -> BTreeSet<&str> {
    with_needed(dependencies, is_wanted)
}

/// Those with these names, and all that they need.
pub fn named<'a>(dependencies: &'a str, names: &[&str]) -> BTreeSet<&'a str> {
    with_needed(dependencies, |module| {
        let file = module.rsplit('/').next().unwrap_or(module);
        names.iter().any(|name| file.split('.').next() == Some(name))
    })
}

fn with_needed(dependencies: &str, is_wanted: impl Fn(&str) -> bool) -> BTreeSet<&str> {
    let lines = dependencies.lines().filter_map(|line| line.split_once(':'));
    let chosen = lines.filter(|(module, _)| is_wanted(module));
    // Each line names everything, also what is needed indirectly.
    chosen.flat_map(|(module, needed)| [module].into_iter().chain(needed.split_whitespace())).collect()
}

fn is_wanted(module: &str) -> bool {
    let below = |folder: &&str| module.starts_with(*folder);
    let directly = |folder: &&str| module.strip_prefix(*folder).is_some_and(|rest| !rest.contains('/'));
    FOLDERS.iter().chain(&SMALL_FOLDERS).any(below) || FLAT_FOLDERS.iter().any(directly)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_comes_with_it() {
        let dependencies = "\
            kernel/net/core/pktgen.ko:\n\
            kernel/drivers/net/tun.ko.xz: kernel/arch/x86/odd.ko.xz\n\
            kernel/drivers/net/ethernet/card.ko: kernel/drivers/ptp/ptp.ko\n\
            kernel/drivers/char/virtio_console.ko: kernel/drivers/virtio/virtio.ko\n\
            kernel/arch/x86/odd.ko.xz:\n\
            kernel/sound/loud.ko:\n";
        let chosen: Vec<_> = choose(dependencies).into_iter().collect();
        let expected = [
            "kernel/arch/x86/odd.ko.xz",
            "kernel/drivers/char/virtio_console.ko",
            "kernel/drivers/net/tun.ko.xz",
            "kernel/drivers/virtio/virtio.ko",
            "kernel/net/core/pktgen.ko",
        ];
        assert_eq!(chosen, expected);
        let named: Vec<_> = named(dependencies, &["tun"]).into_iter().collect();
        assert_eq!(named, ["kernel/arch/x86/odd.ko.xz", "kernel/drivers/net/tun.ko.xz"]);
    }
}
