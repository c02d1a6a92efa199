//! How things are shown: lines, tables, sizes, times.

use std::io::Write;

/// A line on standard output. Whoever closed it does not want to read it.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Rows in columns as wide as they need to be, three spaces between them.
pub fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| {
            rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        line(cells.join("   ").trim_end());
    }
}

/// Bytes in decimal units, as Docker shows them.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{}", UNITS.get(unit).unwrap_or(&""))
}

/// A span of seconds in words, roughly.
#[must_use]
pub fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0 => return "Less than a second".to_owned(),
        1..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// At most this many characters, control characters escaped, the last a mark if something is left out.
#[must_use]
pub fn short(text: &str, width: usize) -> String {
    let clean: String = text
        .chars()
        .take(width * 2)
        .flat_map(|char| {
            let escaped = char.is_control();
            let plain = (!escaped).then_some(char);
            char.escape_default().filter(move |_| escaped).chain(plain)
        })
        .collect();
    if clean.chars().count() <= width {
        return clean;
    }
    clean.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans() {
        assert_eq!((size(0), size(999), size(4_261_000)), ("0B".into(), "999B".into(), "4.26MB".into()));
        assert_eq!(size(u64::MAX), "18447PB");
        assert_eq!(
            (span(1), span(90), span(200_000)),
            ("1 second".into(), "1 minute".into(), "2 days".into())
        );
    }

    #[test]
    fn long_and_hostile_texts_are_tamed() {
        assert_eq!(short("sh -c true", 20), "sh -c true");
        assert_eq!(short("abcdef", 4), "abc…");
        assert_eq!(short("a\u{1b}[31m", 20), "a\\u{1b}[31m");
    }
}
