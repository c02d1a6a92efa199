//! The builder: one manifest to every artifact.
