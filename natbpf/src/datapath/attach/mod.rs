//! Attaching to interfaces and detaching: by TCX links where the kernel has them, by filters of a clsact qdisc
//! where not.
//!
//! TCX links are pinned and outlive the daemon. A filter lives by itself; a pin of the program beside it says
//! that it is ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    pin::PinError,
    programs::{
        LinkOrder, ProgramError, ProgramId, ProgramInfo, SchedClassifier, TcAttachType,
        links::{FdLink, Link as _, PinnedLink},
        tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact},
    },
};

use super::{Hook, Loaded, Pins, Role, Side, pins::Pin, sys};
use crate::{config::AttachMode, network::Requests};

/// Priority of our filters: behind those of people who chose one. At an inside port hairpinning comes first, since a packet that goes
/// straight to the uplink is seen by nobody after.
pub(super) const fn priority(hook: Hook) -> u16 {
    match hook {
        Hook::Ingress | Hook::Egress | Hook::Inside => 50_000,
        Hook::PortIngress | Hook::PortEgress => 50_001,
    }
}

/// Handle of our filters.
pub(super) const HANDLE: TcHandle = TcHandle::new(0, 1);

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Tcx,
    Clsact,
}

impl Mode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// One program on one hook.
#[derive(Clone, Copy, Debug)]
pub struct Attachment {
    /// Interface index.
    pub interface: u32,
    pub hook: Hook,
    pub mode: Mode,
    /// The kernel's number of the program.
    pub program: u32,
}

/// What is pinned, by interface index.
#[derive(Debug, Default)]
pub struct Pinned(BTreeMap<u32, Vec<(PathBuf, Pin)>>);

/// Attaches and detaches in the network namespace in which it was made.
#[derive(Debug)]
pub struct Attacher {
    pub(super) pins: Pins,
    mode: AttachMode,
    pub(super) coexist: bool,
    requests: Requests,
}

const fn attach_type(hook: Hook) -> TcAttachType {
    match hook {
        Hook::Egress | Hook::PortEgress => TcAttachType::Egress,
        Hook::Ingress | Hook::Inside | Hook::PortIngress => TcAttachType::Ingress,
    }
}

impl Attacher {
    /// Needs a tokio runtime, for netlink.
    pub fn new(pins: Pins, mode: AttachMode, coexist: bool) -> Result<Self> {
        let requests = Requests::open().context("cannot open a netlink socket")?;
        Ok(Self { pins, mode, coexist, requests })
    }

    /// Refuses if somebody else's TC programs are on the interface, unless told to live with them.
    pub async fn check_foreign(&self, interface: u32, name: &str, role: Role) -> Result<()> {
        if self.coexist {
            return Ok(());
        }
        for &hook in role.hooks() {
            if let Some(foreign) = self.foreign(interface, name, hook).await? {
                bail!(
                    "{foreign} is attached to {name} ({hook}) by somebody else and may redirect or drop packets before natbpf sees them; \
                     remove it, or run natbpf with --coexist if both are wanted"
                );
            }
        }
        Ok(())
    }

    pub(super) async fn foreign(&self, interface: u32, name: &str, hook: Hook) -> Result<Option<String>> {
        // The interface may have another role, too.
        let mut ours = Vec::new();
        for hook in Hook::ALL {
            let path = self.pins.tcx(interface, hook);
            let link =
                sys::pinned_link(&path).with_context(|| format!("cannot look at {}", path.display()))?;
            ours.extend(link.map(|link| link.program));
        }
        let side = if attach_type(hook) == TcAttachType::Egress { Side::Egress } else { Side::Ingress };
        let programs = side
            .tcx_programs(interface)
            .with_context(|| format!("cannot see which TCX programs are at {name} ({})", side.name()))?;
        if let Some(other) = programs.into_iter().find(|program| !ours.contains(program)) {
            return Ok(Some(describe(other)));
        }
        let known: Vec<u16> = Hook::ALL
            .into_iter()
            .filter(|known| attach_type(*known) == attach_type(hook))
            .filter(|known| self.pins.clsact(interface, *known).exists())
            .map(priority)
            .collect();
        for filter in self.filters(interface, hook).await? {
            if filter.handle != u32::from(HANDLE) || !known.contains(&filter.priority) {
                return Ok(Some(format!(
                    "a TC filter of kind {} with priority {}",
                    filter.kind, filter.priority
                )));
            }
        }
        Ok(None)
    }

