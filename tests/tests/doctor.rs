//! `natbpf doctor` on hosts that are healthy but for one thing.

mod doctor {
    mod coverage;
    mod dhcp;
    mod dns;
    mod examination;
    mod filter;
    mod forwarding;
    mod healthy;
    mod host;
    mod offloads;
    mod own;
    mod pretence;
    mod queues;
    mod routing;
    mod schema;
    mod translation;
    mod unseen;
}
