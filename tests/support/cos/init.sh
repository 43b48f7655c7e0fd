#!/bin/bash
# The machine's first process, in new namespaces: mounts what Container-Optimized OS has, and becomes an init.
# Arguments: the machine's directory, the terminal that is its serial console, a program that reaps processes.
set -eu
machine=$1 console=$2 reaper=$3
root=$machine/root

mount --bind "$root" "$root"
mount --bind /usr "$root/usr/.base"
mount -o remount,bind,ro "$root/usr/.base"
for name in bin/tmux sbin/tmux; do
    [ ! -e "$root/usr/.base/$name" ] || mount --bind /dev/null "$root/usr/.base/$name"
done

mount -t tmpfs -o mode=755 etc "$root/etc"
cp -a "$machine/etc/." "$root/etc/"
for part in var home; do
    mount --bind "$machine/stateful/$part" "$root/$part"
    mount -o remount,bind,nosuid,nodev,noexec "$root/$part"
done
mount --bind "$machine/stateful/var/lib/docker" "$root/var/lib/docker"
mount -t tmpfs -o mode=755,nosuid,nodev cloud "$root/var/lib/cloud"
mount -t tmpfs -o mode=1777,nosuid,nodev,noexec tmp "$root/tmp"
mount -t tmpfs -o mode=755,nosuid,nodev run "$root/run"
mount -t tmpfs -o mode=755 disks "$root/mnt/disks"
# Not on Container-Optimized OS: where a test puts programs that fail.
mount --bind "$machine/faults" "$root/usr/local/sbin"

mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
# The kernel is that of the machine around; this tells one boot from the next.
mount --bind "$machine/boot_id" "$root/proc/sys/kernel/random/boot_id"
mount -t sysfs -o nosuid,nodev,noexec sysfs "$root/sys"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"

dev=$root/dev
mount -t tmpfs -o mode=755,nosuid dev "$dev"
for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
    set -- $node
    mknod -m 0666 "$dev/$1" c "$2" "$3"
done
mkdir -p "$dev/pts" "$dev/shm" "$dev/disk/by-id"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$dev/pts"
mount -t tmpfs -o mode=1777 shm "$dev/shm"
ln -s pts/ptmx "$dev/ptmx"
ln -s /proc/self/fd "$dev/fd"
ln -s /proc/self/fd/0 "$dev/stdin"
ln -s /proc/self/fd/1 "$dev/stdout"
ln -s /proc/self/fd/2 "$dev/stderr"
touch "$dev/ttyS0"
mount --bind "$console" "$dev/ttyS0"

ip link set lo up
mount -o remount,bind,ro "$root"
cd "$root"
pivot_root . .old
umount -l /.old
echo up
exec "$reaper" -s -- sleep infinity < /dev/null > /dev/null 2>&1
