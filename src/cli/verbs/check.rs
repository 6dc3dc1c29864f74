//! `check`: with a progress bar on a terminal, until it is done or interrupted.

use super::arguments::Common;
use super::stop::Stop;
use super::{Failures, cp};
use crate::check::{self, Options, Part, Watch};
use crate::cli::actions::lookup;
use crate::cli::error::Error;
use crate::error_kind::ErrorKind;
use crate::verbs;
use indicatif::ProgressBar;
use std::io::{self, BufWriter, IsTerminal, Write};

/// Checks the disks that are meant.
pub(super) fn run(common: &Common, json: bool, failures: &mut Failures) -> Result<(), Error> {
    let lookup = lookup(&common.which)?;
    let stop = Stop::on_signals();
    let bar = if io::stderr().is_terminal() { cp::bar(0) } else { ProgressBar::hidden() };
    let options = Options {
        internal_snapshot: common.which.which().snapshot,
        allowed_devices: common.which.allowed_devices.clone(),
        watch: Watch { expect: &|bytes| bar.inc_length(bytes), progress: &|bytes| bar.inc(bytes), stop: &stop.flag },
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut parts, mut found, mut written) = (Vec::new(), false, Ok(()));
    let each = &mut |part: Part| {
        found |= part.findings.count() > 0;
        if json {
            parts.push(part);
        } else {
            written = bar.suspend(|| verbs::write_part(&mut out, &part).and_then(|()| Ok(out.flush()?)));
        }
        written.is_ok()
    };
    let checked = check::check(&lookup, &common.which.which(), &options, each);
    bar.finish_and_clear();
    written?;
    failures.signal = stop.signal();
    if found {
        failures.first.get_or_insert(ErrorKind::Corrupt);
    }
    checked?;
    if json && failures.signal.is_none() {
        verbs::write_parts(&mut out, &parts)?;
        out.flush().map_err(verbs::Error::from)?;
    }
    Ok(())
}
