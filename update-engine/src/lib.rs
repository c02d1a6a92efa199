//! Slots, boot state and verified system images.
