//! What the processor says of itself: whose it is, which family and model, and how large its L2 cache is.
//!
//! Asked once, as the standard library asks for features: in a virtual machine each question ends in its host. Miri has no
//! processor to ask.

/// Whose processor it is.
#[cfg_attr(
    not(all(target_arch = "x86_64", not(miri))),
    allow(dead_code, reason = "only x86-64 tells")
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vendor {
    Intel,
    Amd,
    /// Another one's, or one that isn't asked.
    Other,
}

/// A processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cpu {
    pub(crate) vendor: Vendor,
    /// As its maker counts, with the extensions added.
    pub(crate) family: u32,
    pub(crate) model: u32,
    /// KiB of its L2 cache; 0 if it doesn't tell.
    pub(crate) l2: u32,
}

/// Bytes of the L2 cache of this processor, or what most have if it doesn't tell.
pub(crate) fn l2() -> usize {
    match cpu().l2 {
        0 => 1 << 20,
        kib => kib as usize * 1024,
    }
}

/// The processor that this runs on.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) fn cpu() -> Cpu {
    use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
    /// 0 before it is known: every thread that comes first writes the same. From the lowest bit: known, vendor, family,
    /// model, cache.
    static ANSWER: AtomicU64 = AtomicU64::new(0);
    let mut answer = ANSWER.load(Relaxed);
    if answer == 0 {
        let Cpu { vendor, family, model, l2 } = ask();
        answer = 1
            | (vendor as u64) << 1
            | u64::from(family & 0xfff) << 4
            | u64::from(model & 0xfff) << 16
            | u64::from(l2) << 32;
        ANSWER.store(answer, Relaxed);
    }
    let bits = |from: u32, count: u32| (answer >> from) as u32 & (u32::MAX >> (32 - count));
    let vendor = match bits(1, 3) {
        0 => Vendor::Intel,
        1 => Vendor::Amd,
        _ => Vendor::Other,
    };
    Cpu { vendor, family: bits(4, 12), model: bits(16, 12), l2: bits(32, 32) }
}

/// The processor that this runs on: none that is asked.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) fn cpu() -> Cpu {
    Cpu { vendor: Vendor::Other, family: 0, model: 0, l2: 0 }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
fn ask() -> Cpu {
    use core::arch::x86_64::{__cpuid, CpuidResult};
    /// The leaf that says which extended leaves there are, and the one of the caches.
    const EXTENDED: u32 = 0x8000_0000;
    const CACHES: u32 = 0x8000_0006;
    #[allow(unused_unsafe, reason = "safe since Rust 1.94, and we build with 1.89")]
    let leaf = |leaf: u32| -> CpuidResult {
        // SAFETY: every x86-64 has the instruction, and answers a leaf that it lacks with numbers that mean nothing.
        unsafe { __cpuid(leaf) }
    };
    let (name, version) = (leaf(0), leaf(1));
    let name = [name.ebx, name.edx, name.ecx].map(u32::to_le_bytes);
    let vendor = match name.as_flattened() {
        b"GenuineIntel" => Vendor::Intel,
        b"AuthenticAMD" => Vendor::Amd,
        _ => Vendor::Other,
    };
    // A base and its extension, which are added up; the extension of the model is its upper half.
    let family = (version.eax >> 8 & 0xf) + (version.eax >> 20 & 0xff);
    let model = (version.eax >> 4 & 0xf) | (version.eax >> 12 & 0xf0);
    let l2 = if leaf(EXTENDED).eax >= CACHES { leaf(CACHES).ecx >> 16 } else { 0 };
    Cpu { vendor, family, model, l2 }
}
