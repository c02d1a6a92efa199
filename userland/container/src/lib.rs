//! References, registries, layers, root file systems, and running them.
//!
//! The story of `docker run busybox echo hello`, told by the chapters in their order:
//!
//! - [`reference`]: `busybox` means `docker.io/library/busybox:latest`.
//! - [`registry`]: asks that registry for the manifest of this machine's architecture.
//! - [`policy`]: may it be taken, and who vouches for it?
//! - [`layer`]: each layer is unpacked while it streams in, its digests checked on the way.
//! - [`store`]: only what is whole and checked gets a name in the store.
//! - [`pull`]: the four above, together. [`push`] is the way back.
//! - [`archive`]: the same from and to files; images of root file systems and of what a container changed.
//! - [`bundle`]: the image's configuration and the caller's options become an OCI runtime configuration.
//! - [`rootfs`]: the layers and a writable directory become one file system.
//! - [`network`]: a cable from a bridge into it, an address, ports of the machine that lead in.
//! - [`run`]: a child in its own namespaces makes the rest of the container and executes the program.
//! - [`state`]: what is known of containers, and how their death is noticed.
//! - [`cli`]: the faces, `docker`, `rkt`, `toolbox` and `runc`; the last is the OCI runtime for other people's engines.
//! - [`api`]: the Docker Engine API, for the stock `docker` command.
//!
//! There is no daemon. The process that was asked to run a container is the container's parent, stays
//! for as long as it lives, and takes it along when it dies. So a container belongs to the unit that
//! started it. All mounts of a container live in its own mount namespace: none can be left behind.
//!
//! Everything that comes from a registry or an image is untrusted: sizes are bounded before they are
//! believed, paths are resolved by the kernel beneath a directory descriptor, digests decide what counts.

// The engine's description of itself is one JSON object of many fields.
#![recursion_limit = "256"]

pub mod api;
pub mod archive;
pub mod bundle;
pub mod cli;
pub mod layer;
pub mod network;
mod pipe;
pub mod policy;
pub mod pull;
pub mod push;
pub mod reference;
pub mod registry;
pub mod rootfs;
pub mod run;
pub mod state;
pub mod store;

pub use cli::docker::docker;
pub use cli::dockerd::dockerd;
pub use cli::rkt::rkt;
pub use cli::runc::runc;
pub use cli::toolbox::toolbox;
