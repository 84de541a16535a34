//! Where packets are shown.

use std::{
    fmt,
    fs::File,
    io::{self, BufWriter, Write},
    path::PathBuf,
};

use super::{Line, Pcapng, View, json};
use crate::datapath::LostSights;

/// How they are written, and where to.
#[derive(Clone, Debug)]
pub enum Form {
    /// Lines for people, to standard output.
    Lines,
    /// An object a line, to standard output.
    Json,
    /// To a file, or by the name of `-` to standard output.
    Pcapng { path: PathBuf, snaplen: u32 },
}

type Out = BufWriter<Box<dyn Write + Send>>;

pub enum Sink {
    Lines(Out),
    Json(Out),
    Pcapng(Pcapng<Out>),
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").finish_non_exhaustive()
    }
}

impl Sink {
    pub fn open(form: Form) -> io::Result<Self> {
        let to: Box<dyn Write + Send> = match &form {
            Form::Pcapng { path, .. } if path.as_os_str() != "-" => Box::new(File::create(path)?),
            _ => Box::new(io::stdout()),
        };
        let out = BufWriter::new(to);
        match form {
            Form::Lines => Ok(Self::Lines(out)),
            Form::Json => Ok(Self::Json(out)),
            Form::Pcapng { snaplen, .. } => {
                let mut file = Pcapng::new(out, snaplen)?;
                file.flush()?;
                Ok(Self::Pcapng(file))
            }
        }
    }

    /// Writes them, and has them seen.
    pub fn write(&mut self, views: &[View]) -> io::Result<()> {
        match self {
            Self::Lines(out) => views.iter().try_for_each(|view| writeln!(out, "{}", Line(view)))?,
            Self::Json(out) => views.iter().try_for_each(|view| writeln!(out, "{}", json(view)?))?,
            Self::Pcapng(file) => views.iter().try_for_each(|view| file.write(view))?,
        }
        self.flush()
    }

    /// Nothing more comes.
    pub fn end(&mut self, lost: &LostSights) -> io::Result<()> {
        if let Self::Pcapng(file) = self {
            file.end(lost)?;
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Lines(out) | Self::Json(out) => out.flush(),
            Self::Pcapng(file) => file.flush(),
        }
    }
}
