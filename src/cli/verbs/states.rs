//! Opening several states of a disk, for the verbs that compare them.

use super::arguments::Common;
use super::opened::{Opened, shown};
use crate::cli::actions::lookup;
use crate::cli::error::Error;
use crate::diff::Step;
use crate::error_kind::ErrorKind;
use crate::open::{self, DiskOptions, Lookup, Which};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::Duration;

/// The line of progress: how much there is to compare is not known.
const LINE: &str = "{spinner} {pos} files, {msg} compared, {elapsed}";

/// Opens states, and says once what a user should know of them.
pub(super) struct States {
    lookup: Lookup,
    options: DiskOptions,
    with_guests: bool,
    told: Vec<String>,
}

impl States {
    pub(super) fn new(common: &Common, with_guests: bool) -> Result<Self, Error> {
        let allowed_devices = common.which.allowed_devices.clone();
        let options = DiskOptions { force: common.force, allowed_devices, ..DiskOptions::default() };
        Ok(Self { lookup: lookup(&common.which)?, options, with_guests, told: Vec::new() })
    }

    /// Where disks are looked for.
    pub(super) fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// Opens the first of several meanings that there is. With `named`, disks are known by their slots.
    ///
    /// # Errors
    /// Why the first one is not there when none is; why one that is there cannot be opened.
    pub(super) fn open(&mut self, meanings: &[Which], named: bool) -> Result<Opened, Error> {
        let mut missing = None;
        for which in meanings {
            match self.open_one(which, named) {
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    missing.get_or_insert(e);
                }
                other => return other,
            }
        }
        Err(missing.unwrap_or_else(|| Error::Open(Box::new(no_meaning()))))
    }

    fn open_one(&mut self, which: &Which, named: bool) -> Result<Opened, Error> {
        let found = self.lookup.find(which, false)?;
        let found = if named { found.named() } else { found };
        self.warn(&found.warnings);
        let mut open = found.open(&self.lookup, &self.options)?;
        self.warn(&open.warnings);
        let of_writers = open.warnings_of_writers();
        self.warn(&of_writers);
        let (opened, warnings) = shown(open, self.with_guests)?;
        self.warn(&warnings);
        Ok(opened)
    }

    fn warn(&mut self, warnings: &[String]) {
        for warning in warnings {
            if !self.told.contains(warning) {
                log::warn!("{warning}");
                self.told.push(warning.clone());
            }
        }
    }
}

fn no_meaning() -> open::Error {
    let hint = "give a snapshot or a medium".to_owned();
    crate::registry::Error::NotFound { what: "The state".to_owned(), hint }.into()
}

/// A line of progress, on a terminal only.
pub(super) fn bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    bar.with_style(ProgressStyle::with_template(LINE).unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// Moves it.
pub(super) fn step(bar: &ProgressBar, step: Step) {
    match step {
        Step::File => bar.inc(1),
        Step::Bytes(_) => bar.tick(),
    }
}
