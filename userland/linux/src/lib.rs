//! Typed doors to the kernel that rustix and nix lack. The only crate with unsafe code.
