//! `natbpf top`: what it says while exactly known packets come, and its screen.

mod top {
    mod accelerate;
    mod masquerade;
    mod report;
    mod screen;
    mod usage;
}
