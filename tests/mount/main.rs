//! Mounts raw images with the program and uses the mounts as a user does: with the kernel, coreutils and loop devices.

mod contents;
mod copies;
mod covering;
#[path = "../tree/disc.rs"]
mod disc;
mod ending;
mod failing;
mod fstab;
mod guests;
mod images;
mod names;
mod optical;
mod reading;
mod refusals;
mod scene;
#[path = "../support/mod.rs"]
mod support;
#[path = "../tree/mod.rs"]
mod tree;
mod users;
mod writing;
