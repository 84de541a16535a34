//! `natbpf doctor`

use clap::Args;

#[derive(Clone, Copy, Debug, Args)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// Do not look; print the causes that are looked for
    #[arg(long)]
    pub causes: bool,
}
