//! A page of centred lines as a PDF, in the fonts that every reader has.

use std::fmt::Write as _;

use crate::pdf;

/// A line of a page.
pub(super) struct Line {
    /// In points.
    pub size: u32,
    /// Whether it stands out.
    pub bold: bool,
    /// What it says.
    pub text: String,
}

/// A4, lying, in points.
const WIDTH: u32 = 842;
const HEIGHT: u32 = 595;

/// Widths of Helvetica's letters from the blank to the tilde, in thousandths of the size.
const WIDTHS: [u32; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556,
    556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278,
    500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469,
    556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500,
    278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];

fn width(text: &[u8], size: u32) -> u32 {
    let of = |byte: &u8| {
        let place = usize::from(byte.saturating_sub(32));
        WIDTHS.get(place).copied().unwrap_or(556)
    };
    let sum = text.iter().map(of).fold(0_u32, u32::saturating_add);
    sum.saturating_mul(size).checked_div(1_000).unwrap_or_default()
}

/// The letters that the fonts have (Latin-1); a question mark for all others.
fn latin(text: &str) -> Vec<u8> {
    let byte = |letter: char| {
        let byte = u8::try_from(u32::from(letter)).ok();
        byte.filter(|byte| !matches!(byte, 0..=31 | 127..=159)).unwrap_or(b'?')
    };
    text.chars().map(byte).collect()
}

/// A text as PDF writes it: everything but plain letters in octal.
fn quoted(text: &[u8]) -> String {
    let mut quoted = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b'(' | b')' | b'\\' | 128..=255 => {
                let _infallible = write!(quoted, "\\{byte:03o}");
            }
            plain => quoted.push(char::from(*plain)),
        }
    }
    quoted
}

/// A page with these lines, one under the other.
pub(super) fn page(lines: &[Line]) -> Vec<u8> {
    let mut drawn = "2 w 30 30 782 535 re S\n".to_owned();
    let mut top = HEIGHT.saturating_sub(120);
    for line in lines {
        let text = latin(&line.text);
        let left = WIDTH.saturating_sub(width(&text, line.size)).checked_div(2).unwrap_or_default();
        let font = if line.bold { "B" } else { "R" };
        let size = line.size;
        let _infallible = writeln!(drawn, "BT /{font} {size} Tf {left} {top} Td ({}) Tj ET", quoted(&text));
        top = top.saturating_sub(line.size.saturating_mul(2).saturating_add(10));
    }
    pdf::file(&[
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {WIDTH} {HEIGHT}] /Contents 4 0 R \
             /Resources << /Font << /R 5 0 R /B 6 0 R >> >> >>"
        )
        .into_bytes(),
        pdf::stream(drawn.as_bytes()),
        pdf::font("Helvetica"),
        pdf::font("Helvetica-Bold"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_lies_where_the_table_says() {
        let line = |text: &str| Line { size: 20, bold: false, text: text.to_owned() };
        let file = page(&[line("Amina (one) \\ é"), line("名前"), line("")]);
        let text = String::from_utf8(file).unwrap();
        let start: usize = text
            .rsplit_once("startxref\n")
            .and_then(|(_, rest)| rest.lines().next())
            .and_then(|place| place.parse().ok())
            .unwrap();
        let table = text.get(start..).unwrap();
        assert!(table.starts_with("xref\n0 7\n"));
        for (number, line) in (1..).zip(table.lines().skip(3).take(6)) {
            let place: usize = line.get(..10).unwrap().parse().unwrap();
            assert!(text.get(place..).unwrap().starts_with(&format!("{number} 0 obj\n")));
        }
        assert!(text.contains("(Amina \\050one\\051 \\134 \\351) Tj"), "{text}");
        assert!(text.contains("(??) Tj"));
        let stream = text.split_once("stream\n").unwrap().1.split_once("endstream").unwrap().0;
        assert!(text.contains(&format!("/Length {} ", stream.len())));
    }
}
