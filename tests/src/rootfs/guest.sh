#!/bin/bash
# guest NAME COMMAND: runs COMMAND in the shell of the guest's agent (a guest with "harness" on its command line) by way
# of its console, prints what it prints, and ends with its status. guest NAME alone waits for the agent; a third word is
# the limit in seconds.
name=$1 command=${2:-:} limit=${3:-120}
log=/var/log/xen/console/guest-$name.log
seen() { # From what byte on, pattern: the log's text up to the line that has it.
    tail -c +"$1" "$log" 2>/dev/null | tr -d '\r' | sed -n "1,/$2/p" | grep -a "$2" >/dev/null
}
await() {
    local end=$((SECONDS + limit))
    until seen "$1" "$2"; do
        if [ $SECONDS -ge $end ]; then
            echo "guest $name: no '$2' on its console within $limit s"
            tail -n 20 "$log"
            exit 124
        fi
        usleep 50000
    done
}
start=$(($(stat -c %s "$log") + 1))
tty=$(xenstore-read "/local/domain/$(xl domid "$name")/console/tty") || exit 125
printf '%s\n' "$command" >"$tty"
await $start '^@end [0-9]* [0-9]*$'
tail -c +$start "$log" | tr -d '\r' | sed '1,/^@begin /d; /^@end /,$d'
exit "$(tail -c +$start "$log" | tr -d '\r' | sed -n 's/^@end [0-9]* //p' | head -n 1)"
