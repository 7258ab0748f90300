#!/bin/busybox sh
# First process of the test initramfs: mounts, loads modules, then the first process of the disk that root= names, the
# script that run= names, the harness's agent, or a shell on hvc0.
export PATH=/bin HOME=/ TERM=linux
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /tmp /dev/pts
mount -t tmpfs tmp /tmp
mount -t devpts pts /dev/pts
while read -r module; do
    insmod "/modules/$module.ko" || echo "XENOLITH-TEST: module $module cannot be loaded"
done </modules/order
root=$(sed -n 's/.*\broot=\([^ ]*\).*/\1/p' /proc/cmdline)
if [ -n "$root" ]; then
    for i in $(seq 100); do
        [ -b "$root" ] && break
        usleep 100000
    done
    mkdir -p /root
    mount -t ext4 -o noatime "$root" /root || echo "XENOLITH-TEST: $root cannot be mounted"
    umount /dev/pts /tmp
    for place in dev proc sys; do
        mount -o move "/$place" "/root/$place"
    done
    exec switch_root /root /sbin/init
fi
ip link set lo up
echo "XENOLITH-TEST: userspace"
if grep -q -w harness /proc/cmdline; then
    exec setsid cttyhack sh /agent
fi
script=$(sed -n 's/.*\brun=\([^ ]*\).*/\1/p' /proc/cmdline)
if [ -n "$script" ]; then
    exec sh "/bin/$script"
fi
echo "dom0: busybox shell; 'poweroff -f' ends it"
export PS1='dom0# '
while true; do
    setsid cttyhack sh
done
