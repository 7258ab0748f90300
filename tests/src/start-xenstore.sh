#!/bin/sh
# Starts Debian's xenstored in dom0 and introduces the domains that the device tree made.
set -e
mkdir -p /proc/xen /var/lib/xen /var/run/xen /var/run/xenstored
[ -e /proc/xen/xsd_port ] || mount -t xenfs xenfs /proc/xen
xenstored --pid-file /var/run/xenstored.pid
for i in $(seq 100); do
    xenstore-exists / 2>/dev/null && break
    usleep 100000
done
xenstore-write /local/domain/0/domid 0
init-dom0less
