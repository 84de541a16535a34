//! The loaded object, run by `BPF_PROG_TEST_RUN`.
