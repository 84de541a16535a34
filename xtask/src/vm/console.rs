//! What a virtual machine has said, taken apart.

/// One part of the suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub name: String,
    /// None while it runs, or when the machine stopped in it.
    pub ended: Option<Ended>,
    pub output: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub status: i32,
    /// By the clock inside.
    pub seconds: u64,
}

impl Step {
    pub fn succeeded(&self) -> bool {
        matches!(self.ended, Some(Ended { status: 0, .. }))
    }
}

/// Numbers of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tests {
    pub passed: u32,
    pub failed: u32,
}

/// The steps in the output of a suite.
pub fn steps(output: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in output.lines() {
        // The last line of a program may have no end.
        let (before, mark) = line.split_at(line.find("@@").unwrap_or(line.len()));
        let running = steps.last_mut().filter(|step| step.ended.is_none());
        match (mark_of(mark), running) {
            (Some(Mark::Step(name)), _) => {
                steps.push(Step { name: name.into(), ended: None, output: String::new() });
            }
            (Some(Mark::End(ended)), Some(step)) => {
                step.output.push_str(before);
                step.ended = Some(ended);
            }
            (_, Some(step)) => {
                step.output.push_str(line);
                step.output.push('\n');
            }
            (_, None) => {}
        }
    }
    steps
}

enum Mark<'a> {
    Step(&'a str),
    End(Ended),
}

fn mark_of(mark: &str) -> Option<Mark<'_>> {
    if let Some(name) = mark.strip_prefix("@@step ") {
        return Some(Mark::Step(name));
    }
    let mut words = mark.strip_prefix("@@end ")?.split(' ').skip(1);
    let status = words.next()?.parse().ok()?;
    let seconds = words.next()?.parse().ok()?;
    Some(Mark::End(Ended { status, seconds }))
}

/// The exit status of the job, once it has ended.
pub fn status(console: &str) -> Option<i32> {
    value(console, "@@status ")?.parse().ok()
}

/// What the first process could not find: modules, ports.
pub fn missing(console: &str) -> Vec<&str> {
    console.lines().filter_map(|line| Some(line.split_once("@@missing ")?.1.trim())).collect()
}

fn value<'a>(console: &'a str, name: &str) -> Option<&'a str> {
    console.lines().rev().find_map(|line| Some(line.split_once(name)?.1.trim()))
}

/// The tests that a test program counted in the end.
pub fn tests(output: &str) -> Option<Tests> {
    let line = output.lines().rev().find(|line| line.starts_with("test result: "))?;
    let count = |what: &str| {
        let part = line.split([';', '.']).find_map(|part| part.trim().strip_suffix(what))?;
        part.trim().parse().ok()
    };
    Some(Tests { passed: count(" passed")?, failed: count(" failed")? })
}

/// The names of the tests that failed.
pub fn failures(output: &str) -> Vec<&str> {
    let lines = output.lines().skip_while(|line| *line != "failures:");
    let mut names: Vec<_> = lines
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|name| !name.contains(' ') && name.contains("::"))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Each program of the object and how many instructions the verifier followed in it.
pub fn verified(output: &str) -> Vec<(&str, u64)> {
    let program = |line: &'_ str| -> Option<(usize, u64)> {
        let words = line.strip_suffix(" instructions verified")?.trim_end();
        let (rest, count) = words.rsplit_once(' ')?;
        Some((rest.trim_end().len(), count.parse().ok()?))
    };
    let lines = output.lines().filter_map(|line| program(line).map(|(end, count)| (&line[..end], count)));
    // The first line comes after the name of the test.
    lines.map(|(text, count)| (text.rsplit(' ').next().unwrap_or(text), count)).collect()
}

/// The word after `attached by`.
pub fn attached_by(output: &str) -> Option<&str> {
    let (_, rest) = output.split_once("attached by ")?;
    rest.split_whitespace().next()
}

/// Lines of the kernel that must not be there: warnings with a trace, bugs, oopses, stalls.
pub fn complaints(console: &str) -> Vec<&str> {
    console.lines().filter(|line| is_complaint(message(line))).collect()
}

/// Without the time before it.
fn message(line: &str) -> &str {
    let line = line.trim();
    line.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map_or(line, |(_, message)| message)
}

fn is_complaint(message: &str) -> bool {
    const BEGIN: [&str; 4] = ["WARNING: ", "Oops: ", "general protection fault", "Kernel panic"];
    const WITHIN: [&str; 4] = ["BUG: ", "kernel BUG at", "detected stall", "blocked for more than"];
    BEGIN.iter().any(|text| message.starts_with(text)) || WITHIN.iter().any(|text| message.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_their_output_status_and_time() {
        let output = "noise\n@@step a\none\ntwo@@end a 0 12\n@@step b\nthree\n@@end b 1 3\n";
        let [a, b] = &steps(output)[..] else { panic!("not two steps") };
        assert_eq!((a.name.as_str(), a.output.as_str()), ("a", "one\ntwo"));
        assert_eq!(a.ended, Some(Ended { status: 0, seconds: 12 }));
        assert_eq!((b.output.as_str(), b.succeeded()), ("three\n", false));
    }

    #[test]
    fn step_that_was_cut_off_has_not_ended() {
        let steps = steps("@@step a\none\n");
        assert_eq!(steps, [Step { name: "a".into(), ended: None, output: "one\n".into() }]);
    }

    #[test]
    fn job_has_a_status() {
        assert_eq!(status("[    1.0] x\n@@kernel 6.1.0\r\n@@status 3\r\n"), Some(3));
        assert_eq!(status("@@kernel 6.1.0\n"), None);
        assert_eq!(missing("@@missing pktgen\r\nx\n"), ["pktgen"]);
    }

    #[test]
    fn tests_are_counted() {
        let output = "running 3 tests\ntest a::b ... ok\ntest a::c ... FAILED\n\nfailures:\n\n---- a::c stdout ----\n    at x::y\n\n\
                      failures:\n    a::c\n\ntest result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 5 filtered out; finished in 1.2s\n";
        assert_eq!(tests(output), Some(Tests { passed: 2, failed: 1 }));
        assert_eq!(failures(output), ["a::c"]);
        assert_eq!(tests("running 3 tests\n"), None);
    }

    #[test]
    fn programs_are_named_by_the_output() {
        let output = "test code::verified ... reap               1174 instructions verified\n\
                      uplink_egress      38915 instructions verified\nok\n";
        assert_eq!(verified(output), [("reap", 1174), ("uplink_egress", 38915)]);
    }

    #[test]
    fn attach_mode_is_read_from_the_ready_line() {
        assert_eq!(
            attached_by("ready: masquerading out of wan; 9 flows at most, attached by tcx\nmore"),
            Some("tcx")
        );
        assert_eq!(attached_by(""), None);
    }

    #[test]
    fn complaints_of_the_kernel_are_found_and_nothing_else() {
        let console = "[    0.1] Spectre V2 : WARNING: Unprivileged eBPF is enabled\n\
                       [    1.0] WARNING: CPU: 0 PID: 1 at net/core/dev.c:1\n\
                       [    1.2] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!\n\
                       [    1.3] rcu: INFO: rcu_sched detected stalls on CPUs\n\
                       [    1.4] Kernel panic - not syncing: Attempted to kill init!\n\
                       [    1.5] tun: Universal TUN/TAP device driver\n";
        assert_eq!(complaints(console).len(), 4);
    }
}
