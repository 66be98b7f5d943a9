"""What members start from: root file systems, images and boot disks."""
