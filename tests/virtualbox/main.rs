//! The registry that the real VirtualBox wrote: every medium's bytes, partitions and row in the listings, and what the
//! real tools report about what was written.

#[path = "../common/mod.rs"]
mod common;
#[path = "../lab/mod.rs"]
mod lab;
#[path = "../qemu/mod.rs"]
mod qemu;

mod appliances;
mod by_name;
mod bytes;
mod encrypted;
mod encrypted_corrupt;
mod encrypted_writing;
mod guests;
mod listings;
mod prompt;
mod scene;
mod sealed;
#[path = "../support/mod.rs"]
mod support;
mod writing;
