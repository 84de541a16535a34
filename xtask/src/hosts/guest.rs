//! What guests boot: Debian's kernel, and a file system of busybox and iperf3.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    boot::{
        image::Image,
        packages::Packages,
        versions::{Flavour, Wanted},
    },
    command::find,
};

/// The first process of a guest.
const INIT: &str = include_str!("guest.sh");
/// What its DHCP client calls.
const LEASE: &str = include_str!("lease.sh");

/// A kernel whose modules busybox can load.
const KERNEL: Wanted = Wanted::Series(6, 1);
const MODULES: [&str; 2] = ["virtio_net", "virtio_pci"];
const PROGRAMS: [&str; 2] = ["busybox", "iperf3"];

/// Makes `guest` in `folder`, unless this very one is there.
pub fn ensure(folder: &Path) -> Result<()> {
    let guest = folder.join("guest");
    let wanted = format!("{INIT}{LEASE}");
    let stamp = guest.join("made-of");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(());
    }
    fs::create_dir_all(&guest).with_context(|| format!("cannot make {}", guest.display()))?;
    let store = folder.with_file_name("vm");
    fs::create_dir_all(&store).with_context(|| format!("cannot make {}", store.display()))?;
    let packages = Packages::open(&store)?;
    let kernel = packages.kernel(&packages.choose(KERNEL, Flavour::Cloud)?)?;
    let mut image = Image::bare(INIT);
    image.text("udhcpc.sh", LEASE, 0o755);
    image.text("etc/passwd", "root:x:0:0:root:/:/bin/sh\n", 0o644);
    for name in PROGRAMS {
        let program = find(name).with_context(|| format!("{name} is not on PATH"))?;
        image.program(&program, &Path::new("/usr/bin").join(name))?;
    }
    image.add_modules(&kernel, &MODULES)?;
    image.write(&guest.join("initramfs"))?;
    let vmlinuz = guest.join("vmlinuz");
    fs::copy(kernel.image()?, &vmlinuz).with_context(|| format!("cannot write {}", vmlinuz.display()))?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}
