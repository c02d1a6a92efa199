//! Memory that the allocator keeps for what may come: malloc_trim(3).

/// Gives the pages that nothing lies in back to the kernel, from between those in use too. It takes a moment: for the
/// time between bursts of work.
pub fn give_back() {
    // SAFETY: malloc_trim takes the number of bytes to keep at the end of the heap, and touches free memory only.
    let _ = unsafe { libc::malloc_trim(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident() -> usize {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn pages_between_those_in_use_are_given_back() {
        const PIECES: usize = 32 * 1024;
        let mut pieces: Vec<Option<Vec<u8>>> =
            (0..PIECES).map(|number| Some(vec![number as u8; 1000])).collect();
        // one in sixteen stays, so that the heap does not simply shrink
        pieces
            .iter_mut()
            .enumerate()
            .filter(|(number, _)| number % 16 != 0)
            .for_each(|(_, piece)| *piece = None);
        let before = resident();
        give_back();
        let after = resident();
        assert!(after + 10_000 < before, "{before} KiB, then {after} KiB");
        assert!(pieces.iter().flatten().all(|piece| piece.len() == 1000));
    }
}
