//! Words of what `nft list ruleset` writes.

/// A word and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub line: usize,
    pub text: String,
    /// It stood in quotation marks.
    pub quoted: bool,
    /// All that follows a `#` behind a statement. It need not be a comment: so nft writes what iptables put
    /// there and it cannot read.
    pub remark: bool,
}

impl Token {
    fn new(line: usize, text: String) -> Self {
        Self { line, text, quoted: false, remark: false }
    }

    /// The word, if it is one and no text.
    pub fn mark(&self) -> &str {
        if self.quoted || self.remark { "" } else { &self.text }
    }
}

/// Ends a line.
pub const END: &str = "\n";

/// Where the block ends that begins with the next brace.
pub fn end_of_block(tokens: &[Token]) -> Option<usize> {
    let mut depth = 0_usize;
    tokens.iter().position(|token| match token.mark() {
        "{" => {
            depth += 1;
            false
        }
        "}" => {
            depth = depth.saturating_sub(1);
            depth == 0
        }
        _ => false,
    })
}

/// Splits a text. Braces, commas and semicolons are words of their own, and so are ends of lines.
pub fn split(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let start = tokens.len();
        let end = split_line(line, content, &mut tokens);
        let statement =
            tokens[start..].last().is_some_and(|last| !matches!(last.text.as_str(), "{" | "}" | ";"));
        let remark = content.get(end..).and_then(|rest| rest.strip_prefix('#'));
        if let Some(remark) = remark.filter(|remark| statement && !is_handle(remark)) {
            tokens.push(Token { remark: true, ..Token::new(line, remark.trim().to_owned()) });
        }
        match tokens[start..].last_mut() {
            // The next line belongs to it.
            Some(last) if !last.quoted && !last.remark && last.text.ends_with('\\') => {
                last.text.pop();
                if last.text.is_empty() {
                    tokens.pop();
                }
            }
            _ => tokens.push(Token::new(line, END.to_owned())),
        }
    }
    tokens
}

/// Up to a `#`; returns where that is.
fn split_line(line: usize, content: &str, tokens: &mut Vec<Token>) -> usize {
    let mut word = String::new();
    let push = |word: &mut String, quoted: bool, tokens: &mut Vec<Token>| {
        if quoted || !word.is_empty() {
            tokens.push(Token { quoted, ..Token::new(line, std::mem::take(word)) });
        }
    };
    let mut characters = content.char_indices();
    let mut end = content.len();
    while let Some((at, character)) = characters.next() {
        match character {
            '#' => {
                end = at;
                break;
            }
            '"' => {
                push(&mut word, false, tokens);
                let text = characters.by_ref().map(|(_, character)| character);
                word.extend(text.take_while(|end| *end != '"'));
                push(&mut word, true, tokens);
            }
            '{' | '}' | ',' | ';' => {
                push(&mut word, false, tokens);
                word.push(character);
                push(&mut word, false, tokens);
            }
            blank if blank.is_whitespace() => push(&mut word, false, tokens),
            other => word.push(other),
        }
    }
    push(&mut word, false, tokens);
    end
}

/// What `nft -a` writes behind a rule.
fn is_handle(remark: &str) -> bool {
    let number = remark.strip_prefix(" handle ").unwrap_or_default().trim_end();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}
