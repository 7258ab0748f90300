# Runs what the harness types on the console. A line ending in '\' is a piece of a longer command and is answered
# with '@more', because the console's input buffers are short. A command's output stands between '@begin N' and
# '@end N STATUS'.
stty -echo
dmesg -n 1
echo "@ready"
count=0
pieces=
while IFS= read -r line; do
    case $line in
    *\\)
        pieces=$pieces${line%?}
        echo "@more"
        ;;
    *)
        count=$((count + 1))
        echo "@begin $count"
        eval "$pieces$line"
        echo "@end $count $?"
        pieces=
        ;;
    esac
done
