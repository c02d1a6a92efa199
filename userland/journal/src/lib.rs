//! The journal: files, intake, query.
