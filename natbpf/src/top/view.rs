//! What of a report is on the screen, and how keys change that.

use super::{
    order::Sort,
    report::Report,
    table::{Tab, Table},
};

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Show(Tab),
    NextTab,
    NextSort,
    Reverse,
    /// Begins to type a filter.
    Filter,
    Type(char),
    Erase,
    /// Ends typing, and keeps what was typed.
    Accept,
    /// Ends typing, or else help, or else the filter.
    Cancel,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Pause,
    Help,
    Quit,
}

/// What somebody has chosen to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub tab: Tab,
    pub sort: Sort,
    pub reversed: bool,
    pub filter: String,
    /// The filter is being typed.
    pub typing: bool,
    pub help: bool,
    pub paused: bool,
    /// Number of the first row that is shown.
    pub first: usize,
    pub ended: bool,
}

impl View {
    pub fn new(sort: Sort) -> Self {
        Self { sort, ..Self::default() }
    }

    pub fn table(&self, report: &Report) -> Table {
        self.tab.table(report, self.sort, self.reversed, &self.filter)
    }

    /// `page` rows are shown of so many.
    pub fn apply(&mut self, action: Action, rows: usize, page: usize) {
        let last = rows.saturating_sub(page);
        match action {
            Action::Show(tab) => self.show(tab),
            Action::NextTab => {
                let at = Tab::ALL.iter().position(|tab| *tab == self.tab).unwrap_or_default();
                self.show(Tab::ALL[(at + 1) % Tab::ALL.len()]);
            }
            Action::NextSort => (self.sort, self.first) = (self.sort.next(), 0),
            Action::Reverse => (self.reversed, self.first) = (!self.reversed, 0),
            Action::Filter => self.typing = true,
            Action::Type(letter) => {
                self.filter.push(letter);
                self.first = 0;
            }
            Action::Erase => {
                self.filter.pop();
                self.first = 0;
            }
            Action::Accept => (self.typing, self.help) = (false, false),
            Action::Cancel if self.help => self.help = false,
            Action::Cancel => {
                self.typing = false;
                self.filter.clear();
                self.first = 0;
            }
            Action::Up => self.first = self.first.min(last).saturating_sub(1),
            Action::Down => self.first = (self.first + 1).min(last),
            Action::PageUp => self.first = self.first.min(last).saturating_sub(page.max(1)),
            Action::PageDown => self.first = (self.first + page.max(1)).min(last),
            Action::First => self.first = 0,
            Action::Last => self.first = last,
            Action::Pause => self.paused = !self.paused,
            Action::Help => self.help = !self.help,
            Action::Quit => self.ended = true,
        }
    }

    fn show(&mut self, tab: Tab) {
        if self.tab != tab {
            (self.tab, self.first) = (tab, 0);
        }
        self.help = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn actions() -> impl Strategy<Value = Action> {
        prop_oneof![
            prop::sample::select(&Tab::ALL[..]).prop_map(Action::Show),
            any::<char>().prop_map(Action::Type),
            prop::sample::select(
                &[
                    Action::NextTab,
                    Action::NextSort,
                    Action::Reverse,
                    Action::Filter,
                    Action::Erase,
                    Action::Accept,
                    Action::Cancel,
                    Action::Up,
                    Action::Down,
                    Action::PageUp,
                    Action::PageDown,
                    Action::First,
                    Action::Last,
                    Action::Pause,
                    Action::Help,
                ][..]
            ),
        ]
    }

    proptest! {
        /// Rows come and go meanwhile.
        #[test]
        fn whatever_is_done_there_is_something_to_see(steps in prop::collection::vec((actions(), 0..200usize), 0..80), page in 1..50usize) {
            let mut view = View::default();
            for (action, rows) in steps {
                view.apply(action, rows, page);
                let moved = !matches!(action, Action::Accept | Action::Cancel | Action::Filter | Action::Pause | Action::Help | Action::Show(_));
                prop_assert!(!moved || view.first <= rows.saturating_sub(page), "{view:?}");
                prop_assert!(!view.ended);
            }
        }
    }

    #[test]
    fn escape_ends_one_thing_after_the_other() {
        let mut view = View::default();
        for action in [Action::Filter, Action::Type('x'), Action::Accept, Action::Help] {
            view.apply(action, 5, 5);
        }
        assert_eq!((view.typing, view.help, &*view.filter), (false, true, "x"));
        view.apply(Action::Cancel, 5, 5);
        assert_eq!((view.help, &*view.filter), (false, "x"));
        view.apply(Action::Cancel, 5, 5);
        assert_eq!(view.filter, "");
    }

    #[test]
    fn pages_end_at_the_last_row() {
        let mut view = View::default();
        for (action, first) in [
            (Action::PageDown, 10),
            (Action::PageDown, 15),
            (Action::Down, 15),
            (Action::Up, 14),
            (Action::PageUp, 4),
            (Action::Last, 15),
            (Action::First, 0),
        ] {
            view.apply(action, 25, 10);
            assert_eq!(view.first, first, "{action:?}");
        }
        view.apply(Action::Last, 25, 10);
        view.apply(Action::Show(Tab::Drops), 25, 10);
        assert_eq!(view.first, 0);
    }
}
