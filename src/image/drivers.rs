//! The table of image formats.
//!
//! A format is a module with `probe`, `identify` and `open`, a `check` where it has more than
//! [`crate::image::check::walk`] sees, and a line in [`DRIVERS`].

use super::{
    Format, Image, ImageInfo, OpenOptions, Result, Sample, cue, dmg, iso, parallels, qcow, qed, raw, vdi, vhd, vhdx,
    vmdk,
};
use crate::image::check::Findings;
use crate::storage::{Allowed, File};

/// A file format of disk images.
pub(super) struct Driver {
    pub(super) format: Format,
    /// Whether a file has this format.
    pub(super) probe: fn(&Sample) -> bool,
    /// Reads the header, and other files that the image names and `Allowed` permits, but no map.
    pub(super) identify: fn(&File, &Sample, &Allowed) -> Result<ImageInfo>,
    /// Opens the image.
    pub(super) open: fn(&File, &Sample, &OpenOptions) -> Result<Box<dyn Image>>,
    /// Reports what is wrong with a file beyond what opening it and asking for all of the disk shows.
    pub(super) check: fn(&File, &mut Findings) -> Result<()>,
}

/// For formats that have no copies of headers and whose maps can be seen as a whole from the disk.
fn nothing_more(_: &File, _: &mut Findings) -> Result<()> {
    Ok(())
}

/// A table line for a module whose functions have the usual names.
macro_rules! driver {
    ($format:ident, $module:ident :: $probe:ident, $check:path) => {
        Driver {
            format: Format::$format,
            probe: $module::$probe,
            identify: $module::identify,
            open: $module::open,
            check: $check,
        }
    };
    ($format:ident, $module:ident :: $probe:ident) => {
        driver!($format, $module::$probe, nothing_more)
    };
}

/// The formats in the order in which they are probed. It is VirtualBox's own (`VDGetFormat`), so that a file that
/// satisfies two probes means the same here and there. Files without a signature, known by their names, come last.
const DRIVERS: [Driver; 12] = [
    driver!(Vmdk, vmdk::probe),
    driver!(Vdi, vdi::probe, vdi::check),
    driver!(Vhd, vhd::probe, vhd::check),
    driver!(Parallels, parallels::probe),
    driver!(Dmg, dmg::probe),
    driver!(Qed, qed::probe, qed::check),
    driver!(Qcow, qcow::probe, qcow::check),
    driver!(Vhdx, vhdx::probe, vhdx::check),
    driver!(Cue, cue::probe),
    driver!(Iso, iso::probe),
    driver!(Parallels, parallels::probe_flat),
    driver!(Vmdk, vmdk::probe_flat),
];

/// Takes what no other format claims.
const RAW: Driver = driver!(Raw, raw::probe);

impl Driver {
    /// The driver that claims a file.
    pub(super) fn probe(sample: &Sample) -> &'static Self {
        DRIVERS.iter().find(|driver| (driver.probe)(sample)).unwrap_or(&RAW)
    }

    /// The driver of a format.
    pub(super) fn of(format: Format) -> &'static Self {
        DRIVERS.iter().find(|driver| driver.format == format).unwrap_or(&RAW)
    }
}
