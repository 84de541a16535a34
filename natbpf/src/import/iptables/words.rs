//! Words of a line, as iptables-restore reads them.

/// Options whose value is any text, also one that looks like an option.
const TEXTS: &[&str] =
    &["--comment", "--log-prefix", "--nflog-prefix", "--ulog-prefix", "--string", "--hex-string"];

/// Whether the word after this one is text.
pub fn is_before_text(option: &str) -> bool {
    option.len() > 4 && TEXTS.iter().any(|text| text.starts_with(option))
}

/// `None` if a quotation does not end. Outside of one, a backslash and an apostrophe are characters like others.
pub fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().push(characters.next()?),
            blank if blank.is_whitespace() && !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    (!quoted).then_some(words)
}

/// Words of a rule as they are read one by one.
#[derive(Debug, Default)]
pub struct Words<'a> {
    words: &'a [String],
    at: usize,
}

impl<'a> Words<'a> {
    pub fn new(words: &'a [String]) -> Self {
        Self { words, at: 0 }
    }

    pub fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).map(String::as_str)
    }

    pub fn next(&mut self) -> Option<&'a str> {
        let word = self.peek();
        self.at += usize::from(word.is_some());
        word
    }

    /// The next word, if it is no option.
    pub fn value(&mut self) -> Option<&'a str> {
        let is_value = self.peek().is_some_and(|word| word != "!" && !word.starts_with('-'));
        if is_value { self.next() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotations_and_blanks() {
        let words = |text: &str| split(text).map(|words| words.join("|"));
        assert_eq!(
            words(r#"-m comment --comment "a \"b\" c" -j X"#).as_deref(),
            Some("-m|comment|--comment|a \"b\" c|-j|X")
        );
        assert_eq!(words("-A\tX  --comment don't \\!").as_deref(), Some("-A|X|--comment|don't|\\!"));
        assert_eq!(split("--comment \"\"").map(|words| words.len()), Some(2));
        assert_eq!(words("--comment \"without an end"), None);
        assert_eq!(split("  "), Some(vec![]));
    }
}
