//! Lists of processors or memory nodes, as the kernel writes them: `0-3,7`. Source: cpuset(7) "List format".

use std::io;

/// The highest number that a list may have: more than any kernel for this architecture knows.
const HIGHEST: usize = 8191;

/// The numbers of a list.
///
/// # Errors
/// When it is none.
pub fn read(text: &str) -> io::Result<Vec<usize>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, format!("{text:?} is not a list like 0-3,7"));
    let number =
        |part: &str| part.trim().parse::<usize>().ok().filter(|number| *number <= HIGHEST).ok_or_else(bad);
    let mut all = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.trim().is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(bad());
        }
        all.extend(first..=last);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_or_refused() {
        assert_eq!(read("0-2,7\n").unwrap(), [0, 1, 2, 7]);
        assert!(read("").unwrap().is_empty());
        for bad in ["x", "3-1", "-1", "0-", "9999999999", "0-8192"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
