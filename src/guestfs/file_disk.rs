//! A file in a guest's file system as a disk: an image that a guest has.

use super::{Attributes, Error, FileExtent, GuestFs, Node, NodeKind, Result, read};
use crate::disk::{self, Allocation, Disk, FileRange, slice::check_range};
use crate::image;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The bytes of a file, as they are.
pub(crate) struct FileDisk {
    fs: Arc<dyn GuestFs>,
    volume: Arc<dyn Disk>,
    node: Node,
    attributes: Attributes,
    name: PathBuf,
}

impl FileDisk {
    /// The disk of a file in a file system on a volume. `name` is what messages call it.
    ///
    /// # Errors
    /// [`Error::NotFile`]; corruption.
    pub(crate) fn new(fs: Arc<dyn GuestFs>, volume: Arc<dyn Disk>, node: Node, name: PathBuf) -> Result<Self> {
        let attributes = fs.attributes(node)?;
        match attributes.kind {
            NodeKind::File => Ok(Self { fs, volume, node, attributes, name }),
            _ => Err(Error::NotFile),
        }
    }

    /// What a failure in the file system is for the disk.
    fn error(&self, error: Error) -> disk::Error {
        match error {
            Error::Disk(error) => *error,
            Error::Corrupt(cause) => cause.in_file(&self.name).into(),
            other => image::Error::io(&self.name, "read", io::Error::other(other)).into(),
        }
    }
}

impl Disk for FileDisk {
    fn size(&self) -> u64 {
        self.attributes.size
    }

    fn sector_size(&self) -> u32 {
        512
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> disk::Result<()> {
        check_range(offset, buf.len() as u64, self.size())?;
        read::read(&*self.fs, &*self.volume, self.node, &self.attributes, offset, buf)
            .map(|_| ())
            .map_err(|e| self.error(e))
    }

    fn file_ranges(&self, offset: u64, len: u64) -> Option<Vec<FileRange>> {
        check_range(offset, len, self.size()).ok()?;
        read::file_ranges(&*self.fs, &*self.volume, self.node, &self.attributes, offset, len)
    }

    fn allocation(&self, offset: u64) -> disk::Result<Allocation> {
        check_range(offset, 1, self.size())?;
        let left = self.size() - offset;
        let run = self.fs.extent(self.node, offset, left).map_err(|e| self.error(e))?;
        let len = run.len.clamp(1, left);
        Ok(if run.extent == FileExtent::Zero { Allocation::Zero(len) } else { Allocation::Data(len) })
    }
}
