#!/bin/busybox sh
# First process of a guest: mounts, loads modules, sets the address that address= names, then the script that run=
# names, the harness's agent, or a shell on the console.
export PATH=/bin HOME=/ TERM=linux
/bin/busybox --install -s /bin
# busybox's poweroff, halt and reboot tell the first process, and so does the kernel when xl asks for them.
trap 'busybox poweroff -f' USR1 USR2
trap 'busybox reboot -f' TERM
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /tmp /dev/pts
mount -t tmpfs tmp /tmp
mount -t devpts pts /dev/pts
while read -r module; do
    insmod "/modules/$module.ko" || echo "guest: module $module cannot be loaded"
done </modules/order
hostname guest
ip link set lo up
word() {
    sed -n "s/.*\\b$1=\\([^ ]*\\).*/\\1/p" /proc/cmdline
}
address=$(word address)
if [ -n "$address" ]; then
    for i in $(seq 100); do
        [ -d /sys/class/net/eth0 ] && break
        usleep 100000
    done
    ip address add "$address" dev eth0
    ip link set eth0 up
fi
echo "XENOLITH-TEST: guest"
script=$(word run)
if [ -n "$script" ]; then
    setsid cttyhack sh "/bin/$script" &
    wait
fi
if grep -q -w harness /proc/cmdline; then
    setsid cttyhack sh /agent &
    wait
fi
echo "guest: busybox shell; 'poweroff' ends it"
export PS1='guest# '
while true; do
    setsid cttyhack sh &
    wait $!
done
