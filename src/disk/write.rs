//! The write path.
