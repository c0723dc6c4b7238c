//! Tables without a frame, with two spaces between columns.

use comfy_table::{ContentArrangement, Table, presets};

use crate::text::printable;

/// Returns a table. A cell is plain text on one line: control characters and colours in it are escaped.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().map(|title| title.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell).into_owned()).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn control_characters_and_colours_of_a_cell_are_escaped() {
        let text = super::table(&["by"], [vec!["\u{1b}[30mann\nforged\u{202e}".to_owned()]]);
        assert_eq!(text, "BY\n\\u001b[30mann\\nforged\\u202e");
    }
}
