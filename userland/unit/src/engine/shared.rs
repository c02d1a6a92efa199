//! Equal settings of several units are kept once: those of a template's instances, and of the many units that leave
//! most of them alone. They are large, and never change once they are read.

use std::collections::VecDeque;
use std::sync::Arc;

/// Settings are compared with so many others: those that were met last.
const MOST: usize = 16;

/// The settings met last, the latest first.
#[derive(Debug)]
pub(super) struct Shared<T>(VecDeque<Arc<T>>);

impl<T: PartialEq> Shared<T> {
    pub(super) fn new() -> Shared<T> {
        Shared(VecDeque::new())
    }

    /// The same settings, if they were met lately; else these.
    pub(super) fn share(&mut self, settings: Arc<T>) -> Arc<T> {
        let known = self.0.iter().position(|known| *known == settings).and_then(|place| self.0.remove(place));
        let settings = known.unwrap_or(settings);
        self.0.truncate(MOST - 1);
        self.0.push_front(Arc::clone(&settings));
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_is_the_same() {
        let mut shared = Shared::new();
        let first = shared.share(Arc::new(7));
        for other in 0..MOST as u64 - 1 {
            shared.share(Arc::new(100 + other));
        }
        assert!(Arc::ptr_eq(&first, &shared.share(Arc::new(7))));
        for other in 0..MOST as u64 {
            shared.share(Arc::new(200 + other));
        }
        assert!(!Arc::ptr_eq(&first, &shared.share(Arc::new(7))), "only the last ones are kept");
        assert_eq!(shared.0.len(), MOST);
    }
}
