//! `natbpf why` on a cloud's node, healthy and broken.

mod why {
    mod asking;
    mod broken;
    mod dropped;
    mod healthy;
    mod limits;
    mod silent;
}
