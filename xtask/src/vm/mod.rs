//! Kernels of Debian in virtual machines, with natbpf and its tests in them.
//!
//! The processor is emulated, so this works wherever QEMU does, and times mean nothing. Nothing of this machine is
//! changed: packages, file systems and logs are in `target/vm`.

mod console;
mod kernels;
mod machine;
mod suite;

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::{
    boot::{
        image::Image,
        packages::Kernel,
        versions::{Flavour, Wanted},
    },
    command::{cargo, command, find, output_of, quote, run as run_command},
    folders::release_folder,
    products::{self, path_after, product},
    setup::{
        self, Need,
        tools::{self, Purpose},
    },
    test,
};
use kernels::HOSTS;
use machine::{CONSOLE, Clock, Follower, Machine, STDERR, STDOUT};
use suite::{Extent, Outcome};

/// What some hosts of platforms read beside their programs.
const READ_BY_HOSTS: [&str; 2] = ["/usr/share/openvswitch/vswitch.ovsschema", "/usr/lib/pppd"];
/// As the package of pppd has it; a host has its own in this folder.
const PPP_OPTIONS: &str = "etc/ppp/options";

/// The first process.
const INIT: &str = include_str!("init.sh");

#[derive(Args, Debug)]
pub struct Options {
    /// 6.1, 6.12 (or another series that Debian offers) or `newest`; may be given several times [default:
    /// these three, and `newest` for a command]
    #[arg(long = "kernel", value_name = "VERSION")]
    kernels: Vec<Wanted>,

    /// Debian's build of these kernels [default: cloud; full for a command that needs it, as `hosts pppoe` does]
    #[arg(long)]
    flavour: Option<Flavour>,

    /// All end-to-end tests, not only representative ones
    #[arg(long, conflicts_with_all = ["quick", "command"])]
    all: bool,

    /// Load every program and run the standard scenario only
    #[arg(long, conflicts_with = "command")]
    quick: bool,

    /// For so long each kernel may take
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,

    /// A product of the workspace (natbpf, bench, object, e2e, …) or a program of this machine, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the virtual machines are x86-64 and get the programs of this machine, which is not: run this on x86-64"
    );
    let for_hosts = options.command.first().is_some_and(|name| name == HOSTS);
    setup::ensure(if for_hosts { Need::Hosts } else { Need::Vm })?;
    let folder = release_folder()?.with_file_name("vm");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let _alone = lock(&folder)?;
    let kernels = kernels::kernels(&folder, &options.kernels, options.flavour, &options.command)?;
    let limit = Duration::from_secs(options.timeout);
    run_command(products::build().stdout(io::stderr()))?;
    if let [name, args @ ..] = &options.command[..] {
        let Some(kernel) = kernels.last() else { bail!("no kernel was chosen") };
        return run_in(kernel, &folder, name, args, limit);
    }
    let extent = match (options.quick, options.all) {
        (true, _) => Extent::Quick,
        (_, true) => Extent::All,
        _ => Extent::Representative,
    };
    let mut image = image(false)?;
    for name in suite::test_programs(extent) {
        image.product(name, &stripped(&test_program(name)?, name, &folder)?)?;
    }
    image.text("job", &suite::job(extent), 0o644);
    let mut outcomes = Vec::new();
    for kernel in &kernels {
        outcomes.push(try_suite(kernel, &folder, image.with_modules(kernel)?, limit)?);
    }
    println!("\n{}\nThe processors were emulated: times mean nothing.", suite::table(&outcomes));
    let succeeded = outcomes.iter().all(|outcome| outcome.succeeded);
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Folders in `target/vm` are for one run at a time.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("vm: another one runs; waiting for its end");
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// The system with the products that everything needs, and perhaps with the programs of platforms.
fn image(for_hosts: bool) -> Result<Image> {
    let folder = release_folder()?.with_file_name("vm");
    let purposes = [Purpose::Base, Purpose::Lab, Purpose::Test, Purpose::Hosts];
    let purposes = if for_hosts { &purposes[..] } else { &purposes[..3] };
    let mut image = Image::new(INIT, tools::programs_for(purposes))?;
    if for_hosts {
        READ_BY_HOSTS.iter().try_for_each(|path| image.tree(Path::new(path)))?;
        image.text(PPP_OPTIONS, "", 0o644);
    }
    for name in ["natbpf", "lab"] {
        image.product(name, &stripped(&product(name)?, name, &folder)?)?;
    }
    Ok(image)
}

