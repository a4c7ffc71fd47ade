//! Tables as RFC 4180 writes them, safe to open in a spreadsheet.

use std::fmt::Write as _;

/// What stands in a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Words of whoever. What a spreadsheet would take for a formula is written as text.
    Text(String),
    /// A number of ours, such as an amount; nothing if empty.
    Number(String),
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Words, or nothing.
    pub fn some(text: Option<impl Into<String>>) -> Self {
        Self::Text(text.map(Into::into).unwrap_or_default())
    }

    /// A number.
    pub fn number(number: impl Into<String>) -> Self {
        Self::Number(number.into())
    }
}

/// A line with its end.
pub fn line(cells: &[Cell]) -> String {
    let mut line = String::new();
    for (place, cell) in cells.iter().enumerate() {
        if place > 0 {
            line.push(',');
        }
        match cell {
            Cell::Number(number) => line.push_str(number),
            Cell::Text(text) => {
                // What begins so is a formula to spreadsheets, whatever is around it.
                let formula = text.starts_with([
                    '=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
                ]);
                let mark = if formula { "'" } else { "" };
                if formula || text.contains(['"', ',', '\r', '\n', ';']) {
                    // Writing into a text cannot fail.
                    let _infallible = write!(line, "\"{mark}{}\"", text.replace('"', "\"\""));
                } else {
                    line.push_str(text);
                }
            }
        }
    }
    line.push_str("\r\n");
    line
}

/// The first line.
pub fn head(names: &[&str]) -> String {
    line(&names.iter().map(|name| Cell::text(*name)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a table as RFC 4180 has it.
    fn read(text: &str) -> Vec<Vec<String>> {
        let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
        let (mut quoted, mut rest) = (false, text.chars().peekable());
        while let Some(letter) = rest.next() {
            match letter {
                '"' if quoted && rest.peek() == Some(&'"') => {
                    rest.next();
                    cell.push('"');
                }
                '"' => quoted = !quoted,
                ',' if !quoted => row.push(std::mem::take(&mut cell)),
                '\r' if !quoted && rest.peek() == Some(&'\n') => {
                    rest.next();
                    row.push(std::mem::take(&mut cell));
                    rows.push(std::mem::take(&mut row));
                }
                other => cell.push(other),
            }
        }
        assert!(!quoted && cell.is_empty() && row.is_empty());
        rows
    }

    #[test]
    fn formulas_are_text_and_amounts_are_numbers() {
        let cells = [Cell::text("=1+1"), Cell::number("-12.50"), Cell::text("-12.50"), Cell::text("a,\"b\"")];
        assert_eq!(line(&cells), "\"'=1+1\",-12.50,\"'-12.50\",\"a,\"\"b\"\"\"\r\n");
        assert_eq!(head(&["day", "net"]), "day,net\r\n");
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back_and_no_cell_is_a_formula(
            table in proptest::collection::vec(proptest::collection::vec(any::<String>(), 1..5), 0..5),
        ) {
            let lines = |row: &Vec<String>| line(&row.iter().map(Cell::text).collect::<Vec<_>>());
            let text: String = table.iter().map(lines).collect();
            let back = read(&text);
            prop_assert_eq!(back.len(), table.len());
            for (cells, row) in back.iter().zip(&table) {
                prop_assert_eq!(cells.len(), row.len());
                for (cell, wrote) in cells.iter().zip(row) {
                    prop_assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']));
                    prop_assert_eq!(cell.strip_prefix('\'').filter(|_| !wrote.starts_with('\'')).unwrap_or(cell), wrote);
                }
            }
        }
    }
}
