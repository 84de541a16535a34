//! Bits of a packet's mark that a rule may set.

/// Every one of them.
pub const ALL: u32 = u32::MAX;

/// Those that a rule may set, as iptables or nft prints it.
pub fn set_by(rule: &str) -> u32 {
    let words: Vec<_> = rule.split_whitespace().collect();
    let after = |option: &str| {
        let at = words.iter().position(|word| *word == option)?;
        words.get(at + 1).copied()
    };
    match after("-j") {
        Some("MARK") => after("--set-xmark").map_or(ALL, value),
        Some("TPROXY") => after("--tproxy-mark").map_or(0, value),
        Some("CONNMARK") if words.contains(&"--restore-mark") => after("--ctmask").map_or(ALL, value),
        Some("HMARK") => ALL,
        Some("SET") if words.contains(&"--map-mark") => ALL,
        Some(_) => 0,
        None => words
            .windows(3)
            .enumerate()
            .filter(|(at, three)| {
                three[0] == "mark" && three[1] == "set" && (*at == 0 || words[at - 1] != "ct")
            })
            .map(|(at, _)| expression(&words[at + 2..]))
            .fold(0, |all, bits| all | bits),
    }
}

/// `0x4000/0xff00`: what is behind the stroke is put out before.
fn value(text: &str) -> u32 {
    number(text.split('/').next().unwrap_or_default()).unwrap_or(ALL)
}

fn number(text: &str) -> Option<u32> {
    text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |digits| u32::from_str_radix(digits, 16).ok())
}

/// `0x1`, `meta mark | 0x1`, `mark and 0xff xor 0x1`; anything else may be anything.
fn expression(words: &[&str]) -> u32 {
    let operators = ["|", "or", "^", "xor", "&", "and", "<<", ">>"];
    let at = words.iter().position(|word| operators.contains(word)).unwrap_or(words.len());
    let (first, mut rest) = words.split_at(at);
    // Of the packet's own mark nothing is set yet.
    let mut bits = match first {
        ["meta", "mark", ..] | ["mark", ..] => 0,
        [word, ..] => number(word).unwrap_or(ALL),
        [] => ALL,
    };
    while let [operator, operand, after @ ..] = rest {
        match *operator {
            "|" | "or" | "^" | "xor" => bits |= number(operand).unwrap_or(ALL),
            "&" | "and" => bits &= number(operand).unwrap_or(ALL),
            "<<" | ">>" => return ALL,
            _ => break,
        }
        rest = after;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iptables_sets_bits() {
        let of = |target: &str| set_by(&format!("-A PREROUTING -i br0 -m mark --mark 0x9 -j {target}"));
        assert_eq!(of("MARK --set-xmark 0x4000/0x4000"), 0x4000);
        assert_eq!(of("MARK --set-xmark 0x0/0xff"), 0);
        assert_eq!(of("CONNMARK --restore-mark --nfmask 0xff0000 --ctmask 0xff0000"), 0x00ff_0000);
        assert_eq!(of("CONNMARK --save-mark --nfmask 0xff0000 --ctmask 0xff0000"), 0);
        assert_eq!(of("CONNMARK --set-xmark 0x1/0xffffffff"), 0);
        assert_eq!(of("TPROXY --on-port 1 --on-ip 0.0.0.0 --tproxy-mark 0x200/0xffffffff"), 0x200);
        assert_eq!(of("ACCEPT"), 0);
    }

    #[test]
    fn nft_sets_bits() {
        for (rule, bits) in [
            ("iifname \"br0\" meta mark set 0x00000001 accept # handle 3", 1),
            ("meta mark set meta mark & 0xffffbfff | 0x00004000", 0x4000),
            ("counter packets 0 bytes 0 meta mark set mark and 0xff00ffff xor 0x40000", 0x40000),
            ("ct mark set 0x00000001", 0),
            ("ct mark set meta mark", 0),
            ("meta mark set ct mark", ALL),
            ("meta mark set ct mark & 0x000000ff", 0xff),
            ("meta mark 0x00000001 drop", 0),
        ] {
            assert_eq!(set_by(rule), bits, "{rule}");
        }
    }
}
