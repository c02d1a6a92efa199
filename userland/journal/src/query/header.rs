//! `journalctl --header`: a file's header, in the words of the original.

use std::io::{self, Write};

use crate::file::layout::{self, Header};
use crate::place::format_id;
use crate::query::merge::Source;
use crate::query::time::{format, format_size, format_span};

/// Prints a file's header.
///
/// # Errors
/// What write(2) says.
pub fn print(source: &mut Source, out: &mut dyn Write) -> io::Result<()> {
    let disk_usage = source.objects.disk_usage().unwrap_or(0);
    let header = source.objects.header();
    let state = match header.state {
        layout::OFFLINE => "OFFLINE",
        layout::ONLINE => "ONLINE",
        layout::ARCHIVED => "ARCHIVED",
        _ => "UNKNOWN",
    };
    let flags = |flags: u32, names: &[(u32, &str)]| {
        let names = names.iter().filter(|(flag, _)| flags & flag != 0);
        names.map(|(_, name)| format!(" {name}")).collect::<String>()
    };
    writeln!(out, "File path: {}", source.path.display())?;
    for (name, id) in [
        ("File ID", &header.file_id),
        ("Machine ID", &header.machine_id),
        ("Boot ID", &header.boot_id),
        ("Sequential number ID", &header.seqnum_id),
    ] {
        writeln!(out, "{name}: {}", format_id(id))?;
    }
    writeln!(out, "State: {state}")?;
    writeln!(out, "Compatible flags:{}", flags(header.compatible, &[(layout::SEALED, "SEALED")]))?;
    let incompatible = [
        (layout::COMPRESSED_XZ, "COMPRESSED-XZ"),
        (layout::COMPRESSED_LZ4, "COMPRESSED-LZ4"),
        (layout::COMPRESSED_ZSTD, "COMPRESSED-ZSTD"),
        (layout::KEYED_HASH, "KEYED-HASH"),
        (layout::COMPACT, "COMPACT"),
    ];
    writeln!(out, "Incompatible flags:{}", flags(header.incompatible, &incompatible))?;
    let (data_slots, field_slots) = (header.data_table_size / 16, header.field_table_size / 16);
    writeln!(out, "Header size: {}\nArena size: {}", header.header_size, header.arena_size)?;
    writeln!(out, "Data hash table size: {data_slots}\nField hash table size: {field_slots}")?;
    writeln!(out, "Rotate suggested: {}", if suggests_rotation(header) { "yes" } else { "no" })?;
    for (name, number) in [("Head", header.head_entry_seqnum), ("Tail", header.tail_entry_seqnum)] {
        writeln!(out, "{name} sequential number: {number} ({number:x})")?;
    }
    for (name, micros) in [("Head", header.head_entry_realtime), ("Tail", header.tail_entry_realtime)] {
        let time = if micros == 0 { "n/a".to_owned() } else { format(micros, "%a %Y-%m-%d %H:%M:%S UTC") };
        writeln!(out, "{name} realtime timestamp: {time} ({micros:x})")?;
    }
    let monotonic = header.tail_entry_monotonic;
    writeln!(out, "Tail monotonic timestamp: {} ({monotonic:x})", format_span(monotonic / 1000 * 1000))?;
    let fill = |count: u64, slots: u64| 100.0 * count as f64 / slots.max(1) as f64;
    writeln!(out, "Objects: {}\nEntry objects: {}", header.n_objects, header.n_entries)?;
    writeln!(out, "Data objects: {}", header.n_data)?;
    writeln!(out, "Data hash table fill: {:.1}%", fill(header.n_data, data_slots))?;
    writeln!(out, "Field objects: {}", header.n_fields)?;
    writeln!(out, "Field hash table fill: {:.1}%", fill(header.n_fields, field_slots))?;
    writeln!(out, "Tag objects: {}\nEntry array objects: {}", header.n_tags, header.n_entry_arrays)?;
    writeln!(out, "Deepest field hash chain: {}", header.field_chain_depth)?;
    writeln!(out, "Deepest data hash chain: {}", header.data_chain_depth)?;
    writeln!(out, "Disk usage: {}", format_size(disk_usage))
}

/// The writer's own rule: hash tables three quarters full, or long chains in them.
fn suggests_rotation(header: &Header) -> bool {
    let full = |count: u64, size: u64| count.saturating_mul(4) > size / 16 * 3;
    full(header.n_data, header.data_table_size)
        || full(header.n_fields, header.field_table_size)
        || header.data_chain_depth > 100
        || header.field_chain_depth > 100
}
