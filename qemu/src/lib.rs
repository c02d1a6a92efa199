//! Machines in QEMU: the harness of the boot scenarios and of `./qemu/run`.