/// A copy without what debuggers need, a fifth of the size.
fn stripped(program: &Path, name: &str, folder: &Path) -> Result<PathBuf> {
    let copy = folder.join("products").join(name);
    fs::create_dir_all(folder.join("products"))
        .with_context(|| format!("cannot make {}", folder.display()))?;
    run_command(command("strip").arg("--strip-debug").arg("-o").arg(&copy).arg(program))?;
    Ok(copy)
}

/// The test program of a file in tests/tests, built where it has to be.
fn test_program(part: &str) -> Result<PathBuf> {
    let mut build = cargo(["test", "--release", "--package", "natbpf-tests", "--test", part, "--no-run"]);
    let messages = output_of(build.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit()))?;
    let name = format!(r#""name":"{part}""#);
    let line =
        messages.lines().filter(|line| line.contains(&name)).find_map(|line| path_after("executable", line));
    line.with_context(|| format!("cargo has built no test program {part}"))
}

fn try_suite(kernel: &Kernel, folder: &Path, image: Image, limit: Duration) -> Result<Outcome> {
    let began = Instant::now();
    let logs = logs(folder, kernel)?;
    println!("vm: Linux {}: booting; logs in {}", kernel.release, logs.display());
    let archive = logs.join("initramfs");
    image.write(&archive)?;
    let machine =
        Machine { kernel: &kernel.image()?, archive: &archive, logs: &logs, clock: Clock::Skipping };
    let (mut follower, mut output, mut shown) = (Follower::new(logs.join(STDOUT)), Vec::new(), 0);
    let ended = machine.run(limit, || {
        let new = follower.read()?;
        if new.is_empty() {
            return Ok(());
        }
        output.extend(new);
        let steps = console::steps(&String::from_utf8_lossy(&output));
        for step in steps.iter().filter(|step| step.ended.is_some()).skip(shown) {
            println!("vm: Linux {}: {}", kernel.release, suite::line(step));
            shown += 1;
        }
        Ok(())
    });
    let steps = console::steps(&String::from_utf8_lossy(&output));
    for step in &steps {
        let path = logs.join(format!("{}.log", step.name));
        fs::write(&path, &step.output).with_context(|| format!("cannot write {}", path.display()))?;
        console::failures(&step.output).iter().for_each(|name| println!("    {name} failed"));
    }
    let console = read(&logs, CONSOLE)?;
    let status = console::status(&console);
    let complaints = report(&console);
    if let Err(error) = &ended {
        println!("vm: Linux {}: {error:#}", kernel.release);
    } else if status.is_none() {
        println!(
            "vm: Linux {}: the machine stopped before the job was done; the end of its console:",
            kernel.release
        );
        console
            .lines()
            .rev()
            .take(20)
            .collect::<Vec<_>>()
            .iter()
            .rev()
            .for_each(|line| println!("    {line}"));
    }
    let succeeded = ended.is_ok() && status == Some(0) && complaints == 0;
    let seconds = began.elapsed().as_secs();
    Ok(Outcome { kernel: kernel.release.series(), steps, complaints, seconds, succeeded })
}

/// `target/vm/KERNEL`.
fn logs(folder: &Path, kernel: &Kernel) -> Result<PathBuf> {
    let logs = folder.join(kernel.release.as_str());
    fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    Ok(logs)
}

