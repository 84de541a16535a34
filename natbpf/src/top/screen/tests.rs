//! Screens as they are drawn.

use ratatui::{Terminal, backend::TestBackend};

use super::*;
use crate::top::{
    example::{is_as_it_was, report},
    view::Action,
};

/// The screen as text, and its size in the first line.
fn drawn(shown: &Shown, view: &View, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, shown, view)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| {
        let cells = (0..width).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned() + "\n"
    };
    (0..height).map(line).collect()
}

fn busy() -> Shown {
    Shown { report: Some(report()), trouble: None }
}

#[test]
fn each_view_on_a_small_and_on_a_large_screen() {
    for (width, height) in [(80, 24), (120, 40)] {
        for tab in Tab::ALL {
            let view = View { tab, ..View::default() };
            is_as_it_was(
                &format!("screen/{}-{width}x{height}", tab.name()),
                &drawn(&busy(), &view, width, height),
            );
        }
    }
}

#[test]
fn help_names_all_keys() {
    let view = View { help: true, ..View::default() };
    let text = drawn(&busy(), &view, 80, 24);
    assert!(keys::HELP.iter().all(|(keys, what)| text.contains(keys) && text.contains(what)), "{text}");
}

#[test]
fn what_is_chosen_is_said() {
    let mut view = View::default();
    for action in [Action::Filter, Action::Type('x'), Action::NextSort, Action::Reverse, Action::Pause] {
        view.apply(action, 3, 18);
    }
    let text = drawn(&busy(), &view, 80, 24);
    for said in ["by bits, reversed", "/x_", "stands still", "no edges with \"x\""] {
        assert!(text.contains(said), "no {said}\n{text}");
    }
}

#[test]
fn trouble_is_said_and_what_is_known_stays() {
    let trouble = Some("natbpf is not attached".to_owned());
    let text = drawn(&Shown { trouble, ..busy() }, &View::default(), 80, 24);
    assert!(text.contains("natbpf is not attached") && text.contains("vnet0"), "{text}");
    let first = drawn(&Shown::default(), &View::default(), 80, 24);
    assert!(first.contains("reading ..."), "{first}");
}

#[test]
fn long_tables_are_shown_by_pages() {
    let mut shown = busy();
    let report = shown.report.as_mut().unwrap();
    report.edges = (0..100)
        .map(|number| crate::top::report::EdgeRow { name: format!("tap{number:03}"), ..Default::default() })
        .collect();
    let mut view = View::default();
    view.apply(Action::PageDown, shown.rows(&view), page(24));
    let text = drawn(&shown, &view, 80, 24);
    assert!(
        text.contains("rows 19-36 of 100") && text.contains("tap018") && text.contains("tap035"),
        "{text}"
    );
    assert!(!text.contains("tap017") && !text.contains("tap036"), "{text}");
    view.apply(Action::Last, shown.rows(&view), page(24));
    assert!(drawn(&shown, &view, 80, 24).contains("tap099"));
}

/// Windows are made as small as anything.
#[test]
fn no_size_is_too_small() {
    for (width, height) in [(1, 1), (3, 4), (10, 5), (200, 2), (20, 100)] {
        for tab in Tab::ALL {
            drawn(&busy(), &View { tab, first: 50, ..View::default() }, width, height);
        }
    }
}
