//! Images against Debian's docker-registry, skopeo and umoci: what one side writes, the other reads.
//!
//! Needs root and the packages busybox-static, umoci, skopeo, docker-registry and openssl.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod access;
mod archives;
mod faults;
mod policy;
mod push;
mod rkt;
mod toolbox;
mod world;
