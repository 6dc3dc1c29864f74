//! What can be done with the files of a [`View`](crate::view::View) without a mount: list, read, find, hash and compare
//! them. Copying them to the host is in [`copy`](crate::copy).
//!
//! Output goes to a writer. What is wrong with one file is told to a [`Report`], and the others are gone on with; what
//! is returned as an error ends the whole.

mod cat;
mod check;
mod diff;
mod error;
mod find;
mod hash;
mod history;
mod json;
mod ls;
mod map;
mod output;
mod path;
mod ranges;
mod stat;
mod text;
mod time;

pub(crate) use cat::{Range, cat};
pub(crate) use check::{write_part, write_parts};
pub(crate) use diff::{DiffForm, diff};
pub(crate) use error::{Error, Result};
pub(crate) use find::{Filter, SizeTest, find};
pub(crate) use hash::hash;
pub(crate) use history::{OpenState, Point, history, points};
pub(crate) use ls::{Form, ls};
pub(crate) use map::{ByteRange, map};
pub(crate) use output::{Sink, Stream};
pub(crate) use path::{Found, Links, Name, locate, locate_in_guest, names};
pub(crate) use ranges::diff_ranges;
pub(crate) use stat::stat;

pub(crate) use crate::listing::shown;
pub(crate) use text::mode;

use std::borrow::Cow;
use std::time::SystemTime;

/// A name as a terminal may show it, with bytes that are no UTF-8 as `\xFF`.
pub(crate) fn harmless(name: &[u8]) -> Cow<'_, [u8]> {
    text::name(name, true)
}

/// A time to the minute, in UTC: `2024-01-31 12:34`.
pub(crate) fn minute(time: SystemTime) -> String {
    let time::Moment { date, minute, .. } = time::moment(time);
    format!("{date} {minute}")
}

/// Hears of what is wrong with single files.
pub(crate) type Report<'a> = &'a mut dyn FnMut(Error);
