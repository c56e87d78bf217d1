//! Tables for people: columns in line, fitted to a terminal's width.
//!
//! On a terminal a row is never longer than a line: the widest columns that may be cut are cut first, with `…`.
//! Elsewhere, in a file or a pipe, every value is whole.

use super::text::{Style, Text};

/// Between two columns.
const GAP: usize = 2;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    title: &'static str,
    is_number: bool,
    /// Columns of the terminal that it keeps when others need room; `None`: it is not cut.
    least: Option<usize>,
}

impl Column {
    /// A column that is shown whole.
    pub(super) const fn whole(title: &'static str) -> Self {
        Self {
            title,
            is_number: false,
            least: None,
        }
    }

    /// A column of numbers, shown whole.
    pub(super) const fn number(title: &'static str) -> Self {
        Self {
            title,
            is_number: true,
            least: None,
        }
    }

    /// A column that is cut where there is no room, down to `least`.
    pub(super) const fn cut(title: &'static str, least: usize) -> Self {
        Self {
            title,
            is_number: false,
            least: Some(least),
        }
    }
}

/// Rows below the columns' titles.
#[derive(Clone, Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Text>>,
}

impl Table {
    /// A table without rows.
    pub(super) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, with a cell for each column.
    pub(super) fn row(&mut self, cells: Vec<Text>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The lines, the titles first; with a width none is longer than it.
    pub(super) fn lines(&self, width: Option<usize>) -> Vec<Text> {
        let widths = self.widths(width);
        let titles = self
            .columns
            .iter()
            .map(|column| Text::styled(Style::Bold, column.title));
        let titles: Vec<Text> = titles.collect();
        let rows = std::iter::once(&titles).chain(&self.rows);
        rows.map(|row| {
            let mut line = Text::new();
            for ((cell, column), columns) in row.iter().zip(&self.columns).zip(&widths) {
                if line != Text::new() {
                    line = line.put(&" ".repeat(GAP));
                }
                let cell = cell.clone().cut(*columns);
                line = line.join(cell.fill(*columns, column.is_number));
            }
            match width {
                Some(width) => line.cut(width),
                None => line,
            }
        })
        .collect()
    }

    /// How wide each column is. Where they need too much, the widest of those that may be cut gives a column until all
    /// fit, or none can give more; then the lines' ends are cut.
    fn widths(&self, width: Option<usize>) -> Vec<usize> {
        let natural = |at: usize, column: &Column| {
            let cells = self
                .rows
                .iter()
                .filter_map(|row| row.get(at))
                .map(Text::width);
            // Titles are of letters, one column each.
            cells.max().unwrap_or(0).max(column.title.len())
        };
        let mut widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| natural(at, column))
            .collect();
        let Some(width) = width else { return widths };
        let gaps = GAP * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > width {
            let can_give = widths
                .iter_mut()
                .zip(&self.columns)
                .filter(|(columns, column)| column.least.is_some_and(|least| **columns > least));
            let Some((widest, _)) = can_give.max_by_key(|(columns, _)| **columns) else {
                break;
            };
            *widest -= 1;
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&[
            Column::cut("ID", 8),
            Column::whole("STATE"),
            Column::cut("URL", 10),
            Column::number("WAITING"),
        ]);
        table.row(vec![
            "wh_0123456789abcdef".into(),
            Text::state("active"),
            "https://example.com/a/rather/long/path".into(),
            "7".into(),
        ]);
        table.row(vec![
            "wh_2".into(),
            Text::state("disabled"),
            "https://b/".into(),
            "1234".into(),
        ]);
        table
    }

    fn shown(table: &Table, width: Option<usize>) -> Vec<String> {
        table
            .lines(width)
            .iter()
            .map(|line| line.render(false))
            .collect()
    }

    #[test]
    fn without_a_width_every_value_is_whole_and_in_line() {
        assert_eq!(
            shown(&sample(), None),
            [
                "ID                   STATE     URL                                     WAITING",
                "wh_0123456789abcdef  active    https://example.com/a/rather/long/path        7",
                "wh_2                 disabled  https://b/                                 1234",
            ]
        );
    }

    #[test]
    fn no_row_is_longer_than_the_terminal() {
        assert_eq!(
            shown(&sample(), Some(60)),
            [
                "ID                   STATE     URL                   WAITING",
                "wh_0123456789abcdef  active    https://example.com…        7",
                "wh_2                 disabled  https://b/               1234",
            ]
        );
        for width in 0..90 {
            for line in sample().lines(Some(width)) {
                assert!(line.width() <= width, "{width}: {}", line.render(false));
            }
        }
    }

    #[test]
    fn colours_are_beside_the_words_and_change_no_width() {
        let lines = sample().lines(Some(60));
        let coloured = lines[2].render(true);
        assert!(coloured.contains("\x1b[33mdisabled\x1b[0m"), "{coloured:?}");
        assert!(!lines[2].render(false).contains('\x1b'));
    }
}
