//! From the bytes of a file to text.

/// Reads UTF-8 or UTF-16 with or without a mark in front, and what is neither as Latin-1, of which every byte is a
/// character. Comments alone can have such characters, so nothing is lost by the latter.
pub fn text(bytes: &[u8]) -> String {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => eight(rest),
        [0xff, 0xfe, rest @ ..] => sixteen(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => sixteen(rest, u16::from_be_bytes),
        // No text of rules has a character 0, so these are the halves of ASCII characters.
        [_, 0, ..] => sixteen(bytes, u16::from_le_bytes),
        [0, _, ..] => sixteen(bytes, u16::from_be_bytes),
        _ => eight(bytes),
    }
}

fn eight(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

fn sixteen(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let (pairs, _) = bytes.as_chunks::<2>();
    let units: Vec<_> = pairs.iter().copied().map(unit).collect();
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_of_the_same() {
        let wide = |order: fn(u16) -> [u8; 2]| "*nat\n".encode_utf16().flat_map(order).collect::<Vec<_>>();
        let (little, big) = (wide(u16::to_le_bytes), wide(u16::to_be_bytes));
        let marked = |mark: &[u8], rest: &[u8]| text(&[mark, rest].concat());
        let all = [
            text(b"*nat\n"),
            marked(&[0xef, 0xbb, 0xbf], b"*nat\n"),
            marked(&[0xff, 0xfe], &little),
            marked(&[0xfe, 0xff], &big),
            text(&little),
            text(&big),
        ];
        assert_eq!(all, ["*nat\n"; 6]);
        assert_eq!(text(b"B\xfcro"), "Büro");
        assert_eq!(text("Büro".as_bytes()), "Büro");
        assert_eq!(text(b""), "");
    }
}
