"""The end-to-end suite: whole programs on real files, ours and QEMU's in lockstep."""
