"""A machine like Google's, for the boot: Container-Optimized OS in namespaces, on a kernel that is shared.

Real: the mounts and their flags, dockerd with its bridge and rules, iptables, the disk (a loop device), the
pull from a registry that asks for credentials, power cuts (everything in the namespaces is killed at once).
Stood in for: systemd and cloud-init (what our own units and our cloud-config need of them), the metadata
server, Google's credential helper. The programs are this machine's, by name only those that
Container-Optimized OS has. Where its file systems may be written and executed:
https://cloud.google.com/container-optimized-os/docs/concepts/disks-and-filesystem
"""
