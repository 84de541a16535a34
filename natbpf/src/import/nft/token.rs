//! Words of what `nft list ruleset` writes.

/// A word and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub line: usize,
    pub text: String,
    /// It stood in quotation marks.
    pub quoted: bool,
}

/// Ends a line.
pub const END: &str = "\n";

/// Splits a text. Braces, commas and semicolons are words of their own, and so are ends of lines.
pub fn split(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let mut word = String::new();
        let mut characters = content.chars().peekable();
        let push = |word: &mut String, quoted: bool, tokens: &mut Vec<Token>| {
            if quoted || !word.is_empty() {
                tokens.push(Token { line, text: std::mem::take(word), quoted });
            }
        };
        while let Some(character) = characters.next() {
            match character {
                // So nft writes what iptables put there and it cannot read.
                '#' if characters.clone().take(4).eq(" xt_".chars()) => {}
                '#' => break,
                '"' => {
                    push(&mut word, false, &mut tokens);
                    word.extend(characters.by_ref().take_while(|character| *character != '"'));
                    push(&mut word, true, &mut tokens);
                }
                '{' | '}' | ',' | ';' => {
                    push(&mut word, false, &mut tokens);
                    word.push(character);
                    push(&mut word, false, &mut tokens);
                }
                blank if blank.is_whitespace() => push(&mut word, false, &mut tokens),
                other => word.push(other),
            }
        }
        push(&mut word, false, &mut tokens);
        tokens.push(Token { line, text: END.to_owned(), quoted: false });
    }
    tokens
}