    pub(super) async fn filters(&self, interface: u32, hook: Hook) -> Result<Vec<Filter>> {
        let filters = self.requests.ask(|handle| {
            let request = handle.traffic_filter(interface.cast_signed()).get();
            match attach_type(hook) {
                TcAttachType::Egress => request.egress().execute(),
                _ => request.ingress().execute(),
            }
        });
        // Those of a block that several interfaces share are among them.
        match filters.await {
            Ok(messages) => Ok(messages.iter().filter_map(Filter::of).collect()),
            // No qdisc that could have filters.
            Err(rtnetlink::Error::NetlinkError(error))
                if matches!(
                    error.raw_code().abs(),
                    libc::EINVAL | libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV
                ) =>
            {
                Ok(Vec::new())
            }
            Err(error) => Err(error).context("cannot list the TC filters"),
        }
    }

    /// Puts the programs of a role on an interface, in the place of an older version's if there is one: no packet goes
    /// past in between.
    pub async fn attach(&self, loaded: &mut Loaded, interface: u32, name: &str, role: Role) -> Result<()> {
        for &hook in role.hooks() {
            let program = loaded.hook(hook)?;
            let attached = match self.mode {
                AttachMode::Tcx => self.attach_tcx(program, interface, name, hook),
                AttachMode::Clsact => self.attach_clsact(program, interface, name, hook).await,
                AttachMode::Auto if self.has_filter(interface, hook) => {
                    self.attach_clsact(program, interface, name, hook).await
                }
                AttachMode::Auto => match self.attach_tcx(program, interface, name, hook) {
                    Err(error) if unsupported(&error) => {
                        self.attach_clsact(program, interface, name, hook).await
                    }
                    other => other,
                },
            };
            attached.with_context(|| format!("cannot attach to {name} ({hook})"))?;
        }
        Ok(())
    }

    /// Whether there is the older qdisc, which has filters for what arrives and none for what leaves.
    async fn has_ingress_qdisc(&self, interface: u32) -> bool {
        use netlink_packet_route::tc::TcAttribute;
        let qdiscs =
            self.requests.ask(|handle| handle.qdisc().get().index(interface.cast_signed()).execute());
        let qdiscs = qdiscs.await.unwrap_or_default();
        let here = qdiscs.iter().filter(|qdisc| qdisc.header.index == interface.cast_signed());
        here.flat_map(|qdisc| &qdisc.attributes)
            .any(|attribute| matches!(attribute, TcAttribute::Kind(kind) if kind == "ingress"))
    }

