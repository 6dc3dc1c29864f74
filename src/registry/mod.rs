//! VirtualBox's settings files as plain data, and what a name, UUID or path on the command line means.
//!
//! Knows nothing of the bytes in images beyond the UUIDs that [`crate::image::identify`] reads from their headers.
//! VirtualBox's files are read and never written.

pub mod chain;
pub mod error;
pub mod model;

pub use chain::{Chain, Link};
pub use error::{Error, Result};
pub use model::{
    Attachment, DeviceKind, Machine, MachineEntry, MachineState, Media, Medium, MediumId, MediumKind, Registry,
    Snapshot,
};
