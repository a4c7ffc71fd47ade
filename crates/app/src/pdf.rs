//! The frame of a PDF: objects, and the table that says where each lies. What is on the pages is for whoever calls.

use std::fmt::Write as _;

/// A file of these objects, numbered from 1; the first is the catalogue. The same objects, the same bytes.
pub(crate) fn file(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut pdf = b"%PDF-1.4\n".to_vec();
    // Whoever passes it on shall not take it for a text.
    if objects.iter().any(|object| !object.is_ascii()) {
        pdf.extend_from_slice(b"%\xe2\xe3\xcf\xd3\n");
    }
    let mut places = Vec::with_capacity(objects.len());
    for (number, object) in (1_usize..).zip(objects) {
        places.push(pdf.len());
        pdf.extend_from_slice(format!("{number} 0 obj\n").as_bytes());
        pdf.extend_from_slice(object);
        pdf.extend_from_slice(b"\nendobj\n");
    }
    let table = pdf.len();
    let size = objects.len().saturating_add(1);
    let mut end = format!("xref\n0 {size}\n0000000000 65535 f \n");
    for place in places {
        // A string takes what is written to it.
        let _written = writeln!(end, "{place:010} 00000 n ");
    }
    let _written = write!(end, "trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n");
    pdf.extend_from_slice(end.as_bytes());
    pdf
}

/// One of the fonts that every reader has.
pub(crate) fn font(name: &str) -> Vec<u8> {
    format!("<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>").into_bytes()
}

/// What is drawn on a page.
pub(crate) fn stream(drawn: &[u8]) -> Vec<u8> {
    let mut stream = format!("<< /Length {} >>\nstream\n", drawn.len()).into_bytes();
    stream.extend_from_slice(drawn);
    stream.extend_from_slice(b"endstream");
    stream
}
