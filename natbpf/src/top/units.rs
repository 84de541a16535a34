//! Numbers for people.

/// Three digits and a thousand's sign: `999`, `1.23k`, `12.3M`, `123G`.
pub fn scaled(number: f64) -> String {
    let (mut number, mut unit) = (number, 0);
    // What would be rounded up to a thousand has the next sign.
    while number >= 999.5 && unit + 1 < UNITS.len() {
        (number, unit) = (number / 1000.0, unit + 1);
    }
    let digits = match number {
        _ if unit == 0 && (number >= 9.95 || number.fract() == 0.0) => 0,
        _ if number < 9.995 => 2 - usize::from(unit == 0),
        _ if number < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.digits$}{}", UNITS[unit])
}

const UNITS: [&str; 6] = ["", "k", "M", "G", "T", "P"];

/// `93.4 %`, or nothing.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// `3 d 04:05:06`.
pub fn time(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let clock = format!("{hours:02}:{minutes:02}:{:02}", seconds % 60);
    if days > 0 { format!("{days} d {clock}") } else { clock }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_digits_and_a_sign() {
        let cases = [
            (0.0, "0"),
            (0.5, "0.5"),
            (7.0, "7"),
            (9.97, "10"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (1234.0, "1.23k"),
            (99_960.0, "100k"),
            (12_345_678.0, "12.3M"),
            (1e12, "1.00T"),
        ];
        for (number, text) in cases {
            assert_eq!(scaled(number), text);
        }
        assert_eq!((percent(Some(0.9336)), percent(None)), ("93.4 %".to_owned(), "-".to_owned()));
        assert_eq!((time(59), time(273_906)), ("00:00:59".to_owned(), "3 d 04:05:06".to_owned()));
    }

    proptest! {
        #[test]
        fn no_number_is_longer_than_its_column(number in 0.0..9e17f64) {
            prop_assert!(scaled(number).len() <= 5, "{}", scaled(number));
        }
    }
}
