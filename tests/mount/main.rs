//! Mounts raw images with the program and uses the mounts as a user does: with the kernel, coreutils and loop devices.

mod covering;
mod ending;
mod guests;
mod names;
mod reading;
mod refusals;
mod scene;
mod users;
mod writing;
