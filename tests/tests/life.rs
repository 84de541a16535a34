//! The daemon's life: start, end, kill, upgrade, reload, and interfaces that come and go under it.

mod life {
    mod bpffs;
    mod clash;
    mod end;
    mod expiry;
    mod flows;
    mod interfaces;
    mod inward;
    mod kill;
    mod left_out;
    mod output;
    mod reload;
    mod sentence;
    mod setup;
    mod stream;
    mod supervisor;
    mod taken_off;
    mod upgrade;
}
