#!/usr/bin/bash
# The first process of a virtual machine. It makes the machine ready, does /job and switches the machine off. What it says
# itself goes to the console, in lines that begin with @@; what programs say goes to ports of their own.
export PATH=/usr/local/bin:/usr/sbin:/usr/bin HOME=/root TERM=dumb LANG=C.UTF-8
# Busybox finds itself in /proc. What is there already it leaves alone.
busybox mount -t proc proc /proc
busybox --install -s /usr/bin 2>/dev/null
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
for folder in /run /tmp /dev/shm; do mount -t tmpfs tmp "$folder"; done
mkdir -p /run/netns /var/run
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs trace /sys/kernel/tracing 2>/dev/null
ln -sf /proc/self/fd /dev/fd

# The kernel asks modprobe for the other ones when it needs them.
for module in virtio_pci virtio_console tun nf_conntrack nf_conntrack_netlink pktgen; do
    modprobe -q "$module" || echo "@@missing $module"
done
ip link set lo up
ulimit -n 65536

port() {
    local try port
    for try in $(seq 100); do
        for port in /sys/class/virtio-ports/*; do
            [ "$(cat "$port/name" 2>/dev/null)" = "$1" ] && { echo "/dev/${port##*/}"; return; }
        done
        sleep 0.1
    done
    echo "@@missing port $1" >/dev/console
}
# Idle time is skipped where the machine is told to: tests set a flow's time to the boot, and expect it to be long ago.
grep -q natbpf.aged /proc/cmdline && sleep 20000

# A step of a suite: its name, and what is to be run.
step() {
    local name=$1 began status
    shift
    began=${EPOCHREALTIME/./}
    echo "@@step $name"
    "$@" 2>&1
    status=$?
    echo "@@end $name $status $(( (${EPOCHREALTIME/./} - began) / 1000000 ))"
}
# What must not be there when natbpf and its namespaces are gone; the kernel frees programs a little later.
nothing_left() {
    local left
    for _ in $(seq 20); do
        left=$(bpftool prog list; ls -A /sys/fs/bpf; ip netns list; ip -brief link | grep -v '^lo ')
        [ -z "$left" ] && return 0
        sleep 0.5
    done
    printf 'left behind:\n%s\n' "$left"
    return 1
}

# Every program loads where none may read the kernel's memory.
locked_down() {
    [ -e /sys/kernel/security/lockdown ] || mount -t securityfs none /sys/kernel/security || return
    echo confidentiality >/sys/kernel/security/lockdown || return
    object verified_instructions
}

echo "@@kernel $(uname -r)"
cd /root || exit
{ . /job; } >"$(port stdout)" 2>"$(port stderr)" </dev/null
echo "@@status $?"
sync
poweroff -f
