//! `ls`: directories as ls(1) lists them, with owners as numbers (the names are the guest's) and times in UTC.

use super::json::File;
use super::{Error, Found, Links, Report, Result, locate, names, text, time};
use crate::listing::{width, write_json};
use crate::view::{Attributes, Kind, View};
use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The name of the extended attribute with an access control list.
const ACL: &str = "system.posix_acl_access";
/// Blanks between two columns of names.
const GAP: usize = 2;

/// What is listed, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Form {
    /// With all attributes, a line each.
    pub long: bool,
    /// Directories within directories, too.
    pub recursive: bool,
    /// Names that begin with a dot, too.
    pub all: bool,
    /// As JSON.
    pub json: bool,
    /// The columns of the terminal, if it is written to one: names are in columns then, and harmless.
    pub width: Option<usize>,
}

/// A line.
struct Row {
    name: OsString,
    path: PathBuf,
    kind: Kind,
    inode: u64,
    /// With the target of a link; none when they were not asked for or cannot be read.
    seen: Option<(Attributes, Option<PathBuf>)>,
    has_acl: bool,
}

/// Lists files and the names in directories, sorted by their bytes.
///
/// # Errors
/// [`Error::Write`].
pub(crate) fn ls(view: &View, paths: &[PathBuf], form: Form, out: &mut dyn Write, report: Report<'_>) -> Result<()> {
    let mut lister = Lister { view, form, report, json: Vec::new(), any: false };
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    // As ls(1) has it: in the long form a link is listed, else the directory that it leads to.
    let links = if form.long { Links::Keep } else { Links::Follow };
    let mut sorted: Vec<&PathBuf> = paths.iter().collect();
    sorted.sort_unstable();
    for path in sorted {
        match locate(view, path, links).or_else(|e| locate(view, path, Links::Keep).map_err(|_| e)) {
            Ok(Found { attributes, .. }) if attributes.kind == Kind::Directory => {
                directories.push((path.clone(), attributes.inode));
            }
            Ok(Found { attributes, .. }) => {
                files.extend(lister.row(path.into(), path.clone(), attributes.inode, attributes.kind));
            }
            Err(e) => (lister.report)(e),
        }
    }
    lister.rows(&files, false, out)?;
    let with_heading = paths.len() > 1 || form.recursive;
    // The last one is the next.
    let mut open: Vec<_> = directories.into_iter().rev().collect();
    let mut met = HashSet::new();
    while let Some((path, inode)) = open.pop() {
        if form.recursive && !met.insert(inode) {
            (lister.report)(Error::MetBefore { path });
            continue;
        }
        let within = lister.directory(&path, inode, with_heading, out)?;
        if form.recursive {
            open.extend(within.into_iter().rev());
        }
    }
    if form.json {
        write_json(out, &lister.json)?;
    }
    Ok(out.flush()?)
}

struct Lister<'a> {
    view: &'a View,
    form: Form,
    report: Report<'a>,
    json: Vec<File>,
    /// Whether something was written before.
    any: bool,
}

impl Lister<'_> {
    /// A row, with attributes where they are to be shown.
    fn row(&mut self, name: OsString, path: PathBuf, inode: u64, kind: Kind) -> Option<Row> {
        let mut row = Row { name, path, kind, inode, seen: None, has_acl: false };
        if !self.form.long && !self.form.json {
            return Some(row);
        }
        match self.view.attributes(inode) {
            Ok(attributes) => {
                let target = (attributes.kind == Kind::Symlink).then(|| self.view.read_link(inode)).transpose();
                let target = target.unwrap_or_else(|e| {
                    (self.report)(Error::at(&row.path)(e));
                    None
                });
                row.seen = Some((attributes, target));
                row.has_acl = self.view.xattr_names(inode).is_ok_and(|names| names.iter().any(|name| name == ACL));
            }
            Err(e) => (self.report)(Error::at(&row.path)(e)),
        }
        Some(row)
    }

    /// Lists a directory and returns those within it.
    fn directory(
        &mut self,
        path: &Path,
        inode: u64,
        with_heading: bool,
        out: &mut dyn Write,
    ) -> Result<Vec<(PathBuf, u64)>> {
        let mut entries = match names(self.view, inode) {
            Ok(entries) => entries,
            Err(e) => {
                (self.report)(Error::at(path)(e));
                return Ok(Vec::new());
            }
        };
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut rows = Vec::new();
        if self.form.all && !self.form.json {
            for name in [".", ".."] {
                let there = path.join(name);
                match locate(self.view, &there, Links::Follow) {
                    Ok(found) => rows.extend(self.row(name.into(), there, found.attributes.inode, Kind::Directory)),
                    Err(e) => (self.report)(e),
                }
            }
        }
        let own = rows.len();
        for entry in entries {
            if self.form.all || !entry.name.as_bytes().starts_with(b".") {
                let there = path.join(&entry.name);
                rows.extend(self.row(entry.name, there, entry.inode, entry.kind));
            }
        }
        if with_heading && !self.form.json {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            let heading = text::name(path.as_os_str().as_bytes(), self.form.width.is_some()).into_owned();
            out.write_all(if self.any { b"\n" } else { b"" })?;
            out.write_all(&heading)?;
            out.write_all(b":\n")?;
            self.any = true;
        }
        self.rows(&rows, true, out)?;
        let within = rows.drain(own..).filter(|row| row.kind == Kind::Directory);
        Ok(within.map(|row| (row.path, row.inode)).collect())
    }

    fn rows(&mut self, rows: &[Row], total: bool, out: &mut dyn Write) -> Result<()> {
        if self.form.json {
            let seen = rows.iter().filter_map(|row| Some((row, row.seen.as_ref()?)));
            self.json
                .extend(seen.map(|(row, (attributes, target))| File::new(&row.path, attributes, target.as_deref())));
            return Ok(());
        }
        self.any |= !rows.is_empty();
        if self.form.long {
            if total {
                let blocks = rows.iter().filter_map(|row| row.seen.as_ref()).map(|(seen, _)| seen.blocks);
                writeln!(out, "total {}", blocks.fold(0, u64::saturating_add).div_ceil(2))?;
            }
            long(rows, self.form.width.is_some(), out)?;
        } else {
            let names: Vec<_> =
                rows.iter().map(|row| text::name(row.name.as_bytes(), self.form.width.is_some())).collect();
            match self.form.width {
                Some(columns) => in_columns(&names, columns, out)?,
                None => names.iter().try_for_each(|name| out.write_all(name).and_then(|()| out.write_all(b"\n")))?,
            }
        }
        Ok(())
    }
}

