//! natbpf end to end: real programs in namespaces, each scenario also with iptables MASQUERADE in the same
//! place.

mod e2e {
    mod accelerate;
    mod address;
    mod effect;
    mod exhaustion;
    mod faithful;
    mod forged;
    mod fragments;
    mod fresh;
    mod full;
    mod host;
    mod icmp;
    mod leak;
    mod many;
    mod mapping;
    mod namespaces;
    mod obstacles;
    mod offload;
    mod one_armed;
    mod outside;
    mod ports;
    mod protocols;
    mod rules;
    mod starved;
    mod tcp;
    mod twin;
    mod udp;
    mod uplinks;
    mod xdp;
}
