//! Columns, as `systemctl list-…` lays them out.

/// A table: cells are padded to their column, the last column is not.
#[derive(Debug, Default)]
pub struct Table {
    /// The column that a missing legend leaves out entirely is none: a heading per column.
    headings: Vec<&'static str>,
    rows: Vec<(String, Vec<String>)>,
}

impl Table {
    /// With these headings.
    pub fn new(headings: &[&'static str]) -> Table {
        Table { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; the mark goes in front, in a column of its own without a heading.
    pub fn row(&mut self, mark: &str, cells: Vec<String>) {
        self.rows.push((mark.to_owned(), cells));
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As text. `marks`: with the column of marks; `legend`: with headings.
    pub fn text(&self, marks: bool, legend: bool) -> String {
        let headings = self.headings.iter().map(|heading| (*heading).to_owned()).collect::<Vec<_>>();
        let all = || legend.then_some(&headings).into_iter().chain(self.rows.iter().map(|(_, cells)| cells));
        let width = |column: usize| {
            all().filter_map(|cells| cells.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let line = |mark: &str, cells: &[String]| {
            let mut line = if marks { format!("{mark:<1} ") } else { String::new() };
            for (cell, width) in cells.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width + 1 - cell.chars().count().min(*width)));
            }
            line.truncate(line.trim_end().len());
            line + "\n"
        };
        let mut text = if legend { line(" ", &headings) } else { String::new() };
        for (mark, cells) in &self.rows {
            text.push_str(&line(mark, cells));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["UNIT", "LOAD", "DESCRIPTION"]);
        table.row(" ", vec!["a.service".into(), "loaded".into(), "An é".into()]);
        table.row("●", vec!["é".into(), "not-found".into(), "B".into()]);
        let expected =
            "  UNIT      LOAD      DESCRIPTION\n  a.service loaded    An é\n● é         not-found B\n";
        assert_eq!(table.text(true, true), expected);
        assert_eq!(table.text(false, false), "a.service loaded    An é\né         not-found B\n");
    }
}
