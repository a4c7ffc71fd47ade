//! Plain lines as a PDF, because providers take no text: A4, one fixed-width font, the same bytes for the same lines.

use crate::pdf;

/// Lines on a page.
const LINES: usize = 60;

/// Characters in a line; longer ones are broken.
const COLUMNS: usize = 92;

/// A document. Characters that the font does not have are question marks.
pub(super) fn document(lines: &[String]) -> Vec<u8> {
    let lines: Vec<Vec<u8>> = lines.iter().flat_map(|line| broken(line)).collect();
    let mut pages: Vec<&[Vec<u8>]> = lines.chunks(LINES).collect();
    if pages.is_empty() {
        pages.push(&[]);
    }
    // Objects: 1 the catalogue, 2 the pages, 3 the font, then two for each page.
    let first = |page: usize| page.saturating_mul(2).saturating_add(4);
    let kids: Vec<String> = (0..pages.len()).map(|page| format!("{} 0 R", first(page))).collect();
    let mut objects: Vec<Vec<u8>> = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        format!("<< /Type /Pages /Kids [{}] /Count {} >>", kids.join(" "), pages.len()).into_bytes(),
        pdf::font("Courier"),
    ];
    for (number, page) in pages.iter().enumerate() {
        let content = first(number).saturating_add(1);
        objects.push(
            format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> \
                 /Contents {content} 0 R >>"
            )
            .into_bytes(),
        );
        let mut text = b"BT /F1 9 Tf 12.5 TL 48 800 Td\n".to_vec();
        for line in *page {
            text.push(b'(');
            text.extend_from_slice(line);
            text.extend_from_slice(b") Tj T*\n");
        }
        text.extend_from_slice(b"ET\n");
        objects.push(pdf::stream(&text));
    }
    pdf::file(&objects)
}

/// A line in the bytes of the font, as many as it needs.
fn broken(line: &str) -> Vec<Vec<u8>> {
    let characters: Vec<char> = line.chars().collect();
    if characters.is_empty() {
        return vec![Vec::new()];
    }
    let encode = |part: &[char]| {
        let mut bytes = Vec::with_capacity(part.len());
        for character in part {
            match *character {
                '(' | ')' | '\\' => {
                    bytes.push(b'\\');
                    bytes.extend(u8::try_from(*character));
                }
                ' '..='~' | '\u{a0}'..='\u{ff}' => bytes.extend(u8::try_from(*character)),
                '€' => bytes.push(0x80),
                _ => bytes.push(b'?'),
            }
        }
        bytes
    };
    characters.chunks(COLUMNS).map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_lies_where_the_table_says() {
        let lines: Vec<String> =
            (0..130).map(|number| format!("Line {number} (of \\ 130) é € 漢 {}", "x".repeat(100))).collect();
        let pdf = document(&lines);
        assert_eq!(pdf, document(&lines));
        let text = String::from_utf8_lossy(&pdf).into_owned();
        assert!(pdf.starts_with(b"%PDF-1.4"));
        assert!(text.contains("(Line 0 \\(of \\\\ 130\\)"));
        assert!(text.contains("/Count 5"), "260 lines on five pages");
        let table: usize =
            text.rsplit("startxref\n").next().unwrap().lines().next().unwrap().parse().unwrap();
        let xref = String::from_utf8_lossy(pdf.get(table..).unwrap()).into_owned();
        let places = xref.lines().skip(3).take_while(|line| line.ends_with(" 00000 n "));
        let mut count = 0;
        for (number, line) in (1..).zip(places) {
            let place: usize = line.split(' ').next().unwrap().parse().unwrap();
            assert!(pdf.get(place..).unwrap().starts_with(format!("{number} 0 obj\n").as_bytes()));
            count = number;
        }
        assert_eq!(count, 13);
        assert!(document(&[]).ends_with(b"%%EOF\n"));
    }
}