/// A line for each file, with columns as wide as they must be.
fn long(rows: &[Row], on_terminal: bool, out: &mut dyn Write) -> io::Result<()> {
    let any_acl = rows.iter().any(|row| row.has_acl);
    let minor = rows.iter().filter_map(device).map(|(_, minor)| minor.to_string().len()).max().unwrap_or(0);
    let cells: Vec<[String; 6]> = rows.iter().map(|row| cells(row, minor)).collect();
    let widest = |column: usize| cells.iter().map(|cells| cells[column].len()).max().unwrap_or(0);
    let [links, uid, gid, size] = [1, 2, 3, 4].map(widest);
    for (row, cells) in rows.iter().zip(&cells) {
        let acl = if row.has_acl {
            "+"
        } else if any_acl {
            " "
        } else {
            ""
        };
        let [mode, link_count, owner, group, bytes, time] = cells;
        write!(out, "{mode}{acl} {link_count:>links$} {owner:>uid$} {group:>gid$} {bytes:>size$} {time:>16} ")?;
        out.write_all(&text::name(row.name.as_bytes(), on_terminal))?;
        if let Some((_, Some(target))) = &row.seen {
            out.write_all(b" -> ")?;
            out.write_all(&text::name(target.as_os_str().as_bytes(), on_terminal))?;
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn device(row: &Row) -> Option<(u32, u32)> {
    let (seen, _) = row.seen.as_ref()?;
    matches!(seen.kind, Kind::CharDevice | Kind::BlockDevice).then_some(seen.device)
}

/// Mode, links, owner, group, size or device, time; question marks for what cannot be read, as ls(1) has them.
fn cells(row: &Row, minor_width: usize) -> [String; 6] {
    let Some((seen, _)) = &row.seen else {
        return [
            format!("{}?????????", text::letter(row.kind)),
            "?".into(),
            "?".into(),
            "?".into(),
            "?".into(),
            "?".into(),
        ];
    };
    let size = match device(row) {
        Some((major, minor)) => format!("{major}, {minor:>minor_width$}"),
        None => seen.size.to_string(),
    };
    let time::Moment { date, minute, .. } = time::moment(seen.times.modified);
    let [links, uid, gid] = [seen.links, seen.uid, seen.gid].map(|number| number.to_string());
    [text::mode(seen), links, uid, gid, size, format!("{date} {minute}")]
}

/// Names in as many columns as there is room for, going down the first one first.
fn in_columns(names: &[impl AsRef<[u8]>], columns: usize, out: &mut dyn Write) -> io::Result<()> {
    let widths: Vec<usize> = names.iter().map(|name| width(&String::from_utf8_lossy(name.as_ref()))).collect();
    let fits = |lines: &usize| {
        let columns_used = widths.chunks(*lines).map(|column| column.iter().max().unwrap_or(&0) + GAP);
        columns_used.fold(0_usize, usize::saturating_add) <= columns.saturating_add(GAP)
    };
    // The area of all names is a lower bound, which makes few tries of a long list.
    let area: usize = widths.iter().map(|width| width + GAP).sum();
    let least = area.div_ceil(columns.saturating_add(GAP).max(1)).max(1);
    let lines = (least..names.len()).find(fits).unwrap_or(names.len().max(1));
    let wide: Vec<usize> = widths.chunks(lines).map(|column| column.iter().max().unwrap_or(&0) + GAP).collect();
    for line in 0..lines.min(names.len()) {
        let cells: Vec<usize> = (line..names.len()).step_by(lines).collect();
        for (column, at) in cells.iter().enumerate() {
            out.write_all(names[*at].as_ref())?;
            if column + 1 < cells.len() {
                write!(out, "{:1$}", "", wide[column] - widths[*at])?;
            }
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_narrow_as_the_terminal() {
        let listed = |names: &[&str], columns: usize| {
            let mut out = Vec::new();
            in_columns(names, columns, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(listed(&["a", "bb", "日本", "d", "e"], 11), "a   日本  e\nbb  d\n");
        assert_eq!(listed(&["a", "bb", "日本", "d", "e"], 10), "a     d\nbb    e\n日本\n");
        assert_eq!(listed(&["a", "bb", "日本", "d", "e"], 80), "a  bb  日本  d  e\n");
        assert_eq!(listed(&["a", "bb"], 1), "a\nbb\n");
        assert_eq!(listed(&[], 80), "");
    }
}
