//! Words of a command, as a shell reads them.

/// A command, as far as it says what it does.
#[derive(Debug, PartialEq, Eq)]
pub struct Command<'a> {
    pub words: Vec<String>,
    /// All from the first sign on of which only a running shell knows what it does.
    pub live: Option<&'a str>,
}

/// Why a command is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// A backslash at its end: the next line belongs to it.
    Backslash,
    Quotation,
}

const SIGNS: &[char] = &['$', '`', ';', '|', '&', '<', '>', '(', ')'];

pub fn split(text: &str) -> Result<Command<'_>, Open> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let (mut quote, mut live, mut end) = (None, None, text.len());
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (Some(open), mark) if open == mark => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let (_, next) = characters.next().ok_or(Open::Backslash)?;
                let word = word.get_or_insert_default();
                if quote.is_some() && !matches!(next, '"' | '\\' | '$' | '`') {
                    word.push('\\');
                }
                word.push(next);
            }
            (None, '#') if word.is_none() => {
                end = at;
                break;
            }
            (None, sign) | (Some('"'), sign @ ('$' | '`')) if live.is_none() && SIGNS.contains(&sign) => {
                live = Some(at);
                // `2>` has the number of what it leads elsewhere in front.
                words.extend(word.take().filter(|word| sign != '>' || !matches!(word.as_str(), "1" | "2")));
            }
            (None, blank) if blank.is_whitespace() => words.extend(word.take().filter(|_| live.is_none())),
            _ => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err(Open::Quotation);
    }
    words.extend(word.filter(|_| live.is_none()));
    Ok(Command { words, live: live.map(|at| text[at..end].trim_end()) })
}

impl Command<'_> {
    /// Whether it says all of what it does: what becomes of what it prints is of no concern.
    pub fn is_plain(&self) -> bool {
        self.live.is_none_or(|rest| {
            let rest = rest.strip_suffix("2>&1").unwrap_or(rest).trim_end();
            rest.trim_start_matches(['>', '&', ' ']) == "/dev/null"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotations_backslashes_and_comments() {
        let words = |text: &str| split(text).unwrap().words.join("|");
        assert_eq!(words(r#"a "b \"c\" \d" 'e "\' f\ g"#), r#"a|b "c" \d|e "\|f g"#);
        assert_eq!(words(r"\! -d \\ x"), r"!|-d|\|x");
        assert_eq!(words("a b#c # don't"), "a|b#c");
        assert_eq!(words("# whole"), "");
        assert_eq!(split("--comment \"\"").unwrap().words.len(), 2);
    }

    #[test]
    fn what_is_not_whole() {
        assert_eq!(split("a \\"), Err(Open::Backslash));
        assert_eq!(split("a \"b \\"), Err(Open::Backslash));
        assert_eq!(split("a 'b"), Err(Open::Quotation));
        assert_eq!(split("a 'b \\"), Err(Open::Quotation));
        assert!(split("a # \\").is_ok() && split(r"a \\").is_ok());
    }

    #[test]
    fn what_only_a_shell_knows() {
        for plain in
            ["a 'b & $c'", r#"a "b & c" \;"#, "a 2>/dev/null", "a > /dev/null 2>&1 # x", "a &>/dev/null"]
        {
            let command = split(plain).unwrap();
            assert!(command.is_plain() && !command.words.contains(&"2".to_owned()), "{command:?}");
        }
        for live in
            ["a $b", "a \"$b\"", "a `b`", "a; b", "a && b", "a < b", "a | b", "(a)", "a 2>/dev/null || b"]
        {
            assert!(!split(live).unwrap().is_plain(), "{live}");
        }
        assert_eq!(split("a && b").unwrap().words, ["a"]);
    }
}
