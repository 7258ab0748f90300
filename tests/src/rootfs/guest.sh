#!/bin/bash
# guest NAME COMMAND [SECONDS]: runs COMMAND in the shell of the guest's agent (a guest with "harness" on its command
# line) by way of its console, prints what it prints, and ends with its status.
name=$1 command=$2 limit=${3:-120}
log=/var/log/xen/console/guest-$name.log
tty=$(xenstore-read "/local/domain/$(xl domid "$name")/console/tty") || exit 125
start=$(($(stat -c %s "$log" 2>/dev/null || echo 0) + 1))
answer() {
    tail -c "+$start" "$log" 2>/dev/null | tr -d '\r'
}
# One that is still booting reads it when it is up.
printf '%s\n' "$command" >"$tty"
until answer | grep -a -q '^@end [0-9]* [0-9]*$'; do
    if [ $SECONDS -ge "$limit" ]; then
        echo "guest $name does not answer within $limit s; the end of $log:"
        tail -n 20 "$log"
        exit 124
    fi
    usleep 300000
done
answer | sed '0,/^@begin /d; /^@end /,$d'
exit "$(answer | sed -n 's/^@end [0-9]* //p' | head -n 1)"
