//! The middle of a few figures, with their ends.

use std::fmt;

/// Figures of one thing, over several runs.
#[derive(Debug, Default)]
pub struct Figures(Vec<f64>);

impl Figures {
    /// Takes one more.
    pub fn add(&mut self, figure: f64) {
        self.0.push(figure);
        self.0.sort_by(f64::total_cmp);
    }

    /// The middle one; of an even number, the mean of the middle two; of none, not a number.
    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match (self.0.get(middle), self.0.len() % 2) {
            (None, _) => f64::NAN,
            (Some(figure), 1) => *figure,
            (Some(figure), _) => (figure + self.0[middle - 1]) / 2.0,
        }
    }
}

/// `median (smallest–largest)`.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.first(), self.0.last()) {
            (Some(first), Some(last)) => write!(f, "{:.2} ({first:.2}–{last:.2})", self.median()),
            _ => write!(f, "no figure"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Figures;

    #[test]
    fn the_median_is_in_the_middle() {
        let mut figures = Figures::default();
        assert!(figures.median().is_nan());
        for figure in [9.0, 1.0, 2.0] {
            figures.add(figure);
        }
        assert_eq!(figures.median().to_bits(), 2.0_f64.to_bits());
        figures.add(3.0);
        assert_eq!(figures.median().to_bits(), 2.5_f64.to_bits());
        assert_eq!(figures.to_string(), "2.50 (1.00–9.00)");
    }
}
