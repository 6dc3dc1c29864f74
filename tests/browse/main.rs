//! The browser as a user has it: the program in a terminal.

#[path = "../common/mod.rs"]
mod common;
#[path = "../qemu/mod.rs"]
mod qemu;
#[path = "../support/mod.rs"]
mod support;

mod ending;
mod screens;
mod terminal;
mod working;
