//! Words of a line, quoted as iptables-restore and a shell read them.

/// `None` if a quotation does not end.
pub fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), end) if open == end => quote = None,
            (Some('"'), '\\') => word.get_or_insert_default().push(characters.next()?),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, blank) if blank.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Words of a rule as they are read one by one.
#[derive(Debug)]
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
        assert_eq!(words("-A\tX  --comment 'a \"b'").as_deref(), Some("-A|X|--comment|a \"b"));
        assert_eq!(split("--comment \"\"").map(|words| words.len()), Some(2));
        assert_eq!(words("--comment \"without an end"), None);
        assert_eq!(split("  "), Some(vec![]));
    }
}
