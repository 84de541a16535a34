# ROOT RELEASE MIRROR PACKAGES: makes ROOT, or adds to it what it lacks.
root=$1 release=$2 mirror=$3 packages=$4
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

if [ ! -e "$root/.base" ]; then
    rm -rf "$root"
    mkdir -p "$root"
    debootstrap --variant=minbase "$release" "$root" "$mirror"
    # Packages start nothing.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    cat >"$root/etc/apt/apt.conf.d/99natbpf" <<'END'
APT::Install-Recommends "0";
Dir::Cache::pkgcache "";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };
END
    cat >"$root/etc/dpkg/dpkg.cfg.d/99natbpf" <<'END'
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
END
    touch "$root/.base"
fi

# In a mount namespace of its own, so that nothing of it stays mounted.
unshare --mount --propagation private sh -euc '
    root=$1 packages=$2
    mount --bind /proc "$root/proc"
    mount --bind /dev "$root/dev"
    mount -t tmpfs none "$root/run"
    for file in resolv.conf hosts; do
        [ ! -e "/etc/$file" ] || cp "/etc/$file" "$root/etc/$file"
    done
    chroot "$root" apt-get update -q
    chroot "$root" apt-get install -y -q --no-install-recommends $packages
' sh "$root" "$packages"
echo "$packages" >>"$root/.packages"
