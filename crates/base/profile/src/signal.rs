//! The timer, and the handler that copies what it interrupts.

use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use fleuve_types::{Error, ErrorKind, Result};

use crate::label::{Label, number_now};

/// Stacks that wait to be looked at.
pub const SLOTS: usize = 256;
/// How much of a stack is copied.
pub const STACK_BYTES: usize = 64 << 10;
/// A copy is asked for page by page, so that it ends where the stack does.
const PAGE_BYTES: usize = 4096;
const PAGES: usize = STACK_BYTES / PAGE_BYTES + 1;
/// How many slots a handler looks at for a free one.
const TRIES: usize = 16;

const FREE: u8 = 0;
const BUSY: u8 = 1;
const FULL: u8 = 2;

/// The registers that unwinding begins with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Registers {
    pub(crate) instruction: u64,
    pub(crate) stack: u64,
    pub(crate) frame: u64,
    /// The link register.
    #[cfg(target_arch = "aarch64")]
    pub(crate) link: u64,
}

/// What was interrupted.
struct Copied {
    registers: Registers,
    thread: i32,
    label: u32,
    len: usize,
    bytes: [u8; STACK_BYTES],
}

struct Slot {
    state: AtomicU8,
    copied: UnsafeCell<Copied>,
}

struct Ring {
    slots: Vec<Slot>,
    next: AtomicUsize,
    lost: AtomicU64,
}

/// The ring that the handler fills; null while no profile is taken.
static RING: AtomicPtr<Ring> = AtomicPtr::new(std::ptr::null_mut());
/// Handlers that may be using the ring.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// The thread that takes the profile: its own work is not shown.
static TAKER: AtomicI32 = AtomicI32::new(0);
static TAKEN: AtomicBool = AtomicBool::new(false);
static INSTALL: Once = Once::new();
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// A sample, lent while it is looked at.
pub(crate) struct Sample<'a> {
    copied: &'a Copied,
    names: &'a HashMap<i32, String>,
}

impl Sample<'_> {
    pub(crate) fn registers(&self) -> Registers {
        self.copied.registers
    }

    /// The word at an address of the stack, if it was copied.
    pub(crate) fn word(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.copied.registers.stack)?).ok()?;
        let bytes = self.copied.bytes.get(..self.copied.len)?.get(at..at.checked_add(8)?)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    }

    pub(crate) fn thread(&self) -> String {
        self.names.get(&self.copied.thread).cloned().unwrap_or_else(|| "a thread that ended".into())
    }

    pub(crate) fn label(&self) -> Option<Label> {
        Label::of_number(self.copied.label)
    }
}

#[cfg(test)]
pub(crate) fn is_taken() -> bool {
    TAKEN.load(Ordering::SeqCst)
}

fn thread_id() -> i32 {
    // SAFETY: it has no arguments and cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

fn name_of(thread: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/self/task/{thread}/comm")).unwrap_or_default();
    if name.trim().is_empty() { "a thread that ended".into() } else { name.trim().to_string() }
}

/// A profile under way. Only one at a time.
pub(crate) struct Sampling {
    ring: *mut Ring,
}

impl Sampling {
    pub(crate) fn begin(hertz: u32) -> Result<Self> {
        if TAKEN.swap(true, Ordering::SeqCst) {
            let error = Error::new(ErrorKind::Retry, "a profile is being taken");
            return Err(error.hint("one at a time: try again when it has ended"));
        }
        let started = probe().and_then(|()| install());
        if let Err(e) = started {
            TAKEN.store(false, Ordering::SeqCst);
            return Err(e);
        }
        let slot = |_| Slot { state: AtomicU8::new(FREE), copied: UnsafeCell::new(Copied::empty()) };
        let slots = (0..SLOTS).map(slot).collect();
        let ring = Box::into_raw(Box::new(Ring { slots, next: AtomicUsize::new(0), lost: AtomicU64::new(0) }));
        TAKER.store(thread_id(), Ordering::SeqCst);
        RING.store(ring, Ordering::SeqCst);
        let sampling = Self { ring };
        set_timer(1_000_000 / i64::from(hertz))?;
        Ok(sampling)
    }

    fn ring(&self) -> &Ring {
        // SAFETY: made in `begin`, freed in `drop` only.
        unsafe { &*self.ring }
    }

    /// Looks at what has come since the last call.
    pub(crate) fn drain(&self, mut look: impl FnMut(&Sample<'_>)) {
        let mut names = HashMap::new();
        for slot in &self.ring().slots {
            if slot.state.load(Ordering::Acquire) != FULL {
                continue;
            }
            // SAFETY: a full slot is this thread's until it is free again.
            let copied = unsafe { &*slot.copied.get() };
            names.entry(copied.thread).or_insert_with(|| name_of(copied.thread));
            look(&Sample { copied, names: &names });
            slot.state.store(FREE, Ordering::Release);
        }
    }

    /// Ends it; gives how many samples were lost.
    pub(crate) fn end(self) -> u64 {
        self.ring().lost.load(Ordering::Relaxed)
    }
}

impl Drop for Sampling {
    fn drop(&mut self) {
        // A timer that cannot be stopped finds no ring.
        let _ = set_timer(0);
        RING.store(std::ptr::null_mut(), Ordering::SeqCst);
        while INSIDE.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        // SAFETY: from `Box::into_raw`, and no handler can have it any more: one that comes now finds null.
        drop(unsafe { Box::from_raw(self.ring) });
        TAKEN.store(false, Ordering::SeqCst);
    }
}

impl Copied {
    fn empty() -> Self {
        Self { registers: Registers::default(), thread: 0, label: 0, len: 0, bytes: [0; STACK_BYTES] }
    }
}

fn set_timer(micros: i64) -> Result<()> {
    let every = libc::timeval { tv_sec: 0, tv_usec: micros };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: the pointers are to a value that lives, and to nothing.
    match unsafe { libc::setitimer(libc::ITIMER_PROF, &timer, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(Error::io("set the timer of a profile", std::io::Error::last_os_error())),
    }
}

/// Installs the handler, once and for good: a signal that comes late would end the process without it.
fn install() -> Result<()> {
    INSTALL.call_once(|| {
        // SAFETY: a zeroed `sigaction` is a valid one, and the handler has the signature that SA_SIGINFO asks for.
        let done = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_tick as extern "C" fn(_, _, _) as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            libc::sigaction(libc::SIGPROF, &action, std::ptr::null_mut())
        };
        INSTALLED.store(done == 0, Ordering::SeqCst);
    });
    match INSTALLED.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err(Error::unsupported("the system does not let this process handle SIGPROF")),
    }
}

/// Whether memory of this process can be copied in the way that never fails with a fault.
fn probe() -> Result<()> {
    let (from, mut to) = ([7_u8; 8], [0_u8; 8]);
    let copied = copy(from.as_ptr() as usize, to.as_mut_ptr(), 8);
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) && copied == 8 && to == from {
        return Ok(());
    }
    Err(Error::unsupported("stacks cannot be sampled on this machine")
        .hint("it takes x86_64 or aarch64, and a system that allows process_vm_readv on the process itself"))
}

