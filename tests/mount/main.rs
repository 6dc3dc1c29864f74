//! Mounts raw images with the program and uses the mounts as a user does: with the kernel, coreutils and loop devices.

mod copies;
mod covering;
mod ending;
mod failing;
mod fstab;
mod guests;
mod images;
mod names;
mod reading;
mod refusals;
mod scene;
#[path = "../support/mod.rs"]
mod support;
mod users;
mod writing;