    fn attach_tcx(
        &self,
        program: &mut SchedClassifier,
        interface: u32,
        name: &str,
        hook: Hook,
    ) -> Result<()> {
        if self.pins.clsact(interface, hook).exists() {
            bail!("it is attached by clsact already; run `natbpf detach` before changing to tcx");
        }
        let path = self.pins.tcx(interface, hook);
        if let Ok(pinned) = PinnedLink::from_pin(&path) {
            let link: SchedClassifierLink = FdLink::from(pinned).try_into()?;
            match program.attach_to_link(link) {
                Ok(id) => {
                    // Dropping the descriptor leaves the pin.
                    drop(FdLink::try_from(program.take_link(id)?)?);
                    return Ok(());
                }
                // The interface it belonged to is gone, and another has its number now.
                Err(error) if has_code(&error, libc::ENOLINK) => {
                    fs::remove_file(&path).context("cannot remove a dead link")?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let options = TcAttachOptions::TcxOrder(self.order(interface, hook));
        let id = program.attach_with_options(name, attach_type(hook), options)?;
        let link = FdLink::try_from(program.take_link(id)?)?;
        link.pin(&path).with_context(|| format!("cannot pin {}", path.display()))?;
        Ok(())
    }

    /// Whether it has to be a filter. One of an earlier start stays: two programs would translate twice. And filters are asked after
    /// TCX, so the port's program must not be there if the one for hairpinning is a filter.
    fn has_filter(&self, interface: u32, hook: Hook) -> bool {
        let is_filter = |hook| self.pins.clsact(interface, hook).exists();
        is_filter(hook) || hook == Hook::PortIngress && is_filter(Hook::Inside)
    }

    /// Whether we have a filter there: then it has a clsact qdisc.
    fn has_filters(&self, interface: u32) -> bool {
        Hook::ALL.iter().any(|hook| self.pins.clsact(interface, *hook).exists())
    }

    /// The place among the programs of the hook: last, but hairpinning comes before the port's program.
    fn order(&self, interface: u32, hook: Hook) -> LinkOrder {
        let port = match hook {
            Hook::Inside => program_of(&self.pins.tcx(interface, Hook::PortIngress)),
            _ => None,
        };
        let Some(port) = port else { return LinkOrder::default() };
        // SAFETY: a number and no more; the kernel refuses the link if that program is not there.
        LinkOrder::before_program_id(unsafe { ProgramId::new(port) })
    }

    async fn attach_clsact(
        &self,
        program: &mut SchedClassifier,
        interface: u32,
        name: &str,
        hook: Hook,
    ) -> Result<()> {
        if self.pins.tcx(interface, hook).exists() {
            bail!("it is attached by tcx already; run `natbpf detach` before changing to clsact");
        }
        match qdisc_add_clsact(name) {
            Ok(()) => pin(program, &self.pins.qdisc(interface))?,
            // Before anything is added, which the kernel would tell everybody, us too, and we would try again.
            Err(error) if has_code(&error, libc::EEXIST) => {
                if !self.has_filters(interface) && self.has_ingress_qdisc(interface).await {
                    return Err(ingress_qdisc(name));
                }
            }
            Err(error) => return Err(error).context("cannot add the clsact qdisc"),
        }
        let path = self.pins.clsact(interface, hook);
        // A pin may be left of a start that was killed before it had added the filter.
        if path.exists() && replace_filter(program, name, hook)? {
            return pin(program, &path);
        }
        // The pin comes first: a filter without one would be taken for somebody else's.
        pin(program, &path)?;
        let options = NlOptions { priority: priority(hook), handle: HANDLE, classid: None };
        match program.attach_with_options(name, attach_type(hook), TcAttachOptions::Netlink(options)) {
            Ok(id) => {
                // Dropping it would detach.
                std::mem::forget(program.take_link(id)?);
                Ok(())
            }
            Err(error) => {
                fs::remove_file(&path).context("cannot remove a pin")?;
                if self.has_ingress_qdisc(interface).await {
                    Err(ingress_qdisc(name))
                } else {
                    Err(error.into())
                }
            }
        }
    }

    /// What is pinned for interfaces, listed once for all that are to be detached from.
    pub fn pinned(&self) -> Result<Pinned> {
        let mut pinned = Pinned::default();
        for (path, pin) in self.pins.list().context("cannot list what is pinned")? {
            if let Some(interface) = pin.interface() {
                pinned.0.entry(interface).or_default().push((path, pin));
            }
        }
        Ok(pinned)
    }

    /// Takes the programs of a role off an interface, and the qdisc with the last one. The interface may be gone already.
    pub async fn detach(
        &self,
        pinned: &mut Pinned,
        interface: u32,
        name: Option<&str>,
        role: Role,
    ) -> Result<()> {
        let belongs = |pin: &Pin| match pin {
            Pin::Tcx(_, hook) | Pin::Clsact(_, hook) => hook.role() == role,
            Pin::Xdp(_, of) => *of == role,
            Pin::Qdisc(_) | Pin::Other => false,
        };
        let pins = pinned.0.remove(&interface).unwrap_or_default();
        let (mut gone, mut rest): (Vec<_>, Vec<_>) = pins.into_iter().partition(|(_, pin)| belongs(pin));
        // XDP goes first: it is never there without the programs that do what it passes on.
        gone.sort_by_key(|(_, pin)| !matches!(pin, Pin::Xdp(..)));
        if !rest.iter().any(|(_, pin)| matches!(pin, Pin::Clsact(..))) {
            gone.extend(rest.extract_if(.., |(_, pin)| matches!(pin, Pin::Qdisc(_))));
        }
        pinned.0.insert(interface, rest);
        for (path, pin) in gone {
            self.remove(&path, pin, name).await?;
        }
        Ok(())
    }

    /// Takes everything off and removes all pins, of every version. `name` gives the name of an interface
    /// that still is there.
    pub async fn detach_all(&self, name: impl Fn(u32) -> Option<String>) -> Result<()> {
        let mut pins = self.pins.list_all_versions().context("cannot list what is pinned")?;
        // What sends packets to uplinks goes first. Egress goes before ingress, so that no packet is translated
        // whose reply would not be; qdiscs go last.
        pins.sort_by_key(|(_, pin)| match pin {
            Pin::Xdp(..) => 0,
            Pin::Tcx(_, hook) | Pin::Clsact(_, hook) => match hook {
                Hook::PortIngress | Hook::PortEgress => 0,
                Hook::Inside => 1,
                Hook::Egress => 2,
                Hook::Ingress => 3,
            },
            Pin::Qdisc(_) => 4,
            Pin::Other => 5,
        });
        for (path, pin) in pins {
            let name = match pin {
                Pin::Tcx(interface, _) | Pin::Clsact(interface, _) | Pin::Qdisc(interface) => name(interface),
                Pin::Xdp(..) | Pin::Other => None,
            };
            self.remove(&path, pin, name.as_deref()).await?;
        }
        self.pins.remove()
    }

    pub(super) async fn remove(&self, path: &Path, pin: Pin, name: Option<&str>) -> Result<()> {
        match (pin, name) {
            // Another one with this number, of an interface that has come in the place of ours, stays.
            (Pin::Clsact(..), Some(_)) if matches!(self.program_at(path, pin).await, Ok(None)) => {}
            (Pin::Clsact(_, hook), Some(name)) => {
                let link =
                    SchedClassifierLink::attached(name, attach_type(hook), priority(hook), HANDLE, None)?;
                match link.detach() {
                    Err(error) if !is_gone(&error) => {
                        return Err(error).with_context(|| format!("cannot detach from {name}"));
                    }
                    _ => {}
                }
            }
            (Pin::Qdisc(interface), Some(name)) => self.remove_qdisc(interface, name).await?,
            (Pin::Tcx(interface, _) | Pin::Xdp(interface, _), _) => match sys::detach_pinned_link(path) {
                // The interface that the link was of is gone, and this is another one with its number.
                Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
                other => other.with_context(|| format!("cannot detach from interface {interface}"))?,
            },
            _ => {}
        }
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Removes the clsact qdisc that we added, unless somebody else has filters on it by now.
    async fn remove_qdisc(&self, interface: u32, name: &str) -> Result<()> {
        for hook in [Hook::Ingress, Hook::Egress] {
            if !self.filters(interface, hook).await?.is_empty() {
                tracing::info!("the clsact qdisc of {name} stays: others have filters on it");
                return Ok(());
            }
        }
        let mut request = self.requests.handle().qdisc().del(interface.cast_signed());
        request.message_mut().header.parent = netlink_packet_route::tc::TcHandle::CLSACT;
        match request.execute().await {
            Err(rtnetlink::Error::NetlinkError(error))
                if matches!(error.raw_code().abs(), libc::ENOENT | libc::EINVAL) =>
            {
                Ok(())
            }
            other => other.with_context(|| format!("cannot remove the clsact qdisc of {name}")),
        }
    }
}

fn ingress_qdisc(name: &str) -> anyhow::Error {
    anyhow!(
        "it has an `ingress` qdisc (of SQM, wondershaper or the like), beside which there can be no clsact qdisc for the \
         programs of natbpf; remove it with: tc qdisc del dev {name} ingress, and shape by a clsact qdisc, \
         or attach by tcx (Linux 6.6)"
    )
}

/// Puts a program in the place of the one that our filter runs. False: the filter is not there.
fn replace_filter(program: &mut SchedClassifier, name: &str, hook: Hook) -> Result<bool> {
    let filter = SchedClassifierLink::attached(name, attach_type(hook), priority(hook), HANDLE, None)?;
    let Ok(id) = program.attach_to_link(filter) else { return Ok(false) };
    // Dropping it would detach.
    std::mem::forget(program.take_link(id)?);
    Ok(true)
}

/// What is attached, by the pins.
pub fn attachments(pins: &Pins) -> Result<Vec<Attachment>> {
    let mut all = Vec::new();
    for (path, pin) in pins.list().context("cannot list what is pinned")? {
        let (interface, hook, mode, program) = match pin {
            Pin::Tcx(interface, hook) => (interface, hook, Mode::Tcx, program_of(&path)),
            Pin::Clsact(interface, hook) => {
                (interface, hook, Mode::Clsact, ProgramInfo::from_pin(&path).ok().map(|program| program.id()))
            }
            _ => continue,
        };
        if let Some(program) = program {
            all.push(Attachment { interface, hook, mode, program });
        }
    }
    Ok(all)
}

/// Interface indexes and roles of everything that something is pinned for.
pub fn attached(pins: &Pins) -> Result<BTreeSet<(u32, Role)>> {
    let pins = pins.list().context("cannot list what is pinned")?;
    let mut attached = BTreeSet::new();
    for (_, pin) in &pins {
        match pin {
            Pin::Tcx(interface, hook) | Pin::Clsact(interface, hook) => {
                attached.insert((*interface, hook.role()));
            }
            Pin::Xdp(interface, role) => {
                attached.insert((*interface, *role));
            }
            Pin::Qdisc(_) | Pin::Other => {}
        }
    }
    // A qdisc alone is what is left of a start that was killed.
    for (_, pin) in pins {
        if let Pin::Qdisc(interface) = pin
            && !attached.iter().any(|(known, _)| *known == interface)
        {
            attached.insert((interface, Role::Uplink));
        }
    }
    Ok(attached)
}

/// Interface indexes and roles of what is pinned for every hook of the role.
pub fn complete(pins: &Pins) -> Result<BTreeSet<(u32, Role)>> {
    let pins = pins.list().context("cannot list what is pinned")?;
    let hooks: Vec<(u32, Hook)> = pins
        .iter()
        .filter_map(|(_, pin)| match pin {
            Pin::Tcx(interface, hook) | Pin::Clsact(interface, hook) => Some((*interface, *hook)),
            _ => None,
        })
        .collect();
    let mut counted: BTreeMap<(u32, Role), usize> = BTreeMap::new();
    for (interface, hook) in hooks {
        *counted.entry((interface, hook.role())).or_default() += 1;
    }
    let whole = |((interface, role), count): ((u32, Role), usize)| {
        (count == role.hooks().len()).then_some((interface, role))
    };
    Ok(counted.into_iter().filter_map(whole).collect())
}

/// A filter of somebody.
pub(super) struct Filter {
    kind: String,
    pub(super) priority: u16,
    pub(super) handle: u32,
    /// The kernel's number of the BPF program that it runs.
    pub(super) program: Option<u32>,
}

impl Filter {
    /// `None` for the entry that stands for a priority as a whole.
    fn of(message: &netlink_packet_route::tc::TcMessage) -> Option<Self> {
        use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcOption};
        let handle = u32::from(message.header.handle);
        let kind = message.attributes.iter().find_map(|attribute| match attribute {
            TcAttribute::Kind(kind) => Some(kind.clone()),
            _ => None,
        });
        let options = message.attributes.iter().flat_map(|attribute| match attribute {
            TcAttribute::Options(options) => &options[..],
            _ => &[],
        });
        let program = options.into_iter().find_map(|option| match option {
            TcOption::Bpf(TcFilterBpfOption::ProgId(program)) => Some(*program),
            _ => None,
        });
        (handle != 0).then(|| Self {
            program,
            kind: kind.unwrap_or_default(),
            priority: u16::try_from(message.header.info >> 16).unwrap_or_default(),
            handle,
        })
    }
}

/// What the operator finds a program by: its name, if the kernel tells, and its number.
pub(super) fn describe(number: u32) -> String {
    match sys::program_name(number) {
        Ok(name) => format!("the BPF program {name} (number {number})"),
        Err(_) => format!("the BPF program number {number}"),
    }
}

/// The program of a pinned link.
fn program_of(path: &Path) -> Option<u32> {
    sys::pinned_link(path).ok().flatten().map(|link| link.program)
}

/// Pins a program in the place of an older one.
fn pin(program: &mut SchedClassifier, path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).context("cannot remove an old pin");
        }
        _ => {}
    }
    program
        .pin(path)
        .map_err(|error: PinError| error)
        .with_context(|| format!("cannot pin {}", path.display()))
}

/// Whether an error says that the kernel has no TCX.
fn unsupported(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | 524)))
    })
}

fn is_gone(error: &ProgramError) -> bool {
    [libc::ENOENT, libc::EINVAL, libc::ENODEV].into_iter().any(|code| has_code(error, code))
}

/// Whether an error, or one beneath it, is this of the kernel's.
pub(super) fn has_code(error: &(dyn std::error::Error + 'static), code: i32) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.raw_os_error() == Some(code)) {
            return true;
        }
        cause = error.source();
    }
    false
}
