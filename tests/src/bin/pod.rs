//! The first process of a pod, as `lab::hosts` starts it, in namespaces of its own:
//! `pod ROOT NAME GROUP [SOURCE:TARGET]…`

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match lab::hosts::pod::first_process(&args) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("pod: {error:#}");
            ExitCode::FAILURE
        }
    }
}