fn read(logs: &Path, name: &str) -> Result<String> {
    let path = logs.join(name);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Says what is on the console that should not be; returns how often the kernel complained.
fn report(console: &str) -> usize {
    for name in console::missing(console) {
        eprintln!("vm: this kernel has no {name}");
    }
    let complaints = console::complaints(console);
    complaints.iter().for_each(|line| eprintln!("vm: the kernel complains: {line}"));
    complaints.len()
}

/// One command, with its output and exit status handed on.
fn run_in(
    kernel: &Kernel,
    folder: &Path,
    name: &OsString,
    args: &[OsString],
    limit: Duration,
) -> Result<ExitCode> {
    let name = name.to_str().context("the name of the command is not UTF-8")?;
    let mut image = image(name == HOSTS)?;
    add_command(&mut image, name, folder)?;
    let words: Vec<_> = args.iter().map(|arg| quote(&arg.to_string_lossy())).collect();
    let mut said = vec!["NATBPF_BIN=/usr/local/bin/natbpf".to_owned()];
    // What a test is told by its environment: rows of one table alone.
    said.extend(env::var("NATBPF_EFFECT").map(|rows| format!("NATBPF_EFFECT={}", quote(&rows))));
    image.text("job", &format!("{} {} {}\n", said.join(" "), quote(name), words.join(" ")), 0o644);
    let logs = logs(folder, kernel)?;
    let archive = logs.join("initramfs");
    image.with_modules(kernel)?.write(&archive)?;
    eprintln!(
        "vm: Linux {}: {name} {}; the processors are emulated, times mean nothing",
        kernel.release,
        words.join(" ")
    );
    // Tests wait, and some set times to the boot.
    let is_test = test::parts()?.iter().any(|part| part == name);
    let clock = if is_test { Clock::Skipping } else { Clock::Real };
    let machine = Machine { kernel: &kernel.image()?, archive: &archive, logs: &logs, clock };
    let [mut stdout, mut stderr] = [STDOUT, STDERR].map(|port| Follower::new(logs.join(port)));
    machine.run(limit, || {
        stdout.copy_to(&mut io::stdout())?;
        stderr.copy_to(&mut io::stderr())
    })?;
    let console = read(&logs, CONSOLE)?;
    let complaints = report(&console);
    let status = console::status(&console);
    let status = status.with_context(|| {
        format!("the machine stopped before the command ended; see {}", logs.join(CONSOLE).display())
    })?;
    ensure!(complaints == 0 || status != 0, "the command succeeded, but the kernel complained");
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}

/// Sees to it that the command `name` is inside: a test program, a product, or a program of this machine.
fn add_command(image: &mut Image, name: &str, folder: &Path) -> Result<()> {
    let parts = test::parts()?;
    // The table's own program is run by people, its test program by the suite.
    let is_product = products::PROGRAMS.contains(&name);
    if is_product || parts.iter().any(|part| part == name) {
        let path = if is_product { product(name)? } else { test_program(name)? };
        return image.product(name, &stripped(&path, name, folder)?);
    }
    if let Some(path) = find(name) {
        return image.program(&path, &path);
    }
    // Anything else may be a program of busybox.
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn kernels_can_be_chosen_more_than_once() {
        let line = Line::parse_from(["vm", "--kernel", "6.1", "--kernel", "newest"]).options;
        assert_eq!(line.kernels, [Wanted::Series(6, 1), Wanted::Newest]);
        assert!(line.command.is_empty());
    }

    #[test]
    fn what_comes_after_the_dashes_is_a_command() {
        let line = Line::parse_from(["vm", "--", "bench", "--pktgen", "--kernel"]).options;
        assert_eq!(line.command, ["bench", "--pktgen", "--kernel"]);
        assert!(line.kernels.is_empty());
        assert!(Line::try_parse_from(["vm", "--all", "--", "bench"]).is_err());
        assert_eq!(line.flavour, None);
        let line = Line::parse_from(["vm", "--flavour", "full", "--", "sh"]).options;
        assert_eq!(line.flavour, Some(Flavour::Full));
    }
}
