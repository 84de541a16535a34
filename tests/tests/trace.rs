//! `natbpf trace`: packets before and after each program, and what became of them.

mod trace {
    mod end;
    mod fragments;
    mod kinds;
    mod loss;
    mod pcapng;
    mod refused;
    mod repeated;
    mod sampled;
    mod tracing;
    mod translated;
}
