//! A report on the screen.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::{Line, Span, Text},
    widgets::{Cell, Paragraph, Row, Table as Grid},
};

use super::{
    keys,
    report::Report,
    table::{Tab, Table},
    text,
    view::View,
};

/// Lines above the rows: three about everything, that of the tabs, and the head of the table.
const ABOVE: u16 = 5;

/// Lines below the rows.
const BELOW: u16 = 1;

/// A column with text takes so much of the line at most, but the last one.
const WIDEST: usize = 48;

/// What is there to be shown.
#[derive(Debug, Default)]
pub struct Shown {
    /// `None`: there are no two readings yet.
    pub report: Option<Report>,
    /// Why there is no newer one.
    pub trouble: Option<String>,
}

impl Shown {
    fn table(&self, view: &View) -> Table {
        self.report.as_ref().map_or_else(Table::default, |report| view.table(report))
    }

    /// How many rows there are.
    pub fn rows(&self, view: &View) -> usize {
        self.table(view).rows.len()
    }
}

/// How many rows a screen of so many lines has.
pub const fn page(lines: u16) -> usize {
    lines.saturating_sub(ABOVE + BELOW) as usize
}

pub fn draw(frame: &mut Frame<'_>, shown: &Shown, view: &View) {
    let lines = [Constraint::Length(3), Constraint::Length(1), Constraint::Min(0), Constraint::Length(BELOW)];
    let [head, tabs, body, foot] = Layout::vertical(lines).areas(frame.area());
    let table = shown.table(view);
    frame.render_widget(above(shown), head);
    frame.render_widget(tab_line(view), tabs);
    if view.help {
        frame.render_widget(help(), body);
    } else if table.rows.is_empty() {
        frame.render_widget(Paragraph::new(nothing(shown, view)), body);
    } else {
        grid(frame, &table, view, body);
    }
    frame.render_widget(below(view, &table, page(frame.area().height)), foot);
}

fn above(shown: &Shown) -> Paragraph<'static> {
    let mut lines: Vec<Line<'static>> = match &shown.report {
        Some(report) => text::head(report).map(Line::from).to_vec(),
        None => vec![Line::from("natbpf top"), Line::default(), Line::default()],
    };
    // In the place of what is not so any more.
    if let Some(trouble) = &shown.trouble {
        lines[1] = Line::from(trouble.clone()).style(bold());
    }
    Paragraph::new(lines)
}

fn tab_line(view: &View) -> Line<'static> {
    let mut spans = Vec::new();
    for (number, tab) in (1..).zip(Tab::ALL) {
        let style = if tab == view.tab { reversed() } else { Style::new() };
        spans.push(Span::styled(format!(" {number} {} ", tab.name()), style));
    }
    let order = if view.reversed { ", reversed" } else { "" };
    spans.push(Span::raw(format!("  by {}{order}", view.sort.name())));
    if view.typing || !view.filter.is_empty() {
        let cursor = if view.typing { "_" } else { "" };
        spans.push(Span::raw(format!("  /{}{cursor}", view.filter)));
    }
    if view.paused {
        spans.push(Span::styled("  stands still", bold()));
    }
    Line::from(spans)
}

fn help() -> Paragraph<'static> {
    let lines = keys::HELP.iter().map(|(keys, what)| Line::from(format!("{keys:<16}{what}")));
    Paragraph::new([Line::default()].into_iter().chain(lines).collect::<Text<'_>>())
}

fn nothing(shown: &Shown, view: &View) -> String {
    match &shown.report {
        None => "reading ...".to_owned(),
        Some(_) if !view.filter.is_empty() => format!("no {} with \"{}\"", view.tab.name(), view.filter),
        Some(report) if view.tab == Tab::Flows && !report.offload => {
            "Offload is off: packets are not counted by flow.".to_owned()
        }
        Some(_) if view.tab == Tab::Drops => "no packet was dropped".to_owned(),
        Some(_) => format!("no {}", view.tab.name()),
    }
}

fn grid(frame: &mut Frame<'_>, table: &Table, view: &View, area: Rect) {
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        Row::new(cells.enumerate().map(|(column, cell)| {
            let line = Line::from(cell.to_owned());
            Cell::from(if table.is_text(column) { line.left_aligned() } else { line.right_aligned() })
        }))
    };
    let last = table.head.len().saturating_sub(1);
    let widths = table.widths().into_iter().enumerate().map(|(column, width)| match column {
        _ if column == last && table.is_text(column) => Constraint::Min(0),
        _ => Constraint::Length(width.min(WIDEST) as u16),
    });
    let room = usize::from(area.height.saturating_sub(1));
    let first = view.first.min(table.rows.len().saturating_sub(room));
    let rows = table.rows.iter().skip(first).take(room);
    let rows = rows.map(|row| line(&mut row.iter().map(String::as_str)));
    let head = line(&mut table.head.iter().copied()).style(bold());
    frame.render_widget(Grid::new(rows, widths).header(head).column_spacing(2), area);
}

fn below(view: &View, table: &Table, page: usize) -> Line<'static> {
    let all = table.rows.len();
    let first = view.first.min(all.saturating_sub(page));
    let rows = match all {
        0 => String::new(),
        _ => format!("rows {}-{} of {all}   ", first + 1, (first + page).min(all)),
    };
    Line::from(format!("{rows}1-4 view  s sort  r reverse  / filter  Space stop  ? help  q end"))
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn reversed() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

#[cfg(test)]
mod tests;
