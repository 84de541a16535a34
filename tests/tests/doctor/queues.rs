//! Where packets find no room.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use lab::ends::raw::RawSocket;
use lab::ends::tools::ping;
use lab::{Lab, SERVER, Tap, VM1, wait_until};

use super::examination::{Examination, healthy, names};

/// `tc qdisc add dev wan root …`
fn queue(lab: &Lab, words: &str) -> Result<()> {
    let words = format!("qdisc add dev wan root {words}");
    lab.gw.cmd("tc").args(words.split(' ')).run()
}

#[test]
fn the_queue_takes_nothing() -> Result<()> {
    names("queue-takes-nothing", "wan", |lab| {
        ensure!(ping(&lab.vm1, SERVER, "-c 1")?.received == 1);
        queue(lab, "pfifo limit 0")?;
        ensure!(ping(&lab.vm1, SERVER, "-c 1")?.received == 0);
        Ok(())
    })
}

#[test]
fn the_queue_is_short() -> Result<()> {
    names("queue-short", "wan", |lab| queue(lab, "pfifo limit 5"))
}

#[test]
fn a_queue_in_bytes_is_short() -> Result<()> {
    names("queue-short", "wan", |lab| queue(lab, "bfifo limit 3000"))
}

#[test]
fn queues_of_all_kinds_are_no_cause() -> Result<()> {
    let lab = healthy()?;
    for words in ["pfifo limit 1000", "pfifo_fast", "tbf rate 100mbit burst 32kb latency 50ms"] {
        queue(&lab, words)?;
        Examination::of(&lab.natbpf_cli()?)?.is_healthy().context(words)?;
        lab.gw.cmd("tc").args("qdisc del dev wan root".split(' ')).run()?;
    }
    Ok(())
}

#[test]
fn a_machine_does_not_fetch_its_frames() -> Result<()> {
    const MACHINE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);
    let lab = healthy()?;
    let _tap = Tap::new(&lab.gw, "tap9")?;
    lab.gw.ip("link set tap9 master br0 up")?;
    lab.vm1.ip(&format!("neigh add {MACHINE} lladdr 02:00:00:00:00:99 dev eth0"))?;
    let socket = lab.vm1.udp((VM1, 0))?;
    let send = || socket.send_to(b"one of many", (MACHINE, 9)).map(drop);
    (0..5000).try_for_each(|_| send())?;
    let cli = lab.natbpf_cli()?;
    // That may have been when the machine was started.
    Examination::of(&cli)?.notes("dropped-earlier", "tap9")?;
    meanwhile(send, || Examination::of(&cli))?.is_alone("tap-frames-dropped", "tap9")
}

#[test]
fn a_service_does_not_read_its_questions() -> Result<()> {
    let lab = healthy()?;
    let _service = lab.gw.udp(("10.0.0.1", 53))?;
    let socket = lab.vm1.udp((VM1, 0))?;
    let send = || socket.send_to(&[0; 1000], ("10.0.0.1", 53)).map(drop);
    (0..2000).try_for_each(|_| send())?;
    let cli = lab.natbpf_cli()?;
    Examination::of(&cli)?.notes("dropped-earlier", "10.0.0.1:53")?;
    meanwhile(send, || Examination::of(&cli))?.is_alone("service-drops-queries", "10.0.0.1:53")
}

#[test]
fn no_memory_is_there_for_fragments() -> Result<()> {
    names("fragments-no-memory", "net.ipv4.ipfrag_high_thresh", |lab| {
        ensure!(ping(&lab.vm1, SERVER, "-c 1 -s 3000")?.received == 1);
        lab.gw.sysctl("net.ipv4.ipfrag_low_thresh", "0")?;
        lab.gw.sysctl("net.ipv4.ipfrag_high_thresh", "0")?;
        ensure!(ping(&lab.vm1, SERVER, "-c 1 -s 100")?.received == 1);
        ensure!(ping(&lab.vm1, SERVER, "-c 1 -s 3000")?.received == 0);
        Ok(())
    })
}

/// The first fragments come, and no others.
#[test]
fn fragments_stay_away() -> Result<()> {
    let lab = healthy()?;
    lab.gw.sysctl("net.ipv4.ipfrag_time", "1")?;
    let socket = RawSocket::whole_packets(&lab.vm1)?;
    let next = AtomicU16::new(1);
    let send = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        socket.send(&first_fragment(number), SERVER).map_err(io::Error::other)
    };
    (0..150).try_for_each(|_| send())?;
    wait_until("the rest is given up", Duration::from_secs(10), || {
        let text = lab.gw.read("/proc/thread-self/net/snmp")?;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip: "));
        let (names, values) = lines.next().zip(lines.next()).context("counters of Ip")?;
        let place = names.split(' ').position(|name| name == "ReasmFails").context("ReasmFails")?;
        let failed: u64 = values.split(' ').nth(place).context("its value")?.parse()?;
        Ok(failed >= 150)
    })?;
    let cli = lab.natbpf_cli()?;
    Examination::of(&cli)?.notes("dropped-earlier", "Ip.ReasmFails")?;
    meanwhile(send, || Examination::of(&cli))?.is_alone("fragments-incomplete", "Ip.ReasmFails")
}

/// Sends and sends while something is done.
fn meanwhile<T>(send: impl Fn() -> io::Result<()> + Sync, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                send()?;
                thread::sleep(Duration::from_millis(2));
            }
            io::Result::Ok(())
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        sender.join().map_err(|_| anyhow!("the sender has panicked"))??;
        done
    })
}

/// Eight bytes of UDP, of which more are to come.
fn first_fragment(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    let header = [0x45, 0, 0, 28, high, low, 0x20, 0, 64, 17, 0, 0];
    let ports = [0x30, 0x39, 0, 9, 0, 100, 0, 0];
    [&header[..], &VM1.octets(), &SERVER.octets(), &ports].concat()
}
