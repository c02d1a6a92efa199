//! The journal: files, intake, query.

pub mod file;
