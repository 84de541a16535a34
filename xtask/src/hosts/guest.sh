#!/usr/bin/busybox sh
# The first process of a guest: its card, an address by DHCP, something to serve, and a shell on the second serial port.
export PATH=/usr/bin:/usr/sbin HOME=/root
busybox mount -t proc proc /proc
busybox --install -s /usr/bin 2>/dev/null
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /www
mount -t devpts pts /dev/pts
mount -t tmpfs tmp /tmp
exec >/dev/ttyS0 2>&1
for module in virtio_pci virtio_net; do modprobe "$module"; done
ip link set lo up
ip link set eth0 up
hostname "guest-$(cut -d: -f6 /sys/class/net/eth0/address)"
until udhcpc -i eth0 -n -q -t 20 -T 1 -x "hostname:$(hostname)" -s /udhcpc.sh; do sleep 1; done
echo "GUEST address $(ip -4 -o addr show dev eth0 | sed 's|.* inet \([0-9.]*\)/.*|\1|')"
# The same bytes as outside has them, for those who compare.
until wget -q -O /www/3000000 http://203.0.113.9:8000/bytes/3000000; do sleep 1; done
httpd -p 80 -h /www
setsid sh -c 'while :; do sh -i </dev/ttyS1 >/dev/ttyS1 2>&1; done' &
echo "GUEST ready"
while :; do sleep 1000; done
