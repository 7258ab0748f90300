#!/bin/sh
# Connects a block device of dom0's to a domain and takes it away again, by what a toolstack and its hotplug script
# would write to xenstore: vbd attach|detach DOMAIN DEVICE. In the domain it is xvda.
set -e
action=$1 domain=$2 device=$3
xvda=51712
front=/local/domain/$domain/device/vbd/$xvda
back=/local/domain/0/backend/vbd/$domain/$xvda

# Waits until both ends have reached a state: 4 is connected, 6 is closed.
await() {
    for i in $(seq 600); do
        states="$(xenstore-read $front/state) $(xenstore-read $back/state)"
        [ "$states" = "$1 $1" ] && return 0
        usleep 100000
    done
    echo "the ends of vbd $xvda are in states $states, not $1"
    return 1
}

case $action in
attach)
    number=$(stat -c %t:%T "$device")
    xenstore-write $front "" $back ""
    xenstore-chmod $front n"$domain" r0
    xenstore-chmod $back n0 r"$domain"
    xenstore-write $front/backend $back $front/backend-id 0 $front/virtual-device $xvda \
        $front/device-type disk $front/state 1
    xenstore-write $back/frontend $front $back/frontend-id "$domain" $back/online 1 $back/type phy \
        $back/params "$device" $back/dev xvda $back/mode w $back/device-type disk \
        $back/physical-device "$number" $back/hotplug-status connected $back/state 1
    await 4
    ;;
detach)
    xenstore-write $back/online 0 $back/state 5
    await 6
    xenstore-rm $front $back
    ;;
esac
