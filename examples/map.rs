//! Prints what holds the bytes of a disk: each range, and the image of the chain that decides.
//!
//! usage: cargo run --example map IMAGE

use std::process::ExitCode;
use vboximg_mount::{Disk, Error};

fn main() -> ExitCode {
    let Some(image) = std::env::args_os().nth(1) else {
        eprintln!("usage: map IMAGE");
        return ExitCode::from(2);
    };
    match Disk::open(image).and_then(|disk| print_map(&disk)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn print_map(disk: &Disk) -> Result<(), Error> {
    disk.warnings().iter().for_each(|warning| eprintln!("{warning}"));
    for (index, link) in disk.chain().links.iter().enumerate() {
        println!("image {index}: {}", link.path.display());
    }
    for volume in disk.volumes() {
        println!("volume {}: {} bytes from {}, {}", volume.index, volume.size, volume.offset, volume.type_name);
    }
    for extent in disk.extents() {
        let extent = extent?;
        let what = match (extent.image, extent.stored) {
            (Some(image), true) => format!("stored in image {image}"),
            (Some(image), false) => format!("zeros by image {image}"),
            (None, _) => "in no image".to_owned(),
        };
        println!("{:>16} {:>16} {what}", extent.offset, extent.len);
    }
    Ok(())
}
