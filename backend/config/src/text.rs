//! Text from a guest or a card, on its way to somebody's terminal.

/// `text` without the power to drive a terminal or to begin another line: control characters but tabs are escaped.
pub fn printable(text: &str) -> String {
    let escaped = |c: char| c.is_control() && c != '\t';
    text.chars().flat_map(|c| if escaped(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn nothing_drives_the_terminal() {
        assert_eq!(printable("two\tgröße\n\x1b[31mred\u{9b}2J\x7f"), "two\tgröße\\n\\u{1b}[31mred\\u{9b}2J\\u{7f}");
    }
}
