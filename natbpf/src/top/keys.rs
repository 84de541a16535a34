//! What keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{table::Tab, view::Action};

/// As help has it.
pub const HELP: [(&str, &str); 11] = [
    ("1 2 3 4, Tab", "edges, instances, flows, drops"),
    ("s", "sort by packets, by bits, by name"),
    ("r", "the other way round"),
    ("/", "rows with this text alone; Enter keeps it, Esc takes it back"),
    ("Up Down, k j", "by a row"),
    ("PgUp PgDn", "by a page"),
    ("Home End, g G", "to the first row, to the last one"),
    ("Space", "stand still, go on"),
    ("?", "this help"),
    ("q, Ctrl-C", "end"),
    ("", "natbpf goes on whatever you do here: nothing is changed."),
];

/// `typing`: letters go into the filter.
pub fn action(key: KeyEvent, typing: bool) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if control => Action::Quit,
        KeyCode::Char(_) if control => return None,
        KeyCode::Enter => Action::Accept,
        KeyCode::Esc => Action::Cancel,
        KeyCode::Char(letter) if typing => Action::Type(letter),
        KeyCode::Backspace if typing => Action::Erase,
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Char('1') => Action::Show(Tab::Edges),
        KeyCode::Char('2') => Action::Show(Tab::Instances),
        KeyCode::Char('3') => Action::Show(Tab::Flows),
        KeyCode::Char('4') => Action::Show(Tab::Drops),
        KeyCode::Tab => Action::NextTab,
        KeyCode::Char('s') => Action::NextSort,
        KeyCode::Char('r') => Action::Reverse,
        KeyCode::Char('/') => Action::Filter,
        KeyCode::Char(' ' | 'p') => Action::Pause,
        KeyCode::Char('?' | 'h') => Action::Help,
        KeyCode::Up | KeyCode::Char('k') => Action::Up,
        KeyCode::Down | KeyCode::Char('j') => Action::Down,
        KeyCode::PageUp => Action::PageUp,
        KeyCode::PageDown => Action::PageDown,
        KeyCode::Home | KeyCode::Char('g') => Action::First,
        KeyCode::End | KeyCode::Char('G') => Action::Last,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    #[test]
    fn letters_are_commands_or_text() {
        for (letter, command) in
            [('q', Action::Quit), ('2', Action::Show(Tab::Instances)), ('s', Action::NextSort)]
        {
            assert_eq!(action(key(KeyCode::Char(letter)), false), Some(command));
            assert_eq!(action(key(KeyCode::Char(letter)), true), Some(Action::Type(letter)));
        }
        assert_eq!(action(key(KeyCode::Char('x')), false), None);
        assert_eq!(action(key(KeyCode::Backspace), true), Some(Action::Erase));
    }

    #[test]
    fn it_can_always_be_ended() {
        for typing in [false, true] {
            let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
            assert_eq!(action(interrupt, typing), Some(Action::Quit));
            assert_eq!(action(key(KeyCode::Esc), typing), Some(Action::Cancel));
        }
        let released = KeyEvent { kind: KeyEventKind::Release, ..key(KeyCode::Char('q')) };
        assert_eq!(action(released, false), None);
    }

    /// Help names each key of the first column.
    #[test]
    fn help_names_keys_that_do_something() {
        let single = HELP.iter().flat_map(|(keys, _)| keys.split([' ', ','])).filter(|key| key.len() == 1);
        for letter in single.flat_map(str::chars) {
            assert!(action(key(KeyCode::Char(letter)), false).is_some(), "{letter}");
        }
    }
}
