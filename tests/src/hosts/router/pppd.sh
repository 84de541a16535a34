#!/bin/sh
# What pppoe-server starts in the place of pppd. Debian's is built for PPPoE in user space: first it says
# `pty "pppoe … -e NUMBER:ADDRESS …"`. With this instead the session is the kernel's.
session=${2##* -e }
shift 2
exec /usr/sbin/pppd plugin pppoe.so nic-line pppoe-sess "${session%% *}" "$@"
