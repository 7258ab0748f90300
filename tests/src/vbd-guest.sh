# In a domU: says what it reads of xvda, copies its first 16 MiB to 32 MiB, reads all again past its cache, and says
# when the device is gone.
dmesg -n 1
echo "VBD: waiting"
# The node is there before the device can be opened.
until dd if=/dev/xvda of=/dev/null count=1 2>/dev/null; do usleep 100000; done
echo "VBD: read $(sha256sum /dev/xvda)"
dd if=/dev/xvda of=/dev/xvda bs=1M count=16 seek=32 conv=notrunc,fsync 2>/dev/null
echo "VBD: copied, status $?"
echo 3 >/proc/sys/vm/drop_caches
echo "VBD: read $(sha256sum /dev/xvda)"
while [ -b /dev/xvda ]; do usleep 100000; done
echo "VBD: gone"
poweroff -f
