//! Encoding of contents for transmission.
//!
//! [`DataEncoder`] doubles the dot of lines that begin with one (RFC 5321, section 4.5.2) and writes no line end but CRLF, so that
//! no server can interpret a part of the contents as their end. A last line without an end gets one. It changes nothing else.

/// Encodes contents part by part.
#[derive(Debug)]
pub struct DataEncoder {
    at_line_start: bool,
    /// True if the last byte was a CR whose LF may follow in the next part.
    after_cr: bool,
}

impl Default for DataEncoder {
    fn default() -> Self {
        Self { at_line_start: true, after_cr: false }
    }
}

impl DataEncoder {
    /// Appends a part to `out`.
    pub fn encode(&mut self, part: &[u8], out: &mut Vec<u8>) {
        let mut rest = part;
        while let Some(first) = rest.first() {
            if self.after_cr {
                self.after_cr = false;
                self.end_line(out);
                if *first == b'\n' {
                    rest = &rest[1..];
                }
                continue;
            }
            if self.at_line_start && *first == b'.' {
                out.push(b'.');
            }
            let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            out.extend_from_slice(&rest[..end]);
            self.at_line_start &= end == 0;
            rest = &rest[end..];
            match rest.first() {
                Some(b'\r') => {
                    self.after_cr = true;
                    rest = &rest[1..];
                }
                Some(_) => {
                    self.end_line(out);
                    rest = &rest[1..];
                }
                None => {}
            }
        }
    }

    /// Appends the end of the contents: the end of the last line if it is missing, then the dot.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        if self.after_cr || !self.at_line_start {
            self.end_line(out);
        }
        out.extend_from_slice(b".\r\n");
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
        self.at_line_start = true;
    }
}
