//! References, registries, layers, root file systems, and running them.
