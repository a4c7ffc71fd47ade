//! A body of several parts (RFC 7578), which providers take files in.

use app::payments::port::{Failure, Said};

/// The boundary is made of our reference, so that a repeat is the same body.
pub(super) struct Body {
    boundary: String,
    bytes: Vec<u8>,
}

impl Body {
    pub(super) fn new(boundary: &str) -> Self {
        Self { boundary: format!("tradesense-{boundary}"), bytes: Vec::new() }
    }

    pub(super) fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// A plain field.
    pub(super) fn field(&mut self, name: &str, media_type: Option<&str>, value: &str) {
        self.head(&format!("name=\"{name}\""), media_type);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A file. Its name and type must not break out of their line.
    pub(super) fn file(
        &mut self,
        name: &str,
        file: &str,
        media_type: &str,
        content: &[u8],
    ) -> Result<(), Failure> {
        let plain = |text: &str, also: &[u8]| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || also.contains(&byte))
        };
        if !plain(file, b"-_. ") || !plain(media_type, b"-_.+/") {
            let text = format!("The file {file:?} of type {media_type:?} cannot be named to a provider.");
            return Err(Failure::Refused(Said { code: "file_name".to_owned(), text, trace: None }));
        }
        if content.windows(self.boundary.len()).any(|part| part == self.boundary.as_bytes()) {
            let text = format!("The file {file:?} contains what separates the parts of a body.");
            return Err(Failure::Refused(Said { code: "file_content".to_owned(), text, trace: None }));
        }
        self.head(&format!("name=\"{name}\"; filename=\"{file}\""), Some(media_type));
        self.bytes.extend_from_slice(content);
        self.bytes.extend_from_slice(b"\r\n");
        Ok(())
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        self.bytes
    }

    fn head(&mut self, disposition: &str, media_type: Option<&str>) {
        let kind = media_type.map_or_else(String::new, |kind| format!("Content-Type: {kind}\r\n"));
        let head =
            format!("--{}\r\nContent-Disposition: form-data; {disposition}\r\n{kind}\r\n", self.boundary);
        self.bytes.extend_from_slice(head.as_bytes());
    }
}
