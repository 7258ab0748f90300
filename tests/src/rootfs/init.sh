#!/bin/sh
# First process of dom0's root: what Debian's boot does for Xen's tools, without systemd. Then the harness's agent, or
# a shell on the console.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/usr/lib/xen-4.20/bin HOME=/root TERM=linux LANG=C.UTF-8
trap 'sync; busybox poweroff -f' USR1 USR2
trap 'sync; busybox reboot -f' TERM
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs tmp /tmp
mkdir -p /run/lock /run/xen /run/xenstored /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
ln -s /proc/self/fd /dev/fd
for stream in 0:stdin 1:stdout 2:stderr; do
    ln -s "/proc/self/fd/${stream%:*}" "/dev/${stream#*:}"
done
hostname dom0
while read -r module; do
    insmod "/usr/lib/modules/$module.ko" || echo "dom0: module $module cannot be loaded"
done </usr/lib/modules/order
mount -t xenfs xenfs /proc/xen
ip link set lo up
ip link add xenbr0 type bridge
ip address add 192.168.128.1/24 dev xenbr0
ip link set xenbr0 up

xenstored --pid-file /run/xenstore.pid
tries=0
until xenstore-exists / 2>/dev/null; do
    tries=$((tries + 1))
    if [ $tries = 200 ]; then
        echo "dom0: xenstored does not answer"
        break
    fi
    usleep 50000
done
xen-init-dom0 >/var/log/xen/init-dom0.log || echo "dom0: xen-init-dom0 fails"
# What a guest says is in /var/log/xen/console/guest-NAME.log, too.
xenconsoled --log=guest --log-dir=/var/log/xen/console --pid-file /run/xenconsoled.pid

cd /root || cd /
echo "XENOLITH-TEST: userspace"
if grep -q -w harness /proc/cmdline; then
    busybox setsid busybox cttyhack bash /usr/lib/harness/agent &
    wait
fi
echo
echo "dom0: Debian's Xen tools are at hand. Try 'xl info', 'xl create -c /etc/xen/demo.cfg'; Ctrl-] leaves a guest's"
echo "console, 'poweroff' ends it. More examples are in /etc/xen."
export PS1='dom0# '
while true; do
    busybox setsid busybox cttyhack bash --norc -i &
    wait $!
done
