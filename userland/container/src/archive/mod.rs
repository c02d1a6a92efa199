//! Images in files: the archives of `docker save`, OCI layouts and archives of them, plain root file systems.
//!
//! [`save`] writes both forms into one, as Docker since version 25 does: an OCI layout with Docker's
//! `manifest.json` beside it. [`load`] reads either, packed or as a directory ([`source`]). [`import`] makes an
//! image of a root file system, [`aci`] of an App Container Image, and [`commit`] of what a container changed.
//! Sources: OCI image specification, "Image Layout"; Docker's image specification 1.2.

pub mod aci;
pub mod changes;
pub mod commit;
pub mod import;
pub mod load;
pub mod save;
pub mod source;

use std::io;
use std::path::PathBuf;

use crate::layer::LayerError;
use crate::layer::pack::PackError;
use crate::layer::recipe::RecipeError;
use crate::registry::manifest::BadManifest;
use crate::store::StoreError;
use crate::store::digest::BadDigest;

/// Why an image does not get into a file or out of one.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The archive is none.
    #[error("the archive cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// The archive cannot be written.
    #[error("the archive cannot be written: {0}")]
    Unwritable(#[source] io::Error),
    /// Something that must be in it is not.
    #[error("the archive has no {0}: it is neither one of docker save nor an OCI layout, or it is torn")]
    Missing(String),
    /// It says what cannot be.
    #[error("the archive cannot be used: {0}")]
    Wrong(String),
    /// It has more, or larger, than any image has.
    #[error("the archive has {0}: refused as a bomb")]
    Bomb(&'static str),
    /// What is in it is not what its digest says.
    #[error("{name} in the archive is not what its digest says: {source}")]
    Digest {
        /// What.
        name: String,
        /// Expected and found.
        source: BadDigest,
    },
    /// A change that is none.
    #[error(
        "{0:?} is not a change: there are CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR"
    )]
    Change(String),
    /// The signature policy.
    #[error(transparent)]
    Policy(#[from] crate::policy::PolicyError),
    /// A layer.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A layer that is to be made again.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A directory that is to become a layer.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A manifest.
    #[error(transparent)]
    Manifest(#[from] BadManifest),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}
