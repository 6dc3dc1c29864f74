//! Listing and reading a disk's files.

use super::Teller;
use crate::browse::content::{self, Content};
use crate::browse::model::entries::{Entry, Seen};
use crate::browse::model::message::{Event, File, Opened};
use crate::error_kind::message;
use crate::view::Kind;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

/// Bytes of a file that are read to show its beginning.
const BEGINNING: usize = 16 << 10;
/// Bytes of a file that are shown as text at most.
const MOST_TEXT: usize = 4 << 20;
/// Bytes that a search reads at once.
const CHUNK: usize = 1 << 20;
/// How often a listing says what it has.
const OFTEN: Duration = Duration::from_millis(60);
/// Entries between two looks at the clock.
const LOT: usize = 256;

/// Lists a directory: first all names, then the attributes of all.
pub(super) fn list(opened: &Opened, inode: u64, teller: &Teller) -> Result<(), String> {
    let (mut batch, mut inodes, mut said) = (Vec::new(), Vec::new(), Instant::now());
    let listed = opened.view.entries(inode, 0, &mut |entry| {
        inodes.push(entry.inode);
        batch.push(Entry { name: entry.name.to_owned(), inode: entry.inode, kind: entry.kind, seen: None });
        if batch.len() % LOT == 0 {
            if teller.is_stopped() {
                return ControlFlow::Break(());
            }
            if said.elapsed() > OFTEN {
                teller.say(Event::Names(std::mem::take(&mut batch)));
                said = Instant::now();
            }
        }
        ControlFlow::Continue(())
    });
    teller.say(Event::Names(batch));
    let (mut from, mut seen): (usize, Vec<Seen>) = (0, Vec::new());
    for inode in inodes {
        seen.push(Some(opened.view.attributes(inode).map_err(|e| message(&e))));
        if seen.len() % LOT == 0 {
            if teller.is_stopped() {
                break;
            }
            if said.elapsed() > OFTEN {
                let len = seen.len();
                teller.say(Event::Attributes(from, std::mem::take(&mut seen)));
                from += len;
                said = Instant::now();
            }
        }
    }
    teller.say(Event::Attributes(from, seen));
    listed.map_err(|e| message(&e))
}

/// Fewer bytes than asked for are the end of the file.
pub(super) fn bytes(file: &File, offset: u64, len: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.opened.view.read(file.inode, offset + filled as u64, &mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) => return Err(message(&e)),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The beginning of a file, or where a symbolic link points.
pub(super) fn preview(file: &File) -> Result<Content, String> {
    if file.kind == Kind::Symlink {
        let target = file.opened.view.read_link(file.inode).map_err(|e| message(&e))?;
        let target = content::shown(&target.into_os_string().into_vec());
        return Ok(Content::Text("symbolic link", vec![format!("-> {target}")]));
    }
    let read = bytes(file, 0, BEGINNING)?;
    let is_whole = read.len() < BEGINNING;
    Ok(content::decode(read, is_whole))
}

/// A file as text, and whether that is all of it.
pub(super) fn text(file: &File, teller: &Teller) -> Result<(Content, bool), String> {
    if file.kind == Kind::Symlink {
        return preview(file).map(|content| (content, true));
    }
    // What begins as no text is none, and need not be read.
    let beginning = bytes(file, 0, BEGINNING)?;
    let is_all = beginning.len() < BEGINNING;
    match content::decode(beginning, is_all) {
        Content::Text(..) if !is_all && !teller.is_stopped() => {
            let read = bytes(file, 0, MOST_TEXT)?;
            let is_all = read.len() < MOST_TEXT;
            Ok((content::decode(read, is_all), is_all))
        }
        content => Ok((content, is_all)),
    }
}

/// Where bytes are found in a file from an offset on.
pub(super) fn find(file: &File, from: u64, needle: &[u8], teller: &Teller) -> Result<Option<u64>, String> {
    let (mut at, mut kept): (u64, Vec<u8>) = (from, Vec::new());
    let size = file.opened.view.attributes(file.inode).map_err(|e| message(&e))?.size;
    while at < size && !teller.is_stopped() {
        let read = bytes(file, at, CHUNK)?;
        if read.is_empty() {
            break;
        }
        let start = at - kept.len() as u64;
        at += read.len() as u64;
        kept.extend(read);
        if let Some(found) = kept.windows(needle.len()).position(|window| window == needle) {
            return Ok(Some(start + found as u64));
        }
        // It may begin at the end of what was read.
        kept.drain(..kept.len().saturating_sub(needle.len() - 1));
    }
    Ok(None)
}
