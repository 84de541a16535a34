#!/usr/bin/busybox sh
# What udhcpc(8) calls: takes the address, the route and the name servers of a lease.
case $1 in bound | renew) ;; *) exit 0 ;; esac
ip addr replace "$ip/$mask" dev "$interface"
for gateway in $router; do ip route replace default via "$gateway"; done
for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