/// Copies memory of this process up to where it is not mapped; gives how much. Safe in a signal handler: one system call.
fn copy(from: usize, to: *mut u8, len: usize) -> usize {
    let mut pages = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; PAGES];
    let (mut at, mut count) = (from, 0);
    let end = from.saturating_add(len);
    while at < end && count < PAGES {
        let next = (at / PAGE_BYTES + 1) * PAGE_BYTES;
        let part = next.min(end) - at;
        pages[count] = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: part };
        at += part;
        count += 1;
    }
    let into = libc::iovec { iov_base: to.cast(), iov_len: len };
    // SAFETY: `to` has room for `len` bytes; the kernel checks the addresses of `pages`.
    let copied = unsafe { libc::process_vm_readv(libc::getpid(), &into, 1, pages.as_ptr(), count as libc::c_ulong, 0) };
    usize::try_from(copied).unwrap_or(0)
}

extern "C" fn on_tick(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: errno is this thread's; whoever was interrupted must find it as it was.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    INSIDE.fetch_add(1, Ordering::SeqCst);
    let ring = RING.load(Ordering::SeqCst);
    if !ring.is_null() && !context.is_null() {
        // SAFETY: the ring lives as long as INSIDE is above zero; the kernel gave the context.
        unsafe { (*ring).take(registers(context.cast())) };
    }
    INSIDE.fetch_sub(1, Ordering::SeqCst);
    // SAFETY: as above.
    unsafe { *errno = before };
}

impl Ring {
    fn take(&self, registers: Registers) {
        let thread = thread_id();
        if thread == TAKER.load(Ordering::Relaxed) {
            return;
        }
        for _ in 0..TRIES {
            let slot = &self.slots[self.next.fetch_add(1, Ordering::Relaxed) % SLOTS];
            if slot.state.compare_exchange(FREE, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err() {
                continue;
            }
            // SAFETY: who made a slot busy has it alone.
            let copied = unsafe { &mut *slot.copied.get() };
            copied.registers = registers;
            copied.thread = thread;
            copied.label = number_now();
            copied.len = copy(registers.stack as usize, copied.bytes.as_mut_ptr(), STACK_BYTES);
            slot.state.store(FULL, Ordering::Release);
            return;
        }
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(target_arch = "x86_64")]
unsafe fn registers(context: *const libc::ucontext_t) -> Registers {
    // SAFETY: the caller has it from the kernel.
    let all = unsafe { &(*context).uc_mcontext.gregs };
    let of = |register: libc::c_int| all[register as usize] as u64;
    Registers { instruction: of(libc::REG_RIP), stack: of(libc::REG_RSP), frame: of(libc::REG_RBP) }
}

#[cfg(target_arch = "aarch64")]
unsafe fn registers(context: *const libc::ucontext_t) -> Registers {
    // SAFETY: the caller has it from the kernel.
    let all = unsafe { &(*context).uc_mcontext };
    Registers { instruction: all.pc, stack: all.sp, frame: all.regs[29], link: all.regs[30] }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn registers(_: *const libc::ucontext_t) -> Registers {
    Registers::default()
}
