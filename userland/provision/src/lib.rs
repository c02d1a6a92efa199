//! cloud-config to files, users and units.
