//! FAT12, FAT16 and FAT32 have no magic number: the boot sector's numbers must make sense together.

use super::serial;
use crate::guestfs::detect::Content;
use crate::image::Fault;
use crate::image::fields::Fields;

pub(super) fn find(f: &Fields<'_>, head: &[u8]) -> Result<Option<Content>, Fault> {
    if head.len() < 512 || !head[510..].starts_with(&[0x55, 0xAA]) {
        return Ok(None);
    }
    let sector = f.u16_le(11)?;
    let cluster = f.u8(13)?;
    let (reserved, tables) = (f.u16_le(14)?, f.u8(16)?);
    let sane = matches!(sector, 512 | 1024 | 2048 | 4096) && cluster.is_power_of_two() && reserved > 0;
    if !sane || !matches!(tables, 1 | 2) || !matches!(f.u8(21)?, 0xF0 | 0xF8..=0xFF) {
        return Ok(None);
    }
    let wide = f.u16_le(22)? == 0;
    let table = if wide { f.u32_le(36)? } else { u32::from(f.u16_le(22)?) };
    if table == 0 {
        return Ok(None);
    }
    let all = match f.u16_le(19)? {
        0 => f.u32_le(32)?,
        small => u32::from(small),
    };
    let root = (u32::from(f.u16_le(17)?) * 32).div_ceil(u32::from(sector));
    let before = u64::from(reserved) + u64::from(tables) * u64::from(table) + u64::from(root);
    let clusters = u64::from(all).saturating_sub(before) / u64::from(cluster);
    let (type_name, extended) = match clusters {
        _ if wide => ("FAT32", 66),
        0..=4084 => ("FAT12", 38),
        _ => ("FAT16", 38),
    };
    let has_more = matches!(f.u8(extended)?, 0x28 | 0x29);
    Ok(Some(Content {
        uuid: if has_more { serial(f.u32_le(extended + 1)?) } else { String::new() },
        label: if has_more { f.text(extended + 5, 11)?.trim_end().replace("NO NAME", "") } else { String::new() },
        ..Content::named(type_name)
    }))
}
