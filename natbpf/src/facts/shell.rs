//! Commands that an operator may type as they stand: names in them are somebody else's, and may be chosen so that a
//! shell does more than the command says. (A device may have any name without `/`, `:` and spaces.)

use crate::import::line::printable;

/// A command whose words are apart by spaces, as a shell takes it: as these words and nothing else. What stands between
/// double quotes, as iptables prints comments, is one word.
pub fn typed(command: &str) -> String {
    words(command).iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// Commands one after the other, each if the one before it has done what it should, as one command.
pub fn all_of(commands: &[String]) -> String {
    let typed: Vec<_> = commands.iter().map(|command| typed(command)).collect();
    format!("sh -c {}", quoted(&typed.join(" && ")))
}

fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "@%+=:,./_-".contains(character);
    if word == "!" || !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    if printable(word) == word {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    // What a terminal obeys is not printed, and `$'…'` is not known to every shell.
    let escaped = word.chars().flat_map(|character| {
        let mut bytes = [0; 4];
        let bytes = character.encode_utf8(&mut bytes).as_bytes();
        match character {
            '%' => vec!["%%".to_owned()],
            ' '..='~' if !matches!(character, '\'' | '\\') => vec![character.to_string()],
            _ => bytes.iter().map(|byte| format!("\\{byte:03o}")).collect(),
        }
    });
    format!("\"$(printf '{}')\"", escaped.collect::<String>())
}

fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = command.trim_ascii_start();
    while !rest.is_empty() {
        let (word, after) = comment(rest).unwrap_or_else(|| {
            let (word, after) =
                rest.split_at(rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len()));
            (word.to_owned(), after)
        });
        words.push(word);
        rest = after.trim_ascii_start();
    }
    words
}

/// A word between double quotes, and what stands after it.
fn comment(text: &str) -> Option<(String, &str)> {
    let mut characters = text.strip_prefix('"')?.char_indices();
    let mut word = String::new();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => word.push(characters.next()?.1),
            '"' => {
                let after = &text[at + 2..];
                let ends = after.chars().next().is_none_or(|next| next.is_ascii_whitespace());
                return ends.then_some((word, after));
            }
            _ => word.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What a shell makes of it.
    fn arguments(typed: &str) -> Vec<String> {
        let output = Command::new("sh").args(["-c", &format!("printf '%s\\n' {typed}")]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn usual_names_stand_as_they_are() {
        for plain in ["ip link set eth0.10 up", "iptables -A FORWARD ! -i tap+ -s 10.0.0.0/24 -j ACCEPT"] {
            assert_eq!(typed(plain), plain);
        }
    }

    #[test]
    fn a_shell_does_nothing_else() {
        for name in [
            ";reboot;",
            "$(id)",
            "`id`",
            "a'b",
            "a\"b",
            "\"",
            "\"a",
            "*",
            "#",
            "~",
            "\u{1b}[2J",
            "a%s'\u{7}",
            "|id",
            "a\\b",
        ] {
            let words = ["ip", "link", "set", name, "up"];
            let line = typed(&words.join(" "));
            assert_eq!(arguments(&line), words, "{line}");
            assert_eq!(printable(&line), line);
            let all = all_of(&[format!("printf %s\\\\n {name}"), "echo done".to_owned()]);
            let output = Command::new("sh").args(["-c", &all]).output().unwrap();
            assert!(String::from_utf8(output.stdout).unwrap().ends_with("done\n"), "{all}");
        }
    }

    #[test]
    fn comments_of_rules_are_one_word() {
        let line = typed(r#"iptables -D FORWARD -m comment --comment "a \"$(id)\" b" -j DROP"#);
        assert_eq!(line, r#"iptables -D FORWARD -m comment --comment 'a "$(id)" b' -j DROP"#);
    }
}
