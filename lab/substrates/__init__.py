"""What a member is made of: a container, a QEMU VM or a VM of the lab host."""
