//! Comparing one file, directory, link or special file.

use super::bytes::{Buffers, ViewFile, differ};
use super::state::{Pair, State};
use super::{Aspect, Error, Result, Side, Step, Watch, Which};
use crate::view::{self, Attributes, Kind};
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A path that is only put together when it is needed.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) directory: &'a Path,
    /// Empty for the directory itself.
    pub(super) name: &'a [u8],
}

impl At<'_> {
    pub(super) fn path(&self) -> PathBuf {
        if self.name.is_empty() {
            return self.directory.to_owned();
        }
        self.directory.join(std::ffi::OsStr::from_bytes(self.name))
    }
}

/// Compares files, and remembers what it found of those with several names.
pub(super) struct Comparer<'a> {
    pub(super) pair: Pair<'a>,
    pub(super) watch: Watch<'a>,
    buffers: Buffers,
    /// Whether the content of a file with several names differs, by its inode numbers.
    linked: HashMap<(u64, u64), bool>,
}

impl<'a> Comparer<'a> {
    pub(super) fn new(pair: Pair<'a>, watch: Watch<'a>) -> Self {
        Self { pair, watch, buffers: Buffers::default(), linked: HashMap::new() }
    }

    /// A file in one state. A target that cannot be read is reported.
    pub(super) fn side(&self, which: Which, inode: u64, at: At<'_>, report: &mut dyn FnMut(Error)) -> Result<Side> {
        let state = self.pair.get(which);
        let wrong = |e| state.at(&at.path())(e);
        let attributes = state.view.attributes(inode).map_err(wrong)?;
        let target = (attributes.kind == Kind::Symlink).then(|| state.view.read_link(inode));
        let target = target.and_then(|target| target.map_err(|e| report(wrong(e))).ok());
        Ok(Side { attributes, target })
    }

    /// In what a file differs.
    pub(super) fn aspects(
        &mut self,
        old: &Side,
        new: &Side,
        at: At<'_>,
        report: &mut dyn FnMut(Error),
    ) -> Result<Vec<Aspect>> {
        let mut aspects = Vec::new();
        let mut add = |differs: bool, aspect| {
            if differs {
                aspects.push(aspect);
            }
        };
        let (a, b) = (&old.attributes, &new.attributes);
        // The others' are of the images, which are other ones in each state.
        let facts = self.pair.new.view.file_system(b.inode).map(|(facts, _)| facts);
        let (is_guests, has_modes) = (facts.is_some(), facts.is_some_and(|facts| facts.has_owners));
        let is_same_kind = a.kind == b.kind;
        let is = |kind| is_same_kind && a.kind == kind;
        add(!is_same_kind, Aspect::Kind);
        add(is(Kind::File) && a.size != b.size, Aspect::Size);
        // Made up ones differ by the kind.
        add(a.mode != b.mode && (is_same_kind || has_modes), Aspect::Mode);
        add((a.uid, a.gid) != (b.uid, b.gid), Aspect::Owner);
        add(is_guests && a.times.modified != b.times.modified, Aspect::Time);
        let is_device = is(Kind::CharDevice) || is(Kind::BlockDevice);
        add(is_device && a.device != b.device, Aspect::Device);
        // One that cannot be read was reported.
        add(
            is(Kind::Symlink) && old.target.is_some() && new.target.is_some() && old.target != new.target,
            Aspect::Target,
        );
        match self.xattrs_differ(a.inode, b.inode, at) {
            Ok(differs) => add(differs, Aspect::Xattrs),
            Err(e) => report(e),
        }
        if is(Kind::File) {
            match self.content_differs(a, b, at) {
                Ok(differs) => add(differs, Aspect::Content),
                Err(e @ Error::Interrupted) => return Err(e),
                Err(e) => report(e),
            }
        }
        (self.watch.progress)(Step::File);
        Ok(aspects)
    }

    fn content_differs(&mut self, old: &Attributes, new: &Attributes, at: At<'_>) -> Result<bool> {
        if old.size != new.size {
            return Ok(true);
        }
        let key = (old.inode, new.inode);
        let has_names = old.links > 1 && new.links > 1;
        if let Some(differs) = self.linked.get(&key).filter(|_| has_names) {
            return Ok(*differs);
        }
        let (a, b) = (self.pair.old, self.pair.new);
        let a = ViewFile { view: a.view, inode: old.inode, wrong: |e| a.at(&at.path())(e) };
        let b = ViewFile { view: b.view, inode: new.inode, wrong: |e| b.at(&at.path())(e) };
        let differs = differ(&a, &b, old.size, &mut self.buffers, &self.watch)?;
        if has_names {
            self.linked.insert(key, differs);
        }
        Ok(differs)
    }

    fn xattrs_differ(&self, old: u64, new: u64, at: At<'_>) -> Result<bool> {
        let names = |state: &State<'_>, inode| -> Result<Vec<OsString>> {
            let mut names = state.view.xattr_names(inode).map_err(|e| state.at(&at.path())(e))?;
            names.sort_unstable();
            Ok(names)
        };
        let Pair { old: a, new: b } = self.pair;
        let (of_old, of_new) = (names(a, old)?, names(b, new)?);
        if of_old != of_new {
            return Ok(true);
        }
        let value = |state: &State<'_>, inode, name: &OsString| match state.view.xattr(inode, name) {
            // It is listed, but has no value that can be got.
            Err(view::Error::NoAttribute) => Ok(None),
            value => value.map(Some).map_err(|e| state.at(&at.path())(e)),
        };
        for name in &of_old {
            if value(a, old, name)? != value(b, new, name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
