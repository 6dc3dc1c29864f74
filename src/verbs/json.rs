//! Files as JSON.

use super::{text, time};
use crate::view::Attributes;
use serde::Serialize;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A file as `ls --json` and `stat --json` show it.
#[derive(Debug, Serialize)]
pub(super) struct File {
    /// Its path from the top; what is no UTF-8 in it is U+FFFD.
    path: String,
    /// The bytes of the path in hexadecimal, when they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    #[serde(flatten)]
    seen: Seen,
}

/// The attributes of a file.
#[derive(Debug, Serialize)]
pub(super) struct Seen {
    kind: &'static str,
    inode: u64,
    /// The permission bits in octal.
    mode: String,
    links: u32,
    uid: u32,
    gid: u32,
    /// In bytes.
    size: u64,
    /// 512-byte blocks.
    blocks: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<(u32, u32)>,
    accessed: String,
    modified: String,
    changed: String,
    /// Where a symbolic link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl File {
    pub(super) fn new(path: &Path, attributes: &Attributes, target: Option<&Path>) -> Self {
        let (path, path_bytes) = names(path);
        Self { path, path_bytes, seen: Seen::new(attributes, target) }
    }
}

/// A path as JSON has it, and its bytes in hexadecimal when they are no UTF-8.
pub(super) fn names(path: &Path) -> (String, Option<String>) {
    let bytes = path.as_os_str().as_bytes();
    let hexadecimal = || bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    (path.to_string_lossy().into_owned(), path.to_str().is_none().then(hexadecimal))
}

impl Seen {
    pub(super) fn new(attributes: &Attributes, target: Option<&Path>) -> Self {
        Self {
            kind: text::kind(attributes).trim_start_matches("regular ").trim_start_matches("empty "),
            inode: attributes.inode,
            mode: format!("{:04o}", attributes.mode),
            links: attributes.links,
            uid: attributes.uid,
            gid: attributes.gid,
            size: attributes.size,
            blocks: attributes.blocks,
            device: matches!(text::letter(attributes.kind), 'b' | 'c').then_some(attributes.device),
            accessed: time::rfc3339(attributes.times.accessed),
            modified: time::rfc3339(attributes.times.modified),
            changed: time::rfc3339(attributes.times.changed),
            target: target.map(|target| target.to_string_lossy().into_owned()),
        }
    }
}
