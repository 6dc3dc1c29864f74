//! From a path to a file of the view. Symbolic links of a guest are followed as within the guest: an absolute one
//! starts at the top of its file system, and none leads out of that.

use super::{Error, Result};
use crate::view::{Attributes, Kind, ROOT, View};
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Links that are followed for one path, as many as Linux follows.
const MAX_LINKS: usize = 40;

/// What is done with a path's last name when that is a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// It is followed.
    Follow,
    /// The link itself is meant.
    Keep,
}

/// A file that was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// The path as it was asked for.
    pub path: PathBuf,
    /// Its attributes.
    pub attributes: Attributes,
}

/// A name to go through, and whether it is from a link's target.
type Step = (OsString, bool);

/// Finds the file at a path from the top. A link before the last name is always followed.
///
/// # Errors
/// [`Error::View`] when it is not there or cannot be read; [`Error::Outside`], [`Error::TooManyLinks`].
pub(crate) fn locate(view: &View, path: &Path, links: Links) -> Result<Found> {
    let mut steps = Vec::new();
    add_steps(&mut steps, path, false);
    follow(view, path, steps, links)
}

/// As [`locate`], of a path in the guest's file system whose directory is `top`: no `..` leads out of it.
///
/// # Errors
/// As [`locate`].
pub(crate) fn locate_in_guest(view: &View, top: &Path, path: &Path, links: Links) -> Result<Found> {
    let mut steps = Vec::new();
    add_steps(&mut steps, path, true);
    add_steps(&mut steps, top, false);
    follow(view, &top.join(path.strip_prefix("/").unwrap_or(path)), steps, links)
}

/// Goes through names, the last of which is the first.
fn follow(view: &View, path: &Path, mut steps: Vec<Step>, links: Links) -> Result<Found> {
    let follow = links == Links::Follow || path.as_os_str().as_bytes().ends_with(b"/");
    let wrong = Error::at(path);
    let mut parents = vec![view.attributes(ROOT).map_err(&wrong)?];
    let mut followed = 0;
    while let Some((name, is_linked)) = steps.pop() {
        // The top of the guest's file system, which its own links cannot leave.
        let guest = parents.iter().position(|parent| view.is_guests(parent.inode));
        if name == ".." {
            let kept = if is_linked { guest.map_or(1, |top| top + 1) } else { 1 };
            parents.truncate((parents.len() - 1).max(kept));
            continue;
        }
        let directory = parents.last().map_or(ROOT, |parent| parent.inode);
        let found = view.lookup(directory, &name).map_err(&wrong)?;
        if found.kind != Kind::Symlink || (steps.is_empty() && !follow) {
            parents.push(found);
            continue;
        }
        let Some(top) = guest else { return Err(Error::Outside { path: path.to_owned() }) };
        followed += 1;
        if followed > MAX_LINKS {
            return Err(Error::TooManyLinks { path: path.to_owned() });
        }
        let target = view.read_link(found.inode).map_err(&wrong)?;
        if target.is_absolute() {
            parents.truncate(top + 1);
        }
        add_steps(&mut steps, &target, true);
    }
    let attributes = parents.pop().unwrap_or(view.attributes(ROOT).map_err(&wrong)?);
    Ok(Found { path: path.to_owned(), attributes })
}

/// Adds the names of a path to those that are to be gone through, the last of which is the next.
fn add_steps(steps: &mut Vec<Step>, path: &Path, is_linked: bool) {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    steps.extend(names.map(|name| (name, is_linked)));
}

/// A name in a directory.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    /// The name.
    pub name: OsString,
    /// Its inode number in the view.
    pub inode: u64,
    /// Its kind.
    pub kind: Kind,
}

/// The names in a directory, in its own order, without `.` and `..`.
///
/// # Errors
/// What the view says.
pub(crate) fn names(view: &View, directory: u64) -> crate::view::Result<Vec<Name>> {
    let mut names = Vec::new();
    view.entries(directory, 0, &mut |entry| {
        names.push(Name { name: entry.name.to_owned(), inode: entry.inode, kind: entry.kind });
        ControlFlow::Continue(())
    })?;
    Ok(names)
}
