#!/bin/sh
# Collects the evidence of one member in the folder $1 and packs it as $1.tar. Every command has a time limit: the
# daemon may hang, which is evidence, too. One script for all, because each command into a member costs time.
# Environment: ADMIN API STATE_DIR LOG_DIR SERVICE SOCKET, and of a snap SNAP and NAMESPACE, its mount namespace
out=$1
mkdir -p "$out"
keep() {
    file=$out/$1
    shift
    timeout --kill-after=2 8 "$@" > "$file" 2>&1 || echo "[ended with $?: $*]" >> "$file"
}
keep versions.txt sh -c 'uname -a; cat /etc/os-release; dpkg-query --show'
keep journal.log journalctl --no-pager --output=short-iso-precise --lines=20000
keep mounts.txt cat /proc/self/mountinfo
if [ -e "$NAMESPACE" ]; then
    keep mounts-of-daemon.txt nsenter --mount="$NAMESPACE" cat /proc/self/mountinfo
    keep snaps.txt sh -c 'snap list --all; snap changes; snap connections "$1"; snap warnings' sh "$SNAP"
fi
keep apparmor.txt sh -c 'cat /sys/module/apparmor/parameters/enabled 2>&1; dmesg | grep -i apparmor | tail -n 500'
keep processes.txt ps axfww -o pid,ppid,stat,etimes,args
keep units.txt systemctl --no-pager --full status "$SERVICE" "$SOCKET"
keep disk.txt df -h
keep network.txt ip -br address
keep local.sql sqlite3 -readonly "$STATE_DIR/database/local.db" .dump
for log in "$LOG_DIR"/*.log; do
    # The first line of what is left is cut, perhaps in a secret that is no longer recognized: without it.
    [ -f "$log" ] || continue
    if [ "$(stat -Lc %s "$log")" -gt 20000000 ]; then tail -c 20000000 "$log" | tail -n +2; else cat "$log"; fi \
        > "$out/daemon-$(basename "$log")"
done
ask() {
    curl --silent --show-error --fail --unix-socket "$API" --max-time "$1" "http://daemon/1.0$2"
}
# The daemon is queried last, and only if it answers.
if ask 5 '' > "$out/server.json" 2>&1; then
    ask 8 '/cluster/members?recursion=1' > "$out/members.json" 2>&1
    ask 8 '/instances?recursion=1&all-projects=true' > "$out/instances.json" 2>&1
    ask 8 '/warnings?recursion=1' > "$out/warnings.json" 2>&1
    # shellcheck disable=SC2086 # two words, or one
    keep global.sql $ADMIN sql global .dump
fi
tar -C "$out" -cf "$out.tar" .
