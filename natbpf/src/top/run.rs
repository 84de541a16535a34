//! `natbpf top` while it runs: readings, keys and signals.

use std::{io, thread, time::Duration};

use anyhow::{Context as _, Result};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{Instant, sleep, sleep_until},
};

use super::{
    keys,
    order::Sort,
    rates::{Reading, rates},
    report::Report,
    sample::{Reader, rest},
    screen::{self, Shown},
    view::View,
};

/// What is shown beside the counters.
#[derive(Clone, Debug)]
pub struct Place {
    pub instance: String,
    /// Label of the network namespace.
    pub netns: String,
}

impl Place {
    fn of(&self, report: Report) -> Report {
        Report { instance: self.instance.clone(), netns: self.netns.clone(), ..report }
    }
}

/// Two readings, so far apart.
pub async fn once(reader: &mut Reader, place: &Place, interval: Duration, sort: Sort) -> Result<Report> {
    let before = reader.read(sort).await?;
    sleep(interval).await;
    let now = reader.read(sort).await?;
    let report = rates(&before, &now).context("natbpf was attached anew meanwhile; run this again")?;
    let mut report = place.of(report);
    report.sort(sort);
    Ok(report)
}

/// Shows it until somebody ends it. The terminal is as before then, also after a panic.
pub async fn screen(reader: Reader, place: Place, interval: Duration, sort: Sort) -> Result<()> {
    let (end, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hangup = signal(SignalKind::hangup())?;
    let mut signals = [end, interrupt, hangup];
    let mut terminal = ratatui::try_init().context("cannot use the terminal")?;
    let mut top = Top {
        reader,
        place,
        interval,
        view: View::new(sort),
        shown: Shown::default(),
        before: None,
        events: events(),
    };
    let [end, interrupt, hangup] = &mut signals;
    let result = tokio::select! {
        _ = end.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
        result = top.run(&mut terminal) => result,
    };
    let restored = ratatui::try_restore().context("cannot put the terminal back");
    result.and(restored)
}

/// What the terminal tells. The thread waits in a read, and ends with the program.
fn events() -> UnboundedReceiver<io::Result<Event>> {
    let (sender, receiver) = unbounded_channel();
    thread::spawn(move || {
        loop {
            let event = event::read();
            let failed = event.is_err();
            if sender.send(event).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

struct Top {
    reader: Reader,
    place: Place,
    interval: Duration,
    view: View,
    shown: Shown,
    before: Option<Reading>,
    events: UnboundedReceiver<io::Result<Event>>,
}

impl Top {
    async fn run(&mut self, terminal: &mut DefaultTerminal) -> Result<()> {
        let mut due = Instant::now();
        while !self.view.ended {
            terminal.draw(|frame| screen::draw(frame, &self.shown, &self.view)).context(UNWRITABLE)?;
            tokio::select! {
                () = sleep_until(due) => {
                    let began = Instant::now();
                    if !self.view.paused {
                        self.read().await;
                    }
                    due = Instant::now() + rest(self.interval, began.elapsed());
                }
                event = self.events.recv() => {
                    let Some(event) = event else { return Ok(()) };
                    self.take(&event.context("cannot read from the terminal")?, terminal.size()?.height);
                }
            }
        }
        Ok(())
    }

    async fn read(&mut self) {
        let now = match self.reader.read(self.view.sort).await {
            Ok(now) => now,
            Err(error) => {
                // It may be attached again.
                (self.shown.trouble, self.before) = (Some(format!("{error:#}")), None);
                return;
            }
        };
        self.shown.trouble = None;
        if let Some(report) = self.before.as_ref().and_then(|before| rates(before, &now)) {
            self.shown.report = Some(self.place.of(report));
        }
        self.before = Some(now);
    }

    fn take(&mut self, event: &Event, lines: u16) {
        // A new size is drawn at once, as everything is.
        if let Event::Key(key) = event
            && let Some(action) = keys::action(*key, self.view.typing)
        {
            let rows = self.shown.rows(&self.view);
            self.view.apply(action, rows, screen::page(lines));
        }
    }
}

const UNWRITABLE: &str = "cannot write to the terminal";
