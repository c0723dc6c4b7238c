//! Tables without a frame, with two spaces between columns.
//!
//! A table that is wider than the terminal is folded: the widest columns become narrower, and their cells continue on
//! further lines, broken at spaces. If words do not fit even then, each row is printed as a list of its fields.

use unicode_width::UnicodeWidthStr;

use crate::{
    cli::ui::{
        terminal::output_width,
        wrap::{visible_width, wrap},
    },
    text::printable,
};

/// The space between two columns.
const GAP: usize = 2;

/// Returns a table that fits the terminal. A cell is plain text on one line: control characters and colours in it are
/// escaped.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    table_within(output_width(), head, rows)
}

/// Returns a table of at most `width` columns if its words allow it.
fn table_within(width: Option<usize>, head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(|title| title.to_uppercase()).collect();
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|row| row.iter().map(|cell| printable(cell).into_owned()).collect()).collect();
    let widths: Vec<usize> = natural_widths(&head, &rows);
    let widths = match width {
        Some(width) if total(&widths) > width => match narrowed(&widths, &head, &rows, width) {
            Some(narrowed) => narrowed,
            None => return list(&head, &rows),
        },
        _ => widths,
    };
    let mut lines = folded(&head, &widths);
    for row in &rows {
        lines.extend(folded(row, &widths));
    }
    lines.join("\n")
}

/// Returns the width of each column's widest cell.
fn natural_widths(head: &[String], rows: &[Vec<String>]) -> Vec<usize> {
    let widest = |column: usize, title: &String| {
        rows.iter().filter_map(|row| row.get(column)).chain([title]).map(|cell| cell.width()).max().unwrap_or_default()
    };
    head.iter().enumerate().map(|(column, title)| widest(column, title)).collect()
}

/// Returns the width of a row.
fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// Narrows the widest columns until a row fits. Returns none if a word would have to be broken.
fn narrowed(widths: &[usize], head: &[String], rows: &[Vec<String>], width: usize) -> Option<Vec<usize>> {
    let longest_word = |text: &String| text.split(' ').map(UnicodeWidthStr::width).max().unwrap_or_default();
    let longest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).chain(head.get(column));
        cells.map(longest_word).max().unwrap_or_default()
    };
    let least: Vec<usize> = (0..widths.len()).map(longest).collect();
    let mut widths = widths.to_vec();
    for _ in 0..total(&widths).saturating_sub(width) {
        let candidates = widths.iter().zip(&least).enumerate().filter(|(_, (width, least))| width > least);
        let (widest, _) = candidates.max_by_key(|(_, (width, _))| **width)?;
        *widths.get_mut(widest)? -= 1;
    }
    Some(widths)
}

/// Returns the lines of a row.
fn folded(row: &[String], widths: &[usize]) -> Vec<String> {
    let cells: Vec<Vec<String>> = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| wrap(cell, (*width).max(1)).lines().map(|line| line.trim_start().to_owned()).collect())
        .collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or_default().max(1);
    (0..height)
        .map(|line| {
            let mut text = String::new();
            for (cell, width) in cells.iter().zip(widths) {
                let part = cell.get(line).map_or("", String::as_str);
                text.push_str(part);
                text.push_str(&" ".repeat(width.saturating_sub(visible_width(part)) + GAP));
            }
            text.trim_end().to_owned()
        })
        .collect()
}

/// Returns each row as a list of its fields, without empty ones.
fn list(head: &[String], rows: &[Vec<String>]) -> String {
    let label = head.iter().map(|title| title.width()).max().unwrap_or_default();
    let entry = |row: &Vec<String>| {
        let fields = head.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
        let lines = fields
            .map(|(title, cell)| format!("{title}{}{cell}", " ".repeat(label.saturating_sub(title.width()) + GAP)));
        lines.collect::<Vec<_>>().join("\n")
    };
    rows.iter().map(entry).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn control_characters_and_colours_of_a_cell_are_escaped() {
        let text = table_within(None, &["by"], [vec!["\u{1b}[30mann\nforged\u{202e}".to_owned()]]);
        assert_eq!(text, "BY\n\\u001b[30mann\\nforged\\u202e");
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let text = table_within(None, &["id", "name"], cells(&[&["1", "ann"], &["200", "b"]]));
        assert_eq!(text, "ID   NAME\n1    ann\n200  b");
    }

    #[test]
    fn a_table_that_is_too_wide_is_folded_at_spaces() {
        let rows = cells(&[&["1", "a rather long reason"], &["2", "short"]]);
        let text = table_within(Some(16), &["id", "reason"], rows);
        assert_eq!(text, "ID  REASON\n1   a rather\n    long reason\n2   short");
    }

    #[test]
    fn rows_become_lists_if_words_do_not_fit() {
        let rows = cells(&[&["0123456789", "abcdefghij", ""], &["1", "2", "3"]]);
        let text = table_within(Some(16), &["id", "name", "note"], rows);
        assert_eq!(text, "ID    0123456789\nNAME  abcdefghij\n\nID    1\nNAME  2\nNOTE  3");
    }

    #[test]
    fn an_empty_table_has_its_head() {
        assert_eq!(table_within(Some(16), &["id", "name"], cells(&[])), "ID  NAME");
    }
}
