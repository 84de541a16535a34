//! `natbpf trace`: packets before and after each program, and what became of them.

mod trace {
    mod end;
    mod kinds;
    mod pcapng;
    mod refused;
    mod repeated;
    mod sampled;
    mod tracing;
    mod translated;
}
